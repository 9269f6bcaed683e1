"""A replica that leaves the logged path is stopped, with a report that says where and how."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence

import pytest
from support import (
    DATA,
    LOAD_TABLES,
    TEXT,
    Console,
    ScriptedWorld,
    config_for,
    disk_config,
    halt,
    hypercall,
    make_image,
    record,
    replay,
    sample,
    trap_tables,
)

from vlockstep.host.simulated import SimulatedWorld
from vlockstep.machine.machine import Machine
from vlockstep.machine.position import Position
from vlockstep.machine.report import GuestError
from vlockstep.replay import recorder
from vlockstep.replay.entry import End, Entry, Kind
from vlockstep.replay.replayer import Divergence

CLOCK, LEDGER = sample("clock"), sample("ledger")
CAPACITY = 64 * 512
CONFIG = config_for(LEDGER, "--lines=40", "--work=5", "--pause=1", blocks=disk_config(CAPACITY))


class Zeros:
    def read(self, offset: int, length: int) -> bytes:
        return self.content[offset : offset + length]

    def write(self, offset: int, data: bytes) -> None:
        self.content = self.content[:offset] + data + self.content[offset + len(data) :]

    content = bytes(CAPACITY)


@pytest.fixture(scope="module")
def entries() -> list[Entry]:
    return record(LEDGER, CONFIG, SimulatedWorld(1, Console(), {1: Zeros()})).entries


def diverges(
    log: Sequence[Entry], prepare: Callable[[Machine], None] = lambda machine: None
) -> Divergence:
    with pytest.raises(Divergence) as error:
        replay(LEDGER, CONFIG, log, prepare)
    return error.value


def changed(log: Sequence[Entry], index: int, **fields: object) -> list[Entry]:
    names = ("kind", "exits", "blocks", "value", "checkpoint")
    values = dict(zip(names, log[index], strict=True)) | fields
    return [*log[:index], tuple(values.values()), *log[index + 1 :]]  # type: ignore[list-item]


def find(log: Sequence[Entry], kind: Kind, nth: int = 0) -> int:
    return [i for i, e in enumerate(log) if e[0] == kind][nth]


def sequence_of(error: Divergence) -> int:
    return int(str(error).split("entry ")[1].split(",")[0])


@pytest.mark.parametrize("kind", [Kind.CYCLES, Kind.WALLTIME])
@pytest.mark.parametrize("nth", [0, 7, 39])
def test_a_changed_clock_shows_at_the_next_line(entries: list[Entry], kind: Kind, nth: int) -> None:
    index = find(entries, kind, nth)
    value = entries[index][3]
    assert isinstance(value, int)
    error = diverges(changed(entries, index, value=value ^ 1))
    following = next(i for i in range(index, len(entries)) if entries[i][0] == Kind.CONSOLE)
    assert sequence_of(error) == following
    assert error.position == Position(entries[following][1])
    assert "the console text is not the one that was logged" in str(error)


@pytest.mark.parametrize(
    ("kind", "what"),
    [(Kind.CONSOLE, "console text"), (Kind.BLOCK_WRITE, "disk write")],
)
def test_changed_digests_of_outputs_are_found_where_they_are(
    entries: list[Entry], kind: Kind, what: str
) -> None:
    for nth in (0, 3, -1):
        index = find(entries, kind, nth)
        error = diverges(changed(entries, index, value=b"notright"))
        assert sequence_of(error) == index and what in str(error)


def test_another_kind_than_logged_is_found_where_it_is(entries: list[Entry]) -> None:
    index = find(entries, Kind.WALLTIME, 5)
    for kind, value in ((Kind.CYCLES, 5), (Kind.NET_READ, (1, b"x" * 60)), (Kind.INTERRUPT, 32)):
        error = diverges(changed(entries, index, kind=int(kind), value=value))
        assert sequence_of(error) == index
        name = kind.name.lower().replace("_", " ")
        assert (
            f"the guest asks for walltime where the log has, at exits:{entries[index][1]}"
            in str(error)
        )
        assert name in str(error)


def test_a_missing_or_doubled_entry_is_found_where_it_is(entries: list[Entry]) -> None:
    for index in (0, 9, len(entries) // 2, len(entries) - 2):
        assert sequence_of(diverges([*entries[:index], *entries[index + 1 :]])) == index
        assert sequence_of(diverges([*entries[: index + 1], *entries[index:]])) == index + 1


def test_another_position_is_found_where_it_is(entries: list[Entry]) -> None:
    for index in (4, 50):
        for change in ({"exits": entries[index][1] + 1}, {"blocks": 3}):
            error = diverges(changed(entries, index, **change))
            assert sequence_of(error) == index and "where the log has, at exits:" in str(error)


def test_another_end_names_what_differs(entries: list[Entry]) -> None:
    value = entries[-1][3]
    assert isinstance(value, bytes)
    end = End.unpack(value)
    for other, word in (
        (End(1, end.reason, end.registers, end.memory), "status"),
        (End(0, "spin", end.registers, end.memory), "reason"),
        (End(0, end.reason, bytes(16), end.memory), "registers"),
        (End(0, end.reason, end.registers, bytes(16)), "memory"),
    ):
        error = diverges(changed(entries, len(entries) - 1, value=other.pack()))
        assert f"ended here with other {word} than logged" in str(error)


def flip_bits(machine: Machine, address: int, bits: int) -> None:
    machine.memory.write(address, bytes([machine.memory.ram[address] ^ bits]))


def at(position: Position, action: Callable[[Machine], None]) -> Callable[[Machine], None]:
    return lambda machine: machine.break_at(position, lambda: action(machine))


def test_a_flipped_byte_of_memory_is_found_at_the_next_output_that_shows_it(
    entries: list[Entry],
) -> None:
    index = find(entries, Kind.CONSOLE, 10)
    where = Position(entries[index - 1][1])

    def flip(machine: Machine) -> None:
        stack = machine.registers()["rsp"]
        for address in range(stack, stack + 256, 8):  # sums, chains and numbers of the guest
            flip_bits(machine, address, 0x10)

    error = diverges(entries, at(where, flip))
    assert index <= sequence_of(error) <= index + 8


def test_a_flipped_byte_nobody_looks_at_is_found_at_the_end(entries: list[Entry]) -> None:
    def flip(machine: Machine) -> None:
        flip_bits(machine, 6 << 20, 1)

    error = diverges(entries, at(Position(40), flip))
    assert sequence_of(error) == len(entries) - 1
    assert "other memory than logged" in str(error)


def test_a_flipped_byte_nobody_looks_at_is_found_by_a_checkpoint() -> None:
    config = config_for(CLOCK, "--reads=20000", memory=4 << 20)
    log = record(CLOCK, config, SimulatedWorld(1, Console())).entries

    def flip(machine: Machine) -> None:
        flip_bits(machine, CLOCK.end - 1, 1)

    with pytest.raises(Divergence, match=r"the memory from 0x\w+ on differs") as error:
        replay(CLOCK, config, log, at(Position(100), flip))
    assert error.value.position.exits < 20000
    assert "all registers are equal" in error.value.report()


def test_a_changed_register_is_listed_with_its_value_in_the_report() -> None:
    config = config_for(CLOCK, "--reads=3000")
    log = record(CLOCK, config, SimulatedWorld(1, Console())).entries

    def change(machine: Machine) -> None:
        machine.engine["r15"] ^= 0xABC00000

    with pytest.raises(Divergence, match="the registers differ") as error:
        replay(CLOCK, config, log, at(Position(600), change))
    report = error.value.report()
    assert error.value.logged is not None
    difference = error.value.registers.difference(error.value.logged)
    assert difference["r15"][0] ^ difference["r15"][1] == 0xABC00000
    assert "registers that differ, here != logged:" in report
    assert "r15: 0x" in report and "(xor 0xabc00000)" in report
    assert "=> 0x" in report and "guest_main" in report
    assert "the registers were still equal at entry 512" in report


def test_what_was_verified_before_is_said(entries: list[Entry]) -> None:
    log = [(k, e, b, v, b"") for k, e, b, v, _ in entries]
    error = diverges(changed(log, find(log, Kind.CONSOLE, 2), value=b"x"))
    assert "no checkpoint before it" in error.report()
    assert "registers here:" in error.report()


# arm the timer; sti; mov ecx, 100; L: dec ecx; jnz L; halt. The handler keeps ECX: IRETQ.
SAVE = b"\x48\x89\x0c\x25" + struct.pack("<I", DATA + 0x80)
LOOP = b"\xfb" + bytes.fromhex("b964000000 ffc9 75fc")
TIMER = hypercall(0x40, DATA) + LOOP + hypercall(0x40, DATA + 0x40) + b"\xfa" + LOOP[1:]
TICKED = make_image(
    {0: LOAD_TABLES + TIMER + halt(), 0x400: SAVE + b"\x48\xcf"},
    {DATA: struct.pack("<QII", 1 << 20, 32, 0), **trap_tables({32: TEXT + 0x400})},
)


@pytest.mark.parametrize(
    "change",
    [
        {"blocks": 1 << 40},
        {"blocks": 0, "exits": 0},
        {"exits": 2},
        {"exits": 1 << 40},
        {"blocks": 41},
        {"blocks": 39},
        {"value": 33},
    ],
    ids=str,
)
def test_interrupts_logged_elsewhere_are_divergences(change: dict[str, object]) -> None:
    config = config_for(TICKED)
    recording = record(TICKED, config, ScriptedWorld([Position(1, 40)]))
    assert replay(TICKED, config, recording.entries) == recording.outcome
    assert recording.entries[0][:4] == (Kind.INTERRUPT, 1, 40, 32)
    with pytest.raises((Divergence, GuestError)):
        replay(TICKED, config, changed(recording.entries, 0, **change))


def test_an_interrupt_logged_before_the_last_one_is_a_divergence_at_once() -> None:
    """The guest could go on for ever, and ask at each block."""
    config = config_for(TICKED)
    entries = record(TICKED, config, ScriptedWorld([Position(1, 40), Position(1, 60)])).entries
    with pytest.raises(Divergence, match=r"an interrupt was logged at exits:1\+20, before this"):
        replay(TICKED, config, changed(entries, 1, blocks=20))


def test_an_interrupt_logged_where_the_guest_has_them_off_is_a_divergence() -> None:
    config = config_for(TICKED)
    entries = record(TICKED, config, ScriptedWorld([Position(1, 40)])).entries
    with pytest.raises(Divergence, match="logged where the guest has them off"):
        replay(TICKED, config, changed(entries, 0, blocks=0))


def test_checkpoints_of_memory_say_where(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder, "CHECKPOINT_INTERVAL", 1)
    monkeypatch.setattr(recorder, "MEMORY_INTERVAL", 1)
    log = record(LEDGER, CONFIG, SimulatedWorld(1, Console(), {1: Zeros()})).entries
    assert all(e[4] for e in log[:-1])
    monkeypatch.undo()

    def flip(machine: Machine) -> None:
        flip_bits(machine, LEDGER.end - 1, 4)

    index = next(i for i, e in enumerate(log) if e[1] == 30)
    error = diverges(log, at(Position(30), flip))
    assert index <= sequence_of(error) < index + 8
    assert "memory from 0x100000 on" in str(error)
