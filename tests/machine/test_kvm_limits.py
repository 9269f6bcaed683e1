"""What the engine on KVM does not have is said in one sentence: of guests, of states, of hosts."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from contextlib import closing, nullcontext
from dataclasses import replace
from pathlib import Path

import pytest
from kvm_guests import prepared
from support import (
    DATA,
    GDT,
    LOAD_TABLES,
    POINTERS,
    TEXT,
    ScriptedWorld,
    config_for,
    halt,
    hypercall,
    machine_of,
    make_image,
    needs_kvm,
    trap_tables,
)

from vlockstep.errors import HostError, StateError, UsageError
from vlockstep.machine import engines
from vlockstep.machine.boot import GDT as GDT_AT_BOOT
from vlockstep.machine.engine import EngineLimit
from vlockstep.machine.kvm import abi, device
from vlockstep.machine.machine import Machine
from vlockstep.machine.position import Position
from vlockstep.machine.registers import Registers
from vlockstep.machine.state import MachineState, PlainState
from vlockstep.machine.unicornengine import UnicornEngine
from vlockstep.machine.world import Outcome

TIMER = DATA + 0x100
SEGMENTS = (0, 0x00AF9B00_0000FFFF, 0x00CF9300_0000FFFF, 0x00CF9B00_0000FFFF,
            0x00CFF300_0000FFFF, 0x00AFFB00_0000FFFF)  # fmt: skip
"""Of level 0: code, data, 32-bit code; of level 3: data, code."""


def far_to(selector: int) -> bytes:
    """retfq"""
    return LOAD_TABLES + b"\x48\x83\xec\x40\x6a" + bytes([selector]) + b"\x68\0\0\x10\0\x48\xcb"


LIMITS: dict[str, tuple[bytes, str]] = {
    "timer": (
        hypercall(0x40, TIMER) + b"\xeb\x00" + halt(),
        "no positions between exits, and so no timer",
    ),
    "page tables": (b"\x0f\x20\xd8\x48\x05\x00\x10\x00\x00\x0f\x22\xd8", "page tables of its own"),
    "cr0": (b"\x0f\x20\xc0\x25\xff\xff\xfe\xff\x0f\x22\xc0", "CR0"),
    "cr4": (b"\x0f\x20\xe0\x0c\x80\x0f\x22\xe0", "CR4"),
    "dr7": (b"\x31\xc0\xb0\x03\x0f\x23\xf8", "DR7"),
    "efer": (b"\xb9\x80\x00\x00\xc0\x0f\x32\x83\xc8\x01\x0f\x30", "EFER"),
    "ldt": (b"\x31\xc0\x0f\x00\xd0", "an LDT"),
    "code in an ldt": (far_to(0xC), "an LDT"),
    "level 3": (far_to(0x2B), "segment 0x2b, which is none of level 0"),
    "interrupt return to level 3": (
        LOAD_TABLES + b"\x48\x83\xec\x40\x6a\x23\x54\x9c\x6a\x2b\x68\0\0\x10\0\x48\xcf",
        "segment 0x2b",
    ),
    "32-bit code": (far_to(0x18), "32-bit code"),
    "far return of 32 bits": (LOAD_TABLES + b"\x48\x83\xec\x40\x6a\x08\x6a\x08\xcb", "RETF"),
    "task register": (b"\x0f\x00\xc8", "STR"),
    "sysret": (b"\x48\x0f\x07", "SYSRETQ"),
    "interrupts": (b"\xfb" + halt(), "enables interrupts"),
    **{
        f"{code}": (
            b"\x66\xba\x02\x05\xbe"
            + struct.pack("<IBI", TIMER, 0xBF, TIMER)  # dx, esi, edi
            + b"\xb9\x02\0\0\0\xb8"
            + struct.pack("<I", TIMER)  # ecx; eax, as what OUTS writes
            + bytes.fromhex(code)
            + halt(),
            "INS or OUTS",
        )
        for code in ("6f", "f36f", "6e", "666f", "f36d", "6c", "6766f36f")
    },
}


@needs_kvm
@pytest.mark.parametrize("name", LIMITS)
def test_a_guest_that_needs_what_kvm_does_not_have_is_told_to_take_unicorn(name: str) -> None:
    code, what = LIMITS[name]
    tables = trap_tables({3: TEXT})
    tables[GDT] = struct.pack("<6Q", *SEGMENTS)
    tables[POINTERS] = struct.pack("<H", 47) + tables[POINTERS][2:]
    image = make_image(code, {TIMER: struct.pack("<QI", 1_000_000, 32), **tables})
    with closing(Machine(image, prepared(image), engine="kvm")) as machine:
        with pytest.raises(EngineLimit) as error:
            machine.run(ScriptedWorld())
        assert what in str(error.value) and "unicorn" in str(error.value)
        assert "\n" not in str(error.value)


@needs_kvm
def test_a_state_of_a_guest_that_uses_what_kvm_does_not_have_is_refused() -> None:
    image = make_image(b"\x0f\x31" + halt())
    config = prepared(image)
    taken: list[MachineState] = []
    with closing(Machine(image, config, engine="kvm")) as machine:
        machine.break_at(Position(1), lambda: taken.append(machine.capture()))
        machine.run(ScriptedWorld())
    (state,) = taken
    assert isinstance(state.cpu, PlainState)
    changes = {"rflags": 0x202, "cr3": 0x4000, "cr0": 1, "cr4": 0, "efer": 1, "cs": 0x2B, "ldtr": 8}
    for name, value in changes.items():
        registers = Registers({**state.cpu.registers, name: value})
        other = replace(state, cpu=PlainState(registers))
        with pytest.raises(StateError, match=r"the engine unicorn$"):
            Machine.restore(image, config, other, engine="kvm")
    timed = replace(state, timed=True, timer=(1_000_000, 32))
    with pytest.raises(EngineLimit, match="timer"):
        Machine.restore(image, config, timed, engine="kvm")


@needs_kvm
def test_a_state_in_32_bit_code_is_refused() -> None:
    """Which no register tells."""
    tables = trap_tables({3: TEXT})
    tables[GDT] = struct.pack("<6Q", *SEGMENTS)
    tables[POINTERS] = struct.pack("<H", 47) + tables[POINTERS][2:]
    there = b"\x48\x83\xec\x40\x6a\x18\x68" + struct.pack("<I", TEXT + 0x40) + b"\x48\xcb"
    image = make_image({0: LOAD_TABLES + there, 0x40: halt()}, tables)
    config = prepared(image)
    with closing(Machine(image, config, engine="unicorn")) as machine:
        taken: list[MachineState] = []
        halting = machine._by_port[0x508]

        def look(at: int, pointer: int) -> None:
            taken.append(machine.capture())
            halting(at, pointer)

        machine._by_port[0x508] = look
        machine.run(ScriptedWorld())
    with pytest.raises(StateError, match="32-bit code"):
        Machine.restore(image, config, taken[0], engine="kvm")


@needs_kvm
def test_who_wants_positions_between_exits_has_unicorn_or_is_told() -> None:
    image = make_image(halt())
    config = prepared(image)
    with closing(Machine(image, config, count_blocks=True, engine="auto")) as machine:
        assert isinstance(machine.engine, UnicornEngine)
    machine = Machine(image, config, engine="kvm")
    with closing(machine), pytest.raises(UsageError, match="between exits"):
        machine.break_at(Position(0, 5), machine.stop)


def test_a_guest_without_traps_is_none_for_kvm() -> None:
    image = make_image(halt())
    with pytest.raises(UsageError, match="not prepared for the engine kvm"):
        Machine(image, config_for(image), engine="kvm")
    with machine_of(image) as machine:
        assert machine.run(ScriptedWorld()).status == 0  # type: ignore[union-attr]


# What KVM does not have, meanwhile


@needs_kvm
@pytest.mark.parametrize("what", ["timer", "armed now", "cr4", "nothing"])
def test_a_state_that_needs_unicorn_gets_it_if_the_engine_is_auto(what: str) -> None:
    image = make_image(b"\x0f\x31" + halt())
    config = prepared(image)
    with closing(Machine(image, config, engine="unicorn")) as machine:
        taken: list[MachineState] = []

        def take() -> None:
            if what == "cr4":
                machine.engine["cr4"] |= 1 << 7
            taken.append(machine.capture())

        machine.break_at(Position(1), take)
        machine.run(ScriptedWorld())
    state = taken[0]
    if what in ("timer", "armed now"):
        state = replace(state, timed=what == "timer", timer=(1_000_000, 32))
    memory = [*state.memory]
    memory[0] = (memory[0][0], bytes(len(memory[0][1])))
    assert memory[0][0] <= GDT_AT_BOOT < memory[0][0] + len(memory[0][1])
    with closing(Machine(image, config)) as machine:
        assert machine.stops_anywhere
        machine.memory.replace(memory)
        machine.load(replace(state, memory=()))
        assert machine.stops_anywhere == (what == "nothing") == (not machine.fallback)
        assert machine.memory.peek(0, 0x2000) == bytes(0x2000)
        machine.memory.replace(state.memory)
        end = machine.run(ScriptedWorld())
        assert isinstance(end, Outcome) and end.status == 0
    with pytest.raises((StateError, EngineLimit)) if what != "nothing" else nullcontext():
        Machine.restore(image, config, state, engine="kvm").close()


# /dev/kvm


def why(monkeypatch: pytest.MonkeyPatch, path: Path | str) -> str:
    monkeypatch.setattr(device, "PATH", str(path))
    with pytest.raises(HostError) as error:
        device.open_device.__wrapped__()
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_host_without_kvm(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    told = why(monkeypatch, tmp_path / "kvm")
    assert told.startswith(f"there is no {tmp_path}/kvm: it takes Linux with KVM")


def test_a_file_that_is_not_kvm(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "kvm").write_text("kvm")
    before = len(list(Path("/proc/self/fd").iterdir()))
    for path in (tmp_path / "kvm", Path("/dev/null")):
        assert why(monkeypatch, path).startswith(f"{path} does not answer as KVM does (")
    assert why(monkeypatch, tmp_path) == f"{tmp_path} cannot be opened: Is a directory"
    assert len(list(Path("/proc/self/fd").iterdir())) == before


@pytest.mark.parametrize(
    ("version", "absent", "told"),
    [
        (11, -1, "lacks version 12 of its interface: it takes a newer Linux"),
        (12, abi.CAP_SYNC_REGS, "lacks KVM_CAP_SYNC_REGS: it takes a newer Linux"),
    ],
)
def test_an_old_kvm(
    version: int, absent: int, told: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "kvm").write_text("")

    def answer(descriptor: int, request: int, argument: int = 0) -> int:
        return version if request == abi.GET_API_VERSION else int(argument != absent)

    monkeypatch.setattr(device, "ioctl", answer)
    assert why(monkeypatch, tmp_path / "kvm") == f"{tmp_path}/kvm {told}"


@pytest.mark.external("setpriv")
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
@needs_kvm
def test_a_user_who_may_not_open_it() -> None:
    script = "from vlockstep.machine.kvm import device; print(device.why_not())"
    setpriv = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    done = subprocess.run([*setpriv, sys.executable, "-c", script], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"nobody else may run this Python: {done.stderr.splitlines()[-1]}")
    assert done.stdout == "/dev/kvm may not be opened: add the user to the group kvm\n"


def test_a_processor_that_lacks_what_the_model_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "_processor", lambda: {"flags": "sse sse2 mmx cmov cx16 pni"})
    monkeypatch.setattr(device, "why_not", lambda: "")
    assert engines.why_not("core2duo") == "this processor lacks lahf_lm, ssse3"
    assert device.processor() == "unknown family unknown model unknown stepping unknown"
    image = make_image(halt())
    config = prepared(image, cpu="core2duo")
    assert engines.choose("auto", config) == "unicorn"


@needs_kvm
def test_kvm_is_not_taken_for_a_model_that_the_processor_lacks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(device, "_processor", lambda: {"flags": ""})
    image = make_image(halt())
    with pytest.raises(
        HostError, match=r"^this processor lacks .*ssse3.* of the CPU model core2duo"
    ):
        Machine(image, prepared(image, cpu="core2duo"), engine="kvm")
