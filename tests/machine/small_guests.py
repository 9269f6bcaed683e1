"""Guests for whom it matters that all of a CPU's state is kept: they use what registers do not
show, interrupted by a timer every few blocks."""

from __future__ import annotations

import random
import struct

from fuzz import code
from support import DATA, LOAD_TABLES, TEXT, halt, hypercall, make_image, trap_tables
from user_mode import MAP_FOR_USERS, MAPS, user_guest

from vlockstep.machine.image import Image

_TIMER, _ROUND, _TICKS, _ANSWER = DATA + 0x60, DATA + 0x80, DATA + 0x88, DATA + 0xC8
_CONTROL_WORDS = {DATA + 0xA8: struct.pack("<I", 0x1F80)}  # MXCSR; x87's rounds up
_HANDLER = 0x800
_ROUNDS = 12
_EFER = bytes.fromhex("800000c0")

_BODIES = {
    # mov ss in every place of a block, pushf, cli, sti
    "mov ss": "b8100000008ed0909c58fafb9089c3b8100000008ed0eb004801042590002000",
    # MTRRs, an MCE bank, MCG_CTL, KERNEL_GS_BASE: written from the round's number, and read
    "msrs": (
        "8b1c2580002000b90002000089d8c1e00c31d20f30b9ff02000089d883e0070f30b90104000031c0"
        "0f30b90004000031c0f6c3017402ffc889c20f30b97b0100000f30b9020100c089da0f30b9000400"
        "000f324801042590002000b9000200000f324801042598002000b9020100c00f3248011425a00020"
        "00"
    ),
    # EFER.NXE and SCE turned off and on again, on tables without NX
    "efer": "b9800000c00f3235010800000f30eb000f324801042590002000",
    # fild, fsqrt, fldpi, fmul, fdiv, fstp, ffree, fincstp, with a rounding that changes
    "x87": (
        "d92c25a8002000df2c2580002000d9fad9ebd8c9dcf1dd1c2590002000eb00dd1c2598002000d9e8"
        "ddc0d9f766813425a8002000000cdfe048010425a0002000"
    ),
    # sqrtsd, divsd, pmaddwd and others, with a rounding that changes
    "sse": (
        "0fae1425a8002000f2480f2a042580002000f20f51c8f20f5ed1f20f58d0eb00660f70da1b660ff5"
        "e3660ffee10f112425b0002000813425a8002000006000000fae1c25c0002000"
    ),
    # fprem, fsin, fpatan, phaddd, pcmpistri, cmpxchg8b, loope: what the engine is stopped for
    "errata": (
        "df2c2580002000d9ebd9f8d9fed9f3dd1c2590002000f30f7e0c2590002000660f3802c9660f3a63c90c"
        "48010c259800200001c00fc70c25a00020009c5b48011c25b0002000b90500000039c0e1fc"
    ),
    # flags that live across blocks: adc, rcl, std, shl, lahf, setcc
    "flags": (
        "8b04258000200069c0cd0d0100040780d40319dbc1d305eb009f0f92c30f90c79c5981e1d5080000"
        "48010c2590002000fd9c59fcd1e3eb009c5981e1c508000048010c2598002000"
    ),
    # rep movsb, repe scasb, rep stosb: a block an iteration
    "rep": (
        "be00802000bf00902000b928000000f3a4bf00902000b91e000000b85a000000f3ae48010c259000"
        "2000bf10902000b9050000008b042580002000f3aabf008020008b042580002000ab"
    ),
    # writes into code that follows, in another block and in the same
    "rewrites": (
        "488d3d0c0000008b042580002000894701eb00bb1111111148011c2590002000c605000000009090"
        "90c6050400000040eb00909090"
    ),
}
KERNELS = tuple(_BODIES)


def kernel(name: str) -> Image:
    """Does it over and over in ring 0, with an exit and a read of the clock each time."""
    body = bytes.fromhex(_BODIES[name]) + hypercall(1, _ANSWER) + b"\xeb\x00\x0f\x31"
    count = b"\x48\xff\x04\x25" + struct.pack("<I", _ROUND)  # inc qword [ROUND]
    count += b"\x48\x83\x3c\x25" + struct.pack("<I", _ROUND) + bytes([_ROUNDS])  # cmp
    start = LOAD_TABLES + MAP_FOR_USERS + hypercall(0x40, _TIMER) + b"\xeb\x00\xfb"  # sti
    loop = body + count
    again = b"\x0f\x82" + struct.pack("<i", -len(loop) - 6)  # jb
    handler = b"\x48\xff\x04\x25" + struct.pack("<I", _TICKS) + b"\x48\xcf"  # inc; iretq
    request = {_TIMER: struct.pack("<QIi", 1_000_000, 0x20, -1)}
    data = MAPS | request | _CONTROL_WORDS | trap_tables({0x20: TEXT + _HANDLER})
    return make_image({0: start + loop + again + halt(), _HANDLER: handler}, data)


def program() -> Image:
    """A program in ring 3: it makes system calls, reads the clock, and writes into its own code."""
    # mov ecx, 20; L: inc byte [rip + 1]; add al, 0; int 0x80; rdtsc; dec ecx; jnz L; int 0x81
    text = "b914000000 fe0501000000 0400 cd80 0f31 ffc9 75ee cd81"
    return user_guest(bytes.fromhex(text))


def noise(seed: int) -> Image:
    """Instructions of all kinds in a random order, and some that are none. None that would make
    it depend on what its TLB holds: it keeps the page tables of boot, and its EFER, whose number is
    not even in its code. A WRMSR can be executed alone, behind what has loaded another number."""
    chosen = random.Random(seed)
    kept = [piece for piece in code.PIECES if _EFER not in piece]
    pieces = [*kept, *(chosen.randbytes(6) for _ in range(8)), *[code.SPIN] * 4]
    text = b"".join(chosen.sample(pieces, 24))
    return code.image_of(chosen.choice([code.HANDLERS, code.HANDLERS | code.TIMER]), text)
