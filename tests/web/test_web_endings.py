"""How guests of a run directory have ended that nobody stopped."""

from __future__ import annotations

import signal
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from commands import wait_until

from vlockstep.supervise.rundir import RunDirectory
from vlockstep.testing import Pair
from vlockstep.testing.process import ReplicaProcess
from vlockstep.web.directory import DirectorySource
from vlockstep.web.endings import KEPT_SECONDS, MOST, Endings

FAILED = {"event": "finished", "status": 3, "reason": ""}


def ended(*said: dict[str, Any], **others: str) -> Endings:
    """`books` has said that and is gone, the others run, by name and group."""
    endings = Endings()
    endings.see({"books": "group", **others}, 0.0)
    for each in said:
        endings.heard("books", "process", each)
    endings.see(others, 1.0)
    return endings


def told(endings: Endings) -> list[str]:
    return [problem["what"] for problem in endings.problems()]


@pytest.mark.parametrize(
    ("said", "what"),
    [
        ([FAILED], ["books has ended with status 3"]),
        ([{"event": "finished", "status": 0}], []),
        ([{"event": "left", "reason": "asked to"}], []),
        ([{"event": "stopped", "reason": "no disk"}], ["books had to stop"]),
        ([{"event": "diverged", "report": "a\nb"}], ["books has diverged"]),
        ([{"event": "diverged", "report": ""}, {"event": "stopped"}], ["books has diverged"]),
        ([], ["books is gone"]),
    ],
)
def test_what_was_not_wanted(said: list[dict[str, Any]], what: list[str]) -> None:
    assert told(ended(*said)) == what


def test_it_goes_on_elsewhere() -> None:
    assert told(ended(FAILED, twin="group")) == []
    assert told(ended(FAILED, other="elsewhere")) == ["books has ended with status 3"]
    diverged = {"event": "diverged", "report": "at 7"}
    assert told(ended(diverged, twin="group")) == ["books has diverged"]


def test_it_went_on_and_then_ended_as_it_was_to() -> None:
    endings = ended(twin="group")
    endings.heard("twin", "another", {"event": "left"})
    endings.see({}, 2.0)
    assert told(endings) == []
    endings = ended()
    assert told(endings) == ["books is gone"]
    endings.see({"other": "group"}, 3.0)
    endings.heard("other", "another", {"event": "finished", "status": 0})
    endings.see({}, 4.0)
    assert told(endings) == []
    endings = Endings()
    endings.see({"books": "group", "twin": "group"}, 0.0)
    endings.heard("twin", "another", {"event": "left"})
    endings.see({}, 1.0)
    assert told(endings) == [], "both at one look"


def test_words_are_those_of_one_process() -> None:
    endings = Endings()
    endings.see({"books": "group"}, 0.0)
    endings.heard("books", "process", {"event": "left"})
    endings.heard("books", "its successor", {"event": "started"})
    endings.see({}, 1.0)
    assert told(endings) == ["books is gone"]


def test_long_words_are_cut() -> None:
    (problem,) = ended({"event": "stopped", "reason": "x" * 9000 + "\ny"}).problems()
    assert problem["cause"] == "x" * 200
    (problem,) = ended({"event": "finished", "status": "odd"}).problems()
    assert problem["what"] == "books has ended with status 1"


def test_replicas_that_ended_alike_are_told_once() -> None:
    endings = ended(FAILED, twin="group")
    endings.heard("twin", "another", FAILED)
    endings.see({}, 2.0)
    assert told(endings) == ["twin has ended with status 3"]


def test_until_it_runs_again_or_for_long() -> None:
    endings = ended(FAILED)
    endings.see({}, KEPT_SECONDS)
    assert told(endings)
    endings.see({"books": "group"}, KEPT_SECONDS)
    assert told(endings) == []
    endings.heard("books", "process", {"event": "left"})
    endings.see({}, KEPT_SECONDS + 1)
    assert told(endings) == []
    endings = ended(FAILED)
    endings.see({}, 1 + KEPT_SECONDS)
    assert told(endings) == []


def test_the_newest_are_kept() -> None:
    endings, names = Endings(), [f"guest-{number}" for number in range(MOST + 2)]
    endings.see({name: name for name in names}, 0.0)
    endings.see({}, 1.0)
    assert len(endings.problems()) == MOST


def executing(source: DirectorySource) -> set[str]:
    statuses = {name: guest.get("status") for name, guest in source.look().guests.items()}
    return {name for name, status in statuses.items() if status and status["exits"] > 0}


def protections(source: DirectorySource) -> dict[str, str]:
    return {name: guest["protection"] for name, guest in source.look().guests.items()}


def test_real_guests(tmp_path: Path) -> None:
    """One finds its disk damaged, one is killed, one is asked to end, and one is killed whose
    secondary goes on."""
    run, forever = tmp_path / "run", ["--lines=2000", "--pause=20"]
    disks = {name: tmp_path / f"{name}.img" for name in ("fails", "dies", "ends")}

    def start(name: str) -> ReplicaProcess:
        disks[name].write_bytes(bytes(1 << 20))
        options = ["--name", name, "--run-dir", run, "--block", f"disk={disks[name]}"]
        return ReplicaProcess(name, ["run", "ledger", *options, "--", *forever], str)

    def fails() -> bool:
        disks["fails"].write_bytes(bytes(1 << 20))
        return "fails" not in source.look().guests

    with (
        closing(DirectorySource(RunDirectory(run))) as source,
        Pair("ledger", forever, directory=tmp_path) as pair,
    ):
        guests = [start(name) for name in disks]
        try:
            wait_until(lambda: executing(source) == {*disks, *pair.specs})
            guests[1].signal(signal.SIGKILL)
            guests[2].signal(signal.SIGTERM)
            pair.crash("primary")
            wait_until(fails)
            left = {"secondary": "ALONE"}
            wait_until(lambda: protections(source) == left)
            problems = {each["what"]: each["cause"] for each in source.look().problems}
        finally:
            for guest in guests:
                guest.close()
    assert problems["fails has ended with status 1"] == "its guest says so"
    assert problems["dies is gone"] == "its process has said no last word"
    assert any(what.startswith("secondary runs without another") for what in problems)
    assert len(problems) == 3
