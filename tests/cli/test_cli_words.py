"""Words for the guest stand behind `--`, and no word is empty."""

from __future__ import annotations

from pathlib import Path

import pytest
from cli_command import Command

BEHIND = "If it is the guest's, write it behind --: vlockstep "
OPTIONS = {
    "run": [],
    "record": ["-o", "x.vlog"],
    "primary": ["--arbiter", "a", "--block", "disk=disk.img"],
}


@pytest.mark.parametrize("command", OPTIONS)
@pytest.mark.parametrize(
    ("words", "complaint", "behind"),
    [
        (["ledger", "--lines=5"], "No such option: --lines.", "-- --lines=5"),
        (["ledger", "five"], "no place for the word 'five' here.", "-- five"),
        (["--lines=5", "ledger"], "No such option: --lines.", "-- --lines=5"),
        (["ledger", "-x", "--", "two words"], "No such option: -x.", "-- -x 'two words'"),
        (["ledger", "--consol=x"], "No such option: --consol. Did you mean --console?", ""),
    ],
)
def test_words_for_the_guest_before_the_dashes(
    vlockstep: Command, disk: Path, command: str, words: list[str], complaint: str, behind: str
) -> None:
    result = vlockstep(command, *OPTIONS[command], *words)
    assert (result.status, result.out) == (2, "")
    line = " ".join(["vlockstep", command, *OPTIONS[command], "ledger", behind]).rstrip()
    assert complaint in result.err
    assert line in result.err
    assert sorted(path.name for path in Path().iterdir()) == ["disk.img"]


def test_the_line_that_is_proposed_works(vlockstep: Command) -> None:
    refused = vlockstep("run", "hello", "--status=3", "--mem", 16)
    proposed = refused.err.strip().partition(BEHIND)[2]
    assert proposed == "run hello --mem 16 -- --status=3"
    assert vlockstep(*proposed.split()).status == 3


def test_demo_takes_no_word_either(vlockstep: Command) -> None:
    result = vlockstep("demo", "figure2")
    assert (result.status, result.out) == (2, "")
    assert f"{BEHIND}demo pair -- figure2" in result.err


def test_behind_the_dashes_all_is_the_guests(vlockstep: Command) -> None:
    result = vlockstep("run", "hello", "--", "--mem", "--", "--help", "", "x")
    assert (result.status, result.out) == (0, "Hello from vlockstep\n--mem -- --help  x\n")
    result = vlockstep("run", "--", "hello")
    assert (result.status, "Missing argument 'IMAGE'" in result.err) == (2, True)


def test_no_option_takes_the_dashes_for_its_value(vlockstep: Command) -> None:
    result = vlockstep("run", "hello", "--console", "--", "x")
    assert (result.status, "'--console' requires an argument" in result.err) == (2, True)


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["run", "hello", "--console", ""], "The value of --console is empty"),
        (["run", "hello", "--dumpcore="], "The value of --dumpcore is empty"),
        (["record", "hello", "-o", ""], "The value of -o is empty"),
        (["record", "hello", "--log="], "The value of --log is empty"),
        (["primary", "hello", "--arbiter", ""], "The value of --arbiter is empty"),
        (["secondary", "hello", "--arbiter", "x", "--keys", ""], "The value of --keys is empty"),
        (["demo", "--keep", ""], "The value of --keep is empty"),
        (["switch", "--keys", ""], "The value of --keys is empty"),
        (["run", ""], "An argument is empty"),
        (["replay", ""], "An argument is empty"),
        (["log", "show", ""], "An argument is empty"),
        (["keys", "new", ""], "An argument is empty"),
    ],
)
def test_an_empty_word_is_no_path(vlockstep: Command, words: list[str], named: str) -> None:
    result = vlockstep(*words)
    assert (result.status, result.out) == (2, "")
    assert f"{named}: leave it out, or name what you mean." in result.err
    assert list(Path().iterdir()) == []


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["record", "hello", "-o", "-"], "'--log' / '-o'"),
        (["primary", "hello", "--arbiter", "a", "--log", "-"], "'--log'"),
        (["replay", "-"], "'LOG'"),
        (["demo", "--keep", "-"], "'--keep'"),
    ],
)
def test_a_stream_is_no_file(vlockstep: Command, words: list[str], named: str) -> None:
    result = vlockstep(*words)
    assert (result.status, result.out) == (2, "")
    assert f"{named} names a file, and - is none: write ./- if you mean" in result.err
    assert list(Path().iterdir()) == []
    assert vlockstep("record", "hello", "-o", "./-").status == 0


def test_who_opens_a_file_says_that_it_cannot(
    vlockstep: Command, hello_log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not the parser, which would call it a usage error."""
    monkeypatch.setattr("os.access", lambda *_: False)
    for command in (["replay", hello_log], ["log", "show", hello_log]):
        assert vlockstep(*command).status == 0
    assert vlockstep("record", "hello", "-o", hello_log).status == 0
