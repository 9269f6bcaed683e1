"""Registers and memory: comparable, with readable differences and cheap digests."""

from __future__ import annotations

import ctypes
import mmap
import os
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import ScriptedWorld, config_for, machine_of, sample

from vlockstep.errors import HostError
from vlockstep.machine.memory import BadPointer, Memory
from vlockstep.machine.registers import GENERAL, Registers, describe_difference, describe_flags

MIB = 1 << 20


def final(name: str, *arguments: str) -> Registers:
    image = sample(name)
    with machine_of(image, config_for(image, *arguments)) as machine:
        return machine.run(ScriptedWorld()).registers


def test_equal_runs_have_equal_registers_and_digests() -> None:
    first, second = final("clock", "--reads=5"), final("clock", "--reads=5")
    assert first == second and first.digest() == second.digest() and hash(first) == hash(second)
    assert first.difference(second) == {} and describe_difference(first, second) == ""
    assert first != final("hello") and first != dict(first)


def test_registers_are_a_mapping_with_attributes() -> None:
    registers = final("hello")
    assert registers.rip == registers["rip"] and len(registers) == len(list(registers))
    assert {*GENERAL, "xmm15", "fp7", "cr3", "fs_base", "mxcsr", "idtr_limit"} <= set(registers)
    with pytest.raises(AttributeError, match="no register 'eip'"):
        _ = registers.eip
    assert registers.to_dict()["rip"] == hex(registers.rip)
    assert f"rip {registers.rip:016x}" in str(registers)


@given(st.sampled_from(sorted(final("hello"))), st.integers(0, 127))
def test_every_bit_of_every_register_counts(name: str, bit: int) -> None:
    registers = final_hello()
    values = dict(registers)
    values[name] ^= 1 << bit
    other = Registers(values)
    assert registers != other and registers.digest() != other.digest()
    assert registers.difference(other) == {name: (registers[name], values[name])}
    text = describe_difference(registers, other)
    assert text.count("\n") == 0 and name in text and f"(xor {1 << bit:#x})" in text


_HELLO: list[Registers] = []


def final_hello() -> Registers:
    if not _HELLO:
        _HELLO.append(final("hello"))
    return _HELLO[0]


def test_flags_have_names() -> None:
    assert describe_flags(0x246) == ["PF", "ZF", "IF"]
    assert describe_flags(2) == []


@pytest.fixture
def memory() -> Memory:
    return Memory(8 * MIB)


def test_only_the_methods_of_memory_store_anything(memory: Memory) -> None:
    with pytest.raises(TypeError, match="read-only"):
        memory.ram[MIB] = 1
    with pytest.raises(TypeError, match="read-write"):
        struct.pack_into("<Q", memory.ram, MIB, 1)
    with pytest.raises(TypeError, match="not writable"):
        ctypes.c_char.from_buffer(memory.ram)
    memory.write(MIB, b"abc")
    memory.packer("<HB")(MIB + 2, 0x6463, 0x65)
    assert memory.peek(MIB, 6) == b"abcde\0"
    for content, address in ((b"ab", 8 * MIB - 1), (b"a", 8 * MIB)):
        with pytest.raises(IndexError):
            memory.write(address, content)


def test_digest_does_not_see_which_pages_were_touched(memory: Memory) -> None:
    other = Memory(8 * MIB)
    for address in (0, 5 * MIB, 8 * MIB - 1):
        memory.write(address, b"x")
        memory.write(address, b"\0")
    _ = other.ram[3 * MIB]
    assert memory.digest() == other.digest()
    memory.write(5 * MIB, b"x")
    other.write(5 * MIB, b"x")
    assert memory.digest() == other.digest()


@given(st.integers(0, 8 * MIB - 1), st.integers(1, 255))
def test_digest_sees_every_byte_and_where_it_is(address: int, value: int) -> None:
    memory, other = Memory(8 * MIB), Memory(8 * MIB)
    content = bytes([value])
    memory.write(address, content)
    assert memory.digest() != other.digest()
    other.write((address + 4096) % (8 * MIB), content)
    assert memory.digest() != other.digest()
    other.write((address + 4096) % (8 * MIB), b"\0")
    other.write(address, content)
    assert memory.digest() == other.digest()
    memory.close()
    other.close()


def test_extents_are_what_was_touched(memory: Memory) -> None:
    assert list(memory.extents()) == [] and list(memory.chunks()) == []
    for address in (0x1000, 0x5000, 4 * MIB):
        memory.write(address, b"x")
    extents = list(memory.extents())
    assert all(any(low <= a < high for low, high in extents) for a in (0x1000, 0x5000, 4 * MIB))
    assert [a for a, _ in memory.chunks()] == [0, 4 * MIB]


def test_a_host_without_memfd_has_the_same_digests(monkeypatch: pytest.MonkeyPatch) -> None:
    with_memfd = Memory(2 * MIB)
    monkeypatch.delattr(os, "memfd_create", raising=False)
    without = Memory(2 * MIB)
    assert list(without.extents()) == [(0, 2 * MIB)]
    assert without.digest() == with_memfd.digest()
    with_memfd.write(MIB, b"x")
    without.write(MIB, b"x")
    assert without.digest() == with_memfd.digest()


def test_memory_the_host_refuses_is_a_host_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> mmap.mmap:
        raise OSError(12, "Cannot allocate memory")

    monkeypatch.setattr(mmap, "mmap", refuse)
    with pytest.raises(HostError, match=r"cannot reserve 8 MiB .*give the guest less"):
        Memory(8 * MIB)


def test_pointers_stay_within_memory(memory: Memory) -> None:
    memory.read_only = [(0x100000, 0x101000)]
    assert memory.read(0x10000, 4) == bytes(4)
    assert memory.read(8 * MIB - 1, 1) == b"\0"
    for address, length in (
        (0xFFFF, 1),
        (8 * MIB, 1),
        (8 * MIB - 1, 2),
        (1 << 63, 1),
        (0x10000, 8 * MIB),
    ):
        with pytest.raises(BadPointer):
            memory.read(address, length)
    memory.writable(0x101000, 8)
    for address, length in ((0xFFFF8, 4), (0x100FFF, 1), (0xFFFFF, 2), (8 * MIB - 4, 8)):
        with pytest.raises(BadPointer):
            memory.writable(address, length)


def test_filled_ram_is_what_it_was_filled_with_and_the_rest_stays_unused() -> None:
    content = bytes(range(256)) * 48
    memory = Memory(8 * MIB)
    try:
        memory.fill(2 * MIB, content)
        assert sum(end - start for start, end in memory.extents()) in (len(content), 8 * MIB)
        assert memory.peek(2 * MIB, len(content)) == content
        assert bytes(memory.ram[2 * MIB + len(content) :]) == bytes(6 * MIB - len(content))
        memory.fill(2 * MIB + 4096, b"again")
        target = bytearray(8192)
        memory.peek_into(2 * MIB, memoryview(target))
        assert target == content[:4096] + b"again" + content[4101:8192]
    finally:
        memory.close()
