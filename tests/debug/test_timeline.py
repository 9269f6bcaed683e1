"""Whatever way one comes to a mark, the guest is there as in a straight replay."""

from __future__ import annotations

import random
import struct
import subprocess
import sys
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest
from bundled_guests import record
from recordings import (
    LOOKED_AT,
    WATCHED,
    Interrupting,
    Straight,
    straight,
    write_recording,
    write_recording_with_keyframes,
)
from support import (
    DATA,
    LOAD_TABLES,
    TEXT,
    ScriptedWorld,
    config_for,
    disk_config,
    halt,
    hypercall,
    machine_of,
    make_image,
    needs_kvm,
    sample,
    trap_tables,
)

from vlockstep.debug import player, timeline
from vlockstep.debug.mark import Mark
from vlockstep.debug.places import parse_place
from vlockstep.debug.stops import Access, Breakpoint, Outside, Stop, Watchpoint, Why
from vlockstep.debug.timeline import Timeline, open_recording
from vlockstep.errors import UsageError, VlockstepWarning
from vlockstep.machine.basis import basis
from vlockstep.machine.image import load
from vlockstep.machine.position import Position
from vlockstep.machine.report import GuestError
from vlockstep.replay import keyframes
from vlockstep.replay.entry import Kind
from vlockstep.replay.logfile import LogReader, LogWriter
from vlockstep.replay.recorder import Recorder

GUESTS = {
    "hello": ("hello", "--status=3"),
    "fault": ("fault", "--kind=pf"),
    "preempt": ("preempt", "--work=40", "--tsc=1"),
}
WALK = 60
"""Moves of a random walk."""
_KINDS = {Access.WRITE: ("write",), Access.READ: ("read",), Access.EITHER: ("write", "read")}


class Place:
    """A guest's timeline beside its straight replay, and where both are, as an index of that."""

    def __init__(self, timeline: Timeline, straight: Straight) -> None:
        self.timeline, self.straight, self.at = timeline, straight, 0
        self.end = len(straight.marks) - 1
        self.timeline.to_begin()

    def check(self) -> None:
        timeline, straight, at = self.timeline, self.straight, self.at
        assert timeline.mark == straight.marks[at]
        registers = timeline.registers()
        assert tuple(registers[name] for name in LOOKED_AT) == straight.registers[at]
        assert timeline.read(registers.rsp, 64) == straight.stacks[at]

    def expected(self, stop: Stop) -> list[int]:
        """Every index at which it is hit."""
        if isinstance(stop, Breakpoint):
            places = enumerate(self.straight.addresses)
            return [at for at, address in places if address == stop.address]
        if isinstance(stop, Outside):
            places = enumerate(self.straight.addresses)
            return [at for at, address in places if not stop.start <= address < stop.end]
        kinds = _KINDS[stop.access]
        return sorted({at for kind in kinds for at in self.straight.accesses[kind]})

    def step(self, count: int) -> None:
        for _ in range(count):
            assert self.timeline.step() == (self.at < self.end)
            self.at = min(self.at + 1, self.end)

    def step_back(self, count: int) -> None:
        for _ in range(count):
            assert self.timeline.step_back() == (self.at > 0)
            self.at = max(self.at - 1, 0)

    def seek(self, at: int) -> None:
        self.timeline.seek(self.straight.marks[at])
        self.at = at

    def run(self, stop: Stop) -> None:
        hits = self.expected(stop)
        watched = isinstance(stop, Watchpoint)
        following = [at for at in hits if at > self.at or (watched and at == self.at)]
        ended = self.timeline.run([stop])
        if not following:
            assert ended.why is Why.END
            self.at = self.end
        else:
            assert ended == (Why.STOP, stop)
            self.at = min(following[0] + watched, self.end)

    def run_back(self, stop: Stop) -> None:
        hits = self.expected(stop)
        index = bisect_left(hits, self.at)
        ended = self.timeline.run_back([stop])
        assert ended == ((Why.STOP, stop) if index else (Why.BEGIN, None))
        self.at = hits[index - 1] if index else 0


@pytest.fixture(scope="module", params=list(GUESTS))
def place(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Place]:
    guest, *arguments = GUESTS[request.param]
    path = tmp_path_factory.mktemp("logs") / "guest.vlog"
    write_recording(path, guest, *arguments, world=Interrupting(211))
    first = straight(path, 0)
    # the bytes that are at RSP most often: calls and interrupts store there
    stacks = [values[1] & ~7 for values in first.registers]
    watched = max(set(stacks), key=stacks.count) - 8
    with open_recording(path) as timeline:
        yield Place(timeline, straight(path, watched))


def walk(place: Place, chance: random.Random, moves: int) -> None:
    addresses = place.straight.addresses
    for _ in range(moves):
        stop: Stop = Breakpoint(chance.choice(addresses))
        kind = chance.random()
        if kind > 0.8:
            start = addresses[place.at] - chance.choice([0, 0, 7, 300])
            stop = Outside(start, start + chance.choice([1, 16, 301, 5000]))
        elif kind < 0.3:
            access = chance.choice(list(Access))
            stop = Watchpoint(place.straight.watched, WATCHED, access)
        match chance.randrange(6):
            case 0:
                place.step(chance.randrange(1, 12))
            case 1:
                place.step_back(chance.randrange(1, 12))
            case 2:
                place.seek(chance.randrange(len(addresses)))
            case 3:
                place.run(stop)
            case 4 | 5:
                place.run_back(stop)
        place.check()


def test_a_random_walk_agrees_with_a_straight_replay(place: Place) -> None:
    place.seek(place.end // 2)
    walk(place, random.Random(1), WALK)


def test_steps_through_a_range_lead_past_interrupts(place: Place) -> None:
    """As long as the guest is in one function, and what interrupts it is not counted."""
    addresses, marks = place.straight.addresses, place.straight.marks
    recording, chance = place.timeline.recording, random.Random(3)
    entries = [recording.entry(number) for number in range(recording.count)]
    interrupts = {Mark(e[1], e[2], 0) for e in entries if e is not None and e[0] == Kind.INTERRUPT}
    functions = sorted({address for address, _ in recording.image.symbols})
    begins = [chance.randrange(place.end) for _ in range(WALK // 2)]
    begins += [marks.index(mark) - before for mark in interrupts for before in range(1, 10)]
    passed = 0
    for begin in begins:
        place.seek(begin)
        index = bisect_right(functions, addresses[place.at]) - 1
        start, end = [*functions, recording.image.end][index : index + 2]
        at: int | None = place.at + 1
        while at is not None and (marks[at] in interrupts or start <= addresses[at] < end):
            if marks[at] in interrupts:
                rip, _, _, rsp = struct.unpack_from("<4Q", place.straight.stacks[at])
                at, passed = returned(place.straight, at, rip, rsp), passed + 1
            else:
                at = at + 1 if at < place.end else None
        ended = place.timeline.step_through(start, end)
        assert ended.why is (Why.END if at is None else Why.GOAL)
        place.at = place.end if at is None else at
        place.check()
    assert passed or not interrupts


def returned(replay: Straight, at: int, rip: int, rsp: int) -> int | None:
    """The first place behind, if there is one, with that address and stack."""
    for behind in range(at + 1, len(replay.marks)):
        if replay.addresses[behind] == rip and replay.registers[behind][1] == rsp:
            return behind
    return None


@pytest.mark.long
def test_random_walks_of_any_seed_agree_with_a_straight_replay(place: Place, any_seed: int) -> None:
    walk(place, random.Random(any_seed), 10 * WALK)


def test_a_random_walk_with_many_moments_agrees_too(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that more than one interval is searched backwards in one piece."""
    for module in (player, timeline):
        monkeypatch.setattr(module, "INTERVAL", 0.001)
    with open_recording(place.timeline.recording.path) as dense:
        there = Place(dense, place.straight)
        there.seek(there.end)
        walk(there, random.Random(2), WALK // 2)


@pytest.fixture(params=["", "eb00"])
def switching(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Of a guest that arms its timer, is interrupted every third block, and disarms it; behind both
    exits, and perhaps a jump, there are six instructions in which it could be stopped."""
    arm, disarm, handler = DATA + 0x100, DATA + 0x120, 0x200
    idle = 6 * b"\x90" + bytes.fromhex(request.param) + 6 * b"\x90"
    loop = b"\xb9\x28\0\0\0" + b"\xff\xc9\x75\xfc"  # mov ecx, 40; dec ecx; jnz
    code = LOAD_TABLES + b"\xfb" + hypercall(0x40, arm) + idle + loop  # sti
    code += hypercall(0x40, disarm) + idle + halt()
    data = {arm: struct.pack("<QII", 1000, 0x20, 0), disarm: struct.pack("<QII", 0, 0x20, 0)}
    made = make_image({0: code, handler: b"\x48\xcf"}, data | trap_tables({0x20: TEXT + handler}))
    (tmp_path / "made.hvt").write_bytes(made.content)
    image, path = load(tmp_path / "made.hvt"), tmp_path / "made.vlog"
    config = config_for(image)
    with (
        machine_of(image, config) as machine,
        LogWriter(path, config, image.path, basis=basis()) as log,
    ):
        assert machine.run(Recorder(Interrupting(3), machine, log.append)).status == 0
    return path


def test_an_exit_that_switches_the_timer_does_not_end_its_block(switching: Path) -> None:
    """Nor is what follows in that a block of its own, though who looks at each instruction is
    stopped right behind such an exit."""
    first = straight(switching, 0)
    with open_recording(switching) as timeline:
        place = Place(timeline, straight(switching, first.registers[0][1] - 16))
        nops = [at for at, mark in enumerate(place.straight.marks) if mark.boundary.exits == 0]
        assert len(nops) > 11 and place.straight.marks[nops[-1]].steps > 5
        walk(place, random.Random(1), WALK)


@pytest.mark.parametrize("guest", ["tally", "ledger"])
def test_a_walk_of_a_guest_with_nic_or_disk_agrees_with_a_straight_replay(
    guest: str, tmp_path: Path
) -> None:
    path = record(tmp_path / "guest.vlog", guest, sample(guest))
    with open_recording(path) as timeline:
        timeline.to_end()
        place = Place(timeline, straight(path, timeline.registers().rsp - 8))
        walk(place, random.Random(1), WALK)


def test_each_instruction_has_its_mark_forwards_and_backwards(place: Place) -> None:
    """Through the first and the last ones."""
    place.seek(0)
    for _ in range(30):
        place.step(1)
        place.check()
    place.seek(place.end - 5)
    for _ in range(7):
        place.step(1)
        place.check()
    for _ in range(40):
        place.step_back(1)
        place.check()


def test_positions_and_entries_are_found(place: Place) -> None:
    timeline = place.timeline
    recording = timeline.recording
    for sequence in range(min(recording.count, 12)):
        entry = recording.entry(sequence)
        assert entry is not None
        timeline.seek(sequence)
        assert timeline.sequence in (sequence, sequence + 1)  # behind an interrupt
        place.at = place.straight.marks.index(timeline.mark)
        place.check()
    timeline.seek(Position(1, 0))
    assert timeline.exits == 1
    timeline.step_back()
    assert timeline.exits == 0


@pytest.mark.parametrize(
    "nowhere", [Mark(0, 1, 10_000), Position(0, 1 << 40), Position(999, 0), 10**6]
)
def test_what_does_not_exist_is_refused_and_leaves_one_where_one_was(
    place: Place, nowhere: Mark | Position | int
) -> None:
    place.seek(17)
    with pytest.raises(UsageError):
        place.timeline.seek(nowhere)
    place.check()


def test_the_text_so_far_is_that_of_the_mark(place: Place) -> None:
    timeline = place.timeline
    timeline.to_end()
    whole = timeline.console()
    first = timeline.line(1)
    timeline.seek(first)
    assert timeline.console() == b""
    timeline.step()
    assert whole.startswith(timeline.console()) and timeline.console()


def test_the_end_is_an_instruction_before_which_the_guest_cannot_be_stopped(
    tmp_path: Path,
) -> None:
    """UD2 as a block of its own, behind the third round of a loop with two exits."""
    poll, rounds = DATA + 0x100, DATA + 0x200
    body = 2 * hypercall(3, poll) + b"\xff\x0c\x25" + struct.pack("<I", rounds)
    code = body + b"\x0f\x85" + struct.pack("<i", -len(body) - 6) + b"\x0f\x0b"
    image = make_image(code, {poll: struct.pack("<QQQ", 1, 0, 0), rounds: b"\3"})
    path, config = tmp_path / "made.vlog", config_for(image)
    with (
        machine_of(image, config) as machine,
        LogWriter(path, config, basis=basis()) as log,
        suppress(GuestError),
    ):
        machine.run(Recorder(ScriptedWorld(), machine, log.append))
    with open_recording(path, image) as timeline:
        timeline.to_end()
        assert timeline.exits == 6 and timeline.read(timeline.registers().rip, 2) == b"\x0f\x0b"
        timeline.step_back()
        assert timeline.registers().rip == TEXT + len(body) and timeline.mark.boundary.exits == 4
        assert timeline.step() and not timeline.step()


def test_a_recording_with_local_disks_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "local.vlog"
    LogWriter(path, config_for(sample("ledger"), blocks=disk_config(1 << 20, local=True))).close()
    with pytest.warns(VlockstepWarning), pytest.raises(UsageError, match="local disks"):
        open_recording(path)


@pytest.mark.parametrize("few", [1 << 20, 0])
def test_a_place_found_by_keyframes_is_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, few: int
) -> None:
    """In RAM, too, whether one keyframe or several of them are whole. The log without them is the
    same, entry by entry."""
    monkeypatch.setattr(keyframes, "_FEW", few)
    path, plain = tmp_path / "keyframes.vlog", tmp_path / "plain.vlog"
    write_recording_with_keyframes(path, "preempt", "--work=60000", "--tsc=1")
    with closing(LogReader(path)) as log, LogWriter(plain, log.config, basis=log.basis) as copy:
        copy.extend(list(log.entries()))
    chance = random.Random(5)
    with open_recording(path) as quick, open_recording(plain) as slow:
        boot = Position(0, 0)
        assert quick.recording.nearest(Position(1 << 40, 0)) is not None
        assert slow.recording.nearest(Position(1 << 40, 0)) is None and slow.mark.boundary == boot
        for _ in range(6):
            entry = chance.randrange(quick.recording.count)
            assert quick.seek(entry) == slow.seek(entry)
            for _ in range(5):
                assert quick.step_back() == slow.step_back()
            assert quick.mark == slow.mark and quick.registers() == slow.registers()
            assert quick.memory.digest() == slow.memory.digest()
        for microseconds in (0, 50, 200):
            place = parse_place(f"time:0.{microseconds:06}")
            place(quick)
            place(slow)
            assert quick.mark == slow.mark
        quick.to_end()
        slow.to_end()
        assert quick.mark == slow.mark and quick.registers() == slow.registers()
        symbols = {name: address for address, name in quick.image.symbols}
        for stop in [Breakpoint(symbols["tick"])] * 3 + [Breakpoint(symbols["trap_handle"])]:
            assert quick.run_back([stop]) == slow.run_back([stop])
            assert quick.mark == slow.mark and quick.registers() == slow.registers()
    with closing(LogReader(path)) as log:
        whole = [keyframe.whole for _, keyframe in log.keyframes()]
    assert whole[0] and (1 < sum(whole) < len(whole) if few == 0 else sum(whole) == 1)


@needs_kvm
def test_a_recording_of_the_processor_is_walked_in_on_unicorn(tmp_path: Path) -> None:
    path = tmp_path / "a.vlog"
    command = [sys.executable, "-m", "vlockstep", "record", "clock", "--engine", "kvm"]
    subprocess.run(
        [*command, "-o", str(path), "--", "--reads=40", "--walltime=2", "--puts=3"],
        check=True,
        capture_output=True,
    )
    with open_recording(path) as timeline:
        assert timeline.recording.config.sites
        place = Place(timeline, straight(path, timeline.registers().rsp - 64))
        walk(place, random.Random(1), WALK)
