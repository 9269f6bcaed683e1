"""What CPUID tells a guest on KVM."""

from __future__ import annotations

from vlockstep.machine.kvm import abi
from vlockstep.machine.unicorncpu import cpuid

_UMIP = 1 << 2
"""In ECX of the leaf of `_FEATURES`: what CR4.UMIP needs."""
_LEAVES = (*range(0xE), 0x80000000, 0x80000001, *range(0x80000002, 0x80000009))
_DETERMINISTIC_CACHES, _CORES, _FEATURES, _STATE = 4, 0xB, 7, 0xD
_SUBLEAVES = {_DETERMINISTIC_CACHES: 4, _FEATURES: 1, _CORES: 2, _STATE: 3}


def cpuid_table(model: str) -> abi.Cpuid:
    """What the processor is to answer itself, where it is asked by code that has no trap."""
    table = abi.Cpuid()
    for leaf in _LEAVES:
        for subleaf in range(_SUBLEAVES.get(leaf, 0) + 1):
            told = dict(cpuid(model, leaf, subleaf))
            if (leaf, subleaf) == (_FEATURES, 0):
                told["rcx"] |= _UMIP
            flags = abi.HAS_SUBLEAVES if leaf in _SUBLEAVES else 0
            entry = abi.CpuidEntry(
                leaf, subleaf, flags, *(told[n] for n in ("rax", "rbx", "rcx", "rdx"))
            )
            table.entries[table.count] = entry
            table.count += 1
    return table
