"""Random instructions for a comparison of processors, each with a name by which known differences
are listed, and states for them to begin with."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from native_cpu import GENERAL, MEMORY, State

CARRY, PARITY, ADJUST, ZERO, SIGN, OVERFLOW = 1, 4, 0x10, 0x40, 0x80, 0x800
ARITHMETIC = CARRY | PARITY | ADJUST | ZERO | SIGN | OVERFLOW
_FREE = [number for number in GENERAL if number != 4]

Encode = Callable[[random.Random], bytes]


@dataclass(frozen=True)
class Template:
    """`undefined` are flags that it leaves so, by the manual."""

    name: str
    encode: Encode
    undefined: int = 0
    feature: str = ""


def _modrm(
    rex_w: bool, reg: int, rm: int, opcode: bytes, prefix: bytes = b"", rex: bool = False
) -> bytes:
    value = 0x40 | rex_w << 3 | (reg > 7) << 2 | (rm > 7)
    head = bytes([value]) if value != 0x40 or rex else b""
    return prefix + head + opcode + bytes([0xC0 | reg % 8 << 3 | rm % 8])


def _memory(rex_w: bool, reg: int, opcode: bytes, prefix: bytes, address: int) -> bytes:
    value = 0x40 | rex_w << 3 | (reg > 7) << 2
    head = bytes([value]) if value != 0x40 else b""
    return prefix + head + opcode + bytes([reg % 8 << 3 | 4, 0x25]) + struct.pack("<I", address)


def _integer(
    opcode: int, immediate: int = 0, group: int | None = None, two: bool = False
) -> Encode:
    """Of 8 bits if the opcode is even, else of 16, 32 or 64; its second operand may be memory."""

    def encode(chosen: random.Random) -> bytes:
        wide = bool(opcode & 1) or two
        width = chosen.choice(["", "w", "q"]) if wide else ""
        reg = chosen.choice(_FREE) if group is None else group
        code = (b"\x0f" if two else b"") + bytes([opcode])
        prefix = b"\x66" if width == "w" else b""
        if chosen.random() < 0.2:
            body = _memory(width == "q", reg, code, prefix, MEMORY + chosen.randrange(32))
        else:
            body = _modrm(width == "q", reg, chosen.choice(_FREE), code, prefix, rex=not wide)
        return body + chosen.randbytes(immediate)

    return encode


def _fixed(code: str) -> Encode:
    return lambda chosen: bytes.fromhex(code)


def _integers() -> list[Template]:
    found = []
    for index, name in enumerate(["add", "or", "adc", "sbb", "and", "sub", "xor", "cmp"]):
        undefined = ADJUST if name in ("or", "and", "xor") else 0
        for opcode in range(8 * index, 8 * index + 4):
            found.append(Template(name, _integer(opcode), undefined))
        for opcode in (0x80, 0x83):
            found.append(Template(name, _integer(opcode, 1, index), undefined))
    rotations = ["rol", "ror", "rcl", "rcr", "shl", "shr", "sal", "sar"]
    for index, name in enumerate(rotations):
        undefined = OVERFLOW if index < 4 else OVERFLOW | ADJUST | CARRY
        for opcode in (0xC0, 0xC1):
            found.append(Template(name, _integer(opcode, 1, index), undefined))
        for opcode in (0xD2, 0xD3):
            found.append(Template(name, _integer(opcode, 0, index), undefined))
        for opcode in (0xD0, 0xD1):
            found.append(Template(name, _integer(opcode, 0, index), ADJUST if index > 3 else 0))
    for group, (name, undefined) in enumerate(
        [("test", ADJUST), ("test", ADJUST), ("not", 0), ("neg", 0),
         ("mul", ARITHMETIC & ~(CARRY | OVERFLOW)), ("imul", ARITHMETIC & ~(CARRY | OVERFLOW)),
         ("div", ARITHMETIC), ("idiv", ARITHMETIC)]
    ):  # fmt: skip
        if group > 1:
            found += [Template(name, _integer(o, 0, group), undefined) for o in (0xF6, 0xF7)]
    for opcode, name, undefined in (
        (0x84, "test", ADJUST), (0x85, "test", ADJUST), (0x86, "xchg", 0), (0x87, "xchg", 0),
        (0x88, "mov", 0), (0x89, "mov", 0), (0x8A, "mov", 0), (0x8B, "mov", 0), (0x63, "movsxd", 0),
    ):  # fmt: skip
        found.append(Template(name, _integer(opcode), undefined))
    found += [Template("inc", _integer(o, 0, 0)) for o in (0xFE, 0xFF)]
    found += [Template("dec", _integer(o, 0, 1)) for o in (0xFE, 0xFF)]
    for opcode, name, undefined in (
        (0xAF, "imul", ARITHMETIC & ~(CARRY | OVERFLOW)), (0xB0, "cmpxchg", 0),
        (0xB1, "cmpxchg", 0), (0xC0, "xadd", 0), (0xC1, "xadd", 0), (0xB6, "movzx", 0),
        (0xB7, "movzx", 0), (0xBE, "movsx", 0), (0xBF, "movsx", 0),
        (0xBC, "bsf", ARITHMETIC & ~ZERO),
        (0xBD, "bsr", ARITHMETIC & ~ZERO),
    ):  # fmt: skip
        found.append(Template(name, _integer(opcode, two=True), undefined))
    for condition in range(16):
        found.append(Template("cmov", _integer(0x40 + condition, two=True)))
        found.append(Template("set", _integer(0x90 + condition, 0, 0, two=True)))
    bits = ARITHMETIC & ~(CARRY | ZERO)
    for group, name in ((4, "bt"), (5, "bts"), (6, "btr"), (7, "btc")):
        found.append(Template(name, _integer(0xBA, 1, group, two=True), bits))
    for opcode, name in ((0xA4, "shld"), (0xAC, "shrd")):
        found.append(Template(name, _double_shift(opcode), OVERFLOW | ADJUST))
    found.append(Template("popcnt", _prefixed(b"\xf3", 0xB8), 0, "popcnt"))
    for name, code in {
        "lahf": "9f", "sahf": "9e", "cbw": "6698", "cwde": "98", "cdqe": "4898", "cwd": "6699",
        "cdq": "99", "cqo": "4899", "cmc": "f5", "clc": "f8", "stc": "f9",
    }.items():  # fmt: skip
        found.append(Template(name, _fixed(code)))
    for name, code in {
        "loopne": "e0", "loope": "e1", "loop": "e2", "jrcxz": "e3",
        **{f"j{n:x}": f"{0x70 + n:x}" for n in range(16)},
    }.items():  # fmt: skip
        found.append(Template(name, _fixed(f"{code}02 90 90")))
    for name, code in {"cmpxchg8b": "0fc70c25", "cmpxchg16b": "480fc70c25"}.items():
        found.append(Template(name, _fixed(code + struct.pack("<I", MEMORY + 16).hex())))
    found += [Template("bswap", _bswap), Template("lea", _lea)]
    return found


def _double_shift(opcode: int) -> Encode:
    """By less than 16: by more the result is undefined for words."""
    operands = _integer(opcode, two=True)
    return lambda chosen: operands(chosen) + bytes([chosen.randrange(16)])


def _prefixed(prefix: bytes, opcode: int) -> Encode:
    def encode(chosen: random.Random) -> bytes:
        reg, rm = chosen.choice(_FREE), chosen.choice(_FREE)
        return _modrm(bool(chosen.getrandbits(1)), reg, rm, bytes([0x0F, opcode]), prefix)

    return encode


def _bswap(chosen: random.Random) -> bytes:
    register = chosen.choice(_FREE)
    return bytes([0x40 | chosen.getrandbits(1) << 3 | (register > 7), 0x0F, 0xC8 | register % 8])


def _lea(chosen: random.Random) -> bytes:
    sib = chosen.getrandbits(8) & ~7 | chosen.choice([0, 1, 2, 3, 6, 7])
    head = bytes([0x48 | chosen.getrandbits(1) << 1, 0x8D, 0x84 | chosen.choice([0, 1, 2, 3]) << 3])
    return head + bytes([sib]) + chosen.randbytes(4)


def _x87s() -> list[Template]:
    """All that work on registers, but for those without an operand that are nothing else."""
    names = {
        0xD8: ["fadd", "fmul", "fcom", "fcomp", "fsub", "fsubr", "fdiv", "fdivr"],
        0xDC: ["fadd", "fmul", "fcom", "fcomp", "fsub", "fsubr", "fdiv", "fdivr"],
        0xDE: ["faddp", "fmulp", "-", "-", "fsubrp", "fsubp", "fdivrp", "fdivp"],
        0xD9: ["fld", "fxch", "-", "-", "-", "-", "-", "-"],
        0xDA: ["fcmovb", "fcmove", "fcmovbe", "fcmovu", "-", "-", "-", "-"],
        0xDB: ["fcmovnb", "fcmovne", "fcmovnbe", "fcmovnu", "-", "fucomi", "fcomi", "-"],
        0xDD: ["ffree", "-", "fst", "fstp", "fucom", "fucomp", "-", "-"],
        0xDF: ["-", "-", "-", "-", "-", "fucomip", "fcomip", "-"],
    }
    found = [
        Template(name, _stack(first, group))
        for first, row in names.items()
        for group, name in enumerate(row)
        if name != "-"
    ]
    for name, code in {
        "fchs": "d9e0", "fabs": "d9e1", "ftst": "d9e4", "fxam": "d9e5", "fld1": "d9e8",
        "fldl2t": "d9e9", "fldl2e": "d9ea", "fldpi": "d9eb", "fldlg2": "d9ec", "fldln2": "d9ed",
        "fldz": "d9ee", "f2xm1": "d9f0", "fyl2x": "d9f1", "fptan": "d9f2", "fpatan": "d9f3",
        "fxtract": "d9f4", "fprem1": "d9f5", "fdecstp": "d9f6", "fincstp": "d9f7", "fprem": "d9f8",
        "fyl2xp1": "d9f9", "fsqrt": "d9fa", "fsincos": "d9fb", "frndint": "d9fc", "fscale": "d9fd",
        "fsin": "d9fe", "fcos": "d9ff", "fcompp": "ded9", "fucompp": "dae9", "fnstsw": "dfe0",
    }.items():  # fmt: skip
        found.append(Template(name, _fixed(code)))
    for name, opcode, group in (
        ("fist", 0xDB, 2), ("fistp", 0xDB, 3), ("fisttp", 0xDB, 1), ("fild", 0xDB, 0),
        ("fld", 0xDD, 0), ("fst", 0xDD, 2), ("fstp", 0xDD, 3), ("fist", 0xDF, 2), ("fild", 0xDF, 5),
        ("fistp", 0xDF, 7), ("fbld", 0xDF, 4), ("fbstp", 0xDF, 6), ("fst", 0xD9, 2),
        ("fld", 0xD9, 0), ("fiadd", 0xDA, 0), ("fidiv", 0xDA, 6), ("fld", 0xDB, 5),
        ("fstp", 0xDB, 7), ("fisttp", 0xDD, 1),
    ):  # fmt: skip
        code = _memory(False, group, bytes([opcode]), b"", MEMORY + 16)
        found.append(Template(name + "m", _fixed(code.hex())))
    return found


def _stack(first: int, group: int) -> Encode:
    return lambda chosen: bytes([first, 0xC0 | group << 3 | chosen.randrange(6)])


_PREFIXES = {"": b"", "66": b"\x66", "f3": b"\xf3", "f2": b"\xf2"}
_SSE = {
    "": "10 14 15 16 28 51 52 53 54 55 56 57 58 59 5a 5b 5c 5d 5e 5f 2e 2f 50 12",
    "66": "10 14 15 28 51 54 55 56 57 58 59 5a 5b 5c 5d 5e 5f 2e 2f 50 6c 6d 7c 7d d0 e6 "
    "60 61 62 63 64 65 66 67 68 69 6a 6b 6e 6f 74 75 76 7e d1 d2 d3 d4 d5 d6 d7 d8 d9 da db dc dd "
    "de df e0 e1 e2 e3 e4 e5 e8 e9 ea eb ec ed ee ef f1 f2 f3 f4 f5 f6 f8 f9 fa fb fc fd fe",
    "f3": "10 12 16 2a 2c 2d 51 52 53 58 59 5a 5b 5c 5d 5e 5f 6f 7e e6",
    "f2": "10 12 2a 2c 2d 51 58 59 5a 5c 5d 5e 5f 7c 7d d0 e6",
}
_IMMEDIATE = {"": "c2 c6", "66": "70 c2 c6 c4 c5", "f3": "70 c2", "f2": "70 c2"}
_SSSE3 = "00 01 02 03 04 05 06 07 08 09 0a 0b 1c 1d 1e"
_SSE41 = "10 14 15 17 20 21 22 23 24 25 28 29 2b 30 31 32 33 34 35 38 39 3a 3b 3c 3d 3e 3f 40 41"
_SSE41_IMMEDIATE = "08 09 0a 0b 0c 0d 0e 14 15 16 17 20 21 22 40 41 42"


def _vectors() -> list[Template]:
    found = []
    for prefix, row in _SSE.items():
        for opcode in row.split():
            found.append(_vector(prefix, "0f", opcode))
    for prefix, row in _IMMEDIATE.items():
        for opcode in row.split():
            found.append(_vector(prefix, "0f", opcode, 1))
    for opcode in _SSSE3.split():
        found.append(_vector("66", "0f38", opcode, feature="ssse3"))
    found.append(_vector("66", "0f3a", "0f", 1, "ssse3"))
    for opcode in _SSE41.split():
        found.append(_vector("66", "0f38", opcode, feature="sse4.1"))
    for opcode in _SSE41_IMMEDIATE.split():
        found.append(_vector("66", "0f3a", opcode, 1, "sse4.1"))
    found.append(_vector("66", "0f38", "37", feature="sse4.2"))
    for opcode in ["60", "61", "62", "63"]:
        found.append(_vector("66", "0f3a", opcode, 1, "sse4.2"))
    for opcode in ["f0", "f1"]:
        found.append(_vector("f2", "0f38", opcode, feature="sse4.2"))
    for opcode in ["db", "dc", "dd", "de", "df"]:
        found.append(_vector("66", "0f38", opcode, feature="aes"))
    found.append(_vector("66", "0f3a", "df", 1, "aes"))
    found.append(_vector("66", "0f3a", "44", 1, "pclmulqdq"))
    return found


def _vector(
    prefix: str,
    escape: str,
    opcode: str,
    immediate: int = 0,
    feature: str = "",
    registers: Sequence[int] = _FREE,
) -> Template:
    code = bytes.fromhex(escape + opcode)

    def encode(chosen: random.Random) -> bytes:
        wide = chosen.random() < 0.2
        reg = chosen.choice(registers)
        if chosen.random() < 0.25:
            address = MEMORY + 16 * chosen.randrange(3)
            body = _memory(wide, reg, code, _PREFIXES[prefix], address)
        else:
            rm = reg if chosen.random() < 0.3 else chosen.choice(registers)
            body = _modrm(wide, reg, rm, code, _PREFIXES[prefix])
        return body + chosen.randbytes(immediate)

    return Template(f"{prefix} {escape} {opcode}".strip(), encode, 0, feature)


_MMX = (
    "60 61 62 63 64 65 66 67 68 69 6a 6b 6e 6f 74 75 76 7e d1 d2 d3 d4 d5 d7 d8 d9 da db dc dd de "
    "df e0 e1 e2 e3 e4 e5 e8 e9 ea eb ec ed ee ef f1 f2 f3 f4 f5 f6 f8 f9 fa fb fc fd fe"
)


def _mmxs() -> list[Template]:
    found = [_vector("", "0f", opcode) for opcode in _MMX.split()]
    found += [_vector("", "0f", opcode, 1) for opcode in ("70", "c4", "c5")]
    low = range(8)  # others are not taken for these
    found += [_vector("", "0f38", opcode, 0, "ssse3", low) for opcode in _SSSE3.split()]
    found.append(_vector("", "0f3a", "0f", 1, "ssse3", low))
    return [replace(template, name=f"mmx {template.name}") for template in found]


INTEGERS, X87S, VECTORS, MMXS = _integers(), _x87s(), _vectors(), _mmxs()

_DAZ = 1 << 6
_EDGES = (0, 1, -1, 0x7F, 0x80, 0x7FFF, 0x8000, 0x7FFFFFFF, 1 << 31, (1 << 63) - 1, 1 << 63)


def _word(chosen: random.Random) -> int:
    if chosen.random() < 0.4:
        return chosen.choice(_EDGES) & (1 << 64) - 1
    return chosen.getrandbits(chosen.choice([8, 16, 32, 64, 64]))


def _double(chosen: random.Random) -> int:
    kind = chosen.random()
    if kind < 0.15:
        return struct.unpack("<Q", struct.pack("<d", chosen.choice([0.0, 1.0, -1.0, -0.0, 0.5])))[0]
    if kind < 0.25:
        return chosen.getrandbits(1) << 63 | 0x7FF << 52 | chosen.choice([0, 1, 1 << 51])
    if kind < 0.3:
        return chosen.getrandbits(52)
    exponent = chosen.choice([chosen.randint(1, 2046), chosen.randint(1000, 1050)])
    return chosen.getrandbits(1) << 63 | exponent << 52 | chosen.getrandbits(52)


def _single(chosen: random.Random) -> int:
    kind = chosen.random()
    if kind < 0.25:
        value = chosen.choice([0.0, 1.0, -1.0, -0.0, 0.5, 1e10, -3e9])
        return struct.unpack("<I", struct.pack("<f", value))[0]
    if kind < 0.35:
        return chosen.getrandbits(1) << 31 | 0xFF << 23 | chosen.choice([0, 1, 1 << 22])
    return chosen.getrandbits(32)


def _vector_value(chosen: random.Random) -> int:
    match chosen.randrange(4):
        case 0:
            return _double(chosen) | _double(chosen) << 64
        case 1:
            return sum(_single(chosen) << 32 * n for n in range(4))
        case 2:
            return sum(chosen.choice(b"\0\1\2\x7f\x80\xff") << 8 * n for n in range(16))
        case _:
            return chosen.getrandbits(128)


def _extended(chosen: random.Random) -> int:
    sign, kind, whole = chosen.getrandbits(1) << 79, chosen.random(), 1 << 63
    if kind < 0.06:
        return sign
    if kind < 0.1:
        return sign | 0x7FFF << 64 | whole
    if kind < 0.16:
        return sign | 0x7FFF << 64 | whole | chosen.choice([0, 1 << 62]) | chosen.getrandbits(9) | 1
    if kind < 0.18:
        return sign | chosen.getrandbits(15) << 64 | chosen.getrandbits(63)
    if kind < 0.2:
        return sign | chosen.getrandbits(63)
    if kind < 0.3:
        return sign | chosen.choice([0x3FFE, 0x3FFF, 0x4000]) << 64 | whole
    exponent = 0x3FFF + chosen.choice(
        [chosen.randint(-3, 3), chosen.randint(-70, 70), chosen.randint(-0x3FFE, 0x3FFF)]
    )
    fraction = chosen.choice([chosen.getrandbits(63), chosen.getrandbits(10) << 53])
    return sign | exponent << 64 | whole | fraction


def _fpu(chosen: random.Random, hostile: bool) -> bytes:
    """With room for two more, and all that instructions name. All exceptions masked. But if it is
    `hostile`, any may be empty, and any exception unmasked."""
    top = chosen.randrange(8)
    tags = 3 << 2 * ((top + 6) % 8) | 3 << 2 * ((top + 7) % 8)
    if hostile:
        tags = sum(3 << 2 * n for n in range(8) if chosen.random() < 0.3)
    control = (0x340 | chosen.getrandbits(6)) if hostile else 0x37F
    control |= chosen.choice([0, 0, 0, 1, 2, 3]) << 10
    status = top << 11 | chosen.getrandbits(3) << 8 | chosen.getrandbits(1) << 14
    words = (control | 0xFFFF0000, status | 0xFFFF0000, tags | 0xFFFF0000, 0, 0, 0, 0xFFFF0000)
    values = [_extended(chosen).to_bytes(10, "little") for _ in range(8)]
    return struct.pack("<7I", *words) + b"".join(values)


def draw_state(chosen: random.Random, hostile_fpu: bool = False) -> State:
    return State(
        tuple(_word(chosen) for _ in GENERAL),
        2 | chosen.getrandbits(12) & ARITHMETIC,
        0x1F80 | chosen.choice([0, 0, 0, 1, 2, 3]) << 13 | chosen.choice([0, 0, _DAZ]),
        b"".join(_vector_value(chosen).to_bytes(16, "little") for _ in range(4)),
        _fpu(chosen, hostile_fpu),
        tuple(_vector_value(chosen) for _ in range(16)),
    )
