"""Instructions that get traps are found wherever they stand, and nothing else is; a configuration
that names others, such as one of a log that somebody has made up, is refused."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kvm_guests import end_of, prepared
from support import (
    DATA,
    RWX,
    RX,
    TEXT,
    Elf,
    ScriptedWorld,
    Segment,
    config_for,
    halt,
    make_image,
    needs_kvm,
    sample,
)

from vlockstep.errors import ImageError, LogError, UsageError
from vlockstep.machine import image as images
from vlockstep.machine import sitefinder
from vlockstep.machine.boot import boot
from vlockstep.machine.config import MIB, GuestConfig
from vlockstep.machine.image import Image
from vlockstep.machine.machine import Machine
from vlockstep.machine.memory import Memory
from vlockstep.machine.sites import CPUID, RANDOM, RDTSC, RDTSCP, UNDEFINED, Site

FOUND = {
    RDTSC: b"\x0f\x31", RDTSCP: b"\x0f\x01\xf9", CPUID: b"\x0f\xa2", RANDOM: b"\x0f\xc7\xf1",
    UNDEFINED: b"\x0f\x05",
}  # fmt: skip
OTHERS_UNDEFINED = (b"\x0f\x33", b"\x0f\x34")
RANDOMS = [b"\x0f\xc7" + bytes([modrm]) for modrm in range(0xF0, 0x100)]
MODELS = {"westmere": (RDTSC, CPUID), "broadwell": (RDTSC, CPUID, RDTSCP, RANDOM)}
INNOCENT = [
    b"\x90", b"\xc3", b"\x55", b"\x48\x89\xe5", b"\x31\xc0", b"\x0f\x1f\x40\x00", b"\xeb\x00",
    b"\x0f\x0b", b"\xcc", b"\x0f\xaf\xc1", b"\x66\x0f\x6f\xc1", b"\x0f\x01\xd0", b"\x0f\xc7\x08",
]  # fmt: skip
SUSPICIOUS = st.sampled_from([*FOUND.values(), *OTHERS_UNDEFINED])
PREFIXES = st.sampled_from([b"", b"\x66", b"\x48", b"\x66\x48", b"\x2e", b"\x2e\x66\x41"])


@st.composite
def sites(draw: st.DrawFn) -> tuple[bytes, str]:
    """An instruction and its kind, with prefixes."""
    kind = draw(st.sampled_from(sorted(FOUND)))
    code = FOUND[kind]
    if kind == RANDOM:
        code = draw(st.sampled_from(RANDOMS))
    elif kind == UNDEFINED:
        code = draw(st.sampled_from([code, *OTHERS_UNDEFINED]))
    return draw(PREFIXES) + code, kind


@st.composite
def hiding(draw: st.DrawFn) -> tuple[bytes, str]:
    """An instruction that holds the bytes of one, in an immediate or a displacement."""
    held = draw(SUSPICIOUS)
    tail = held + draw(st.binary(min_size=8, max_size=8))
    at = draw(st.integers(0, 2))
    imm32 = (draw(st.binary(min_size=2, max_size=2))[:at] + tail)[:4]
    imm64 = (draw(st.binary(min_size=4, max_size=4)) + tail)[:8]
    form = draw(
        st.sampled_from(
            [
                b"\xb8" + imm32,  # mov eax, imm
                b"\x48\xb8" + imm64,  # mov rax, imm
                b"\x05" + imm32,  # add eax, imm
                b"\x48\x8d\x05" + imm32,  # lea rax, [rip + disp]
                b"\x8b\x80" + imm32,  # mov eax, [rax + disp]
                b"\xc7\x80" + imm32 + imm32,  # mov dword [rax + disp], imm
                b"\xe8" + imm32,  # call
                b"\x0f\x84" + imm32,  # jz
                b"\x80\x80" + imm32 + b"\x0f",  # add byte [rax + disp], 15
            ]
        )
    )
    return form, ""


Piece = tuple[bytes, str]
PIECES: st.SearchStrategy[Piece] = st.one_of(
    sites(), hiding(), st.sampled_from(INNOCENT).map(lambda code: (code, ""))
)
FUNCTIONS = st.lists(st.lists(PIECES, max_size=12), min_size=1, max_size=6)


def with_symbols(functions: Sequence[bytes], named: bool = True) -> Image:
    """An image of these functions, each with a symbol at its beginning or, if not `named`, none."""
    text, symbols, at = b"", struct.pack("<24x"), TEXT
    names = b"\0"
    for number, code in enumerate(functions):
        symbols += struct.pack("<IBBHQQ", len(names), 2, 0, 1, at, len(code))
        names += b"f%d\0" % number
        text, at = text + code, at + len(code)
    content = Elf([Segment(TEXT, text or b"\xf4", RX), Segment(DATA, b"", 6, 0x1000)]).build()
    if not named:
        return images.parse("made.hvt", content)
    offset = len(content)
    sections = struct.pack("<64x")
    sections += struct.pack("<IIQQQQIIQQ", 0, 2, 0, 0, offset, len(symbols), 2, 0, 8, 24)
    sections += struct.pack(
        "<IIQQQQIIQQ", 0, 3, 0, 0, offset + len(symbols), len(names), 0, 0, 1, 0
    )
    patched = bytearray(content + symbols + names)
    struct.pack_into("<Q", patched, 40, len(patched))
    struct.pack_into("<HHH", patched, 58, 64, 3, 0)
    return images.parse("made.hvt", bytes(patched) + sections)


@given(FUNCTIONS, st.booleans(), st.sampled_from(sorted(MODELS)))
def test_each_is_found_and_nothing_else(
    functions: list[list[Piece]], named: bool, model: str
) -> None:
    image = with_symbols([b"".join(code for code, _ in body) for body in functions], named)
    if named:
        assert image.symbols
    expected, at = [], TEXT
    for body in functions:
        for code, kind in body:
            if kind:
                had = kind if kind in MODELS[model] else UNDEFINED
                expected.append(Site(at, len(code), had))
            at += len(code)
    found = sitefinder.find(image, model)
    assert list(found) == expected
    sitefinder.check(image, found)


def check_boot(image: Image, found: tuple[Site, ...]) -> None:
    """RAM differs from the image at the traps, and nowhere else."""
    with closing(Memory(32 * MIB)) as plain, closing(Memory(32 * MIB)) as trapped:
        config = prepared(image, sites=found)
        boot(image, replace(config, sites=None), plain)
        boot(image, config, trapped)
        content = bytearray(plain.peek(0, plain.size))
        for site in found:
            assert len(site.trap) == site.length
            content[site.address : site.address + site.length] = site.trap
        assert trapped.peek(0, trapped.size) == content


@pytest.mark.parametrize("name", ["hello", "kv", "web", "sort", "abi"])
def test_bundled_images_are_wholly_read(name: str) -> None:
    found = sitefinder.find(sample(name), "westmere")
    assert found == tuple(sorted(found))
    check_boot(sample(name), found)


def test_bytes_that_cannot_be_read_are_refused_by_address() -> None:
    """Data in the code, by which the two ways of reading it come apart, or which is none."""
    image = make_image(b"\x90\x06\x07\xc4\x0f\x31\x90")
    with pytest.raises(ImageError, match=r"bytes at 0x100004 \(0f 31\) .*use the engine unicorn$"):
        sitefinder.find(image, "westmere")
    cut = make_image(halt() + b"\x48\xb8\x0f\x31")
    with pytest.raises(ImageError, match=r"bytes at 0x10000f \(0f 31\)"):
        sitefinder.find(cut, "westmere")


def test_what_is_not_executed_is_not_looked_at() -> None:
    image = make_image(halt(), {DATA: b"\x0f\x31\x0f\xa2"})
    assert sitefinder.find(image, "westmere") == ()


# Configurations that somebody has made up

IMAGE = make_image(
    {
        0: b"\x66\x0f\x31\x90\x0f\x31\xb8\x0f\x31\x00\x00\x0f\xa2\x0f\xc7\xf0\x0f\x01\xf9" + halt(),
        0x80: b"\x0f\x31",
    },
    {DATA: b"\x0f\x31"},
)
GOOD = sitefinder.find(IMAGE, "westmere")
WRONG: dict[str, tuple[Site, ...]] = {
    "no instruction": (Site(TEXT + 3, 2, RDTSC),),
    "within an instruction's prefixes": (Site(TEXT, 3, RDTSC), Site(TEXT + 1, 2, RDTSC)),
    "twice": (GOOD[0], GOOD[0]),
    "out of order": (GOOD[1], GOOD[0]),
    "another kind": (Site(TEXT, 3, CPUID),),
    "no kind": (Site(TEXT, 3, ""),),
    "a long kind": (Site(TEXT, 3, "x" * 1_000_000),),
    "undefined, though each model has it": (Site(TEXT, 3, UNDEFINED),),
    "shorter": (Site(TEXT, 2, RDTSC),),
    "longer": (Site(TEXT, 4, RDTSC),),
    "of no length": (Site(TEXT, 0, RDTSC),),
    "of negative length": (Site(TEXT, -3, RDTSC),),
    "huge": (Site(TEXT, 1 << 62, RDTSC),),
    "in data": (Site(DATA, 2, RDTSC),),
    "at the end of the code": (Site(TEXT + 0x81, 2, RDTSC),),
    "behind RAM": (Site(1 << 40, 2, RDTSC),),
    "below RAM": (Site(-5, 2, RDTSC),),
    "in the tables of the boot": (Site(0x1000, 2, RDTSC),),
    "one of many": (*GOOD, *(Site(TEXT + 0x100 + n, 2, RDTSC) for n in range(100_000))),
}


@pytest.mark.parametrize("name", WRONG)
def test_sites_that_are_none_are_refused(name: str) -> None:
    config = config_for(IMAGE, sites=WRONG[name])
    with pytest.raises(ImageError, match="names an instruction") as error:
        Machine(IMAGE, config)
    assert len(str(error.value)) < 200


@given(
    st.lists(
        st.builds(
            Site,
            st.one_of(st.integers(), st.integers(TEXT - 4, TEXT + 0x90)),
            st.integers(-2, 20),
            st.one_of(st.text(max_size=4), st.sampled_from(sorted(FOUND))),
        ),
        max_size=4,
    )
)
def test_whatever_is_named_ram_changes_at_instructions_alone(named: list[Site]) -> None:
    allowed = {(site.address, site.length) for site in GOOD}
    try:
        sitefinder.check(IMAGE, tuple(named))
    except ImageError:
        return
    assert {(site.address, site.length) for site in named} <= allowed


def test_a_part_of_them_is_a_configuration_too() -> None:
    """Of a log that an earlier finder has prepared; RDTSC is an exit on Unicorn without a trap."""
    for count in range(len(GOOD)):
        check_boot(IMAGE, GOOD[:count])


@needs_kvm
def test_on_kvm_each_has_a_trap() -> None:
    for left_out in GOOD:
        config = prepared(IMAGE, sites=tuple(site for site in GOOD if site != left_out))
        with pytest.raises(ImageError, match=f"gives no trap .* at {left_out.address:#x}"):
            Machine(IMAGE, config, engine="kvm")


MALFORMED: list[object] = [
    None, 1, "text", [1], [[1, 2]], [[1, 2, "rdtsc", 4]], [["1", 2, "rdtsc"]], [[1, 2, 3]],
    [[True, 2, "rdtsc"]], [[1, 2.0, "rdtsc"]], [None], ["abc"], [[[], 2, "rdtsc"]],
]  # fmt: skip


@pytest.mark.parametrize("sites", MALFORMED, ids=repr)
def test_what_is_no_list_of_sites_is_malformed(sites: object) -> None:
    plain = config_for(IMAGE, sites=GOOD).to_dict()
    assert GuestConfig.from_dict(plain).sites == GOOD
    with pytest.raises(LogError, match="configuration is malformed"):
        GuestConfig.from_dict({**plain, "sites": sites})


def test_numbers_that_no_log_can_hold_are_malformed() -> None:
    """Each would be an error elsewhere, where the configuration is digested."""
    plain = config_for(IMAGE, sites=GOOD).to_dict()
    for site in ([1 << 64, 2, "rdtsc"], [-(1 << 70), 2, "rdtsc"], [TEXT, 1 << 65, "rdtsc"]):
        with pytest.raises(LogError, match="configuration is malformed"):
            GuestConfig.from_dict({**plain, "sites": [site]})


def test_a_site_of_another_image_is_refused_before_anything_else() -> None:
    other = make_image(halt())
    config = replace(config_for(other), sites=GOOD)
    for engine in ("unicorn", "kvm"):
        with pytest.raises((ImageError, UsageError), match="where the image has none"):
            Machine(other, config, engine=engine)


def test_an_image_that_may_write_code_is_refused() -> None:
    image = make_image(b"\xf4", stack=RWX)
    with pytest.raises(ImageError, match="a heap in which it may write code"):
        sitefinder.find(image, "westmere")


TABLES = DATA + 0x1000
"""Identity, and the first 2 MiB again at 8 MiB, from `ALIAS` on."""
ALIAS = 0x800000


def own_tables() -> dict[int, bytes]:
    """Of a guest whose code is mapped twice."""
    directory = [page << 21 | 0x83 for page in range(4)] + [0x83]
    return {
        TABLES: struct.pack("<Q", TABLES + 0x1000 | 3),
        TABLES + 0x1000: struct.pack("<Q", TABLES + 0x2000 | 3),
        TABLES + 0x2000: struct.pack("<5Q", *directory),
    }


@pytest.mark.parametrize("trapped", [False, True])
def test_it_is_read_by_whatever_mapping_the_guest_comes_to_it(trapped: bool) -> None:
    jump = b"\xb8" + struct.pack("<I", TABLES) + b"\x0f\x22\xd8"  # mov eax; mov cr3, rax
    there = len(jump) + 7
    jump += b"\xb8" + struct.pack("<I", ALIAS + TEXT + there) + b"\xff\xe0"  # mov eax; jmp rax
    read = b"\x48\x0f\xc7\xf1"  # rdrand rcx
    store = b"\x48\x89\x0c\x25" + struct.pack("<I", DATA)
    image = make_image(jump + read + store + halt(), own_tables())
    config = prepared(image, cpu="broadwell")
    assert [site.address for site in config.sites or ()] == [TEXT + there]
    if not trapped:
        config = replace(config, sites=None)
    with closing(Machine(image, config, engine="unicorn")) as machine:
        assert end_of(machine, ScriptedWorld(random=[77])).status == 0  # type: ignore[union-attr]
        assert machine.memory.peek(DATA, 8) == struct.pack("<Q", 77)
