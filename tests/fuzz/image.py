"""ELF files and manifests: refused by `ImageError`, or a guest that boots as the file says."""

from __future__ import annotations

from contextlib import closing

from support import IMAGES, Elf

from vlockstep.errors import ImageError
from vlockstep.machine import image as images
from vlockstep.machine.boot import boot
from vlockstep.machine.config import MIB, BlockConfig, GuestConfig, NetConfig
from vlockstep.machine.image import DeviceKind, Image
from vlockstep.machine.memory import Memory

MEMORY = 4 * MIB
_NAMED = 256 * 4 // 24 + 1
"""Bytes of names to a byte of the file, at most: as many UTF-8 bytes as a name may be long for
each symbol."""


def check(data: bytes) -> None:
    try:
        image = images.parse("fuzz.hvt", data)
    except ImageError as error:
        assert str(error).startswith("fuzz.hvt: ")
        return
    assert sum(len(segment.data) for segment in image.segments) <= len(data)
    assert sum(len(name.encode()) for _, name in image.symbols) <= _NAMED * len(data)
    image.symbol(image.entry)
    with closing(Memory(MEMORY)) as memory:
        try:
            start = boot(image, _config(image), memory)
        except ImageError:
            return
        assert start.rip == image.entry
        for segment in image.segments:
            content = segment.data.ljust(segment.size, b"\0")
            assert memory.ram[segment.address : segment.end] == content


def seeds() -> list[bytes]:
    """The bundled guests, and the smallest image there is."""
    return [Elf().build(), *(path.read_bytes() for path in sorted(IMAGES.glob("*.hvt")))]


def _config(image: Image) -> GuestConfig:
    """With every device that the image declares."""
    names = {kind: [d.name for d in image.devices if d.kind is kind] for kind in DeviceKind}
    return GuestConfig(
        image.digest,
        MEMORY,
        blocks={name: BlockConfig(512) for name in names[DeviceKind.BLOCK]},
        nets={name: NetConfig("02:00:00:00:00:01") for name in names[DeviceKind.NET]},
    )
