"""Every register a guest can set, comparable and with a readable difference."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

GENERAL = (
    "rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rsp",
    "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "rip", "rflags",
)  # fmt: skip
RESUME = 1 << 16
"""RFLAGS.RF: Unicorn clears it at the end of a block instead of an instruction. `exceptions` makes
what a guest sees of it, so that it is not read as a register."""
EFER, TSC_AUX = 0xC0000080, 0xC0000103
MSRS = {
    "efer": EFER, "star": 0xC0000081, "lstar": 0xC0000082, "cstar": 0xC0000083,
    "fmask": 0xC0000084, "fs_base": 0xC0000100, "gs_base": 0xC0000101,
    "kernel_gs_base": 0xC0000102, "tsc_aux": TSC_AUX, "sysenter_cs": 0x174,
    "sysenter_esp": 0x175, "sysenter_eip": 0x176, "apic_base": 0x1B, "pat": 0x277,
    "misc_enable": 0x1A0, "mcg_status": 0x17A, "mcg_ctl": 0x17B, "mtrr_default": 0x2FF,
    **{f"mtrr_{i:x}": i for i in (*range(0x200, 0x210), 0x250, 0x258, 0x259, *range(0x268, 0x270))},
}  # fmt: skip
WORDS = (
    "rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rsp", "r8", "r9", "r10", "r11", "r12",
    "r13", "r14", "r15", "rip", "rflags", "cs", "ds", "es", "fs", "gs", "ss", "cr0", "cr2",
    "cr3", "cr4", "cr8", "dr0", "dr1", "dr2", "dr3", "dr6", "dr7", "mxcsr", "fpcw", "fpsw",
    "fptag", "fip", "fcs", "fdp", "fds", "fop",
)  # fmt: skip
WIDE = (*(f"xmm{i}" for i in range(16)), *(f"fp{i}" for i in range(8)))
TABLES = ("gdtr", "idtr", "ldtr", "tr")
PARTS = {name: ("_base", "_limit", *([""] if name in ("ldtr", "tr") else [])) for name in TABLES}
NAMES = (
    *WORDS,
    *(f"{table}{part}" for table in TABLES for part in PARTS[table]),
    *MSRS,
    *WIDE,
)
"""All, in the order in which engines tell them. MSRS has the number of each that is one."""
_FLAGS = {
    0: "CF", 2: "PF", 4: "AF", 6: "ZF", 7: "SF", 8: "TF", 9: "IF", 10: "DF", 11: "OF", 14: "NT",
}  # fmt: skip


_WORD = (1 << 64) - 1
ACROSS_ENGINES = {
    "rflags": _WORD & ~0b1000_1101_0101,  # OF, SF, ZF, AF, PF, CF, each undefined somewhere
    "mxcsr": ~0x3F & 0xFFFF,  # flags of exceptions
    "fpsw": ~0x80FF & 0xFFFF,  # the same, and B
    **dict.fromkeys(("fip", "fcs", "fdp", "fds", "fop", "ds", "es", "fs", "gs"), 0),
}
"""Bits that every engine has alike; of registers that are not named, all."""
ON_ONE_PROCESSOR = dict.fromkeys(("fip", "fcs", "fdp", "fds", "fop"), 0)
"""Those that a guest has again which the same processor executes again: some lose the rest when
Linux switches threads."""
_DIGEST, _KIN = 16, 8


class Registers(Mapping[str, int]):
    """The registers of a guest at one position, by name: `registers["rip"]`, `registers.rip`.

    Two are equal if all their registers are; if one is of a guest that may change between engines,
    which has a `kin`, if all are but for what `ACROSS_ENGINES` leaves out. If both have the same
    `kin`, the processor that alone has executed the guest from boot on, only `ON_ONE_PROCESSOR`
    leaves something out; "" is none's. `assert a == b` in pytest shows the difference.
    """

    def __init__(self, values: Mapping[str, int], kin: str | None = None) -> None:
        self._values = dict(values)
        self.kin = kin

    def __getitem__(self, name: str) -> int:
        return self._values[name]

    def __getattr__(self, name: str) -> int:
        try:
            return self.__dict__["_values"][name]  # type: ignore[no-any-return]
        except KeyError:
            raise AttributeError(f"no register {name!r}") from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Registers):
            return False
        masks = self._masks(other)
        return self._compared(masks) == other._compared(masks)

    def __hash__(self) -> int:
        return hash(_digest(self._compared(ACROSS_ENGINES)))

    def difference(self, other: Registers) -> dict[str, tuple[int, int]]:
        """The registers that differ, each as (ours, theirs)."""
        masks = self._masks(other)
        theirs = other._compared(masks)
        return {
            name: (self[name], other[name])
            for name, value in self._compared(masks).items()
            if value != theirs[name]
        }

    def digest(self) -> bytes:
        """16 bytes, or 40 of a guest with a processor, for `agree`."""
        common = _digest(self._compared({} if self.kin is None else ACROSS_ENGINES))
        if not self.kin:
            return common
        kin = hashlib.blake2b(self.kin.encode(), digest_size=_KIN).digest()
        return common + kin + _digest(self._compared(ON_ONE_PROCESSOR))

    def _masks(self, other: Registers) -> Mapping[str, int]:
        if self.kin is None and other.kin is None:
            return {}
        return ON_ONE_PROCESSOR if self.kin and self.kin == other.kin else ACROSS_ENGINES

    def _compared(self, masks: Mapping[str, int]) -> dict[str, int]:
        return {n: v & masks[n] if n in masks else v for n, v in self._values.items()}

    def to_dict(self) -> dict[str, Any]:
        """Hexadecimal strings by name, for JSON."""
        return {name: f"{value:#x}" for name, value in self._values.items()}

    @classmethod
    def from_dict(cls, data: Mapping[str, str]) -> Registers:
        """The reverse of `to_dict`."""
        return cls({name: int(value, 16) for name, value in data.items()})

    def __str__(self) -> str:
        general = [f"{name:>6} {self[name]:016x}" for name in GENERAL]
        lines = ["  ".join(general[i : i + 4]) for i in range(0, len(general), 4)]
        lines[-1] += "  [" + " ".join(describe_flags(self["rflags"])) + "]"
        others = [
            f"{name} {value:x}"
            for name, value in self._values.items()
            if value and name not in GENERAL
        ]
        row = "       "
        for item in others:
            if len(row) + len(item) > 100:
                lines.append(row)
                row = "       "
            row += item + "  "
        return "\n".join([*lines, row]).rstrip()

    def __repr__(self) -> str:
        return f"<Registers rip={self['rip']:#x} digest={self.digest().hex()[:8]}>"


def agree(digest: bytes, other: bytes) -> bool:
    """Whether registers of one guest with these digests are equal."""
    exact = slice(0, None) if digest[_DIGEST:][:_KIN] == other[_DIGEST:][:_KIN] else slice(_DIGEST)
    return digest[exact] == other[exact]


def _digest(values: Mapping[str, int]) -> bytes:
    text = ",".join(f"{name}={value:x}" for name, value in values.items())
    return hashlib.blake2b(text.encode(), digest_size=_DIGEST).digest()


def describe_flags(rflags: int) -> list[str]:
    """The names of the flags that are set."""
    return [name for bit, name in _FLAGS.items() if rflags >> bit & 1]


def describe_difference(ours: Registers, theirs: Registers) -> str:
    """One line per differing register."""
    return "\n".join(
        f"{name:>14}: {a:#018x} != {b:#018x}  (xor {a ^ b:#x})"
        for name, (a, b) in ours.difference(theirs).items()
    )
