"""Where errata are looked for: the instructions of a block, found by their lengths alone."""

from __future__ import annotations

import itertools

import capstone
import pytest
import unicorn
from hypothesis import given
from hypothesis import strategies as st
from support import sample

from vlockstep.machine.errata.boundaries import PREFIXES, instructions
from vlockstep.machine.errata.finder import find, find_exchanges, find_in_block


@pytest.mark.parametrize("name", ["kv", "web", "abi", "sort"])
def test_instructions_begin_where_a_disassembler_says(name: str) -> None:
    image = sample(name)
    starts = [address for address, _ in image.symbols] + [image.end]
    engine = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)
    (text,) = (segment for segment in image.segments if segment.executable)
    compared = 0
    for first, last in itertools.pairwise(starts):
        code = text.data[first - text.address : last - text.address]
        expected = [(a, a + size) for a, size, _, _ in engine.disasm_lite(code, 0)]
        found = [(extent.start, extent.end) for extent in instructions(code)]
        if expected and expected[-1][1] == len(code):
            assert found == expected
            compared += len(found)
    assert compared > 500


PREFIXED = [bytes.fromhex(prefixes) for prefixes in ("", "66", "f2", "f3", "4066", "4866", "6648")]
BASE, SLOT, INVALID_OPCODE = 0x100000, 64, 6
UNKNOWN = 0xF1F1F1F1
MEMORY_FAULTS = (
    unicorn.UC_ERR_READ_UNMAPPED, unicorn.UC_ERR_WRITE_UNMAPPED, unicorn.UC_ERR_FETCH_UNMAPPED,
)  # fmt: skip


@pytest.mark.parametrize("prefixes", PREFIXED, ids=bytes.hex)
def test_instructions_are_as_long_as_unicorn_takes_them(prefixes: bytes) -> None:
    """All opcodes, with a ModRM byte of memory where they have any."""
    one = [bytes([opcode]) for opcode in range(256) if opcode not in PREFIXES | {0x0F}]
    two = [bytes([0x0F, opcode]) for opcode in range(256) if opcode not in (0x38, 0x3A)]
    codes = [(prefixes + opcode + b"\x04\x25").ljust(SLOT, b"\0") for opcode in one + two]
    measured = measure(codes)
    assert len(measured) > 300
    for code, length in measured.items():
        assert next(instructions(code)).end == length, code.hex()


def measure(codes: list[bytes]) -> dict[bytes, int]:
    """Of those that are no invalid opcodes."""
    engine = unicorn.Uc(unicorn.UC_ARCH_X86, unicorn.UC_MODE_64)
    engine.mem_map(BASE, 0x10000)
    engine.mem_write(BASE, b"".join(codes))
    begun: list[int] = []
    vectors: list[int] = []
    lengths = {}

    def on_instruction(engine: unicorn.Uc, _address: int, size: int, _data: object) -> None:
        begun.append(size)
        if len(begun) > 1:
            engine.emu_stop()

    def on_exception(engine: unicorn.Uc, vector: int, _data: object) -> None:
        vectors.append(vector)
        engine.emu_stop()

    engine.hook_add(unicorn.UC_HOOK_CODE, on_instruction)
    engine.hook_add(unicorn.UC_HOOK_INTR, on_exception)
    for number, code in enumerate(codes):
        begun.clear()
        vectors.clear()
        fault = False
        try:
            engine.emu_start(BASE + number * SLOT, 0)
        except unicorn.UcError as error:
            fault = error.errno in MEMORY_FAULTS
        if begun[0] != UNKNOWN and (len(begun) > 1 or fault) and INVALID_OPCODE not in vectors:
            lengths[code] = begun[0]
    return lengths


FOUND = {
    "d9fe": {0}, "90 d9f8": {1}, "9b d9f5 90": {1}, "48d9fe": {0, 1},
    "4889c5 c5f058c2": {3}, "c4e17058c2": {0}, "89c5 f20f10c1": set(),
    "660f3a63c10c": {0, 1}, "660f3802c9": {0, 1}, "0f38020425000000 00": set(),
    "f0480fc70f": {0, 1, 2}, "39c0 e1fc": {2}, "48c1e005": set(), "b8d9fe0000": set(),
    "4066d9fe": {0, 1, 2}, "4048d9f8": {0, 1, 2}, "402ec5f058c2": {0, 1, 2}, "66e1fc": {0, 1},
    "0f2004 d9fe": {3}, "660f84d9fe": set(),
    # Not to its end: what follows may be cut off, or be no 64-bit code.
    "b8d9fe": {1}, "b8d9fe40": {1}, "a1d9fe0000 d9fe": {1, 5}, "0f": set(),
}  # fmt: skip


@pytest.mark.parametrize("code", FOUND)
def test_errata_are_found_where_they_are(code: str) -> None:
    assert find_in_block(bytes.fromhex(code)) == FOUND[code]


@given(st.binary(max_size=40))
def test_any_bytes_may_be_looked_through(code: bytes) -> None:
    found = find_in_block(code)
    assert found <= set(range(len(code)))
    assert find(code) | find_exchanges(code) <= set(range(len(code)))
    ends = [0, *(extent.end for extent in instructions(code))]
    assert [extent.start for extent in instructions(code)] == ends[:-1]
