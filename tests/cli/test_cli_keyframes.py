"""`record --keyframes`, and what `replay` and `log show` make of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cli_command import Command, Result


@pytest.fixture
def recorded(vlockstep: Command, disk: Path) -> dict[str, Any]:
    """A guest that runs for a second and a half."""
    log = Path("ledger.vlog").absolute()
    words = ["--block", f"disk={disk}", "--console", "console.txt"]
    guest = ["--lines=100", "--pause=15"]
    result = vlockstep(
        "record", "ledger", "-o", log, *words, "--keyframes", "0.1", "--json", "--", *guest
    )
    summary: dict[str, Any] = json.loads(result.err)
    assert result.status == 0 and summary["keyframes"] > 0
    return summary


def told(result: Result) -> dict[str, Any]:
    assert result.status == 0, result.err
    answer: dict[str, Any] = json.loads(result.out)
    return answer


def test_a_replay_begins_at_the_nearest(vlockstep: Command, recorded: dict[str, Any]) -> None:
    log, last = recorded["log"], recorded["entries"] - 1
    near = told(vlockstep("replay", log, "--until", f"entry:{last}", "--json"))
    assert 0 < near["first"] < near["entries"] == last
    whole = told(
        vlockstep("replay", log, "--until", f"entry:{last}", "--json", "--console", "x.txt")
    )
    assert (whole["first"], whole["keyframes"]) == (0, recorded["keyframes"])
    for fact in ("position", "registers", "memory_digest"):
        assert near[fact] == whole[fact]
    text = vlockstep("replay", log, "--until", f"entry:{last}").out
    shown = f"{last - near['first']} replayed and verified, from the keyframe before entry"
    assert f"{shown} {near['first']} on" in text


def test_a_replay_passes_all(vlockstep: Command, recorded: dict[str, Any]) -> None:
    whole = told(vlockstep("replay", recorded["log"], "--json"))
    assert (whole["end"], whole["entries"]) == ("halt", recorded["entries"])
    assert (whole["first"], whole["keyframes"]) == (0, recorded["keyframes"])
    assert f"and {whole['keyframes']} keyframes" in vlockstep("replay", recorded["log"]).out


def test_a_log_shows_them(vlockstep: Command, recorded: dict[str, Any]) -> None:
    lines = vlockstep("log", "show", recorded["log"]).out.splitlines()
    assert sum("keyframe" in line for line in lines) == recorded["keyframes"]
    _, *rows = map(json.loads, vlockstep("log", "show", recorded["log"], "--json").out.splitlines())
    found = [at for at, row in enumerate(rows) if row["kind"] == "keyframe"]
    assert len(found) == recorded["keyframes"]
    assert all(rows[at]["sequence"] == rows[at + 1]["sequence"] for at in found)
    only = vlockstep("log", "show", recorded["log"], "--kind", "console").out
    assert "keyframe" not in only


def test_there_are_none_by_default(vlockstep: Command, hello_log: Path) -> None:
    assert "keyframe" not in vlockstep("log", "show", hello_log).out


@pytest.mark.parametrize("seconds", ["0", "-1", "x", "1e9", "nan"])
def test_what_is_no_interval(vlockstep: Command, seconds: str) -> None:
    result = vlockstep("record", "hello", "-o", "a.vlog", f"--keyframes={seconds}")
    assert result.status == 2
    assert f"--keyframes takes seconds, up to 86400, or off, not '{seconds}'" in result.err
    assert not Path("a.vlog").exists()
