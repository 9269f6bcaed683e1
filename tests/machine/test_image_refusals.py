"""Images that must be refused, each made wrong in one way, and real ones that are damaged."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from support import (
    DATA,
    HALT,
    IMAGES,
    RW,
    RX,
    TEXT,
    Elf,
    R,
    ScriptedWorld,
    Segment,
    abi_note,
    halt,
    machine_of,
    make_image,
    manifest_note,
    note,
    sample,
)

from vlockstep.errors import ImageError
from vlockstep.machine import image as images
from vlockstep.machine.image import DeviceKind
from vlockstep.machine.symbols import Symbol

BLOCK, NET = DeviceKind.BLOCK, DeviceKind.NET
TEXT_SEGMENT = Segment(TEXT, b"\xf4", RX)
MANIFEST = manifest_note()


def with_manifest(*devices: tuple[bytes, int], **fields: int) -> Elf:
    return Elf(notes=[abi_note(), manifest_note(devices, **fields)])


def with_segments(*segments: Segment, entry: int = TEXT) -> Elf:
    return Elf(segments=list(segments), entry=entry)


# What the message must hold, and the file.
REFUSED = {
    "32 bit": ("not an x86-64 ELF file", Elf(identity=b"\x7fELF\x01\x01\x01")),
    "big endian": ("", Elf(identity=b"\x7fELF\x02\x02\x01")),
    "bad magic": ("it is no ELF file: it begins with", Elf(identity=b"\x7fELG\x02\x01\x01")),
    "aarch64": ("not an x86-64 ELF file", Elf(machine=183)),
    "i386": ("not an x86-64 ELF file", Elf(machine=3)),
    "PIE": ("ET_DYN", Elf(kind=3)),
    "object file": ("ET_REL", Elf(kind=1)),
    "core": ("ET_CORE", Elf(kind=4)),
    "target virtio": ("target 3 version 2", Elf(notes=[abi_note(3), MANIFEST])),
    "target spt": ("target 2 version 2", Elf(notes=[abi_note(2, 2), MANIFEST])),
    "version 1": ("target 1 version 1", Elf(notes=[abi_note(1, 1), MANIFEST])),
    "version 3": ("target 1 version 3", Elf(notes=[abi_note(1, 3), MANIFEST])),
    "no notes": ("no Solo5 ABI note", Elf(notes=[])),
    "no ABI note": ("no Solo5 ABI note", Elf(notes=[MANIFEST])),
    "short ABI note": (
        "no Solo5 ABI note",
        Elf(notes=[note(0x31494241, b"\1\0\0\0"), MANIFEST]),
    ),
    "ABI note of others": (
        "no Solo5 ABI note",
        Elf(notes=[note(0x31494241, struct.pack("<IIII", 1, 2, 0, 0), b"Solo6\0"), MANIFEST]),
    ),
    "no manifest": ("no Solo5 manifest note", Elf(notes=[abi_note()])),
    "empty manifest": ("no Solo5 manifest", Elf(notes=[abi_note(), note(0x3154464D, b"")])),
    "manifest version": ("manifest version 2", with_manifest(version=2)),
    "manifest of nothing": ("malformed manifest (0 entries)", with_manifest(count=0)),
    "manifest too long": ("malformed manifest (65 entries)", with_manifest(count=65)),
    "manifest cut short": ("malformed manifest (2 entries)", with_manifest(count=2)),
    "manifest of 4G entries": ("malformed manifest", with_manifest(count=(1 << 32) - 1)),
    "device of unknown type": ("entry 1", with_manifest((b"disk", 3))),
    "second reserved": ("entry 1", with_manifest((b"", DeviceKind.RESERVED))),
    "named reserved": ("entry 1", with_manifest((b"x", DeviceKind.RESERVED))),
    "no name": ("entry 1", with_manifest((b"", BLOCK))),
    "name with space": ("entry 1", with_manifest((b"a b", BLOCK))),
    "name with dash": ("entry 2", with_manifest((b"ab", NET), (b"a-b", BLOCK))),
    "name not ASCII": ("entry 1", with_manifest(("dísk".encode(), BLOCK))),
    "name not ended": ("entry 1", with_manifest((b"a" * 68, BLOCK))),
    "name twice": ("'disk' twice", with_manifest((b"disk", BLOCK), (b"disk", NET))),
    "writable code": ("writable and executable", with_segments(Segment(TEXT, b"\xf4", 7))),
    "W+X without R": ("writable and executable", with_segments(Segment(TEXT, b"\xf4", 3))),
    "below 1 MiB": (
        "0xff000 lies below 0x100000",
        with_segments(Segment(0xFF000, b"\0" * 16, R), TEXT_SEGMENT),
    ),
    "page 0": ("lies below", with_segments(Segment(0, b"\xf4", RX), entry=0)),
    "overlap": (
        "0x200000 and 0x200800 overlap",
        with_segments(TEXT_SEGMENT, Segment(DATA + 0x800, b"x", RW), Segment(DATA, b"", R, 0x801)),
    ),
    "overlap by zeros": (
        "overlap",
        with_segments(TEXT_SEGMENT, Segment(DATA, b"", RW, 999), Segment(DATA + 998, b"x", R)),
    ),
    "more data than memory": (
        "more data than memory",
        with_segments(Segment(TEXT, b"\xf4" * 9, RX, 8)),
    ),
    "nothing to load": ("nothing to load", with_segments()),
    "too many headers": ("67 program headers", with_segments(*[Segment(0, b"", R, 0)] * 65)),
    "only empty segments": ("nothing to load", with_segments(Segment(TEXT, b"", RX, 0))),
    "entry outside": ("entry point 0x300000", with_segments(TEXT_SEGMENT, entry=0x300000)),
    "entry in data": (
        "entry point 0x200000",
        with_segments(TEXT_SEGMENT, Segment(DATA, b"\xf4", RW), entry=DATA),
    ),
}  # fmt: skip


@pytest.mark.parametrize("why", REFUSED)
def test_wrong_image_is_refused_with_its_name_and_the_reason(why: str) -> None:
    text, elf = REFUSED[why]
    with pytest.raises(ImageError) as refusal:
        images.parse("wrong.hvt", elf.build())
    assert "wrong.hvt" in str(refusal.value) and text in str(refusal.value)


def test_the_same_image_without_a_fault_is_taken() -> None:
    image = images.parse("right.hvt", Elf().build())
    assert (image.entry, image.end, image.devices[0].kind) == (
        TEXT,
        DATA + 0x10000,
        DeviceKind.RESERVED,
    )


def test_names_may_have_67_characters_and_64_entries_fit() -> None:
    devices = [(b"%067d" % i, NET if i % 2 else BLOCK) for i in range(63)]
    image = images.parse("many.hvt", with_manifest(*devices).build())
    assert [d.handle for d in image.devices] == list(range(64))
    assert image.device("0" * 67) == image.devices[1]
    assert image.device("none") is None


def test_execute_only_and_empty_segments_and_foreign_notes_are_fine() -> None:
    elf = with_segments(Segment(TEXT, b"\xf4", 1), Segment(0, b"", R, 0), Segment(DATA, b"", RW, 8))
    elf.notes.insert(0, note(0x31494241, b"\xff" * 16, b"GNU\0\0\0") + note(7, b"odd"))
    image = images.parse("fine.hvt", elf.build())
    assert [s.address for s in image.segments] == [TEXT, DATA]


@pytest.mark.parametrize("length", [0, 3, 16, 63, 64, 100, 64 + 56 * 4, 0x1000, 0x1001])
def test_a_cut_off_file_is_refused(length: int) -> None:
    content = sample("hello").content
    with pytest.raises(ImageError, match=r"cut\.hvt"):
        images.parse("cut.hvt", content[:length])


def test_file_that_ends_within_a_segment_is_refused() -> None:
    elf = Elf()
    elf.segments.append(elf.segments.pop(0))
    elf.notes, notes = [], elf.notes
    content = bytearray(elf.build())
    (offset,) = struct.unpack_from("<Q", content, 64 + 56 + 8)
    struct.pack_into("<Q", content, 64 + 56 + 32, len(content) - offset + 1)
    struct.pack_into("<Q", content, 64 + 56 + 40, 0x1000)
    assert notes
    with pytest.raises(ImageError, match="ends within the segment at 0x100000"):
        images.parse("cut.hvt", bytes(content))


def test_segments_that_together_hold_more_than_the_file_are_refused() -> None:
    content = bytearray(
        with_segments(TEXT_SEGMENT, *(Segment(DATA * n, b"", R, DATA) for n in range(1, 9))).build()
    )
    for row in range(1, 9):
        struct.pack_into("<Q", content, 64 + 56 * row + 8, 0)  # p_offset
        struct.pack_into("<Q", content, 64 + 56 * row + 32, len(content))  # p_filesz
    with pytest.raises(ImageError, match="hold more than the file"):
        images.parse("again.hvt", bytes(content))


@pytest.mark.timeout(10)
def test_a_dynamic_segment_and_sections_without_end_cost_no_time() -> None:
    content = bytearray(with_segments(TEXT_SEGMENT, Segment(0, b"", R, kind=2)).build())
    struct.pack_into("<Q", content, 40, len(content))  # e_shoff
    struct.pack_into("<H", content, 58, 0)  # e_shentsize; e_shnum is 0: see the first section
    section = struct.pack("<IIQQQQIIQQ", 0, 0, 0, 0, 0, 1 << 40, 0, 0, 0, 0)
    assert images.parse("long.hvt", bytes(content) + section).symbols == []


def test_names_without_an_end_are_cut() -> None:
    """Each symbol's name would be the rest of the file."""
    content = bytearray(Elf().build())
    symbols = struct.pack("<IBBHQQ", 0, 2, 0, 0, TEXT, 0) * 1000
    names = b"x" * 10_000
    at = len(content)
    layout = struct.Struct("<IIQQQQIIQQ")
    table = layout.pack(0, 2, 0, 0, at, len(symbols), 1, 0, 0, 24)
    table += layout.pack(0, 3, 0, 0, at + len(symbols), len(names), 0, 0, 0, 0)
    struct.pack_into("<Q", content, 40, at + len(symbols) + len(names))
    struct.pack_into("<HH", content, 58, layout.size, 2)
    image = images.parse("names.hvt", bytes(content) + symbols + names + table)
    assert image.symbols == [(TEXT, "x" * 256)] * 1000
    assert image.symbol(TEXT + 1) == (TEXT, "x" * 256)
    assert image.find("x" * 256) == Symbol(TEXT, "x" * 256, 0, True)


def test_missing_file_and_directory_are_image_errors(tmp_path: Path) -> None:
    for path in (tmp_path / "none.hvt", tmp_path):
        with pytest.raises(ImageError, match="cannot read image"):
            images.load(path)


def test_only_regular_files_are_read(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo.hvt"
    os.mkfifo(fifo)
    for path in (fifo, Path("/dev/zero")):
        with pytest.raises(ImageError, match=f"cannot read image {path}: it is no regular file"):
            images.load(path)


def test_huge_file_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "huge.hvt"
    with path.open("wb") as file:
        file.truncate((1 << 30) + 1)
    with pytest.raises(ImageError, match="larger than 1 GiB"):
        images.load(path)


def test_image_larger_than_memory_is_refused() -> None:
    image = images.parse(
        "big.hvt", with_segments(TEXT_SEGMENT, Segment(DATA, b"", RW, 9 << 20)).build()
    )
    with (
        pytest.raises(ImageError, match=r"needs 11\.0 MiB .* give the guest more memory"),
        machine_of(image),
    ):
        pass


def test_page_with_two_permissions_is_refused() -> None:
    image = images.parse(
        "mix.hvt", with_segments(TEXT_SEGMENT, Segment(TEXT + 16, b"x", RW)).build()
    )
    with pytest.raises(ImageError, match="different permissions"), machine_of(image):
        pass


CONTENT = (IMAGES / "abi.hvt").read_bytes()
STRUCTURE = [*range(64 + 8 * 56), *range(len(CONTENT) - 0x600, len(CONTENT))]
"""Offsets where a damage hurts most: headers at the start, section headers at the end."""


@given(st.dictionaries(st.sampled_from(STRUCTURE), st.integers(0, 255), min_size=1, max_size=8))
@example({40 + i: 0xFF for i in range(8)})
@example({58: 0, 59: 0})
def test_damaged_headers_raise_only_image_errors(changes: dict[int, int]) -> None:
    content = bytearray(CONTENT)
    for offset, value in changes.items():
        content[offset] = value
    try:
        image = images.parse("damaged.hvt", bytes(content))
    except ImageError:
        return
    assert image.segments and image.devices[0].kind is DeviceKind.RESERVED


@given(st.integers(0, 56 * 8 // 8), st.integers(0, (1 << 64) - 1))
def test_wild_program_headers_raise_only_image_errors(word: int, value: int) -> None:
    content = bytearray(CONTENT)
    struct.pack_into("<Q", content, 64 + 8 * word, value)
    try:
        images.parse("damaged.hvt", bytes(content))
    except ImageError:
        return


@given(st.binary(max_size=400))
def test_random_bytes_raise_only_image_errors(content: bytes) -> None:
    for start in (b"", CONTENT[:64], CONTENT[:0x200]):
        with pytest.raises(ImageError):
            images.parse("noise.hvt", start + content)


@pytest.mark.parametrize(
    ("offset", "layout", "value"),
    [(40, "<Q", 1 << 40), (60, "<H", 500), (62, "<H", 300), (58, "<H", 0)],
    ids=["section table outside", "too many sections", "no name table", "no entry size"],
)
def test_damaged_section_headers_cost_the_symbols_and_nothing_else(
    offset: int, layout: str, value: int
) -> None:
    """Symbols are looked up while a guest error is reported: there must be no other error."""
    content = bytearray(CONTENT)
    struct.pack_into(layout, content, offset, value)
    image = images.parse("damaged.hvt", bytes(content))
    assert image.symbol(image.entry) in (None, sample("abi").symbol(image.entry))


@pytest.mark.timeout(10)
def test_code_full_of_endless_loops_is_run_as_fast_as_any() -> None:
    """Each is watched, up to a limit."""
    code = halt() + b"\xeb\xfe" * 450_000
    with machine_of(make_image(code, {HALT: bytes(12)})) as machine:
        assert machine.run(ScriptedWorld()).status == 0
