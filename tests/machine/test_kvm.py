"""A guest on KVM is the guest that it is on Unicorn: its outcome, its log, its states."""

from __future__ import annotations

import struct
import threading
from contextlib import closing
from dataclasses import replace
from functools import cache

import pytest
from continuation import Guest, decoded, difference, filled, go_on, leave, rest_of
from kvm_guests import (
    ENGINES,
    Course,
    course_at,
    course_of,
    differences,
    end_of,
    loop,
    prepared,
    scrambled,
    simulated,
)
from support import (
    DATA,
    GDT,
    IMAGES,
    LOAD_TABLES,
    MIB,
    TEXT,
    Console,
    ScriptedWorld,
    halt,
    make_image,
    needs_kvm,
    sample,
    trap_tables,
)

from guests import lan
from vlockstep.machine.image import Image
from vlockstep.machine.kvm import device
from vlockstep.machine.machine import Machine
from vlockstep.machine.position import Position
from vlockstep.machine.state import CpuState, MachineState, PlainState, Where
from vlockstep.machine.world import Outcome
from vlockstep.replay.entry import Entry
from vlockstep.replay.recorder import Recorder
from vlockstep.replay.replayer import Replayer
from vlockstep.replay.replayer import Sequence as LogSequence

pytestmark = needs_kvm

BOTH_WAYS = [(a, b) for a in ENGINES for b in ENGINES if (a, b) != ("unicorn", "unicorn")]
NET = (f"--ipv4={lan.GUEST}/24", "--ipv4-gateway=10.0.0.1")
UNTIMED = {
    "hello": (), "abi": (), "ledger": (), "writer": ("--touch=1", "--rounds=2"),
    "clock": ("--reads=10",), "sort": ("--n=1500", "--rounds=2"), "fault": (),
    **dict.fromkeys(("echo", "kv", "kv-disk", "stream", "web"), NET), "tally": ("--requests=2",),
}  # fmt: skip
EXITS = 40
WORD = struct.Struct("<I")
ALIKE = (
    "noidt", "unmapped", "pointer", "length", "struct", "edge", "port", "width8", "width", "in",
    "unknown", "spin", "hlt", "stack",
)  # fmt: skip
SAVING = (
    "de", "bp", "ud", "rdrand", "rdseed", "noncanonical", "pf", "pfw", "text", "info", "nx", "int",
)  # fmt: skip
"""Whose handler stores MXCSR_MASK by FXSAVE, which tells whether the processor has DAZ and more."""
UNLIKE = {
    "df": "AF, which is undefined behind XOR, is set in a frame, from which it gets to XMM9",
    "gp": "KVM in software lets a selector behind the GDT pass",
    "resume": "POPF leaves IF as it is, and KVM in software shows it set",
}
MASKS = (0xFFFF, 0x2FFFF)


@pytest.mark.parametrize("name", UNTIMED)
def test_bundled_guests_are_the_same_on_either_engine(name: str) -> None:
    image = sample(name)
    config = prepared(image, *UNTIMED[name])
    unicorn, kvm = (course_of(image, config, engine, EXITS) for engine in ENGINES)
    assert not differences(unicorn, kvm)


def test_all_bundled_guests_are_tried_but_for_the_one_with_a_timer() -> None:
    assert {path.stem for path in IMAGES.glob("*.hvt")} == {*UNTIMED, "preempt"}


@pytest.mark.parametrize("kind", [*ALIKE, *SAVING])
def test_guests_end_by_the_same_errors(kind: str) -> None:
    (unicorn, ram), (kvm, other) = (fault(kind, engine) for engine in ENGINES)
    assert not differences(unicorn, kvm)
    assert words_that_differ(ram, other) <= ({MASKS} if kind in SAVING else set())


@pytest.mark.parametrize("kind", UNLIKE)
def test_what_is_known_to_differ_ends_all_the_same(kind: str) -> None:
    (outcome, text), _ = fault(kind, "kvm")
    assert outcome.status in (0, 1, 3, 255) and text


def fault(kind: str, engine: str) -> tuple[tuple[Outcome, str], bytes]:
    """How it ends, but for the RAM's digest, and its RAM."""
    image, world = sample("fault"), ScriptedWorld()
    config = prepared(image, f"--kind={kind}", memory=8 * MIB)
    with closing(Machine(image, config, engine=engine)) as machine:
        end = end_of(machine, world)
        assert isinstance(end, Outcome)
        outcome = replace(end, memory_digest=b"")
        return (outcome, world.text), machine.memory.peek(0, machine.memory.size)


def words_that_differ(a: bytes, b: bytes) -> set[tuple[int, int]]:
    pages = (at for at in range(0, len(a), 4096) if a[at : at + 4096] != b[at : at + 4096])
    places = (at + n for at in pages for n in range(0, 4096, 4))
    pairs = ((WORD.unpack_from(a, at)[0], WORD.unpack_from(b, at)[0]) for at in places)
    return {(x, y) for x, y in pairs if x != y}


# Made guests


IRET = b"\x48\xcf"
HANDLERS = {3: TEXT + 0x400, 6: TEXT + 0x420, 13: TEXT + 0x440, 0x80: TEXT + 0x460}
COUNTS = DATA + 0x800


def counting(place: int) -> bytes:
    return b"\x48\xff\x04\x25" + struct.pack("<I", COUNTS + 8 * place)  # inc qword [...]


def skipping(length: int) -> bytes:
    return b"\x48\x83\x04\x24" + bytes([length])  # add qword [rsp], length


BUSY = (
    b"\x0f\x31\xcc\x0f\x0b\xcd\x80"  # rdtsc, int3, ud2, int 0x80
    + b"\xfa\xfa\xfa"  # cli
    + b"\x9c\x9d"  # pushf, popf
    + b"\x51\xb9\x00\x01\x00\xc0\x0f\x30\x0f\x32\x59"  # rdmsr, wrmsr of FS's base
)


def busy(times: int) -> dict[int, bytes]:
    """Code that is in the shim, or on its way there, most of the time."""
    code = LOAD_TABLES + loop(BUSY, times) + halt()
    assert len(code) < 0x400
    return {
        0: code,
        0x400: counting(0) + IRET,
        0x420: counting(1) + skipping(2) + IRET,
        0x440: counting(2) + IRET,
        0x460: counting(3) + IRET,
    }


CODES: dict[str, bytes | dict[int, bytes]] = {
    "all traps": b"\x0f\x31\x31\xc0\x0f\xa2\x66\x0f\x31\x48\x0f\x31" + halt(),
    "tables": LOAD_TABLES + b"\x0f\x01\x0c\x25" + struct.pack("<I", DATA + 0x700) + halt(),
    "segments": LOAD_TABLES + (
        b"\x66\xb8\x10\x00\x8e\xd8\x8e\xc0\x8e\xe0\x8e\xe8\x8e\xd0\x31\xc0\x8e\xd8\x8e\xe0" + halt()
    ),
    "bases": (
        b"\xb9\x00\x01\x00\xc0\xb8\x00\x00\x20\x00\x31\xd2\x0f\x30"  # wrmsr FS's base = DATA
        b"\x64\x48\xc7\x04\x25\x40\x00\x00\x00\x07\x00\x00\x00"  # mov qword fs:[0x40], 7
        b"\xb9\x01\x01\x00\xc0\xb8\x00\x10\x20\x00\x0f\x30\xb9\x02\x01\x00\xc0\x0f\x30"
        b"\x31\xc0\x0f\x30\x0f\x01\xf8\x65\x8b\x1c\x25\x00\x10\x20\x00" + halt()  # swapgs
    ),
    "fs loaded": LOAD_TABLES + (
        b"\xb9\x00\x01\x00\xc0\xb8\x00\x00\x20\x00\x31\xd2\x0f\x30"
        b"\x66\xb8\x10\x00\x8e\xe0\x0f\x32" + halt()  # mov fs, 0x10; rdmsr
    ),
    "far return": (
        LOAD_TABLES
        + b"\x48\x83\xec\x40\x6a\x08\x48\x8d\x05\x03\x00\x00\x00\x50\x48\xcb" + halt()
    ),
    "cr2": b"\xb8\x78\x56\x00\x00\x0f\x22\xd0\x0f\x20\xd3\x0f\x20\xc6\x0f\x20\xe7" + halt(),
    "busy": busy(20),
    "interrupt return to nowhere": {
        # mov rax; push 0x10, 0x208000, 2, 8, rax; iretq
        0: LOAD_TABLES + b"\x48\xb8" + struct.pack("<Q", 1 << 47)
        + bytes.fromhex("6a10 6800802000 6a02 6a08 50 48cf"),
        0x440: b"\x58\x5b" + halt(),  # pop rax; pop rbx
    },
}  # fmt: skip


@cache
def made(name: str) -> Image:
    return make_image(CODES[name], trap_tables(HANDLERS))


@pytest.mark.parametrize("name", CODES)
def test_made_guests_are_the_same_on_either_engine(name: str) -> None:
    image = made(name)
    unicorn, kvm = (course_of(image, prepared(image), engine) for engine in ENGINES)
    assert isinstance(unicorn.end, Outcome) and unicorn.end.status == 0, unicorn.end
    assert not differences(unicorn, kvm), unicorn.registers.difference(kvm.registers)


@pytest.mark.parametrize("out", ["e743", "66e742", "e640", "66ef", "ee", "ef"])
def test_an_out_that_is_no_trap_of_ours_is_told_of_as_elsewhere(out: str) -> None:
    """Its own instruction, with whatever length, is where the guest ends."""
    image = make_image(b"\xba\x43\x00\x00\x00\x31\xc0" + bytes.fromhex(out) + halt())
    unicorn, kvm = (course_of(image, prepared(image), engine) for engine in ENGINES)
    assert not differences(unicorn, kvm), unicorn.registers.difference(kvm.registers)


@pytest.mark.parametrize("model", ["ivybridge", "broadwell"])
def test_randomness_and_rdtscp_that_the_model_has_are_inputs(model: str) -> None:
    if lacking := device.missing(model):
        pytest.skip(f"this processor lacks {', '.join(lacking)}")
    randoms = b"\x48\x0f\xc7\xf3\x66\x0f\xc7\xf6\x0f\xc7\xf5\x49\x0f\xc7\xf0"
    image = make_image(randoms + b"\x0f\x01\xf9" + halt())
    config = prepared(image, cpu=model)
    assert len(config.sites or ()) == 5
    unicorn, kvm = (course_of(image, config, engine) for engine in ENGINES)
    assert isinstance(kvm.end, Outcome) and kvm.end.position == Position(5)
    assert not differences(unicorn, kvm)


# Logs


def recorded(engine: str, name: str) -> tuple[list[Entry], Course]:
    image, console = sample(name), Console()
    config = prepared(image, *UNTIMED[name])
    entries: list[Entry] = []
    with closing(Machine(image, config, engine=engine)) as machine:
        machine.break_at(Position(EXITS), machine.stop)
        end = machine.run(Recorder(simulated(image, console), machine, entries.append))
        return entries, course_at(end, machine, console.text)


@pytest.mark.parametrize("name", ["clock", "abi", "kv", "writer"])
def test_both_record_the_same_and_replay_what_the_other_has_recorded(name: str) -> None:
    logs = {engine: recorded(engine, name) for engine in ENGINES}
    (ours, course), (theirs, expected) = logs["kvm"], logs["unicorn"]
    assert decoded(ours, across=True) == decoded(theirs, across=True)
    assert not differences(expected, course)
    image = sample(name)
    for engine in ENGINES:
        entries, _ = logs["unicorn" if engine == "kvm" else "kvm"]
        with closing(Machine(image, prepared(image, *UNTIMED[name]), engine=engine)) as machine:
            machine.break_at(Position(EXITS), machine.stop)
            end = machine.run(Replayer(LogSequence(iter(entries)), machine))
            assert not differences(course, course_at(end, machine, course.text))


# States


@cache
def guest_of(name: str) -> Guest:
    image = sample(name)
    entries, _ = recorded("unicorn", name)
    return Guest(image, prepared(image, *UNTIMED[name]), entries, count_blocks=False)


@pytest.mark.parametrize("name", ["abi", "kv", "clock"])
@pytest.mark.parametrize(("left", "entered"), BOTH_WAYS)
def test_a_state_taken_at_an_exit_goes_on_on_either_engine(
    name: str, left: str, entered: str
) -> None:
    guest = guest_of(name)
    looks = [Position(n) for n in range(0, 39, 6)]
    course, places, refused = leave(
        replace(guest, engine=left), [2, 9, 20], [Position(n) for n in (0, 4, 13, 30)], looks
    )
    kinds = {MachineState.unpack(place.state).where for place in places}
    assert not refused and kinds == {Where.EXIT, Where.BEHIND, Where.BOUNDARY}
    for place in places:
        found = go_on(replace(guest, engine=entered), place, looks)
        wrong = difference(rest_of(course, place), found, across=True)
        assert not wrong, f"left at {place.position}: {wrong}"


def test_a_state_taken_anywhere_goes_on_on_either_engine() -> None:
    """Of a guest that makes no exit for long, by who visits it."""
    image = sample("sort")
    config = prepared(image, "--n=100000", "--rounds=1")
    expected = course_of(image, config, "kvm")
    states: list[bytes] = []
    with closing(Machine(image, config, engine="kvm")) as machine, Visiting(machine, states):
        assert machine.run(simulated(image, Console())) == expected.end
    assert len({state.cpu for state in map(MachineState.unpack, states)}) == len(states) > 0
    for state in map(MachineState.unpack, states[:2]):
        assert state.where is Where.BOUNDARY and isinstance(state.cpu, PlainState)
        for engine in ENGINES:
            with closing(Machine.restore(image, config, state, engine=engine)) as machine:
                assert machine.run(simulated(image, Console())) == expected.end


class Visiting:
    """Visits a machine again and again while it runs, and keeps its states."""

    def __init__(self, machine: Machine, states: list[bytes], most: int = 4) -> None:
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._visit, args=(machine, states, most))

    def _visit(self, machine: Machine, states: list[bytes], most: int) -> None:
        while len(states) < most and not self._over.is_set():
            done = threading.Event()

            def take(done: threading.Event = done) -> None:
                states.append(machine.capture().pack())
                done.set()

            machine.visit(take)
            while not done.wait(0.01) and not self._over.is_set():
                pass
            self._over.wait(0.02)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()


TASK = DATA + 0xB000
ALL_LOADED = (
    LOAD_TABLES
    + b"\x66\xb8\x18\x00\x0f\x00\xd8"  # ltr 0x18
    + b"\xb9\x00\x01\x00\xc0\xb8\x34\x12\x20\x00\x31\xd2\x0f\x30"  # FS's base
    + b"\xfd\xf9"  # std, stc
)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("left", "entered"), BOTH_WAYS)
def test_all_registers_are_carried_over(left: str, entered: str, seed: int) -> None:
    """To the bit, but for what Unicorn does not have."""
    gdt = struct.pack(
        "<5Q", 0, 0x00AF9B00_0000FFFF, 0x00CF9300_0000FFFF,
        0x67 | (TASK & 0xFFFFFF) << 16 | 0x89 << 40 | TASK >> 24 << 56, 0,
    )  # fmt: skip
    tables = trap_tables({3: TEXT})
    tables[GDT] = gdt
    pointers = DATA + 0xE000
    tables[pointers] = struct.pack("<H", len(gdt) - 1) + tables[pointers][2:]
    image = scrambled(seed, b"\xb8\x00\x00\x00\x00\x0f\x31", halt(), ALL_LOADED, tables)
    config = prepared(image)
    taken: list[MachineState] = []
    with closing(Machine(image, config, engine=left)) as machine:
        machine.break_at(Position(1), lambda: taken.append(machine.capture()))
        assert end_of(machine, ScriptedWorld()).status == 0  # type: ignore[union-attr]
        (state,) = taken
    assert isinstance(state.cpu, CpuState if left == "unicorn" else PlainState)
    with closing(Machine.restore(image, config, state, engine=left)) as machine:
        before = dict(machine.engine.registers())
    with closing(Machine.restore(image, config, state, engine=entered)) as machine:
        after = dict(machine.engine.registers())
    unknown = {"fip", "fdp", "fop", "fcs", "fds"} if left != entered else set()
    assert {n: (before[n], after[n]) for n in before if before[n] != after[n]}.keys() <= unknown
    assert before["tr"] == 0x18 and before["idtr_limit"] and before["fs_base"] == 0x201234
    assert before["fpsw"] >> 11 == 3 and before["mxcsr"] == 0x7F80 and before["rflags"] & 0x401


@pytest.mark.parametrize(("left", "entered"), BOTH_WAYS)
def test_pages_filled_piece_by_piece_and_a_state_make_the_guest(left: str, entered: str) -> None:
    guest = guest_of("abi")
    looks = [Position(n) for n in (12, 25)]
    course, places, _ = leave(replace(guest, engine=left), [3], [Position(10)], looks)
    for place in places:
        found = go_on(replace(guest, engine=entered), place, looks, filled)
        assert not difference(rest_of(course, place), found, across=True)
