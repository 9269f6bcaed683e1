"""The state a guest starts from: its segments, boot information, manifest, GDT and page tables."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from vlockstep.errors import ImageError, UsageError
from vlockstep.machine import paging, sitefinder
from vlockstep.machine.config import COMMAND_LINE_SIZE, CYCLE_FREQUENCY, MIB, GuestConfig
from vlockstep.machine.image import DeviceKind, Image
from vlockstep.machine.memory import Memory

GDT = 0x1000
CODE_SELECTOR, DATA_SELECTOR = 8, 16
CODE_DESCRIPTOR = 0x00AF9B00_0000FFFF
DATA_DESCRIPTOR = 0x00CF9300_0000FFFF
GDT_LIMIT = 23

BOOT_INFO = 0x10000
_MANIFEST = 0x11000
_COMMAND_LINE = 0x13000


@dataclass(frozen=True)
class BootState:
    """The registers that differ between images, and whether code may lie where the guest can write
    with the tables that CR3 points to."""

    rip: int
    rsp: int
    rdi: int
    cr3: int
    writable_code: bool


def boot(image: Image, config: GuestConfig, memory: Memory) -> BootState:
    """Fill in `memory` as the Solo5 hvt ABI asks and say where to begin."""
    if image.end > config.memory:
        raise ImageError(
            f"{image.name}: needs {image.end / MIB:.1f} MiB for its segments alone; "
            "give the guest more memory",
            key=("memory",),
        )
    for segment in image.segments:
        memory.write(segment.address, segment.data)
    sitefinder.check(image, config.sites or ())
    for site in config.sites or ():
        memory.write(site.address, site.trap)
    memory.read_only = [(s.address, s.end) for s in image.segments if not s.writable]
    write_gdt(memory)
    segments = [(s.address, s.end, s.writable, s.executable) for s in image.segments]
    cr3 = paging.build(memory, segments, image.executable_heap)
    memory.packer("<QQQQQIIQ")(
        BOOT_INFO,
        config.memory,
        image.end,
        CYCLE_FREQUENCY,
        _COMMAND_LINE,
        _MANIFEST,
        0,
        0,
        0,
    )
    manifest = _manifest(image, config)
    memory.write(_MANIFEST, manifest)
    line = config.command_line
    assert len(line) < COMMAND_LINE_SIZE and len(manifest) <= _COMMAND_LINE - _MANIFEST
    memory.write(_COMMAND_LINE, line)
    return BootState(image.entry, config.memory - 8, BOOT_INFO, cr3, image.executable_heap)


def _manifest(image: Image, config: GuestConfig) -> bytes:
    """The manifest as the guest finds it, every device attached."""
    check_devices(image, config)
    entries = [struct.pack("<II", 1, len(image.devices))]
    for device in image.devices:
        match device.kind:
            case DeviceKind.BLOCK:
                block = config.blocks[device.name]
                detail = struct.pack("<QH6x", block.capacity, block.block_size)
            case DeviceKind.NET:
                net = config.nets[device.name]
                detail = struct.pack("<6sH8x", bytes.fromhex(net.mac.replace(":", "")), net.mtu)
            case DeviceKind.RESERVED:
                detail = bytes(16)
        name = device.name.encode()
        entries.append(struct.pack("<68sI16s8xB7x", name, device.kind, detail, device.handle > 0))
    return b"".join(entries)


def write_gdt(memory: Memory) -> None:
    memory.packer("<QQQ")(GDT, 0, CODE_DESCRIPTOR, DATA_DESCRIPTOR)


def check_devices(image: Image, config: GuestConfig) -> None:
    """Every declared device must be configured, and nothing else."""
    for kind, key, what, given in (
        (DeviceKind.BLOCK, "disk", "disk", config.blocks),
        (DeviceKind.NET, "nic", "NIC", config.nets),
    ):
        declared = {d.name for d in image.devices if d.kind is kind}
        for name in sorted(declared - set(given)):
            raise UsageError(
                f"{image.name} needs the device {name!r}: give it a {what} of that name",
                key=(key, name),
            )
        for name in sorted(set(given) - declared):
            known = ", ".join(sorted(declared)) or "none"
            raise UsageError(
                f"{image.name} declares no device {name!r} for a {what} (declared: {known})",
                key=(key, name),
            )
