"""Positions and places that are refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from cli_command import Command

from vlockstep.errors import UsageError
from vlockstep.ft.faults import Place


@pytest.mark.parametrize("digit", ["٣", "²", "9" * 5000])
def test_position_with_odd_digits(vlockstep: Command, hello_log: Path, digit: str) -> None:
    result = vlockstep("replay", hello_log, "--until", f"exits:{digit}")
    assert (result.status, result.out) == (2, "")
    assert "is not a position" in result.err


@pytest.mark.parametrize("number", ["٣", "²", "9" * 5000, "-1"])
@pytest.mark.parametrize("stage", ["entry", "sent", "write", "release", "exits", "time"])
def test_place_with_odd_digits(stage: str, number: str) -> None:
    with pytest.raises(UsageError, match=r"is (no place|not a position)"):
        Place.parse(f"{stage}:{number}")


def test_time_that_never_comes() -> None:
    for text in ("time:99999999999", "time:1000000.1"):
        with pytest.raises(UsageError, match="is too late: write at most time:1000000"):
            Place.parse(text)
    for text in ("time:nan", "time:inf", "time:1e9"):
        with pytest.raises(UsageError, match="is no place"):
            Place.parse(text)
    assert Place.parse("time:1000000").seconds == 10**6
