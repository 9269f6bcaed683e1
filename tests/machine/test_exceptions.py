"""Exceptions reach the guest's own IDT with vector, error code and CR2, or end the guest."""

from __future__ import annotations

import re
import struct

import pytest
from support import (
    DATA,
    HALT,
    LOAD_TABLES,
    POINTERS,
    TEXT,
    ScriptedWorld,
    config_for,
    halt,
    machine_of,
    make_image,
    sample,
    trap_tables,
)

from vlockstep.machine.report import GuestError

FAULT = sample("fault")
HANDLER = TEXT + 0x400

# kind: vector, error code, CR2 (None: the RIP)
DELIVERED = {
    "df": (8, 0, 0x7FF8), "de": (0, 0, 0), "bp": (3, 0, 0), "ud": (6, 0, 0),
    "rdrand": (6, 0, 0), "rdseed": (6, 0, 0), "gp": (13, 0x78, 0), "noncanonical": (13, 0, 0),
    "pf": (14, 0, 0x18), "pfw": (14, 2, 0x18), "info": (14, 3, 0x10000), "nx": (14, 0x11, None),
    "int": (128, 0, 0),
}  # fmt: skip
TENDER = {
    "noidt": "invalid opcode (#6)", "unmapped": "page fault (#14) at address 0x8000",
    "pointer": "outside guest memory", "length": "outside guest memory",
    "struct": "outside guest memory", "edge": "outside guest memory",
    "port": "OUT to port 0x80", "width8": "OUT of 1 bytes", "width": "OUT of 2 bytes",
    "in": "IN from port 0x502", "unknown": "OUT to port 0x53c", "spin": "endless loop",
    "hlt": "HLT with no interrupt", "stack": "page fault (#14) at address 0x7ff8",
}  # fmt: skip


@pytest.mark.parametrize("kind", DELIVERED)
def test_fault_arrives_in_the_guests_idt(kind: str) -> None:
    world = ScriptedWorld()
    with machine_of(FAULT, config_for(FAULT, f"--kind={kind}")) as machine:
        outcome = machine.run(world)
    vector, code, address = DELIVERED[kind]
    match = re.fullmatch(r"trap (\d+) error=(\w+) rip=(\w+) cr2=(\w+)\n", world.text)
    assert match is not None, world.text
    rip = int(match[3], 16)
    assert (int(match[1]), int(match[2], 16)) == (vector, code)
    assert int(match[4], 16) == (rip if address is None else address)
    assert outcome.status == 255 and outcome.reason == ""
    assert struct.unpack_from("<8sQQQ", outcome.trap) == (b"VLTRAP01", vector, code, rip)


def test_a_write_to_code_names_the_code() -> None:
    world = ScriptedWorld()
    with machine_of(FAULT, config_for(FAULT, "--kind=text")) as machine:
        machine.run(world)
    (address,) = [a for a, name in FAULT.symbols if name == "raise_text"]
    assert world.text.startswith("trap 14 error=3 ") and world.text.endswith(f"cr2={address:x}\n")


@pytest.mark.parametrize("kind", TENDER)
def test_fault_the_guest_cannot_take_is_a_guest_error(kind: str) -> None:
    world = ScriptedWorld()
    config = config_for(FAULT, f"--kind={kind}")
    with machine_of(FAULT, config) as machine, pytest.raises(GuestError) as error:
        machine.run(world)
    assert TENDER[kind] in error.value.reason
    assert world.outcome is not None
    assert (world.outcome.status, world.outcome.reason) == (1, error.value.reason)
    assert world.outcome.registers == error.value.registers


def test_no_kind_is_forgotten() -> None:
    world = ScriptedWorld()
    with machine_of(FAULT) as machine:
        assert machine.run(world).status == 2
    listed = dict(re.findall(r"^  (\w+) \((\w+)\)", world.text, re.M))
    assert {k for k, who in listed.items() if who == "tender"} == set(TENDER)
    assert {k for k, who in listed.items() if who == "guest"} == {*DELIVERED, "text"}


def test_a_thousand_handlers_return_and_every_register_survives() -> None:
    world = ScriptedWorld()
    with machine_of(FAULT, config_for(FAULT, "--kind=resume")) as machine:
        assert machine.run(world).status == 0, world.text
    assert world.text == "fault resume ok count=1000\n"


# int3; mov eax, 5; int 0x80; ud2; mov rax, [8]; div ecx; lldt word [8]
RAISING = {3: "cc", 0x80: "cd80", 6: "0f0b", 14: "488b042508000000", 0: "31c9f7f1"}


@pytest.mark.parametrize("vector", RAISING)
@pytest.mark.parametrize("jump", ["", "eb00"])
def test_exception_in_the_block_that_arms_the_timer_is_not_lost(vector: int, jump: str) -> None:
    """The stop that switches counting on and the exception come in the same block."""
    arm = bytes.fromhex("ba40050000 b800012000 ef")  # timer
    code = LOAD_TABLES + arm + bytes.fromhex(RAISING[vector] + jump)
    image = make_image(
        {0: code + halt(DATA + 0x180), 0x400: halt()},
        {
            DATA + 0x100: struct.pack("<QII", 1_000_000, 0x20, 0),
            DATA + 0x180: struct.pack("<Qi", 0, 9),
            **trap_tables({vector: HANDLER}),
        },
    )
    with machine_of(image) as machine:
        assert machine.run(ScriptedWorld()).status == 0


def frame_of(instruction: str, vector: int) -> tuple[int, ...]:
    """What lies on the stack when the handler of `vector` begins, relative to the boot stack."""
    image = make_image(
        {0: LOAD_TABLES + bytes.fromhex(instruction) + halt(), 0x400: halt()},
        trap_tables({vector: HANDLER}),
    )
    found: list[tuple[int, ...]] = []
    with machine_of(image) as machine:
        machine.run(ScriptedWorld())
        rsp = machine.registers()["rsp"]
        found.append(
            struct.unpack("<6Q", bytes(machine.memory.ram[rsp : rsp + 48]).ljust(48, b"\0"))
        )
    return found[0]


def test_frames_are_those_of_long_mode() -> None:
    start, top = TEXT + len(LOAD_TABLES), 0x800000 - 8
    resume = 1 << 16 | 2
    assert frame_of("0f0b", 6)[:5] == (start, 8, resume, top, 16)
    assert frame_of("cc", 3)[:5] == (start + 1, 8, 2, top, 16)
    assert frame_of("488b042508000000", 14) == (0, start, 8, resume, top, 16)
    assert frame_of("cd0e", 14)[:5] == (start + 2, 8, 2, top, 16)  # INT 14 has no error code


def test_the_resume_flag_of_a_fault_is_gone_after_its_instruction() -> None:
    """Ring 0, and blocks that Unicorn chains: it would keep the flag there."""
    skip = bytes.fromhex("4883042402 48cf")  # add qword [rsp], 2; iretq
    image = make_image(
        {0: LOAD_TABLES + bytes.fromhex("0f0b 90 eb00 cc"), 0x400: halt(), 0x500: skip},
        {HALT: struct.pack("<Qi", 0, 0), **trap_tables({6: TEXT + 0x500, 3: HANDLER})},
    )
    with machine_of(image) as machine:
        outcome = machine.run(ScriptedWorld())
        (pushed,) = struct.unpack_from("<Q", machine.memory.ram, outcome.registers["rsp"] + 16)
    assert pushed == 2 and not outcome.registers["rflags"] & 1 << 16


def test_gates_that_cannot_be_used_end_in_a_triple_fault() -> None:
    tables = trap_tables({6: HANDLER})
    gate = struct.pack("<HHHHQ", HANDLER & 0xFFFF, 8, 0x0E00, HANDLER >> 16, 0)
    absent = {**tables, min(a for a in tables if a != POINTERS) + 0x1000: bytes(96) + gate}
    image = make_image({0: LOAD_TABLES + b"\x0f\x0b", 0x400: halt()}, absent)
    with machine_of(image) as machine, pytest.raises(GuestError, match="invalid opcode"):
        machine.run(ScriptedWorld())


def test_system_calls_are_undefined_instructions() -> None:
    for instruction in ("0f05", "0f34"):  # syscall; sysenter
        image = make_image(
            {0: LOAD_TABLES + bytes.fromhex(instruction) + halt(DATA), 0x400: halt()},
            {DATA: struct.pack("<Qi", 0, 9), **trap_tables({6: HANDLER})},
        )
        with machine_of(image) as machine:
            outcome = machine.run(ScriptedWorld())
        assert outcome.status == 0
        stack = outcome.registers["rsp"]
        assert stack < 0x800000 - 8 and outcome.position.exits == 0


def test_system_call_with_its_feature_enabled_is_a_guest_error() -> None:
    # mov ecx, 0xc0000080; rdmsr; or eax, 1; wrmsr; syscall
    code = bytes.fromhex("b9800000c0 0f32 83c801 0f30 0f05") + halt(HALT)
    with machine_of(make_image(code)) as machine, pytest.raises(GuestError, match="SYSCALL") as e:
        machine.run(ScriptedWorld())
    assert e.value.registers["rip"] == TEXT + code.index(b"\x0f\x05")


@pytest.mark.timeout(20)
def test_a_handler_that_raises_its_own_exception_ends_the_guest() -> None:
    """Without a page for its first instruction there is no block boundary at which to stop it."""
    tables = trap_tables({6: HANDLER})
    image = make_image({0: LOAD_TABLES + b"\x0f\x0b", 0x400: b"\x0f\x0b"}, tables)
    with machine_of(image) as machine, pytest.raises(GuestError, match=r"#6.*again and again"):
        machine.run(ScriptedWorld())


def test_a_handler_that_is_needed_very_often_does_not_end_the_guest() -> None:
    skip = bytes.fromhex("4883042402 48cf")  # add qword [rsp], 2; iretq
    code = LOAD_TABLES + b"\x0f\x0b" * 3000 + halt()
    tables = trap_tables({6: TEXT + 0x4000})
    image = make_image({0: code, 0x4000: skip}, {**tables, HALT: struct.pack("<Qi", 0, 3)})
    with machine_of(image) as machine:
        assert machine.run(ScriptedWorld()).status == 3
