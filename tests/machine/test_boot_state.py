"""What a guest finds when it begins: the ABI's registers, boot information and page tables."""

from __future__ import annotations

import gc
import struct
from pathlib import Path

import pytest
from support import (
    DATA,
    RW,
    RWX,
    ScriptedWorld,
    config_for,
    halt,
    hypercall,
    machine_of,
    make_image,
    net_config,
    sample,
)

from vlockstep.errors import UsageError, VlockstepError
from vlockstep.machine import paging
from vlockstep.machine.config import MIB, BlockConfig, GuestConfig, NetConfig
from vlockstep.machine.image import DeviceKind, Image
from vlockstep.machine.machine import Machine
from vlockstep.machine.paging import PageFault
from vlockstep.machine.position import Position

DEVICES = [(b"disk", DeviceKind.BLOCK), (b"service", DeviceKind.NET)]


def test_registers_at_the_first_instruction_are_those_of_the_abi() -> None:
    image = sample("hello")
    found = []
    with machine_of(image, config_for(image, memory=16 * MIB)) as machine:
        machine.break_at(Position(0, 0), lambda: found.append(machine.registers()))
        machine.run(ScriptedWorld())
    (registers,) = found
    expected = {
        "rip": image.entry, "rsp": 16 * MIB - 8, "rdi": 0x10000, "rflags": 2,
        "cs": 8, "ds": 16, "es": 16, "ss": 16, "efer": 0xD00,
        "cr0": 1 << 31 | 1 << 16 | 1 << 5 | 1, "cr4": 1 << 10 | 1 << 9 | 1 << 5,
        "gdtr_base": 0x1000, "gdtr_limit": 23, "mxcsr": 0x1F80, "fpcw": 0x37F,
    }  # fmt: skip
    assert {name: registers[name] for name in expected} == expected
    others = [f"r{n}" for n in ("ax", "bx", "cx", "dx", "si", "bp", *range(8, 16))]
    assert all(registers[name] == 0 for name in (*others, *(f"xmm{i}" for i in range(16))))


@pytest.mark.parametrize(("block_size", "mtu"), [(512, 1500), (32768, 65535)])
def test_boot_info_manifest_and_command_line(block_size: int, mtu: int) -> None:
    image = make_image(b"\xf4", devices=DEVICES)
    config = config_for(
        image,
        "--one",
        "two",
        blocks={"disk": BlockConfig(0x12345600, block_size=block_size)},
        nets={"service": NetConfig("02:00:00:00:00:01", mtu)},
    )
    with machine_of(image, config) as machine:
        ram = machine.memory.ram
        size, end, frequency, line, manifest, host, guest, ring = struct.unpack_from(
            "<QQQQQIIQ", ram, 0x10000
        )
        assert (size, end, frequency) == (8 * MIB, 0x210000, 1_000_000_000)
        assert (host, guest, ring) == (0, 0, 0)
        assert ram[line : line + 10] == b"--one two\0"
        assert struct.unpack_from("<II", ram, manifest) == (1, 3)
        rows = [bytes(ram[manifest + 8 + 104 * i :][:104]) for i in range(3)]
    reserved, disk, service = rows
    assert reserved == bytes(68) + struct.pack("<I", 0x40000000) + bytes(32)
    assert disk[:72] == b"disk".ljust(68, b"\0") + struct.pack("<I", 1)
    assert struct.unpack_from("<QH", disk, 72) == (0x12345600, block_size)
    assert service[:72] == b"service".ljust(68, b"\0") + struct.pack("<I", 2)
    assert service[72:80] == bytes.fromhex("020000000001") + struct.pack("<H", mtu)
    assert all(row[88:] == bytes(8) + b"\1" + bytes(7) for row in (disk, service))


def test_the_longest_manifest_and_command_line_fit() -> None:
    devices = [(b"n%d" % i, DeviceKind.NET) for i in range(63)]
    image = make_image(b"\xf4", devices=devices)
    config = config_for(image, "x" * 8191, nets=net_config(*(f"n{i}" for i in range(63))))
    with machine_of(image, config) as machine:
        line, manifest = struct.unpack_from("<QQ", machine.memory.ram, 0x10018)
        assert machine.memory.ram[line : line + 8192] == b"x" * 8191 + b"\0"
        last = manifest + 8 + 63 * 104
        assert machine.memory.ram[last : last + 4] == b"n62\0"
        assert manifest >= 0x10000 and last + 104 <= line and line + 8192 <= 0x100000


@pytest.mark.parametrize("name", ["hello", "fault", "sort"])
def test_page_tables_are_an_identity_map_with_the_permissions_of_the_abi(name: str) -> None:
    image = sample(name)
    with machine_of(image, config_for(image, memory=16 * MIB)) as machine:
        memory, cr3 = machine.memory, machine.registers()["cr3"]

        def access(address: int, write: bool = False) -> int:
            return paging.translate(memory, cr3, address, write)

        for address in (0, 0xFFF, 0x2000, 0xFFFF, 16 * MIB, 1 << 40, 1 << 47, (1 << 64) - 1):
            with pytest.raises(PageFault):
                access(address)
        for address in (0x10000, 0x11000, 0x13000, 0xFFFFF):
            assert access(address) == address
            with pytest.raises(PageFault) as fault:
                access(address, write=True)
            assert fault.value.code == 3
        for segment in image.segments:
            for address in (segment.address, segment.address + segment.size - 1):
                assert access(address) == address
                if segment.writable:
                    assert access(address, write=True) == address
                else:
                    with pytest.raises(PageFault):
                        access(address, write=True)
        for address in (image.end, 16 * MIB - 8, 16 * MIB - 1):
            assert access(address, write=True) == address


@pytest.mark.parametrize("stack", [None, RW, RWX])
def test_of_what_is_loaded_only_code_may_be_executed(stack: int | None) -> None:
    """jmp DATA: the page fault has the instruction fetch bit, and the IDT is empty."""
    jump = b"\xb8" + struct.pack("<I", DATA) + b"\xff\xe0"  # mov eax, DATA; jmp rax
    image = make_image(jump, stack=stack)
    with (
        machine_of(image) as machine,
        pytest.raises(VlockstepError, match=r"page fault .* 0x200000, error code 0x11"),
    ):
        machine.run(ScriptedWorld())


READS, ANSWERS = DATA + 0x100, DATA + 0x40


def code_from_a_disk(address: int, stack: int | None) -> Image:
    """Twice it reads a block to this address, calls it, and keeps what that leaves in EAX."""
    call = b"\xb8" + struct.pack("<I", address) + b"\xff\xd0"  # mov eax, address; call rax
    code = b"".join(
        hypercall(5, READS)
        + call
        + b"\x89\x04\x25" + struct.pack("<I", ANSWERS + 4 * n)  # mov [ANSWERS + 4 * n], eax
        for n in range(2)
    )  # fmt: skip
    request = struct.pack("<QQQQ", 1, 0, address, 512)
    return make_image(code + halt(), {READS: request}, DEVICES[:1], stack)


BLOCKS = [b"\xb8" + struct.pack("<I", number) + b"\xc3" + bytes(506) for number in (5, 7)]
"""mov eax, number; ret"""


@pytest.mark.parametrize("address", [0x210000, 6 * MIB, 8 * MIB - 4096])
def test_heap_and_stack_may_be_executed_if_the_image_asks_for_it(address: int) -> None:
    """What a device writes there is what runs, also where other code was before."""
    image = code_from_a_disk(address, RWX)
    config = config_for(image, blocks={"disk": BlockConfig(512)})
    with machine_of(image, config) as machine:
        machine.run(ScriptedWorld(block_read=list(BLOCKS)))
        assert struct.unpack("<II", machine.memory.peek(ANSWERS, 8)) == (5, 7)


@pytest.mark.parametrize("stack", [None, RW])
def test_otherwise_they_may_not(stack: int | None) -> None:
    image = code_from_a_disk(0x210000, stack)
    config = config_for(image, blocks={"disk": BlockConfig(512)})
    with (
        machine_of(image, config) as machine,
        pytest.raises(VlockstepError, match=r"page fault .* 0x210000, error code 0x11"),
    ):
        machine.run(ScriptedWorld(block_read=list(BLOCKS)))


def test_devices_must_be_attached_and_declared() -> None:
    image = make_image(b"\xf4", devices=DEVICES)
    disk = {"disk": BlockConfig(512)}
    for config, message in (
        (
            config_for(image, nets=net_config("service")),
            "needs the device 'disk': give it a disk of that name",
        ),
        (config_for(image, blocks=disk), "needs the device 'service': "),
        (
            config_for(image, blocks=disk, nets=net_config("service", "other")),
            "no device 'other' for a NIC .declared: service",
        ),
        (
            config_for(
                image, blocks=disk | {"service": BlockConfig(512)}, nets=net_config("service")
            ),
            "no device 'service' for a disk",
        ),
    ):
        with pytest.raises(UsageError, match=message), machine_of(image, config):
            pass


@pytest.mark.parametrize("size", [0, 1, MIB, 3 * MIB, 2 * MIB + 1, 4098 * MIB, -2 * MIB])
def test_memory_sizes_off_the_grid_are_refused(size: int) -> None:
    with pytest.raises(UsageError, match="multiple of 2"):
        GuestConfig("", size)


def test_command_lines_that_do_not_fit_are_refused() -> None:
    with pytest.raises(UsageError, match="8192 bytes long; the limit is 8191"):
        GuestConfig("", 2 * MIB, ("x" * 8190, "y"))
    GuestConfig("", 2 * MIB, ("x" * 8190, ""))
    with pytest.raises(UsageError, match="NUL"):
        GuestConfig("", 2 * MIB, ("a\0b",))


def test_another_image_than_configured_is_refused() -> None:
    with (
        pytest.raises(UsageError, match="is not the image"),
        machine_of(sample("hello"), config_for(sample("sort"))),
    ):
        pass


def test_the_smallest_memory_runs_a_guest() -> None:
    image = sample("hello")
    with machine_of(image, config_for(image, memory=2 * MIB)) as machine:
        assert machine.run(ScriptedWorld()).status == 0


def test_4_gib_of_memory_cost_only_what_is_touched() -> None:
    image = sample("hello")
    with machine_of(image, config_for(image, memory=4096 * MIB)) as machine:
        assert machine.run(ScriptedWorld()).status == 0
        assert sum(high - low for low, high in machine.memory.extents()) < MIB
        assert len(machine.memory.digest()) == 16


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts descriptors in /proc")
def test_a_machine_that_cannot_be_made_leaves_no_descriptor_open() -> None:
    image = make_image(halt())

    def descriptors() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    gc.collect()  # what other tests have left
    before = descriptors()
    for config in (config_for(image, cpu="none"), config_for(image, nets=net_config("none"))):
        with pytest.raises(UsageError):
            Machine(image, config)
    assert descriptors() == before
