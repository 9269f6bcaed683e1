"""Whatever happened to a guest on a live host happens again, to the bit, from the log."""

from __future__ import annotations

import re
import threading
from itertools import pairwise
from pathlib import Path

import pytest
from support import (
    Console,
    MemoryDisk,
    Recording,
    ScriptedWorld,
    config_for,
    disk_config,
    machine_of,
    record,
    replay,
    sample,
)

from vlockstep.host import live
from vlockstep.host.devices import ConsoleFile, Disk
from vlockstep.host.live import Continuation, LiveWorld
from vlockstep.host.simulated import SimulatedWorld
from vlockstep.machine.config import MIB, GuestConfig
from vlockstep.machine.image import Image
from vlockstep.machine.position import Position
from vlockstep.machine.registers import Registers
from vlockstep.machine.report import GuestError
from vlockstep.machine.world import Cause, Stop
from vlockstep.replay import recorder
from vlockstep.replay.entry import Entry, Kind
from vlockstep.replay.logfile import LogReader, LogWriter
from vlockstep.replay.recorder import Recorder
from vlockstep.replay.replayer import Replayer, Sequence

CAPACITY = 64 * 512
GUESTS = {
    "hello": ("--status=7",),
    "clock": ("--reads=3000", "--walltime=500", "--puts=40"),
    "ledger": ("--lines=60", "--work=100", "--pause=0"),
    "abi": ("--timer=1",),
    "sort": ("--n=20000", "--rounds=1"),
    "preempt": ("--work=300000", "--period=300000", "--tsc=1"),
    "fault": ("--kind=resume",),
}


@pytest.mark.parametrize("name", GUESTS)
def test_live_execution_is_replayed_from_its_log_file(name: str, tmp_path: Path) -> None:
    image = sample(name)
    blocks = disk_config(CAPACITY) if image.device("disk") else {}
    config = config_for(image, *GUESTS[name], memory=16 * MIB, blocks=blocks)
    disk, console, log = tmp_path / "disk", tmp_path / "console", tmp_path / "log.vlog"
    disk.write_bytes(bytes(CAPACITY))
    world = LiveWorld(ConsoleFile(console), {1: Disk(disk)})
    with machine_of(image, config) as machine, LogWriter(log, config) as writer:
        recorded = machine.run(Recorder(world, machine, writer.append))

    reader = LogReader(log)
    assert reader.config == config
    text: list[bytes] = []

    def note(_sequence: int, kind: Kind, _handle: int, _offset: int, data: bytes) -> None:
        if kind is Kind.CONSOLE:
            text.append(data)

    replayed = replay(image, reader.config, reader.entries(), suppressed=note)
    assert replayed == recorded
    assert replayed.memory_digest == recorded.memory_digest and not reader.truncated
    assert b"".join(text) == console.read_bytes() != b""


def test_interrupts_of_a_live_timer_are_in_the_log() -> None:
    image = sample("preempt")
    config = config_for(image, "--work=1500000", "--period=200000")
    console = Console()
    recording = record(image, config, LiveWorld(console))
    interrupts = [e for e in recording.entries if e[0] == Kind.INTERRUPT]
    match = re.search(r"switches=(\d+)", console.text)
    assert match is not None and 0 < int(match[1]) <= len(interrupts)
    assert replay(image, config, recording.entries) == recording.outcome


@pytest.mark.parametrize("kind", ["noidt", "port", "spin", "hlt", "stack", "df", "pf"])
def test_guest_errors_and_traps_are_replayed(kind: str) -> None:
    image = sample("fault")
    config = config_for(image, f"--kind={kind}")
    entries: list[Entry] = []
    results: list[object] = []
    for again in (False, True):
        with machine_of(image, config) as machine:
            world = ScriptedWorld()
            try:
                if again:
                    outcome = machine.run(Replayer(Sequence(iter(entries)), machine))
                else:
                    outcome = machine.run(Recorder(world, machine, entries.append))
                results.append(outcome)
            except GuestError as error:
                results.append((str(error), error.report(), error.registers))
    assert results[0] == results[1]
    assert entries[-1][0] == Kind.END


def test_registers_agree_at_every_exit_and_between() -> None:
    image = sample("clock")
    config = config_for(image, "--reads=40", "--walltime=20", "--puts=5")
    recording = record(image, config, LiveWorld(Console()))
    last = recording.outcome.position.exits
    positions = [Position(e, b) for e in range(last) for b in (0, 1)][:100]
    runs = [registers_at(positions, image, config, recording) for _ in range(2)]
    assert runs[0] == runs[1] and list(runs[0]) == positions


def registers_at(
    positions: list[Position], image: Image, config: GuestConfig, recording: Recording
) -> dict[Position, Registers]:
    found: dict[Position, Registers] = {}
    waiting = [*positions]
    with machine_of(image, config, count_blocks=True) as machine:

        def note() -> None:
            found[machine.position] = machine.registers()
            if waiting:
                machine.break_at(waiting.pop(0), note)
            else:
                raise EnoughError

        machine.break_at(waiting.pop(0), note)
        with pytest.raises(EnoughError):
            machine.run(Replayer(Sequence(iter(recording.entries)), machine))
    return found


class EnoughError(Exception):
    pass


def test_counting_from_the_start_replays_a_log_without_it() -> None:
    """`END` says where the guest ended: blocks are counted there only with a timer on."""
    image = sample("clock")
    config = config_for(image, "--reads=10")
    recording = record(image, config, LiveWorld(Console()))
    outcome = replay(image, config, recording.entries, count_blocks=True)
    assert outcome.registers == recording.outcome.registers


def test_a_log_that_ends_before_the_guest_stops_it_there_and_more_of_it_goes_on() -> None:
    image = sample("clock")
    config = config_for(image, "--reads=10")
    recording = record(image, config, LiveWorld(Console()))
    entries = recording.entries
    with machine_of(image, config) as machine:
        for start in range(0, len(entries) - 7, 7):
            world = Replayer(Sequence(iter(entries[start : start + 7])), machine, sequence=start)
            assert machine.run(world) == Stop(Position(entries[start + 7][1]), Cause.NO_ANSWER)
            assert world.sequence == start + 7
        start += 7
        world = Replayer(Sequence(iter(entries[start:])), machine, sequence=start)
        assert machine.run(world) == recording.outcome


def test_checkpoints_come_regularly_and_cover_memory() -> None:
    image = sample("clock")
    config = config_for(image, "--reads=9000", memory=16 * MIB)
    entries = record(image, config, LiveWorld(Console())).entries
    with_checkpoint = [i for i, e in enumerate(entries) if e[4]]
    assert with_checkpoint[0] == 0
    steps = {b - a for a, b in pairwise(with_checkpoint)}
    assert steps == {recorder.CHECKPOINT_INTERVAL}
    assert len(entries) > recorder.CHECKPOINT_INTERVAL * recorder.MEMORY_INTERVAL
    assert replay(image, config, entries).status == 0


def test_clocks_of_a_live_world_never_go_back() -> None:
    start = LiveWorld(Console(), start=Continuation((1 << 50, 1 << 62)))
    for read, first in ((start.walltime, 1 << 62), (start.cycles, 1 << 50)):
        values = [read(0) for _ in range(100)]
        assert first <= values[0] < first + 10**10
        assert values == sorted(set(values)), "it goes back, or stands still"


def test_clocks_that_go_on_at_the_end_of_64_bits_wrap() -> None:
    top = (1 << 64) - 1
    world = LiveWorld(Console(), start=Continuation((top, top)))
    for clock in (world.cycles, world.walltime):
        assert clock(0) < 10**12


@pytest.mark.parametrize("longest", [3600.0, 0.001])
def test_a_timer_that_is_never_due(monkeypatch: pytest.MonkeyPatch, longest: float) -> None:
    """However often its thread looks."""
    monkeypatch.setattr(live, "_MAX_WAIT", longest)
    crashes, kicks = [], []
    monkeypatch.setattr(threading, "excepthook", crashes.append)
    world = LiveWorld(Console())
    before = set(threading.enumerate())
    world.timer(0, (1 << 64) - 1, 32, lambda: kicks.append(True))
    (ticker,) = set(threading.enumerate()) - before
    ticker.join(0.1)
    assert ticker.is_alive()
    world.leave()
    ticker.join(10)
    assert not ticker.is_alive() and not crashes and not kicks


def test_a_failing_disk_is_replayed_without_any_disk() -> None:
    image = sample("ledger")
    config = config_for(image, "--lines=20", "--work=1", blocks=disk_config(CAPACITY))
    world = ScriptedWorld(block_read=[None])
    recording = record(image, config, world)
    assert "is damaged: result 3\n" in world.text and recording.outcome.status == 1
    assert [e[3] for e in recording.entries if e[0] == Kind.BLOCK_READ] == [None]
    assert replay(image, config, recording.entries) == recording.outcome


def test_equal_seeds_give_equal_executions() -> None:
    image = sample("ledger")
    config = config_for(image, "--lines=20", "--work=1", blocks=disk_config(CAPACITY))
    runs = []
    for seed in (1, 1, 2):
        console, disk = Console(), MemoryDisk(CAPACITY)
        recording = record(image, config, SimulatedWorld(seed, console, {1: disk}))
        runs.append((recording, console.text, disk.content))
    assert runs[0] == runs[1] != runs[2]
