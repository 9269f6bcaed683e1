"""A guest that runs without a secondary, and is resumed elsewhere from its log when its owner is
gone: it goes on, and nothing is lost or printed twice."""

from __future__ import annotations

import signal
import time
from collections import deque
from collections.abc import Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgpack
import pytest
from commands import wait_until
from pair_checks import LINES, SHORT, check_output
from support import config_for, sample

from vlockstep.arbiter import DirectoryArbiter
from vlockstep.errors import LogError
from vlockstep.ft.resumedir import ResumeDirectory
from vlockstep.machine.machine import Machine
from vlockstep.machine.position import Position
from vlockstep.protocol.journal import Batch
from vlockstep.replay import codec
from vlockstep.replay.entry import Kind
from vlockstep.replay.keyframe import Keyframe
from vlockstep.replay.logfile import LogReader
from vlockstep.replay.recorder import Cadence
from vlockstep.supervise.spec import TestSpec
from vlockstep.testing import Pair, ReplicaProcess
from vlockstep.testing.plugin import MakePair

LEASE = 1000
ENTRIES_OF_2_MIB = 200_000
"""Of those that the guest `clock` makes."""
STAGE = 75_000
"""Entries that a log of 2 MiB takes besides as many of before a keyframe, and the keyframe."""
LONG_LINES = 400
LONG = (f"--lines={LONG_LINES}", "--pause=10")


def resumable(
    make_pair: MakePair,
    arguments: tuple[str, ...] = SHORT,
    guest: str = "ledger",
    **options: object,
) -> Pair:
    pair = make_pair(guest, arguments, start=False, **options)
    spec = replace(pair.specs["primary"], lease=LEASE, secondaries=0)
    pair.specs["primary"] = replace(spec, resume=logs_of(pair), resumes=True)
    return pair


def logs_of(pair: Pair) -> Path:
    return pair.directory / "resume"


def running(make_pair: MakePair, arguments: tuple[str, ...] = SHORT, **options: object) -> Pair:
    pair = resumable(make_pair, arguments, **options)
    pair.start_primary()
    pair.process("primary").wait_event("started")
    return pair


def wait_lines(pair: Pair, more: int) -> None:
    lines = pair.transcript.count(b"\n") + more
    wait_until(lambda: pair.transcript.count(b"\n") >= lines)


def logs(pair: Pair) -> list[str]:
    return sorted(path.stem for path in logs_of(pair).iterdir())


def owners(pair: Pair) -> list[str]:
    return [reign.record.owner for reign in DirectoryArbiter(pair.arbiter, "test").reigns()]


def check_resumed(pair: Pair, process: ReplicaProcess, lines: int = LINES) -> None:
    """It ran to its end there, and all its life there was one execution."""
    assert process.wait_exit() == 0
    assert process.wait_event("resuming")["entries"] > 0
    assert not process.count("not-resumed")
    check_whole(pair, lines)


def check_whole(pair: Pair, lines: int = LINES) -> None:
    check_output(pair, lines)
    assert not logs(pair), "nobody needs the log of a guest that has ended"


@pytest.mark.parametrize("place", ["entry:40", "sent:80"])
def test_nothing_that_was_seen_is_lost_wherever_its_owner_dies(
    make_pair: MakePair, place: str
) -> None:
    """If nothing was, there may be nothing in the log."""
    pair = running(make_pair, crash_at=place)
    assert pair.process("primary").wait_exit() == -signal.SIGKILL
    before = pair.transcript
    outsider = pair.restart("outsider")
    assert outsider.wait_exit() == 0
    check_whole(pair)
    assert outsider.count("resuming") or not before


@pytest.mark.parametrize("place", ["write:60", "release:60"])
def test_a_guest_whose_owner_dies_is_resumed(make_pair: MakePair, place: str) -> None:
    pair = running(make_pair, crash_at=place)
    assert pair.process("primary").wait_exit() == -signal.SIGKILL
    before = pair.transcript
    [first] = logs(pair)
    assert [first] == owners(pair)
    outsider = pair.restart("outsider")
    check_resumed(pair, outsider)
    assert pair.transcript.startswith(before)


def test_it_is_resumed_again_and_again(make_pair: MakePair) -> None:
    pair = running(make_pair, LONG)
    last = pair.process("primary")
    for turn in range(3):
        wait_lines(pair, 20)
        last.signal(signal.SIGKILL)
        last.wait_exit()
        last = pair.restart(f"outsider-{turn}")
        last.wait_event("live")
        assert owners(pair)[-1] in logs(pair)
    check_resumed(pair, last, LONG_LINES)


def last_keyframe(pair: Pair) -> int:
    """Before which entry the last one in the log of the last owner stands; 0 if there is none."""
    found: list[int] = []

    def noted(fields: Mapping[str, Any]) -> None:
        if fields["kind"] == "state":
            found.append(Keyframe.of(msgpack.unpackb(fields["keyframe"])).sequence)

    try:
        with closing(LogReader(logs_of(pair) / f"{owners(pair)[-1]}.vlog", noted)) as log:
            deque(log.contents(), 0)
    except LogError:  # it is being begun
        return 0
    return max(found, default=0)


def often(pair: Pair, limit: int) -> None:
    """Its log gets a keyframe whenever there can be one."""
    spec = pair.specs["primary"]
    often = replace(spec, resume_growth=1, resume_interval=0, resume_limit=limit)
    pair.specs["primary"] = often


def kill_behind_a_keyframe(pair: Pair, owner: ReplicaProcess, before: int = 0) -> int:
    """Behind one of a later entry; before which it stands."""
    wait_until(lambda: owner.exit_status is not None or last_keyframe(pair) > before)
    at = last_keyframe(pair)
    assert owner.exit_status is None
    owner.signal(signal.SIGKILL)
    owner.wait_exit()
    return at


def test_it_goes_on_at_the_last_keyframe_again_and_again(make_pair: MakePair) -> None:
    pair = resumable(make_pair, LONG)
    often(pair, limit=256)
    pair.start_primary()
    last, before = pair.process("primary"), 0
    last.wait_event("started")
    for turn in range(2):
        at = kill_behind_a_keyframe(pair, last, before)
        last = pair.restart(f"outsider-{turn}")
        resuming = last.wait_event("resuming")
        assert before < at <= resuming["begin"] <= resuming["entries"]
        before = resuming["entries"]
        last.wait_event("live")
    check_resumed(pair, last, LONG_LINES)


def test_a_log_that_begins_anew_at_a_keyframe_is_never_given_up(make_pair: MakePair) -> None:
    steps = range(STAGE // 10, 2 * ENTRIES_OF_2_MIB, STAGE // 10)
    pair = resumable(
        make_pair, ("--reads=450000",), "clock", stop_at=[f"entry:{entry}" for entry in steps]
    )
    often(pair, limit=2)
    pair.start_primary()
    primary = pair.process("primary")
    for entry in steps:  # the guest waits for the log, which a quicker one is taken from
        pair.wait_reached()
        patience = time.monotonic() + 1
        while last_keyframe(pair) <= entry - STAGE // 2 and time.monotonic() < patience:
            time.sleep(0.01)  # one that is begun comes now, or is wanted when it goes on
        if entry < steps[-1]:
            pair.go("primary")
    pair.crash()
    assert not primary.count("notice")
    outsider = pair.restart("outsider")
    resuming = outsider.wait_event("resuming")
    assert resuming["begin"] > ENTRIES_OF_2_MIB
    assert outsider.wait_exit() == 0
    lines = [line.split()[1] for line in pair.transcript.splitlines()]
    assert lines == [b"tsc", b"wall"] and not logs(pair)


def test_a_guest_with_interrupts_goes_on_at_a_keyframe(make_pair: MakePair) -> None:
    arguments = ("--tsc=1", "--work=3000000")
    pair = resumable(make_pair, arguments, "preempt", stop_at=["entry:15000"])
    often(pair, limit=256)
    pair.start_primary()
    pair.wait_reached()
    at = kill_behind_a_keyframe(pair, pair.process("primary"))
    before = pair.transcript
    outsider = pair.restart("outsider")
    assert outsider.wait_event("resuming")["begin"] >= at
    assert outsider.wait_exit() == 0
    assert pair.transcript.startswith(before) and not logs(pair)


def test_an_owner_that_was_only_stopped_spoils_nothing(make_pair: MakePair) -> None:
    pair = running(make_pair, LONG)
    wait_lines(pair, 20)
    pair.pause("primary")
    outsider = pair.restart("outsider")
    outsider.wait_event("live")
    pair.resume("primary")
    assert pair.process("primary").wait_exit() == 1
    check_resumed(pair, outsider, LONG_LINES)


def test_a_log_that_is_too_long_is_removed_first(make_pair: MakePair) -> None:
    """What comes behind is made without it; whoever restarts the guest finds none, and boots it."""
    pair = resumable(make_pair, ("--reads=260000",), "clock")
    pair.specs["primary"] = replace(pair.specs["primary"], resume_limit=1)
    pair.specs["primary"] = replace(pair.specs["primary"], test=TestSpec(crash="release:130000"))
    pair.start_primary()
    primary = pair.process("primary")
    primary.wait_notice("the log of the guest has come to 1 MiB; .* it boots")
    assert not logs(pair)
    assert primary.wait_exit() == -signal.SIGKILL
    before = pair.transcript
    assert before, "its only line came when there was no log any more"
    outsider = pair.restart("outsider")
    assert outsider.wait_event("not-resumed")["reason"] == "its last owner has left no log"
    assert outsider.wait_exit() == 0
    assert pair.transcript.startswith(before)
    assert len(pair.transcript) > len(before)


def test_where_a_guest_has_moved_to_no_log_is_kept(make_pair: MakePair) -> None:
    """The one from which it came is of no use, and goes."""
    pair = running(make_pair, LONG)
    wait_lines(pair, 20)
    third = pair.receive("third")
    assert pair.migrate("third").wait_exit() == 0
    third.wait_event("live")
    assert pair.process("primary").wait_exit() == 0
    assert not logs(pair)
    wait_lines(pair, 20)
    third.signal(signal.SIGKILL)
    third.wait_exit()
    before = pair.transcript
    outsider = pair.restart("outsider")
    assert outsider.wait_event("not-resumed")["reason"] == "its last owner has left no log"
    outsider.wait_event("started")
    assert pair.transcript.startswith(before)


def test_a_log_from_which_the_guest_diverges_is_of_no_use(make_pair: MakePair) -> None:
    """Who finds that out removes it, and the next one boots the guest."""
    pair = running(make_pair, crash_at="release:60")
    pair.process("primary").wait_exit()
    [path] = logs_of(pair).iterdir()
    with closing(LogReader(path)) as log:
        config, entries = log.config, [*log.entries()]
    [number] = [n for n, entry in enumerate(entries[30:], 30) if entry[0] == Kind.CONSOLE][:1]
    kind, exits, blocks, _, checkpoint = entries[number]
    entries[number] = (kind, exits, blocks, b"anything", checkpoint)
    path.unlink()
    file = ResumeDirectory(logs_of(pair), path.stem, None).begin(config, 0)
    file.write([Batch(0, len(entries), 1, codec.encode(0, entries))])
    file.close()
    before = pair.transcript
    outsider = pair.restart("outsider")
    assert outsider.wait_exit() == 1
    outsider.wait_event("diverged")
    assert owners(pair)[-1] not in logs(pair)
    assert pair.transcript == before
    third = pair.restart("third")
    assert third.wait_event("not-resumed")["reason"] == "its last owner has left no log"
    assert third.wait_exit() == 0


def test_a_log_with_the_keyframe_of_another_guest_is_of_no_use(make_pair: MakePair) -> None:
    """As if the guest diverged from it."""
    pair = running(make_pair, crash_at="release:60")
    pair.process("primary").wait_exit()
    [path] = logs_of(pair).iterdir()
    with closing(LogReader(path)) as log:
        config, entries = log.config, [*log.entries()]
    with closing(Machine(sample("hello"), config_for(sample("hello")))) as machine:
        state = machine.save()
    path.unlink()
    file = ResumeDirectory(logs_of(pair), path.stem, None).begin(config, 0)
    file.write([Batch(0, len(entries), 1, codec.encode(0, entries))])
    file.note_released(20)
    file.place(Keyframe(20, Position(0), state, (0, 0), 0, Cadence()))
    file.close()
    before = pair.transcript
    outsider = pair.restart("outsider")
    assert outsider.wait_exit() == 1
    assert owners(pair)[-1] not in logs(pair)
    assert pair.transcript == before
    third = pair.restart("third")
    assert third.wait_event("not-resumed")["reason"] == "its last owner has left no log"
    assert third.wait_exit() == 0


@pytest.mark.parametrize("damage", ["torn", "flipped", "empty"])
def test_a_log_that_was_damaged(make_pair: MakePair, damage: str) -> None:
    """What is torn was not needed by anything that was released; anything else boots the guest."""
    pair = running(make_pair, crash_at="release:60")
    pair.process("primary").wait_exit()
    [path] = logs_of(pair).iterdir()
    content = path.read_bytes()
    if damage == "torn":
        path.write_bytes(content + content[len(content) // 2 :][:5])
    elif damage == "flipped":
        middle = len(content) // 2
        path.write_bytes(content[:middle] + b"\xff\xff" + content[middle + 2 :])
    else:
        path.write_bytes(b"")
    outsider = pair.restart("outsider")
    if damage == "torn":
        check_resumed(pair, outsider)
        return
    assert outsider.wait_exit() == 0
    reason = outsider.wait_event("not-resumed")["reason"]
    assert ("damaged" if damage == "flipped" else "is not a vlockstep log") in reason
    assert pair.transcript.count(b"ledger 000001") == 2
