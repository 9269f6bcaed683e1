"""A guest with a program in ring 3: interrupts, system calls and faults take it to ring 0, and
IRETQ takes it back."""

from __future__ import annotations

import struct

import pytest
from support import Position, ScriptedWorld, machine_of
from user_mode import (
    CALLS,
    FAULT_CODE,
    FAULT_RIP,
    FAULTS,
    FRAME,
    KERNEL_ONLY,
    TICKS,
    TIMER,
    USER,
    USER_CODE,
    USER_DATA,
    USER_STACK,
    user_guest,
)

from vlockstep.machine.machine import Machine

# mov ecx, 100; L: dec ecx; jnz L
LOOP = bytes.fromhex("b964000000 ffc9 75fc")
CALL, LEAVE, HLT = b"\xcd\x80", b"\xcd\x81", b"\xf4"


def word(machine: Machine, address: int) -> int:
    (value,) = struct.unpack_from("<Q", machine.memory.ram, address)
    return int(value)


@pytest.mark.parametrize("native", [True, False])
def test_interrupts_system_calls_and_faults_return_to_ring_3(native: bool) -> None:
    program = LOOP + CALL + LOOP + HLT + CALL + LOOP + LEAVE
    interrupts = [Position(1, n) for n in (3, 50, 51, 120, 121, 122, 250)]
    with machine_of(user_guest(program), native=native) as machine:
        outcome = machine.run(ScriptedWorld(interrupts))
        counted = [word(machine, address) for address in (TICKS, CALLS, FAULTS)]
        frame = [word(machine, FRAME + 8 * n) for n in range(5)]
    assert outcome.status == 0 and outcome.registers["rcx"] == 0
    assert counted == [len(interrupts), 2, 1]
    behind_call = USER + program.rindex(CALL) + len(CALL)
    assert [frame[0], frame[1], frame[3], frame[4]] == [
        behind_call,
        USER_CODE,
        USER_STACK,
        USER_DATA,
    ]


# hlt; int TIMER, whose gate is not for ring 3; mov al, [rsi]; two without a gate
@pytest.mark.parametrize(
    ("instruction", "code"),
    [
        ("f4", 0),
        ("cd20", TIMER * 8 + 2),
        ("8a06", 5),
        ("cd7f", 0x7F * 8 + 2),
        ("cd03", 26),
        ("660f3a63060c 90", 5),  # pcmpistri xmm0, [rsi], 12, whose last byte the nop makes whole
    ],
)
def test_what_ring_3_may_not_do_is_a_fault_of_that_instruction(instruction: str, code: int) -> None:
    start = b"\xbe" + struct.pack("<I", KERNEL_ONLY)  # mov esi, KERNEL_ONLY
    with machine_of(user_guest(start + bytes.fromhex(instruction) + LEAVE)) as machine:
        outcome = machine.run(ScriptedWorld())
        found = [word(machine, address) for address in (FAULTS, FAULT_CODE, FAULT_RIP)]
    assert outcome.status == 0
    assert found == [1, code, USER + len(start)]
