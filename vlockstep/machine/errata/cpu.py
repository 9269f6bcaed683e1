"""What errata need of a CPU."""

from __future__ import annotations

from typing import Protocol

GENERAL = (
    "rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
    "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15",
)  # fmt: skip
"""By their numbers in instructions."""


class Registers(Protocol):
    """By name; `fp0` to `fp7` have 80 bits, `xmm0` to `xmm15` 128."""

    def __getitem__(self, register: str) -> int: ...
    def __setitem__(self, register: str, value: int) -> None: ...


class Cpu(Registers, Protocol):
    @property
    def in_long_code(self) -> bool:
        """Whether it executes 64-bit code."""
        ...
