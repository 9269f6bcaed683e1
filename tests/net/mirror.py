"""A guest that sends frames back, and keeps them on its disk."""

from __future__ import annotations

import struct

from support import DATA, TEXT, halt, hypercall, make_image

from vlockstep.machine.image import DeviceKind, Image

JUMBO = 9000
BLOCK = 4096
LAST = b"q"
"""What a frame's payload begins with after which the guest ends."""
_POLL, _READ, _WRITE, _KEEP, _BUFFER = (DATA + at for at in (0x40, 0x80, 0xC0, 0x100, 0x1000))
_DISK, _NET = 1, 2
_HEADER = 14


def at(address: int) -> bytes:
    return struct.pack("<I", address)


def mirror(mtu: int = JUMBO, block: int = BLOCK) -> Image:
    """It takes frames that this MTU allows, and writes the first `block` bytes of each to its disk
    before it sends them back."""
    limit = mtu + _HEADER
    swap = (  # eax, ecx: destination; then their last two bytes
        b"\x8b\x04\x25" + at(_BUFFER) + b"\x8b\x0c\x25" + at(_BUFFER + 6)
        + b"\x89\x0c\x25" + at(_BUFFER) + b"\x89\x04\x25" + at(_BUFFER + 6)
        + b"\x66\x8b\x04\x25" + at(_BUFFER + 4) + b"\x66\x8b\x0c\x25" + at(_BUFFER + 10)
        + b"\x66\x89\x0c\x25" + at(_BUFFER + 4) + b"\x66\x89\x04\x25" + at(_BUFFER + 10)
    )  # fmt: skip
    receive = (
        b"\x48\xc7\x04\x25" + at(_READ + 16) + at(limit)  # mov qword [READ + 16], limit
        + hypercall(3, _POLL) + hypercall(7, _READ)
        + b"\x83\x3c\x25" + at(_READ + 24) + b"\0"  # cmp dword [READ + 24], 0
    )  # fmt: skip
    answer = (
        b"\x48\x8b\x04\x25" + at(_READ + 16) + b"\x48\x89\x04\x25" + at(_WRITE + 16)
        + swap + hypercall(4, _KEEP) + hypercall(6, _WRITE)
        + b"\x80\x3c\x25" + at(_BUFFER + _HEADER) + LAST  # cmp byte [BUFFER + 14], 'q'
    )  # fmt: skip
    code = receive + _unless_equal(-len(receive))
    code += answer + _unless_equal(-len(code) - len(answer)) + halt()
    requests = {
        _POLL: struct.pack("<Q", 10**18),
        _READ: struct.pack("<QQQ", _NET, _BUFFER, 0),
        _WRITE: struct.pack("<QQQ", _NET, _BUFFER, 0),
        _KEEP: struct.pack("<QQQQ", _DISK, 0, _BUFFER, block),
    }
    devices = [(b"disk", DeviceKind.BLOCK), (b"net", DeviceKind.NET)]
    assert len(code) < DATA - TEXT
    return make_image(code, requests, devices)


def _unless_equal(distance: int) -> bytes:
    """jne, from behind what is `distance` bytes before it."""
    return b"\x0f\x85" + struct.pack("<i", distance - 6)
