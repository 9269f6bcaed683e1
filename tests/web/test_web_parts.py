"""What sources are made of: consoles, tasks, histories, problems."""

from __future__ import annotations

import os
import resource
import socket
import threading
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from commands import wait_until
from hypothesis import given
from hypothesis import strategies as st

from vlockstep.arbiter import DirectoryArbiter
from vlockstep.errors import HostError, UsageError
from vlockstep.web import serving
from vlockstep.web.arbiters import reigns_of
from vlockstep.web.consoles import MAX_PIECE, read_console
from vlockstep.web.history import SAMPLES, History
from vlockstep.web.localtasks import AT_A_TIME, KEPT, Came, LocalTasks
from vlockstep.web.problems import problems_of_guests
from vlockstep.web.reigns import Reigns

# Consoles


@given(st.text(st.sampled_from("aß€😀\n"), max_size=40), st.integers(1, 9))
def test_pieces_make_the_whole_text(
    tmp_path_factory: pytest.TempPathFactory, text: str, size: int
) -> None:
    """Whatever was written by then: no character is cut."""
    path = tmp_path_factory.getbasetemp() / "console.txt"
    data, told, at = text.encode(), "", 0
    for end in [*range(0, len(data), size), len(data)]:
        path.write_bytes(data[:end])
        piece = read_console("books", path, at)
        told, at = told + piece["text"], piece["next"]
    assert (told, at) == (text, len(data))


def test_the_end_begins_with_a_line(tmp_path: Path) -> None:
    path = tmp_path / "console.txt"
    path.write_text("".join(f"line {number}\n" for number in range(20_000)))
    piece = read_console("books", path, None)
    assert piece["text"].startswith("line ") and piece["text"].endswith("line 19999\n")
    assert piece["next"] == piece["size"] == path.stat().st_size
    assert MAX_PIECE - 100 < len(piece["text"]) <= MAX_PIECE


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    path = tmp_path / "console.txt"
    path.write_bytes(b"\xff\xfe\0ok")
    assert read_console("books", path, 0)["text"] == "\ufffd\ufffd\0ok"


def test_what_is_no_console(tmp_path: Path) -> None:
    """Nothing waits for somebody who writes."""
    os.mkfifo(tmp_path / "fifo")
    for name, why in (
        ("fifo", "which is no file"),
        ("gone", "No such file"),
        (".", "no file|cannot"),
    ):
        with pytest.raises(HostError, match=why):
            read_console("books", tmp_path / name, 0)


# Tasks


def test_tasks_end_as_they_ended() -> None:
    told: list[dict[str, Any]] = []
    tasks = LocalTasks(told.append)

    def fails(tell: Callable[[str], None]) -> Came:
        tell("half")
        raise HostError("the disk is full")

    def is_wrong(tell: Callable[[str], None]) -> Came:
        raise KeyError("generation")

    tasks.start("migrate", "books", {}, fails)
    tasks.start("stop", "books", {}, lambda tell: ("it ends", {"so": 1}))
    tasks.start("stop", "books", {}, is_wrong)
    wait_until(lambda: len(told) == 3)
    found = tasks.all()
    assert (found["1"]["state"], found["1"]["reason"]) == ("failed", "the disk is full")
    assert (found["2"]["state"], found["2"]["progress"]) == ("done", "it ends")
    assert found["2"]["result"] == {"so": 1}
    assert (found["3"]["state"], found["3"]["reason"]) == ("failed", "KeyError: 'generation'")


def test_so_many_at_a_time_and_so_many_kept() -> None:
    go, called = threading.Event(), threading.Event()
    tasks = LocalTasks(lambda task: None)

    def waits(tell: Callable[[str], None]) -> Came:
        go.wait(60)
        return "", {}

    first = tasks.start("migrate", "books", {}, waits, called.set)
    for _ in range(AT_A_TIME - 1):
        tasks.start("stop", "books", {}, waits)
    with pytest.raises(HostError, match="16 tasks are under way"):
        tasks.start("stop", "books", {}, waits)
    assert tasks.cancel(first["number"])["cancel"] and called.is_set()
    with pytest.raises(UsageError, match="a stop cannot be called off"):
        tasks.cancel(2)
    go.set()
    for _ in range(KEPT + 5):
        wait_until(lambda: all(task["ended"] for task in tasks.all().values()))
        tasks.start("stop", "books", {}, lambda tell: "")
    assert len(tasks.all()) == KEPT
    with pytest.raises(UsageError, match="there is no task 1"):
        tasks.cancel(1)


# Histories


def replica(lag: float | None = 1.0) -> Any:
    rates = dict.fromkeys(["log_bytes_per_s", "disk_bytes_per_s", "network_frames_per_s"], 2.0)
    return {"lag_ms": lag, "lag_entries": None if lag is None else 3, **rates}


def test_samples_are_a_second_apart_and_bounded() -> None:
    history = History()
    for half in range(2 * SAMPLES + 100):
        history.sample(half / 2, replica(None if half % 4 else 1.5))
    samples = history.samples
    assert len(samples) == SAMPLES
    assert {b["time"] - a["time"] for a, b in pairwise(samples)} == {1.0}
    assert {each["lag_ms"] for each in samples} == {None, 1.5}
    assert {each["lag_entries"] for each in samples} == {None, 3}


def migrating(phase: str, count: int) -> dict[str, Any]:
    return {
        "phase": phase, "text": "sending", "bytes": count, "rounds": 1, "lag_entries": 0,
        "throttle": 0, "pause_ms": 4.0,
    }  # fmt: skip


def test_how_far_a_migration_is() -> None:
    history = History()
    history.to = "c"
    history.moves(1.0, migrating("memory", 1000))
    history.moves(3.0, migrating("memory", 5000))
    found = history.migration
    assert found is not None
    assert (found["bytes_per_s"], found["to"], found["pause_ms"]) == (2000.0, "c", 4.0)
    history.moves(4.0, migrating("done", 5000))
    assert history.migration is None


def test_who_ruled_before_somebody_looked(tmp_path: Path) -> None:
    arbiter = DirectoryArbiter(tmp_path, "primary")
    arbiter.start()
    for generation in range(3):
        cause = ("started", "", "lost")[generation]
        arbiter.claim("me", generation, frozenset(), {}, cause=cause)
    reigns = Reigns()
    reigns.runs(os.getpid(), "books")
    reigns.ruled(3, 77.0, "books", 2, "", 90.4)
    first, unknown, last = reigns.all(reigns_of(tmp_path))
    assert (first["generation"], first["ruler"]) == (1, "books")
    assert (first["cause"], first["reason"]) == ("started", "the guest was started")
    assert first["since"] > 1e9, "when it was claimed"
    assert unknown["reason"] == "", "an older version claimed it"
    assert last["members"] == 2
    assert last["reason"].endswith("was lost; taken over 90 ms after its last word")
    assert reigns.all(reigns_of(tmp_path / "gone"))[0]["reason"] == ""


def test_silence_is_told_of_the_takeover_alone() -> None:
    """Who took over tells for how long the primary had been silent as long as it rules."""
    reigns = Reigns()
    reigns.ruled(2, 5.0, "b", 1, "silence", 320.0)
    reigns.ruled(3, 6.0, "b", 2, "joined", 320.0)
    assert [each["reason"] for each in reigns.all([])] == [
        "the primary was silent; taken over 320 ms after its last word",
        "another replica has joined",
    ]


# Problems


@pytest.mark.parametrize("address", ["a..b", "x" * 300, "\udcff"])
def test_what_is_no_address(address: str) -> None:
    with pytest.raises(UsageError, match="is no address of this computer"):
        serving.listen(address, 0)


def test_a_connection_leaves_descriptors(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving.listen("127.0.0.1", 0) as listener:
        with socket.create_connection(listener.getsockname()) as peer:
            accepted, _ = listener.accept()
            accepted.close()
            assert peer.recv(1) == b""
        monkeypatch.setattr(resource, "getrlimit", lambda _: (0, 0))
        with socket.create_connection(listener.getsockname()) as peer:
            with pytest.raises(ConnectionAbortedError):
                listener.accept()
            assert peer.recv(1) == b""


def guest(**changes: Any) -> Any:
    status = {"generation": 2, "endpoint": "", "holding": False, "network": None}
    return {"protection": "protected", "status": status | changes}


def test_what_is_wrong_with_guests() -> None:
    silent: Any = {"protection": "no answer", "status": None}
    alone = guest(endpoint="tcp://there:1", holding=True) | {"protection": "ALONE"}
    found = problems_of_guests({"a": guest(network=False), "b": silent, "c": alone, "d": guest()})
    assert [(each["target"], each["what"]) for each in found] == [
        ("guests/b", "b does not answer"),
        ("guests/c", "c runs without another replica"),
        ("guests/c", "c gives nothing out"),
        ("guests/a", "a has no network"),
    ]
    assert found[1]["do"] == "start a secondary that joins at tcp://there:1"
    assert all(each["cause"] and each["do"] for each in found)
