"""The counter's machine code is what its comments say, and counts as the portable path does."""

from __future__ import annotations

import inspect
import re
from types import ModuleType

import capstone
import pytest
from support import Console, Position, config_for, machine_of, record, sample

from vlockstep.host.simulated import SimulatedWorld
from vlockstep.machine import blockcounter, hostclock, nativecode
from vlockstep.machine.memory import Memory
from vlockstep.machine.registers import Registers

PREEMPT = sample("preempt")


def comments(module: ModuleType, name: str) -> list[str]:
    source = inspect.getsource(module)
    (body,) = re.findall(rf"^{name} = bytes.fromhex\((.*?)^\)", source, re.S | re.M)
    return [" ".join(line.split("#", 1)[1].split()) for line in body.strip().splitlines()]


@pytest.mark.parametrize("module", [blockcounter, hostclock])
@pytest.mark.parametrize(
    ("name", "engine"),
    [
        ("X86_64", capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)),
        ("AARCH64", capstone.Cs(capstone.CS_ARCH_ARM64, capstone.CS_MODE_ARM)),
    ],
)
def test_stub_is_the_instructions_of_its_comments(
    module: ModuleType, name: str, engine: capstone.Cs
) -> None:
    code = getattr(module, name)
    found = list(engine.disasm(code, 0))
    assert sum(i.size for i in found) == len(code)
    expected = comments(module, name)
    assert len(found) == len(expected)
    for instruction, comment in zip(found, expected, strict=True):
        label, _, text = comment.rpartition(": ")
        if label == "reached":
            stop = instruction.address
        words = (
            text.replace("qword ptr ", "")
            .replace(",", " ")
            .replace("[", " [ ")
            .replace("]", " ] ")
            .split()
        )
        got = f"{instruction.mnemonic} {instruction.op_str}"
        if words[0] in ("jae", "b.hs"):
            jump = instruction
            assert instruction.mnemonic == words[0]
            continue
        got = (
            got.replace("qword ptr ", "").replace(",", " ").replace("[", " [ ").replace("]", " ] ")
        )
        assert got.split() == words
    if module is blockcounter:
        assert int(jump.op_str.lstrip("#"), 16) == stop


def state_at(native: bool, positions: list[Position]) -> list[Registers]:
    found: list[Registers] = []
    config = config_for(PREEMPT, "--work=3000", "--period=10000")
    with machine_of(PREEMPT, config, count_blocks=True, native=native) as machine:
        assert machine.engine.counter.native is native
        waiting = list(positions)

        def note() -> None:
            assert machine.position == waiting.pop(0)
            found.append(machine.registers())
            if waiting:
                machine.break_at(waiting[0], note)

        machine.break_at(waiting[0], note)
        machine.run(SimulatedWorld(5, Console()))
    return found


def test_native_and_portable_counters_record_the_same_log() -> None:
    logs = []
    config = config_for(PREEMPT, "--work=20000", "--period=10000", "--tsc=1")
    for native in (True, False):
        recording = record(PREEMPT, config, SimulatedWorld(7, Console()), native=native)
        logs.append((recording.entries, recording.outcome))
    assert logs[0] == logs[1]
    assert sum(entry[0] == 8 for entry in logs[0][0]) > 2


def test_native_and_portable_counters_reach_the_same_states() -> None:
    positions = [Position(0, 1), Position(0, 100), Position(1, 0), Position(1, 1)]
    positions += [Position(1, n) for n in range(500, 3000, 250)]
    native = state_at(True, positions)
    assert native == state_at(False, positions)
    assert len(set(native)) == len(positions)


def test_a_host_without_a_stub_counts_in_python(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nativecode.platform, "machine", lambda: "riscv64")
    config = config_for(PREEMPT, "--work=2000")
    with machine_of(PREEMPT, config) as machine:
        assert not machine.engine.counter.native
        assert machine.run(SimulatedWorld(1, Console())).status == 0


def test_memory_is_given_back() -> None:
    memory = Memory(2 << 20)
    memory.close()
    memory.close()
