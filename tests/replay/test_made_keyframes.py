"""Keyframes that are made while a guest is recorded: a replay begins at any, and passes all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from support import (
    MIB,
    Console,
    MemoryDisk,
    config_for,
    disk_config,
    machine_of,
    make_image,
    record_with_keyframes,
    sample,
)

from support import DATA, halt, hypercall  # isort: skip

from vlockstep.errors import LogError
from vlockstep.host.simulated import SimulatedWorld
from vlockstep.machine.config import GuestConfig
from vlockstep.machine.image import Image
from vlockstep.machine.machine import Machine
from vlockstep.machine.position import Position
from vlockstep.machine.state import MachineState
from vlockstep.machine.world import Outcome, Stop
from vlockstep.replay import keyframes, pieces
from vlockstep.replay.entry import Entry, Kind
from vlockstep.replay.keyframe import Keyframe
from vlockstep.replay.keyframes import KeyframeMaker, Passing, begin_near
from vlockstep.replay.logfile import LogReader, LogWriter
from vlockstep.replay.recorder import Cadence, Recorder
from vlockstep.replay.replayer import Divergence, Replayer
from vlockstep.replay.script import Goal, Script, new_machine

GUESTS = {
    "preempt": ("--work=60000", "--tsc=1"),
    "ledger": ("--lines=40", "--work=5"),
    "clock": ("--reads=600", "--walltime=20"),
}


def config_of(name: str) -> tuple[Image, GuestConfig]:
    image = sample(name)
    blocks = disk_config(1 << 16) if name == "ledger" else {}
    return image, config_for(image, *GUESTS[name], memory=16 * MIB, blocks=blocks)


def record(path: Path, name: str) -> list[Keyframe]:
    image, config = config_of(name)
    world = SimulatedWorld(2, Console(), {1: MemoryDisk(1 << 16)})
    with LogWriter(path, config) as writer, machine_of(image, config) as machine:
        return record_with_keyframes(machine, world, writer)


@pytest.fixture(params=GUESTS)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def replay(path: Path, name: str, goal: Goal = None) -> tuple[Outcome | Stop, int]:
    """How it ends, and how many keyframes it has passed."""
    image, config = config_of(name)
    with closing(LogReader(path)) as log, closing(new_machine(image, config, goal)) as machine:
        source = Passing(machine)
        source.script = Script(log.entries(source.meet), machine, goal)
        return machine.run(Replayer(source, machine)), source.passed


def test_a_replay_passes_them(tmp_path: Path, name: str) -> None:
    path = tmp_path / "a.vlog"
    made = record(path, name)
    assert len(made) > 3
    outcome, passed = replay(path, name)
    assert isinstance(outcome, Outcome) and passed == len(made)
    timed = [MachineState.unpack(each.machine).timed for each in made]
    assert any(timed) == (name == "preempt")


def goals(path: Path, name: str) -> Iterator[Goal]:
    """Of each kind."""
    with closing(LogReader(path)) as log:
        entries = [*log.entries()]
    for entry in entries[10 :: len(entries) // 5]:
        yield Position(entry[1], entry[2] + 1 if entry[0] == Kind.INTERRUPT else 0)
    yield from range(0, len(entries), len(entries) // 5)


def test_a_replay_begins_at_the_nearest(tmp_path: Path, name: str) -> None:
    """And is at the goal what it would be from the start."""
    path = tmp_path / "a.vlog"
    made = record(path, name)
    image, config = config_of(name)
    nearer = 0
    for goal in goals(path, name):
        with closing(new_machine(image, config, goal)) as machine:
            source = Passing(machine)
            with closing(LogReader(path)) as log:
                source.script = Script(log.entries(source.meet), machine, goal)
                expected = machine.run(Replayer(source, machine))
            state = machine.registers(), machine.memory.digest()
        with closing(new_machine(image, config, goal)) as machine, closing(LogReader(path)) as log:
            begun = begin_near(path, machine, goal)
            first = 0
            if begun is not None:
                nearer += 1
                log.go_to(*begun)
                first = begun[0].sequence
                assert begun[0] in made
            script = Script(log.entries(), machine, goal, first)
            assert machine.run(Replayer(script, machine, sequence=first)) == expected
            assert (machine.registers(), machine.memory.digest()) == state
            assert script.taken == source.script.taken
    assert nearer > 4


def rewrite(path: Path, change: Keyframe, by: Keyframe) -> None:
    with closing(LogReader(path)) as log, LogWriter(path.with_name("new"), log.config) as new:
        for found in log.frames():
            if isinstance(found, Keyframe):
                new.keyframe(by if found == change else found)
            else:
                new.extend(found[1])
    path.with_name("new").replace(path)


def state_with(keyframe: Keyframe, **fields: object) -> Keyframe:
    state = replace(MachineState.unpack(keyframe.machine), **fields)  # type: ignore[arg-type]
    return replace(keyframe, machine=state.pack())


def test_one_that_differs_is_a_divergence_that_names_it(tmp_path: Path, name: str) -> None:
    path = tmp_path / "a.vlog"
    made = record(path, name)
    one = made[2]
    whole = path.read_bytes()
    for other, what in (
        (replace(one, registers=b"x" * len(one.registers)), "other registers"),
        (replace(one, memory=(*pieces.pack([(5 * MIB, b"x")]),)), "memory from 0x"),
        (replace(one, whole=True), "memory from 0x"),
        (state_with(one, timer=(1, 2)), "other timer"),
        (state_with(one, unreached=99), "other unreached"),
    ):
        path.write_bytes(whole)
        rewrite(path, one, other)
        with pytest.raises(Divergence, match=rf"entry {one.sequence}, .*keyframe here.*{what}"):
            replay(path, name)


def test_one_that_is_none_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.vlog"
    one = record(path, "clock")[1]
    whole = path.read_bytes()
    outside = next(pieces.pack([(16 * MIB, b"x")]))
    for other in (replace(one, memory=(b"x",)), replace(one, memory=(outside,))):
        path.write_bytes(whole)
        rewrite(path, one, other)
        with pytest.raises(LogError, match=rf"malformed keyframe before entry {one.sequence}"):
            replay(path, "clock")


def test_one_that_is_whole_or_not_is_refused_if_it_is_neither(tmp_path: Path) -> None:
    path = tmp_path / "a.vlog"
    one = record(path, "clock")[1]
    rewrite(path, one, replace(one, whole=2))  # type: ignore[arg-type]
    with pytest.raises(LogError, match="malformed keyframe"):
        replay(path, "clock")


def test_some_are_whole(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As many as are worth it: a replay passes them, and begins at each."""
    monkeypatch.setattr(keyframes, "_FEW", 0)
    path = tmp_path / "a.vlog"
    made = record(path, name)
    whole = [keyframe for keyframe in made if keyframe.whole]
    assert made[0].whole and 1 < len(whole) < len(made) / 2
    assert sum(each.size for each in whole) < sum(each.size for each in made) / 2
    outcome, passed = replay(path, name)
    assert isinstance(outcome, Outcome) and passed == len(made)
    image, config = config_of(name)
    for one in (whole[1], made[made.index(whole[1]) + 1]):
        with closing(Machine(image, config)) as machine, closing(Machine(image, config)) as other:
            begun = begin_near(path, machine, one.sequence)
            assert begun is not None and begun[0] == one
            with closing(LogReader(path)) as log:
                for _, keyframe in log.keyframes():
                    keyframes.apply(keyframe, other.memory)
                    if keyframe == one:
                        break
            assert machine.memory.digest() == other.memory.digest()


def test_one_of_another_unicorn_is_not_begun_from(tmp_path: Path) -> None:
    path = tmp_path / "a.vlog"
    for keyframe in record(path, "clock"):
        rewrite(path, keyframe, replace(keyframe, machine=b"\x01"))
    image, config = config_of("clock")
    with closing(Machine(image, config)) as machine:
        assert begin_near(path, machine, 500) is None
        assert machine.position == Position(0), "the machine is as it was"
    outcome, passed = replay(path, "clock")
    assert isinstance(outcome, Outcome) and passed == 0, "nor is it compared with"


def test_what_was_written_is_all_that_is_kept(tmp_path: Path) -> None:
    """A guest writes one page between two keyframes; the first has all there is."""
    made = record(tmp_path / "a.vlog", "clock")
    first, *others = (sum(map(len, keyframe.memory)) for keyframe in made)
    assert first > 2 * max(others)


def test_nothing_is_kept_at_the_end() -> None:
    """Nor where there is a checkpoint, whose cadence would be another."""
    image = make_image(hypercall(1, DATA) + halt())
    with machine_of(image) as machine:
        seen: list[tuple[int, bool]] = []

        def append(entry: Entry) -> None:
            seen.append((entry[0], maker.before(entry, len(seen)) is not None))

        world = SimulatedWorld(1, Console())
        recorder = Recorder(world, machine, append)
        maker = KeyframeMaker(machine, world, recorder)
        machine.run(recorder)
    assert seen == [(Kind.WALLTIME, False), (Kind.END, False)]


def test_entries_tell_the_cadence(name: str) -> None:
    """Of the Recorder that made them, and of another one that goes on in its place."""
    image, config = config_of(name)
    seen = 0
    with machine_of(image, config) as machine:
        cadence = Cadence()

        def append(entry: Entry) -> None:
            nonlocal cadence, seen
            cadence = cadence.after(entry)
            if entry[0] != Kind.END:
                assert cadence == recorders[-1].cadence
            seen += 1
            if seen == 100:
                machine.visit(go_on)

        def go_on() -> None:
            recorders.append(Recorder(world, machine, append))
            machine.replace_world(recorders[-1])

        world = SimulatedWorld(2, Console(), {1: MemoryDisk(1 << 16)})
        recorders = [Recorder(world, machine, append)]
        machine.run(recorders[0])
    assert seen > 100 and len(recorders) == 2
