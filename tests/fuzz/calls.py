"""Hypercalls of a hostile guest: a list of them, with requests and pointers of any kind.

A call takes 48 bytes: one that chooses the port, one for the width of the OUT, four for the
request's address, two bytes that make addresses and lengths interesting, and the 40 bytes that are
stored at the request's address first, if the guest can write there.
"""

from __future__ import annotations

import struct

from fuzz import guest
from support import DATA, HALT, TEXT, halt, make_image

from vlockstep.machine.hypercalls import NAMES, PORT_BASE
from vlockstep.machine.image import Image

MAX_CALLS = 12
CALL = struct.Struct("<BBIBB40s")

_PORTS = [*(PORT_BASE + number for number in NAMES), 0, 0x80, PORT_BASE, PORT_BASE + 9, 0xFFFF]
_OUT = [b"\xef", b"\x66\xef", b"\xee", b"\x6f", b"\xf3\x6f"]
"""out dx, eax; ax; al; outsd; rep outsd"""
_END, _TOP = guest.MEMORY, 1 << 64
_EDGES = [0, 0x1000, 0xFFFF, 0x10000, 0x13000, 0xFFFFF, TEXT, DATA, DATA + 0x1000, _END - 512,
          _END - 8, _END - 1, _END, 0xFFFFFFFF, 1 << 63, _TOP - 512, _TOP - 1]  # fmt: skip
_SMALL = [0, 1, 2, 3, 14, 60, 512, 1024, 1514, 4096, 65535]


def check(data: bytes) -> None:
    guest.check(image_of(data[1:]), "westmere", data[0] if data else 0)


def seeds() -> list[bytes]:
    """Every hypercall once as it should be, and once with pointers to where memory ends."""
    right = struct.pack("<QQQQQ", 1, 0, DATA + 0x1000, 512, 0)
    frame = struct.pack("<QQQQQ", 2, DATA + 0x1000, 60, 0, 0)
    text = struct.pack("<QQQQQ", DATA + 0x1000, 20, 0, 0, 0)
    calls = [
        CALL.pack(port, width, address, edge, field, request)
        for port in range(len(_PORTS))
        for width, address, edge, field in ((0, DATA, 0, 0), (0, DATA + 1, 0x8F, 0x21))
        for request in (right, frame, text)
    ]
    return [b"\x05" + call for call in calls] + [b"\x06" + b"".join(calls[i::9]) for i in range(9)]


def image_of(data: bytes) -> Image:
    whole = data[: min(len(data) // CALL.size, MAX_CALLS) * CALL.size]
    code = b"".join(_code(*fields) for fields in CALL.iter_unpack(whole))
    return make_image(code + halt(), {HALT: bytes(12)}, guest.DEVICES)


def _code(port: int, width: int, address: int, edge: int, field: int, request: bytes) -> bytes:
    """Store the request as far as it can be stored, and call."""
    if edge & 0x40:
        address = _EDGES[address % len(_EDGES)]
    words = list(struct.unpack("<5Q", request))
    if edge & 0x80:
        words[field % 5] = _EDGES[field // 5 % len(_EDGES)]
    if edge & 0x20:
        words[field // 8 % 5] = _SMALL[edge % len(_SMALL)]
    code = b"".join(_store(address + 8 * i, word) for i, word in enumerate(words))
    code += b"\xba" + struct.pack("<I", _PORTS[port % len(_PORTS)])  # mov edx, port
    code += b"\xbe" + struct.pack("<I", DATA)  # mov esi, DATA
    code += b"\xb9\x02\0\0\0"  # mov ecx, 2
    return code + b"\xb8" + struct.pack("<I", address & 0xFFFFFFFF) + _OUT[width % len(_OUT)]


def _store(address: int, word: int) -> bytes:
    """mov rax, word; mov [address], rax"""
    if not DATA <= address <= _END - 8:
        return b""
    return b"\x48\xb8" + struct.pack("<Q", word) + b"\x48\xa3" + struct.pack("<Q", address)
