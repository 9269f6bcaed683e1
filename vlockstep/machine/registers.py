"""Every register a guest can set, comparable and with a readable difference."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

GENERAL = (
    "rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rsp",
    "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "rip", "rflags",
)  # fmt: skip
_FLAGS = {
    0: "CF", 2: "PF", 4: "AF", 6: "ZF", 7: "SF", 8: "TF", 9: "IF", 10: "DF", 11: "OF", 14: "NT",
}  # fmt: skip


class Registers(Mapping[str, int]):
    """The registers of a guest at one position, by name: `registers["rip"]`, `registers.rip`.

    Two are equal if all their registers are. `assert a == b` in pytest shows the difference.
    """

    def __init__(self, values: Mapping[str, int]) -> None:
        self._values = dict(values)

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
        return isinstance(other, Registers) and self._values == other._values

    def __hash__(self) -> int:
        return hash(self.digest())

    def difference(self, other: Registers) -> dict[str, tuple[int, int]]:
        """The registers that differ, each as (ours, theirs)."""
        return {n: (v, other[n]) for n, v in self._values.items() if v != other[n]}

    def digest(self) -> bytes:
        """16 bytes that are equal for equal registers."""
        text = ",".join(f"{name}={value:x}" for name, value in self._values.items())
        return hashlib.blake2b(text.encode(), digest_size=16).digest()

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


def describe_flags(rflags: int) -> list[str]:
    """The names of the flags that are set."""
    return [name for bit, name in _FLAGS.items() if rflags >> bit & 1]


def describe_difference(ours: Registers, theirs: Registers) -> str:
    """One line per differing register."""
    return "\n".join(
        f"{name:>14}: {a:#018x} != {b:#018x}  (xor {a ^ b:#x})"
        for name, (a, b) in ours.difference(theirs).items()
    )
