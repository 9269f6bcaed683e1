"""A log with keyframes can be followed from each of them on."""

from __future__ import annotations

from contextlib import closing
from itertools import chain
from pathlib import Path

from support import MIB, Console, config_for, machine_of, sample

from vlockstep.host.simulated import SimulatedWorld
from vlockstep.machine.machine import Machine
from vlockstep.machine.position import Position
from vlockstep.machine.state import MachineState
from vlockstep.machine.world import Outcome, Stop
from vlockstep.replay.entry import Entry
from vlockstep.replay.keyframe import Keyframe
from vlockstep.replay.logfile import LogReader, LogWriter
from vlockstep.replay.recorder import Recorder
from vlockstep.replay.replayer import Replayer, Sequence

PREEMPT = sample("preempt")
CONFIG = config_for(PREEMPT, "--work=6000", "--tsc=1", memory=16 * MIB)


def test_a_replay_begins_at_any_keyframe(tmp_path: Path) -> None:
    path = tmp_path / "a.vlog"
    console = Console()
    world = SimulatedWorld(2, console)
    with LogWriter(path, CONFIG) as writer, machine_of(PREEMPT, CONFIG) as machine:
        made = 0

        def append(entry: Entry) -> None:
            nonlocal made
            writer.append(entry)
            made += 1

        recorder = Recorder(world, machine, append)

        def keep() -> None:
            state, position = machine.capture().pack(), machine.position
            text = len(console.text)
            writer.keyframe(Keyframe(made, position, state, world.clock(), text, recorder.cadence))

        for exits in (0, 3, 10, 20):
            machine.break_at(Position(exits), keep)
        outcome = machine.run(recorder)

    with closing(LogReader(path)) as log:
        found = list(log.frames())
    keyframes = [frame for frame in found if isinstance(frame, Keyframe)]
    entries = list(chain.from_iterable(f[1] for f in found if not isinstance(f, Keyframe)))
    assert [keyframe.position.exits for keyframe in keyframes] == [0, 3, 10, 20]
    for keyframe in keyframes:
        following = entries[keyframe.sequence :]
        assert follow(keyframe, following) == (outcome, following, console.text[keyframe.console :])


def follow(keyframe: Keyframe, entries: list[Entry]) -> tuple[Outcome | Stop, list[Entry], str]:
    """How it ends, the entries that are made again, and the console text."""
    again: list[Entry] = []
    text: list[bytes] = []
    state = MachineState.unpack(keyframe.machine)
    with closing(Machine.restore(PREEMPT, CONFIG, state)) as machine:
        replayer = Replayer(
            Sequence(iter(entries)),
            machine,
            sequence=keyframe.sequence,
            clock=keyframe.clock,
            suppressed=lambda *output: text.append(output[-1]),
        )
        recorder = Recorder(replayer, machine, again.append, cadence=keyframe.cadence)
        return machine.run(recorder), again, b"".join(text).decode()
