"""Interrupts: where they may land, and that counting starts and stops without losing anything."""

from __future__ import annotations

import struct
from collections.abc import Mapping

import pytest
from support import (
    DATA,
    LOAD_TABLES,
    TEXT,
    ScriptedWorld,
    config_for,
    halt,
    hypercall,
    machine_of,
    make_image,
    trap_tables,
)

from vlockstep.machine.image import Image
from vlockstep.machine.machine import Machine
from vlockstep.machine.position import Position
from vlockstep.machine.report import GuestError
from vlockstep.machine.world import WorldChanged
from vlockstep.replay.entry import Kind
from vlockstep.replay.recorder import Recorder

VECTOR = 0x20
HANDLER = TEXT + 0x400
ON, OFF, COUNT, SAVED = DATA, DATA + 0x20, DATA + 0x40, DATA + 0x80
ARM, DISARM = hypercall(0x40, ON), hypercall(0x40, OFF)
TIMER = struct.pack("<QII", 1_000_000, VECTOR, 0)
INC = b"\xff\x04\x25" + struct.pack("<I", COUNT)  # inc dword [COUNT]
IRETQ = b"\x48\xcf"
STI = b"\xfb"
JMP_NEXT = b"\xeb\x00"


def guest(code: bytes, handler: bytes, data: Mapping[int, bytes] | None = None) -> Image:
    tables = trap_tables({VECTOR: HANDLER})
    words = {ON: TIMER, **(data or {}), **tables}
    return make_image({0: LOAD_TABLES + code, 0x400: handler}, words)


def word(machine: Machine, address: int) -> int:
    (value,) = struct.unpack_from("<Q", machine.memory.ram, address)
    return int(value)


# mov ecx, 100; L: dec ecx; jnz L
LOOP = bytes.fromhex("b964000000 ffc9 75fc")


def test_handler_runs_and_returns_where_it_was() -> None:
    image = guest(ARM + STI + LOOP + halt(), INC + IRETQ)
    wanted = [Position(1, n) for n in (2, 7, 8, 60)]
    world = ScriptedWorld(wanted)
    with machine_of(image) as machine:
        outcome = machine.run(world)
        assert word(machine, COUNT) == 4
    assert [s[1] for s in world.seen if s[0] == "interrupt"] == wanted
    assert outcome.status == 0 and outcome.registers["rcx"] == 0


def test_interrupt_waits_while_the_guest_has_them_off() -> None:
    image = guest(ARM + LOOP + STI + LOOP + halt(), INC + IRETQ)
    world = ScriptedWorld([Position(1, 5)])
    with machine_of(image) as machine:
        machine.run(world)
        assert word(machine, COUNT) == 1
    assert world.refused[0] == Position(1, 5) and len(world.refused) > 90


def test_interrupt_waits_for_the_instruction_after_sti() -> None:
    """sti; mov rax, 1; ... : the handler sees RAX set, though a block begins behind the STI."""
    save = b"\x48\x89\x04\x25" + struct.pack("<I", SAVED)  # mov [SAVED], rax
    code = ARM + JMP_NEXT + b"\x31\xc0" + STI + b"\xb0\x01" + JMP_NEXT + LOOP
    image = guest(code + halt(), save + IRETQ)
    for blocks in range(4):
        world = ScriptedWorld([Position(1, blocks)])
        with machine_of(image) as machine:
            machine.run(world)
            assert word(machine, SAVED) & 0xFF == 1
        assert bool(world.refused) == (blocks < 2)


class Busy(ScriptedWorld):
    """Wants to be asked a few blocks after it was asked where, and has one interrupt then."""

    def stop_at(self, position: Position) -> int | None:
        return position.blocks + 4

    def interrupt(self, position: Position, enabled: bool) -> int | None:
        first = not self.seen or self.seen[-1][0] != "interrupt"
        if not (enabled and first):
            return None
        self.seen.append(("interrupt", position))
        return VECTOR


@pytest.mark.parametrize("stopping", ["d9fe", "cc"])
def test_an_interrupt_comes_between_stops_of_the_engine(stopping: str) -> None:
    """FSIN, which is executed in Unicorn's stead, and INT3: there is one in every few blocks."""
    # mov ecx, 100; L: fsin or int3; dec ecx; jnz L
    size = len(bytes.fromhex(stopping)) + 4
    loop = bytes.fromhex(f"b964000000 {stopping} ffc9 75") + struct.pack("b", -size)
    tables = trap_tables({3: HANDLER + 0x100, VECTOR: HANDLER})
    code = {0: LOAD_TABLES + ARM + STI + loop + halt(), 0x400: INC + IRETQ, 0x500: IRETQ}
    with machine_of(make_image(code, {ON: TIMER, **tables})) as machine:
        machine.run(Busy())
        assert word(machine, COUNT) == 1


class Impatient(ScriptedWorld):
    def interrupt(self, position: Position, enabled: bool) -> int | None:
        if len(self.refused) > 1000:
            raise AssertionError("the interrupt is never delivered")
        return super().interrupt(position, enabled)


@pytest.mark.parametrize(
    "loop",
    [
        STI + bytes.fromhex("ebfe"),  #          sti; L: jmp L
        STI + bytes.fromhex("ffc0 ebfc"),  #     sti; L: inc eax; jmp L
        STI + bytes.fromhex("90 b0fb ffc0 ebfc"),  # sti; nop; mov al, 0xfb; L: inc eax; jmp L
        STI + bytes.fromhex("90 04 8e 90 ebfd"),  # sti; nop; add al, 0x8e; L: nop; jmp L
    ],
)
def test_only_one_instruction_after_sti_is_protected(loop: bytes) -> None:
    """A loop that begins there, or behind a byte that looks like STI, can be interrupted."""
    image = guest(ARM + loop, halt())
    with machine_of(image) as machine:
        assert machine.run(Impatient([Position(1, 20)])).status == 0


def test_rep_movsb_can_be_interrupted_between_any_two_bytes() -> None:
    # mov esi, DATA + 0x1000; mov edi, DATA + 0x2000; mov ecx, 40; rep movsb
    copy = b"\xbe" + struct.pack("<I", DATA + 0x1000) + b"\xbf" + struct.pack("<I", DATA + 0x2000)
    copy += bytes.fromhex("b928000000 f3a4")
    save = b"\x48\x89\x0c\x25" + struct.pack("<I", SAVED)  # mov [SAVED], rcx
    image = guest(
        ARM + STI + JMP_NEXT + copy + halt(), save + IRETQ, {DATA + 0x1000: bytes(range(40))}
    )
    left = []
    for blocks in range(3, 40):
        with machine_of(image) as machine:
            assert machine.run(ScriptedWorld([Position(1, blocks)])).status == 0
            assert machine.memory.ram[DATA + 0x2000 : DATA + 0x2028] == bytes(range(40))
            left.append(word(machine, SAVED))
    inside = [n for n in left if 0 < n < 40]
    assert len(inside) > 30 and inside == sorted(inside, reverse=True)
    assert len(set(inside)) == len(inside)


@pytest.mark.parametrize("between", [b"", JMP_NEXT, b"\x90" * 300, STI, LOOP])
def test_exits_in_and_after_the_block_that_arms_the_timer_are_served(between: bytes) -> None:
    # out (timer); rdtsc; mov [SAVED], rax; rdtsc; mov [SAVED + 8], rax
    read = b"\x0f\x31\x48\x89\x04\x25"
    code = ARM + between + read + struct.pack("<I", SAVED) + read + struct.pack("<I", SAVED + 8)
    image = guest(code + halt(), IRETQ)
    world = ScriptedWorld(cycles=[111, 222])
    with machine_of(image) as machine:
        outcome = machine.run(world)
        assert (word(machine, SAVED), word(machine, SAVED + 8)) == (111, 222)
    assert outcome.position.exits == 3


@pytest.mark.parametrize("between", [b"", JMP_NEXT, LOOP])
def test_counting_is_on_only_while_a_timer_is_armed(between: bytes) -> None:
    code = (ARM + between + DISARM + between) * 3
    image = guest(code + LOOP + halt(), IRETQ)
    counting: list[bool] = []
    with machine_of(image) as machine:
        world = ScriptedWorld()
        machine.run(
            Recorder(world, machine, lambda entry: counting.append(machine.engine.counting))
        )
        assert not machine.engine.counting
        assert machine.exits == 7
    assert [s[0] for s in world.seen] == ["timer"] * 6
    assert counting == [False]


def test_no_interrupt_after_the_timer_is_off() -> None:
    image = guest(STI + ARM + LOOP + DISARM + LOOP + halt(), INC + IRETQ)
    world = ScriptedWorld([Position(2, 3)])
    with machine_of(image) as machine:
        machine.run(world)
        assert word(machine, COUNT) == 0


HALTED = ARM + JMP_NEXT + STI + b"\xf4" + INC + b"\xf4" + halt()


def test_hlt_waits_for_the_timer_and_goes_on_behind() -> None:
    world = ScriptedWorld()
    with machine_of(guest(HALTED, INC + IRETQ)) as machine:
        outcome = machine.run(world)
        assert word(machine, COUNT) == 3
    assert outcome.position.exits == 3
    assert [s for s in world.seen if s[0] == "wait"] == [("wait", (2, 0)), ("wait", (3, 0))]


@pytest.mark.parametrize("question", ["stop_at", "wait_interrupt"])
@pytest.mark.parametrize("turn", range(4))
def test_hlt_is_one_exit_though_the_world_changes_meanwhile(question: str, turn: int) -> None:
    """Whichever question the old world leaves open, the new one is asked it again."""
    normal: list[object] = [None if question == "stop_at" else VECTOR] * turn
    world = ScriptedWorld(**{question: [*normal, WorldChanged()]})
    with machine_of(guest(HALTED, INC + IRETQ)) as machine:
        outcome = machine.run(world)
        assert word(machine, COUNT) == 3
    assert outcome.position.exits == 3


@pytest.mark.parametrize("wait", [LOOP, b"\xf4"], ids=["running", "halted"])
def test_a_timer_without_a_handler_is_a_guest_error(wait: bytes) -> None:
    """There is no IDT: as for an exception, nothing but a triple fault is left."""
    image = make_image(ARM + STI + JMP_NEXT + wait + halt(), {ON: TIMER})
    world = ScriptedWorld([Position(1, 5)])
    expected = pytest.raises(GuestError, match=r"interrupt 32.* no handler")
    with machine_of(image) as machine, expected:
        machine.run(world)
    assert world.outcome is not None


def test_waiting_is_logged_as_an_interrupt() -> None:
    log = []
    image = guest(HALTED, INC + IRETQ)
    with machine_of(image, config_for(image)) as machine:
        machine.run(Recorder(ScriptedWorld(), machine, log.append))
    assert [e[:4] for e in log if e[0] == Kind.INTERRUPT] == [(8, 2, 0, VECTOR), (8, 3, 0, VECTOR)]


def test_kick_without_a_reason_is_harmless() -> None:
    image = guest(ARM + LOOP + halt(), IRETQ)
    with machine_of(image) as quiet, machine_of(image) as kicked:
        world = ScriptedWorld()
        world.timer = lambda at, period, vector, kick: kick()  # type: ignore[method-assign]
        first, second = quiet.run(ScriptedWorld()), kicked.run(world)
    assert first == second
