"""Machine code of a hostile guest: any bytes, in ring 0 of a machine that is set up to go on.

The first bytes choose the environment: the CPU model; whether handlers are installed, which skip a
byte of whatever raises an exception; whether the guest runs on page tables of its own, in its RAM
and with all memory writable and executable; whether a timer interrupts it.
"""

from __future__ import annotations

import struct
from functools import cache

from fuzz import guest
from support import DATA, GDT, HALT, IDT, POINTERS, TEXT, halt, hypercall, make_image

from vlockstep.machine.cpumodels import MODELS
from vlockstep.machine.exceptions import WITH_ERROR_CODE
from vlockstep.machine.image import Image

MAX_CODE = 1024

HANDLERS, OWN_TABLES, TIMER = 1, 2, 4
_MODELS = sorted(MODELS)
CONSOLE_REQUEST, BLOCK_REQUEST, NET_REQUEST, ANSWER = (DATA + n for n in (0, 0x100, 0x140, 0x180))
"""Where requests lie that are right, and 24 bytes for other answers."""
_CODE, _HANDLER, _HANDLER_WITH_CODE = 0x400, 0xF80, 0xFC0
_PML4, _PDPT, _PD, _TSS, _STACK, _TIMER = (DATA + n * 0x1000 for n in (1, 2, 3, 4, 6, 7))
_TSS_SELECTOR, _TSS_SIZE = 24, 104
_ALL = 7  # present, writable, for users
_SKIP = bytes.fromhex("48ff0424 48cf")  # inc qword [rsp]; iretq
_DROP_CODE = bytes.fromhex("4883c408")  # add rsp, 8
_LOAD_TABLES = (
    b"\x0f\x01\x14\x25" + struct.pack("<I", POINTERS)
    + b"\x0f\x01\x1c\x25" + struct.pack("<I", POINTERS + 16)
    + b"\x66\xb8" + struct.pack("<H", _TSS_SELECTOR) + b"\x0f\x00\xd8"
)  # fmt: skip
"""lgdt [POINTERS]; lidt [POINTERS + 16]; mov ax, selector; ltr ax"""
_LOAD_CR3 = b"\xb8" + struct.pack("<I", _PML4) + b"\x0f\x22\xd8"  # mov eax, PML4; mov cr3, rax
_ENABLE = b"\xfb"  # sti
SPIN = bytes.fromhex("b932000000 e2fe")  # mov ecx, 50; loop .

_INSTRUCTIONS = """
    0f31 0f01f9 0fa2 f4 fb fa cc cd80 f1 0f0b 90ebfe f390
    0f05 0f34 0f07 0f35 cf 48cf cb 48cb ff2c2500002000
    ec ed 6c 6d ee ef 6e 6f f36f e680 66ef
    0f20c0 0f22c0 0f20d8 0f22d8 0f20e0 0f22e0 440f20c0 440f22c0 0f23f8 0f23c0
    0f01142500002000 0f011c2500002000 0f01142500002000cc 31c00f00d0 66b828000f00d8 0f01f0
    b9800000c00f32 b9800000c031c00f30 b9800000c0b8010d00000f30 b9000100c00f30 b91b0000000f300f32
    0f013c2500002000 0f013c25ffffffff 0f08 0f09 0f06 0fae3c2500002000
    0f01d0 0f01d1 0fc72500002000 0fae242500002000 480fae042500002000 480fae0c2500002000
    0f01d8 0f01d9 0f01da 0f01db 0f01dc 0f01dd 0f01de 0f01df 0faa 0f01c8 0f01c9 0f01c1 0f01f8
    c604250008100090 48c7042500042000ffffffff 48b80000000000008000488b00 48b8ffffffffffffff7fffe0
    488b0425f8ff3f00 488b0425fcff3f00 48b800004000000000004889 48c7c4ffffffff50 31e450
    9c800c2401009d 9c80cc24019d 668ed0 668ed8 8ee0 8ee8 fcb900100000f3a4 fdb900100000f3aa
    c70425001120000000000031c00f22d8 b8001020000d000000800f22d8 48c7042508302000ffffffff
    d9ee 0f77 f30fae242500002000 f20f5ec0 0fae142500002000 9bdbe3
    48c7c3000020006a33546a026a2b48c7c0000410005048cf 0f0f000c 62f17c4858c0 c5f877
    ba01050000b800002000ef ba02050000b800002000ef ba07050000b800002000ef ba40050000b800702000ef
    d9ebd9f8 d9ebd9fe d9f1 d9f3 c5f057c0 41c5f057c0 660f3802c0 0f3802c9 660f3a63c00c
    b80000008089c2660f3a60042500002000 0fc70c2500002000 f0480fc70c2500002000 66f20fc70f e1fe e0fe
    ba0000008031c083c9fff7f9
"""
"""What a kernel may do, and what none should: exits, far transfers, control registers, tables,
MSRs, extended state, SVM, wild pointers, its own code and page tables, errata."""
PIECES = [SPIN, *(bytes.fromhex(text) for text in _INSTRUCTIONS.split())]


def check(data: bytes) -> None:
    flags, model, seed = (*data[:3], 0, 0, 0)[:3]
    image = image_of(flags, data[3 : 3 + MAX_CODE])
    guest.check(image, _MODELS[model % len(_MODELS)], seed, rewrites=bool(flags & OWN_TABLES))


def seeds() -> list[bytes]:
    """What a kernel may do, a line each, in several environments."""
    heads = (bytes((flags, model, 7)) for model, flags in enumerate((0, 1, 3, 5, 7)))
    return [head + piece for head in heads for piece in (*PIECES, b"".join(PIECES))]


def image_of(flags: int, code: bytes) -> Image:
    prelude = _LOAD_TABLES if flags & HANDLERS else b""
    if flags & OWN_TABLES:
        prelude += _LOAD_CR3
    if flags & TIMER:
        prelude += hypercall(0x40, _TIMER) + _ENABLE
    start = b"\xe9" + struct.pack("<i", _CODE - len(prelude) - 5)
    return make_image(
        {
            0: prelude + start,
            _CODE: code + halt(),
            _HANDLER: _SKIP,
            _HANDLER_WITH_CODE: _DROP_CODE + _SKIP,
        },
        _data(),
        guest.DEVICES,
    )


@cache
def _data() -> dict[int, bytes]:
    large = [n << 21 | _ALL | 0x80 for n in range(8)]
    tss = bytearray(_TSS_SIZE)
    struct.pack_into("<Q", tss, 4, _STACK)
    struct.pack_into("<Q", tss, 0x24, _STACK)
    descriptor = (
        _TSS_SIZE - 1 | (_TSS & 0xFFFFFF) << 16 | 0x89 << 40 | (_TSS >> 24 & 0xFF) << 56,
        0,
    )
    flat = (0, 0x00AF9B00_0000FFFF, 0x00CF9300_0000FFFF)
    user = (0x00AFFB00_0000FFFF, 0x00CFF300_0000FFFF)
    gates = b"".join(_gate(vector) for vector in range(256))
    return {
        CONSOLE_REQUEST: struct.pack("<QQ", DATA + 0x40, 8),
        BLOCK_REQUEST: struct.pack("<QQQQi", guest.DISK, 512, DATA + 0x800, 512, 0),
        NET_REQUEST: struct.pack("<QQQi", guest.NET, DATA + 0xA00, 60, 0),
        _PML4: struct.pack("<Q", _PDPT | _ALL),
        _PDPT: struct.pack("<Q", _PD | _ALL),
        _PD: struct.pack("<8Q", *large),
        _TSS: bytes(tss),
        _TIMER: struct.pack("<QIi", 10_000, 32, 0),
        GDT: struct.pack("<7Q", *flat, *descriptor, *user),
        IDT: gates,
        POINTERS: struct.pack("<HQ", 55, GDT).ljust(16, b"\0")
        + struct.pack("<HQ", len(gates) - 1, IDT),
        HALT: bytes(12),
    }


def _gate(vector: int) -> bytes:
    """An interrupt gate on the stack IST 1."""
    at = TEXT + (_HANDLER_WITH_CODE if vector in WITH_ERROR_CODE else _HANDLER)
    return struct.pack("<HHHHQ", at & 0xFFFF, 8, 0x8E01, at >> 16, 0)
