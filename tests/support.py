"""What tests share: parameters of long runs; for those of machine, replay and guests, images made
here, worlds with a script, and one call each to record and to replay."""

from __future__ import annotations

import struct
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

import pytest

from vlockstep.errors import ImageError
from vlockstep.machine import image as images
from vlockstep.machine.config import MIB, BlockConfig, GuestConfig, NetConfig
from vlockstep.machine.image import DeviceKind, Image
from vlockstep.machine.kvm import device
from vlockstep.machine.machine import Machine
from vlockstep.machine.position import Position
from vlockstep.machine.sitefinder import find
from vlockstep.machine.world import Outcome, World
from vlockstep.replay.entry import Entry
from vlockstep.replay.keyframe import Keyframe
from vlockstep.replay.keyframes import KeyframeMaker
from vlockstep.replay.logfile import LogWriter
from vlockstep.replay.recorder import Recorder
from vlockstep.replay.replayer import Replayer
from vlockstep.replay.replayer import Sequence as LogSequence

IMAGES = Path(images.__file__).parents[1] / "images"
VERSION_1 = Path(__file__).parent / "replay" / "version1"
"""Logs of version 1 and their images, as vlockstep wrote them before there was a version 2. `clock`
is the bundled guest of that time; `nics` reads the NICs `red`, `blue` and `red` (handles 1, 2, 1)
into one buffer, writes it to `blue`, and makes some other exits."""
TEXT, DATA, DATA_SIZE = 0x100000, 0x200000, 0x10000
GDT, IDT, POINTERS, HALT = DATA + 0xC000, DATA + 0xD000, DATA + 0xE000, DATA + 0xE100
R, RX, RW, RWX = 4, 5, 6, 7
_EVERY = 7
"""Entries from a keyframe to the next, at least."""
GNU_STACK = 0x6474E551
"""The type of a program header."""


def some(usual: Sequence[object], *others: object) -> list[object]:
    """Parameters: those that every run of the suite tries, and others for long ones."""

    def long(value: object) -> object:
        values = value if isinstance(value, tuple) else (value,)
        return pytest.param(*values, marks=pytest.mark.long)

    return [*usual, *(long(value) for value in others if value not in usual)]


def record_with_keyframes(machine: Machine, world: World, log: LogWriter) -> list[Keyframe]:
    """With one at the first place behind each seventh entry."""
    made: list[Keyframe] = []
    sequence, due = 0, _EVERY

    def append(entry: Entry) -> None:
        nonlocal sequence, due
        if sequence >= due and (found := maker.before(entry, sequence)):
            log.keyframe(found)
            made.append(found)
            due = sequence + _EVERY
        log.append(entry)
        sequence += 1

    recorder = Recorder(world, machine, append)
    maker = KeyframeMaker(machine, world, recorder)
    machine.run(recorder)
    return made


@contextmanager
def ticking(tick: Callable[[], object], seconds: float = 0.005) -> Iterator[None]:
    """Again and again after so many seconds, in another thread."""
    over = threading.Event()

    def run() -> None:
        while not over.wait(seconds):
            tick()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@cache
def sample(name: str) -> Image:
    return images.load(IMAGES / f"{name}.hvt")


def note(kind: int, content: bytes, owner: bytes = b"Solo5\0") -> bytes:
    return struct.pack("<III8s", len(owner), len(content), kind, owner) + content


def abi_note(target: int = 1, version: int = 2) -> bytes:
    return note(0x31494241, struct.pack("<IIII", target, version, 0, 0))


def entry(name: bytes, kind: int) -> bytes:
    return struct.pack("<68sI32x", name, kind)


def manifest_note(
    devices: Sequence[tuple[bytes, int]] = (), version: int = 1, count: int | None = None
) -> bytes:
    rows = [(b"", DeviceKind.RESERVED), *devices]
    content = struct.pack("<4xII", version, len(rows) if count is None else count)
    return note(0x3154464D, content + b"".join(entry(*row) for row in rows))


@dataclass
class Segment:
    address: int
    data: bytes
    flags: int
    size: int | None = None
    kind: int = 1  # PT_LOAD


@dataclass
class Elf:
    """An ELF file to be: right by default, every field there to be made wrong."""

    segments: list[Segment] = field(
        default_factory=lambda: [Segment(TEXT, b"\xf4", RX), Segment(DATA, b"", RW, DATA_SIZE)]
    )
    notes: list[bytes] = field(default_factory=lambda: [abi_note(), manifest_note()])
    entry: int = TEXT
    kind: int = 2  # ET_EXEC
    machine: int = 62  # EM_X86_64
    identity: bytes = b"\x7fELF\x02\x01\x01"

    def build(self) -> bytes:
        rows = [*self.segments, *(Segment(0, n, R, kind=4) for n in self.notes)]
        offset = 64 + 56 * len(rows)
        header = struct.pack(
            "<16sHHIQQQIHHHHHH", self.identity, self.kind, self.machine, 1, self.entry,
            64, 0, 0, 64, 56, len(rows), 64, 0, 0,
        )  # fmt: skip
        table, body = b"", b""
        for row in rows:
            size = len(row.data) if row.size is None else row.size
            at = offset + len(body)
            table += struct.pack(
                "<IIQQQQQQ", row.kind, row.flags, at, row.address, 0, len(row.data), size, 8
            )
            body += row.data + bytes(-len(row.data) % 8)
        return header + table + body


def place(pieces: Mapping[int, bytes], fill: bytes) -> bytes:
    """`pieces` at their offsets, `fill` between them."""
    result = b""
    for offset, piece in sorted(pieces.items()):
        assert offset >= len(result), "pieces overlap"
        result += fill * (offset - len(result)) + piece
    return result


def make_image(
    code: bytes | Mapping[int, bytes],
    data: Mapping[int, bytes] | None = None,
    devices: Sequence[tuple[bytes, int]] = (),
    stack: int | None = None,
) -> Image:
    """A guest that runs `code` at TEXT, where INT3 fills what is between pieces. `data` has
    addresses in the 64 KiB from DATA on; at HALT lies the request of a halt with status 0. `stack`
    are the flags of a PT_GNU_STACK, if there is one."""
    text = code if isinstance(code, bytes) else place(code, b"\xcc")
    words = {address - DATA: piece for address, piece in (data or {}).items()}
    segments = [Segment(TEXT, text, RX), Segment(DATA, place(words, b"\0"), RW, DATA_SIZE)]
    if stack is not None:
        segments.append(Segment(0, b"", stack, kind=GNU_STACK))
    content = Elf(segments, [abi_note(), manifest_note(devices)]).build()
    return images.parse("made.hvt", content)


def crash(at: int = TEXT, before: bytes = b"") -> bytes:
    """Code for the address `at` by which Unicorn aborts, behind the 32-bit code `before`: a gate to
    ring 0, for which it looks for a stack in a TSS that there is not."""
    return (
        bytes.fromhex("0f0115")  # lgdt [gdtr]
        + struct.pack("<I", 0x39 + len(before))
        + bytes.fromhex(
            "488d0505000000 6a08 50 48cb"  # far return to 32-bit code
            "0f20c0 25ffffff7f 0f22c0"  # mov eax, cr0; and eax, 0x7fffffff; mov cr0, eax
            "66b91000 8ed1 89e3 e800000000 5a 81c20e000000 6a23 53 6a1b 52 cb"  # to ring 3
        )
        + before
        + bytes.fromhex("9a000000002b00")  # call 0x2b:0
        + struct.pack("<HQ", 47, at + 0x4A + len(before))  # gdtr
        + struct.pack(
            "<6Q",
            0,
            0x00CF9B000000FFFF,
            0x00CF93000000FFFF,
            0x00CFFB000000FFFF,
            0x00CFF3000000FFFF,
            0x0000EC0000080000,
        )
    )


def hypercall(number: int, request: int) -> bytes:
    """mov edx, 0x500 + number; mov eax, request; out dx, eax"""
    return (
        b"\xba" + struct.pack("<I", 0x500 + number) + b"\xb8" + struct.pack("<I", request) + b"\xef"
    )


def halt(request: int = HALT) -> bytes:
    """The hypercall, and a jump that ends its block."""
    return hypercall(8, request) + b"\xeb\x00"


FAILING_SECTOR = DATA + 0x400
"""Where a `failing_image` has what it read last; UD2 is where it fails."""


COUNTED_SECTOR = DATA + 0x800
"""Where one that `counts` has what it wrote last."""


def failing_image(counts: bool = False) -> Image:
    """Looks at its disk a hundred times a second, and fails when the first byte is not 0. It has
    another disk, `own`, if it `counts`: it adds 1 to the first byte of that each time before."""
    poll, read, own = DATA + 0x100, DATA + 0x200, DATA + 0x300
    look = hypercall(3, poll)
    if counts:
        add = b"\xfe\x04\x25" + struct.pack("<I", COUNTED_SECTOR)  # inc byte [...]
        look += hypercall(5, own) + add + hypercall(4, own)
    look += hypercall(5, read)
    look += b"\x80\x3c\x25" + struct.pack("<Ix", FAILING_SECTOR)  # cmp byte [...], 0
    code = look + b"\x0f\x84" + struct.pack("<i", -len(look) - 6) + b"\x0f\x0b"  # je, ud2
    data = {
        poll: struct.pack("<QQQ", 10_000_000, 0, 0),
        read: struct.pack("<QQQQQ", 1, 0, FAILING_SECTOR, 512, 0),
        own: struct.pack("<QQQQQ", 2, 0, COUNTED_SECTOR, 512, 0),
    }
    disks = [(b"disk", DeviceKind.BLOCK), (b"own", DeviceKind.BLOCK)]
    return make_image(code, data, disks[: 2 if counts else 1])


def computing_image(
    between: bytes = b"", end: bytes | None = None, rounds: int = 30_000_000
) -> Image:
    """Reads the wall-clock time twice, computes so many rounds of two blocks each, all that twice
    with something `between`; reads it once more, and ends."""
    compute = b"\xb9" + struct.pack("<I", rounds) + b"\x48\xff\xc0\xff\xc9\x75\xf9"
    read = hypercall(1, DATA + 0x100)
    return make_image(2 * (2 * read + between + compute) + read + (end or halt()), {})


LOAD_TABLES = (  # lgdt [POINTERS]; lidt [POINTERS + 16]
    b"\x0f\x01\x14\x25" + struct.pack("<I", POINTERS)
    + b"\x0f\x01\x1c\x25" + struct.pack("<I", POINTERS + 16)
)  # fmt: skip


def trap_tables(handlers: Mapping[int, int]) -> dict[int, bytes]:
    """A GDT, and an IDT with interrupt gates to these addresses, for LOAD_TABLES."""
    gates = {
        vector * 16: struct.pack("<HHHHQ", at & 0xFFFF, 8, 0x8E00, at >> 16, 0)
        for vector, at in handlers.items()
    }
    idt = place(gates, b"\0")
    return {
        GDT: struct.pack("<QQQ", 0, 0x00AF9B00_0000FFFF, 0x00CF9300_0000FFFF),
        IDT: idt,
        POINTERS: struct.pack("<HQ", 23, GDT).ljust(16, b"\0")
        + struct.pack("<HQ", len(idt) - 1, IDT),
    }


needs_kvm = pytest.mark.skipif(bool(device.why_not()), reason=device.why_not())
on_kvm = False
"""Whether guests are prepared for KVM where they can be, and run on it; see `pytest --engine`."""


def config_for(image: Image, *arguments: str, memory: int = 8 * MIB, **more: object) -> GuestConfig:
    config = GuestConfig(image.digest, memory, arguments, **more)  # type: ignore[arg-type]
    if on_kvm and "sites" not in more:
        with suppress(ImageError):
            return replace(config, sites=find(image, config.cpu))
    return config


def disk_config(capacity: int, local: bool = False, content: str = "") -> dict[str, BlockConfig]:
    return {"disk": BlockConfig(capacity, local, content)}


def net_config(*names: str) -> dict[str, NetConfig]:
    return {name: NetConfig(f"02:00:00:00:00:{i:02x}") for i, name in enumerate(names, 1)}


@contextmanager
def machine_of(
    image: Image, config: GuestConfig | None = None, **options: bool
) -> Iterator[Machine]:
    with closing(Machine(image, config or config_for(image), **options)) as machine:
        yield machine


class Console:
    """Keeps the text, and checks that every piece follows the one before."""

    def __init__(self) -> None:
        self.text = ""

    def write(self, offset: int, data: bytes) -> None:
        assert offset == len(self.text)
        self.text += data.decode("ascii")


class MemoryDisk:
    def __init__(self, capacity: int) -> None:
        self.content = bytearray(capacity)

    def read(self, offset: int, length: int) -> bytes | None:
        return bytes(self.content[offset : offset + length])

    def write(self, offset: int, data: bytes) -> None:
        self.content[offset : offset + len(data)] = data


class ScriptedWorld:
    """Answers from what it was given, in order; keeps all it is told in `seen`.

    `interrupts` are positions with `vector`; one that the guest has off at its position waits
    for the next block. Answers that are exceptions are raised.
    """

    vector = 0x20

    def __init__(self, interrupts: Sequence[Position] = (), **answers: Sequence[object]) -> None:
        self._answers = {name: list(values) for name, values in answers.items()}
        self._interrupts = list(interrupts)
        self.now = 0
        self.seen: list[tuple[object, ...]] = []
        self.text = ""
        self.outcome: Outcome | None = None
        self.refused: list[Position] = []

    def _answer(self, name: str, default: object) -> object:
        waiting = self._answers.get(name)
        answer = waiting.pop(0) if waiting else default
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def cycles(self, at: int) -> int:
        self.now += 1000
        return self._answer("cycles", self.now)  # type: ignore[return-value]

    def walltime(self, at: int) -> int:
        return self._answer("walltime", 1 << 60)  # type: ignore[return-value]

    def random(self, at: int) -> int:
        return self._answer("random", 0)  # type: ignore[return-value]

    def poll(self, at: int, timeout: int) -> int:
        self.seen.append(("poll", at, timeout))
        return self._answer("poll", 0)  # type: ignore[return-value]

    def net_read(self, at: int, handle: int, limit: int) -> bytes | None:
        self.seen.append(("net_read", at, handle, limit))
        return self._answer("net_read", None)  # type: ignore[return-value]

    def block_read(self, at: int, handle: int, offset: int, length: int) -> bytes | None:
        self.seen.append(("block_read", at, handle, offset, length))
        return self._answer("block_read", bytes(length))  # type: ignore[return-value]

    def stop_at(self, position: Position) -> int | None:
        self._answer("stop_at", None)
        following = self._interrupts[0] if self._interrupts else None
        return following.blocks if following and following.exits == position.exits else None

    def interrupt(self, position: Position, enabled: bool) -> int | None:
        if not self._interrupts or position < self._interrupts[0]:
            return None
        if not enabled:
            self.refused.append(position)
            self._interrupts[0] = Position(position.exits, position.blocks + 1)
            return None
        self.seen.append(("interrupt", self._interrupts.pop(0)))
        return self.vector

    def wait_interrupt(self, position: Position) -> int:
        self.seen.append(("wait", position))
        return self._answer("wait_interrupt", self.vector)  # type: ignore[return-value]

    def console(self, at: int, data: bytes) -> None:
        self.text += data.decode("ascii")

    def net_write(self, at: int, handle: int, frame: bytes) -> None:
        self.seen.append(("net_write", at, handle, frame))

    def block_write(self, at: int, handle: int, offset: int, data: bytes) -> None:
        self.seen.append(("block_write", at, handle, offset, data))

    def timer(self, at: int, period: int, vector: int, kick: Callable[[], None]) -> None:
        self.seen.append(("timer", at, period, vector))

    def end(self, outcome: Outcome) -> None:
        self._answer("end", None)
        self.outcome = outcome


@dataclass
class Recording:
    entries: list[Entry]
    outcome: Outcome


def record(
    image: Image, config: GuestConfig, world: World, local: frozenset[int] = frozenset(),
    prepare: Callable[[Machine], None] = lambda machine: None, **options: bool,
) -> Recording:  # fmt: skip
    entries: list[Entry] = []
    with machine_of(image, config, **options) as machine:
        prepare(machine)
        outcome = machine.run(Recorder(world, machine, entries.append, local))
    return Recording(entries, outcome)


def replay(
    image: Image, config: GuestConfig, entries: Sequence[Entry],
    prepare: Callable[[Machine], None] = lambda machine: None, *, count_blocks: bool = False,
    **options: object,
) -> Outcome:  # fmt: skip
    with machine_of(image, config, count_blocks=count_blocks) as machine:
        prepare(machine)
        source = LogSequence(iter(entries))
        return machine.run(Replayer(source, machine, **options))  # type: ignore[arg-type]
