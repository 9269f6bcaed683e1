"""Traps in the places of instructions at which an engine that runs guests on the processor itself
cannot stop: an OUT to a port of each kind, or UD2.

Where they are is found when a guest is first started (`sitefinder`) and kept in its configuration,
so that every replica's code is the same, whatever engine executes it.
"""

from __future__ import annotations

from typing import NamedTuple

RDTSC, RDTSCP, CPUID, RANDOM, UNDEFINED = "rdtsc", "rdtscp", "cpuid", "random", "undefined"
PORTS = {RDTSC: 0x40, RDTSCP: 0x41, CPUID: 0x42}
"""To which the trap of each kind writes; what remains raises #UD."""
LONGEST_INSTRUCTION = 15
_OUT, _UD2, _NOP = 0xE7, b"\x0f\x0b", b"\x90"


class Site(NamedTuple):
    """An instruction of `length` bytes, prefixes included, and its kind."""

    address: int
    length: int
    kind: str

    @property
    def trap(self) -> bytes:
        """What stands there instead."""
        code = bytes((_OUT, PORTS[self.kind])) if self.kind in PORTS else _UD2
        return code + _NOP * (self.length - len(code))
