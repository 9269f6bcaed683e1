"""Positions and places that are refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from cli_command import Command

from vlockstep.errors import UsageError
from vlockstep.ft.places import Place
from vlockstep.protocol.states import State


@pytest.mark.parametrize("digit", ["٣", "²", "9" * 5000])
def test_position_with_odd_digits(vlockstep: Command, hello_log: Path, digit: str) -> None:
    result = vlockstep("replay", hello_log, "--until", f"exits:{digit}")
    assert (result.status, result.out) == (2, "")
    assert "is not a position" in result.err


@pytest.mark.parametrize("text", ["entry:18446744073709551615", "exits:18446744073709551615+9"])
def test_numbers_of_64_bits_are_read(vlockstep: Command, hello_log: Path, text: str) -> None:
    assert Place.parse(text).text == text
    result = vlockstep("replay", hello_log, "--until", text)
    assert (result.status, result.out) == (2, "")
    assert f"{text} is not in" in result.err


@pytest.mark.parametrize("number", ["٣", "²", "9" * 5000, "-1", str(1 << 64)])
@pytest.mark.parametrize("stage", ["entry", "sent", "write", "release", "exits", "time"])
def test_place_with_odd_digits(stage: str, number: str) -> None:
    with pytest.raises(UsageError, match=r"is (no place|not a position|too late)"):
        Place.parse(f"{stage}:{number}")


@pytest.mark.parametrize("number", ["٣", "9" * 5000, str(1 << 64)])
def test_entry_with_odd_digits(vlockstep: Command, hello_log: Path, number: str) -> None:
    result = vlockstep("replay", hello_log, "--until", f"entry:{number}")
    assert (result.status, result.out) == (2, "")
    assert "names no entry: write entry:N" in result.err


@pytest.mark.parametrize("option", ["--stop-at", "--diverge-at"])
def test_places_that_a_guest_does_not_come_to(vlockstep: Command, option: str) -> None:
    result = vlockstep("primary", "hello", "--arbiter", "arbiter", option, "sent:5")
    assert result.status == 2
    assert "at entry:N or exits:N, not at sent:5" in result.err


def test_states_of_the_protocol() -> None:
    assert Place.parse("state:taking_in").state is State.TAKING_IN
    for text in ("state:", "state:TAKING_IN", "state:taking-in", "state:3"):
        with pytest.raises(UsageError, match="state:NAME, with the name of a state"):
            Place.parse(text)


def test_time_that_never_comes() -> None:
    for text in ("time:99999999999", "time:1000000.1"):
        with pytest.raises(UsageError, match="is too late: write at most time:1000000"):
            Place.parse(text)
    for text in ("time:nan", "time:inf", "time:1e9"):
        with pytest.raises(UsageError, match="is no place"):
            Place.parse(text)
    assert Place.parse("time:1000000").seconds == 10**6
