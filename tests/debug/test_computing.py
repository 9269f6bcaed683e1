"""Recordings of guests that compute for long between two exits: they have keyframes there, too."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest
from support import computing_image, config_for, ticking

from vlockstep.cli import record
from vlockstep.cli.record import LogInProgress
from vlockstep.debug.timeline import Timeline, open_recording
from vlockstep.ft import keyframing
from vlockstep.ft.lastminutes import LastMinutesAlone
from vlockstep.host.background import BackgroundThread
from vlockstep.host.devices import ConsoleStream
from vlockstep.host.live import LiveWorld
from vlockstep.machine.basis import basis
from vlockstep.machine.machine import Machine
from vlockstep.machine.position import Position
from vlockstep.machine.report import GuestError
from vlockstep.replay.keyframes import KeyframeMaker, begin_near
from vlockstep.replay.logfile import LogReader, LogWriter
from vlockstep.replay.recorder import Recorder
from vlockstep.replay.replayer import Replayer
from vlockstep.replay.script import Script, new_machine

FAILS = b"\x0f\x0b"
IMAGE, FAILING = computing_image(rounds=60_000_000), computing_image(end=FAILS, rounds=60_000_000)


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With keyframes as often as there may be."""
    path, config = tmp_path_factory.mktemp("recorded") / "computes.vlog", config_for(IMAGE)
    with (
        pytest.MonkeyPatch.context() as patch,
        closing(Machine(IMAGE, config, engine="unicorn")) as machine,
    ):
        patch.setattr(record, "_SOON", 0.0)
        patch.setattr(record, "_LATE", 0.0)
        progress = LogInProgress(LogWriter(path, config, basis=basis()), 0.02)
        world = LiveWorld(ConsoleStream())
        recorder = Recorder(world, machine, progress.append)
        progress.maker = KeyframeMaker(machine, world, recorder)
        with ticking(progress.flush):
            machine.run(recorder)
        progress.seal()
    return path


def places(timeline: Timeline) -> list[Position]:
    """Of keyframes in the midst of the second computation."""
    return [key.position for key in timeline.recording.keyframes if key.position.blocks]


def test_there_are_keyframes_where_it_computes_from_which_all_is_as_it_was(log: Path) -> None:
    with open_recording(log, IMAGE) as timeline:
        found = places(timeline)
        assert len(found) > 3 and {at.exits for at in found} == {4}
        seen = {}
        between = Position(4, (found[0].blocks + found[1].blocks + 1) // 2)
        for at in (Position(4, found[-1].blocks + 3), between, found[1]):
            timeline.seek(at)
            seen[at] = timeline.registers()
        timeline.seek(Position(5))
        assert timeline.step() and timeline.step_back()
    for goal, registers in seen.items():
        with closing(new_machine(IMAGE, config_for(IMAGE), goal, "unicorn")) as machine:
            with closing(LogReader(log)) as reader:
                script = Script(reader.entries(), machine, goal)
                machine.run(Replayer(script, machine))
            assert machine.position == goal and machine.registers() == registers
        with closing(new_machine(IMAGE, config_for(IMAGE), goal, "unicorn")) as machine:
            near = begin_near(log, machine, goal)
            assert near is not None and near[0].position.exits == 4
            with closing(LogReader(log)) as reader:
                reader.go_to(*near)
                script = Script(reader.entries(), machine, goal, near[0].sequence)
                machine.run(Replayer(script, machine, sequence=near[0].sequence))
            assert machine.position == goal and machine.registers() == registers


def test_the_last_minutes_of_one_that_fails_begin_where_it_computed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keyframing, "_SOON", 0.01)
    monkeypatch.setattr(keyframing, "_SECONDS", 0.05)
    path, config, told = tmp_path / "last.vlog", config_for(FAILING), list[str]()
    with closing(Machine(FAILING, config, engine="unicorn")) as machine:
        world = LiveWorld(ConsoleStream())
        last = LastMinutesAlone(
            path, machine, world, BackgroundThread, told.append, basis(), span=0
        )
        with ticking(last.flush), pytest.raises(GuestError):
            machine.run(last.recorder)
        last.end(failed=True)
    assert told == [f"what led to this was recorded: vlockstep debug {path}"]
    with open_recording(path, FAILING) as timeline:
        begin = timeline.mark.boundary
        assert begin.exits == 4 and begin.blocks > 0
        timeline.to_end()
        assert timeline.recording.failed and timeline.read(timeline.registers().rip, 2) == FAILS
