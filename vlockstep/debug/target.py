"""What gdb is told of the CPU: which registers there are, in which order, how wide."""

from __future__ import annotations

from vlockstep.machine.registers import Registers

_CORE = (
    *((name, 64, "int64") for name in ("rax", "rbx", "rcx", "rdx", "rsi", "rdi")),
    *((name, 64, "data_ptr") for name in ("rbp", "rsp")),
    *((f"r{n}", 64, "int64") for n in range(8, 16)),
    ("rip", 64, "code_ptr"),
    ("eflags", 32, "i386_eflags"),
    *((name, 32, "int32") for name in ("cs", "ss", "ds", "es", "fs", "gs")),
    *((f"st{n}", 80, "i387_ext") for n in range(8)),
    *(
        (name, 32, "int")
        for name in ("fctrl", "fstat", "ftag", "fiseg", "fioff", "foseg", "fooff", "fop")
    ),
)
_SSE = (*((f"xmm{n}", 128, "vec128") for n in range(16)), ("mxcsr", 32, "i386_mxcsr"))
_SEGMENTS = tuple((name, 64, "int") for name in ("fs_base", "gs_base"))
REGISTERS = (*_CORE, *_SSE, *_SEGMENTS)
"""Name, bits and type of each, in gdb's order."""
_OURS = {
    "eflags": "rflags", "fctrl": "fpcw", "fstat": "fpsw", "ftag": "fptag", "fiseg": "fcs",
    "fioff": "fip", "foseg": "fds", "fooff": "fdp", **{f"st{n}": f"fp{n}" for n in range(8)},
}  # fmt: skip
_FLAGS = {
    "CF": 0, "PF": 2, "AF": 4, "ZF": 6, "SF": 7, "TF": 8, "IF": 9, "DF": 10, "OF": 11, "NT": 14,
    "RF": 16, "VM": 17, "AC": 18, "VIF": 19, "VIP": 20, "ID": 21,
}  # fmt: skip
_MXCSR = {
    "IE": 0, "DE": 1, "ZE": 2, "OE": 3, "UE": 4, "PE": 5, "DAZ": 6, "IM": 7, "DM": 8, "ZM": 9,
    "OM": 10, "UM": 11, "PM": 12, "FZ": 15,
}  # fmt: skip
_VECTORS = (
    ("v4f", "ieee_single", 4), ("v2d", "ieee_double", 2), ("v16i8", "int8", 16),
    ("v8i16", "int16", 8), ("v4i32", "int32", 4), ("v2i64", "int64", 2),
)  # fmt: skip


def encode(number: int, registers: Registers) -> bytes:
    """A register by its number, as gdb reads it."""
    name, bits, _ = REGISTERS[number]
    value = registers[_OURS.get(name, name)]
    return (value & (1 << bits) - 1).to_bytes(bits // 8, "little")


def encode_all(registers: Registers) -> bytes:
    return b"".join(encode(number, registers) for number in range(len(REGISTERS)))


def description() -> str:
    """`target.xml`."""
    flags, mxcsr = _flags("i386_eflags", _FLAGS), _flags("i386_mxcsr", _MXCSR)
    vectors = "".join(
        f'<vector id="{name}" type="{kind}" count="{count}"/>' for name, kind, count in _VECTORS
    )
    fields = "".join(f'<field name="{name[1:]}" type="{name}"/>' for name, _, _ in _VECTORS)
    union = f'<union id="vec128">{fields}<field name="uint128" type="uint128"/></union>'
    features = (
        _feature("core", flags + _rows(_CORE)),
        _feature("sse", vectors + union + mxcsr + _rows(_SSE)),
        _feature("segments", _rows(_SEGMENTS)),
    )
    return (
        '<?xml version="1.0"?><!DOCTYPE target SYSTEM "gdb-target.dtd"><target>'
        f"<architecture>i386:x86-64</architecture>{''.join(features)}</target>"
    )


def _feature(name: str, content: str) -> str:
    return f'<feature name="org.gnu.gdb.i386.{name}">{content}</feature>'


def _flags(name: str, bits: dict[str, int]) -> str:
    fields = "".join(f'<field name="{flag}" start="{at}" end="{at}"/>' for flag, at in bits.items())
    return f'<flags id="{name}" size="4">{fields}</flags>'


def _rows(registers: tuple[tuple[str, int, str], ...]) -> str:
    return "".join(
        f'<reg name="{name}" bitsize="{bits}" type="{kind}"/>' for name, bits, kind in registers
    )
