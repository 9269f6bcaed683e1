"""What is told of the end of a recording."""

from __future__ import annotations

import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from recordings import write_recording
from support import (
    DATA,
    LOAD_TABLES,
    TEXT,
    Console,
    ScriptedWorld,
    config_for,
    halt,
    hypercall,
    machine_of,
    make_image,
    record_with_keyframes,
    trap_tables,
)

from vlockstep.debug.commands import Commands
from vlockstep.debug.timeline import open_recording
from vlockstep.host.simulated import SimulatedWorld
from vlockstep.machine.basis import basis
from vlockstep.replay.entry import Kind
from vlockstep.replay.logfile import LogReader, LogWriter

FAULTS = {"pf": "page fault (#14) at address 0x18, error code 0x0", "ud": "invalid opcode (#6)"}


@pytest.mark.parametrize("kind", FAULTS)
def test_the_instruction_at_fault_is_told_and_found(tmp_path: Path, kind: str) -> None:
    world = ScriptedWorld()
    path = write_recording(tmp_path / "fault.vlog", "fault", f"--kind={kind}", world=world)
    with open_recording(path) as timeline:
        commands = Commands(timeline)
        told = commands.carry_out("why-ended")
        end = timeline.mark
        assert told.startswith("the guest ended with status 255\n")
        assert f"the last lines of its console:\n  {world.text}" in told
        assert f"its last exception: {FAULTS[kind]}, at 0x" in told and f" in raise_{kind};" in told
        place = told.split("`seek ")[1].split("`")[0]
        commands.carry_out(f"seek {place}")
        assert timeline.registers().rip == int(world.text.split("rip=")[1].split()[0], 16)
        assert str(timeline.mark) == place
        assert timeline.step() and timeline.step_back() and timeline.mark < end
        assert commands.carry_out("why-ended") == told and timeline.mark == end


@pytest.mark.parametrize(("reads", "shortly"), [(20, True), (80, False)])
def test_an_exception_before_the_last_keyframe_is_found(
    tmp_path: Path, reads: int, shortly: bool
) -> None:
    """The guest takes it, reads the time so often, and ends."""
    trap = b"\x0f\x0b"  # ud2
    code = LOAD_TABLES + trap + reads * (hypercall(1, DATA + 0x100) + b"\xeb\x00") + halt()
    over = b"\x48\x83\x04\x24\x02\x48\xcf"  # add qword [rsp], 2; iretq
    image = make_image({0: code, 0x1000: over}, trap_tables({6: TEXT + 0x1000}))
    path = tmp_path / "made.vlog"
    config = config_for(image)
    with machine_of(image, config) as machine, LogWriter(path, config, basis=basis()) as log:
        keyframes = record_with_keyframes(machine, SimulatedWorld(2, Console(), {}), log)
    assert keyframes[0].position.exits < reads < keyframes[-1].position.exits + 8
    with open_recording(path, image) as timeline:
        timeline.to_end()
        end, found = timeline.mark, timeline.exception(64)
        assert timeline.mark == end
        assert (found is not None) == shortly
        if found is not None:
            assert str(found[1]) == "invalid opcode (#6)"
            timeline.seek(found[0])
            assert timeline.registers().rip == TEXT + len(LOAD_TABLES)
            assert timeline.exception(64) is None


def test_an_interrupt_by_an_instruction_is_found_at_that(tmp_path: Path) -> None:
    path = write_recording(tmp_path / "fault.vlog", "fault", "--kind=bp")
    with open_recording(path) as timeline:
        timeline.to_end()
        found = timeline.exception(64)
        assert found is not None
        timeline.seek(found[0])
        assert timeline.read(timeline.registers().rip, 1) == b"\xcc"
        assert found[1].rip == timeline.registers().rip + 1


def test_of_much_text_the_last_lines_are_told(tmp_path: Path) -> None:
    world = ScriptedWorld()
    path = write_recording(tmp_path / "clock.vlog", "clock", "--puts=9", world=world)
    with open_recording(path) as timeline:
        told = Commands(timeline).carry_out("why-ended")
    lines = world.text.splitlines()
    assert len(lines) > 5
    shown = "".join(f"  {line}\n" for line in lines[-5:])
    assert f"the last lines of its console:\n{shown}exits:" in told
    assert "exception" not in told


def test_of_no_text_nothing_is_told(tmp_path: Path) -> None:
    path = write_recording(tmp_path / "fault.vlog", "fault", "--kind=stack")
    with open_recording(path) as timeline:
        told = Commands(timeline).carry_out("why-ended")
    assert "no handler that can take it" in told and "console" not in told


def test_a_divergence_has_the_position_that_a_replay_tells(tmp_path: Path) -> None:
    """Whether or not blocks are counted."""
    path, other = tmp_path / "clock.vlog", tmp_path / "other.vlog"
    write_recording(path, "clock", "--reads=3", "--puts=2")
    with closing(LogReader(path)) as log, LogWriter(other, log.config, basis=log.basis) as written:
        for kind, exits, blocks, value, check in log.entries():
            text = kind == Kind.CONSOLE
            written.append((kind, exits, blocks, bytes(8) if text else value, check))
    words = [sys.executable, "-m", "vlockstep", "replay", str(other)]
    done = subprocess.run(words, capture_output=True, text=True)
    with open_recording(other) as timeline:
        told = Commands(timeline).carry_out("why-ended").splitlines()
    assert told[0].startswith("divergence at entry ")
    assert told[0] in done.stderr
    assert told[1].endswith(told[0].split(",")[0].removeprefix("divergence at"))
