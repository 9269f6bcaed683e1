"""Counting basic blocks: two dozen bytes of machine code where the host allows it.

The counter is three 64-bit words that the engine's block hook gets as its argument. Before each
block it does::

    if count < target or not reached(): count += 1
    else: uc_emu_stop(engine)     # the block is not executed

so `count` blocks have begun since it was last zeroed, and storing 0 to `target` from any thread
makes the guest ask at the next block boundary, exactly, at no cost while it runs.

`reached` decides within the hook, because a stop is not always without effect on what follows:
where a block has overwritten itself, Unicorn executes the instruction that did so alone, as a
block of its own. It forgets that when it is stopped there, and blocks would be counted in another
way than in an execution that nobody stops. The size of the `block` before which `reached` is asked
tells such places from others.
"""

from __future__ import annotations

import ctypes
import mmap
from collections.abc import Callable
from typing import Any

from vlockstep.machine.nativecode import address_of, executable

COUNT, TARGET, _REACHED = range(3)
NEVER = (1 << 64) - 1

HOOK = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_uint64, ctypes.c_uint32, ctypes.c_void_p)

# Arguments of the hook: engine, address, size, counter.
X86_64 = bytes.fromhex(
    "488b01"  #    mov  rax, [rcx]
    "483b4108"  #  cmp  rax, [rcx + 8]
    "7304"  #      jae  reached
    "48ff01"  #    inc  qword ptr [rcx]
    "c3"  #        ret
    "ff6110"  #    reached: jmp qword ptr [rcx + 0x10]
)
AARCH64 = bytes.fromhex(
    "640440a9"  #  ldp  x4, x1, [x3]
    "9f0001eb"  #  cmp  x4, x1
    "82000054"  #  b.hs reached
    "84040091"  #  add  x4, x4, #1
    "640000f9"  #  str  x4, [x3]
    "c0035fd6"  #  ret
    "650840f9"  #  reached: ldr x5, [x3, #0x10]
    "a0001fd6"  #  br   x5
)


class BlockCounter:
    """`words` are the counter's words; `function` and `argument` go to the block hook."""

    def __init__(
        self,
        reached: Callable[[], bool],
        stop: Callable[[int], object],
        native: bool = True,
    ) -> None:
        """At the target `reached` tells whether to `stop` the engine."""
        self._reached, self._stop = reached, stop
        self._page = mmap.mmap(-1, mmap.PAGESIZE)
        self.words = memoryview(self._page).cast("Q")
        self.words[TARGET] = NEVER
        self.argument = address_of(self._page)
        self.stopped = False
        self.block = (0, 0)
        """Address and size of the one that `reached` was asked about last."""
        self._at_target = HOOK(self._decide)
        self.words[_REACHED] = ctypes.cast(self._at_target, ctypes.c_void_p).value or 0
        code = executable(x86_64=X86_64, aarch64=AARCH64) if native else None
        self.native = code is not None
        self._keep: Any
        if code is not None:
            self._keep = code
            self.function = address_of(code)
        else:
            self._keep = HOOK(self._count)
            self.function = ctypes.cast(self._keep, ctypes.c_void_p).value or 0

    def close(self) -> None:
        """Forget whom to ask. The hook must not be called again."""
        del self._reached

    def _count(self, engine: int, address: int, size: int, argument: int) -> None:
        if self.words[COUNT] < self.words[TARGET]:
            self.words[COUNT] += 1
        else:
            self._decide(engine, address, size, argument)

    def _decide(self, engine: int, address: int, size: int, _argument: int) -> None:
        self.block = address, size
        if self._reached():
            self.stopped = True
            self._stop(engine)
        else:
            self.words[COUNT] += 1
