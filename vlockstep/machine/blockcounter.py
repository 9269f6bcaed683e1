"""Counting basic blocks: a few dozen bytes of machine code where the host allows it.

The counter is four 64-bit words that the engine's block hook gets as its argument. Before each
block it does::

    if count >= target: stopped = 1; uc_emu_stop(engine)     # the block is not executed
    else:               count += 1

so `count` blocks have begun since it was last zeroed, and storing 0 to `target` from any thread
stops the guest at the next block boundary, exactly, at no cost while it runs.
"""

from __future__ import annotations

import ctypes
import mmap
from typing import Any

from vlockstep.machine.nativecode import address_of, executable

COUNT, TARGET, STOP_FUNCTION, STOPPED = range(4)
NEVER = (1 << 64) - 1

HOOK = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_uint64, ctypes.c_uint32, ctypes.c_void_p)

# Arguments of the hook: engine, address, size, counter.
X86_64 = bytes.fromhex(
    "488b01"  #           mov  rax, [rcx]
    "483b4108"  #         cmp  rax, [rcx + 8]
    "7304"  #             jae  stop
    "48ff01"  #           inc  qword ptr [rcx]
    "c3"  #               ret
    "48c7411801000000"  # stop: mov qword ptr [rcx + 0x18], 1
    "ff6110"  #           jmp  qword ptr [rcx + 0x10]
)
AARCH64 = bytes.fromhex(
    "640440a9"  #         ldp  x4, x1, [x3]
    "9f0001eb"  #         cmp  x4, x1
    "82000054"  #         b.hs stop
    "84040091"  #         add  x4, x4, #1
    "640000f9"  #         str  x4, [x3]
    "c0035fd6"  #         ret
    "240080d2"  #         stop: mov x4, #1
    "640c00f9"  #         str  x4, [x3, #0x18]
    "650840f9"  #         ldr  x5, [x3, #0x10]
    "a0001fd6"  #         br   x5
)


class BlockCounter:
    """`words` are the counter's four words; `function` and `argument` go to the block hook."""

    def __init__(self, stop_function: int, native: bool = True) -> None:
        self._page = mmap.mmap(-1, mmap.PAGESIZE)
        self.words = memoryview(self._page).cast("Q")
        self.words[TARGET] = NEVER
        self.words[STOP_FUNCTION] = stop_function
        self.argument = address_of(self._page)
        code = executable(x86_64=X86_64, aarch64=AARCH64) if native else None
        self.native = code is not None
        self._keep: Any
        if code is not None:
            self._keep = code
            self.function = address_of(code)
        else:
            self._keep = HOOK(self._count)
            self._stop = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p)(stop_function)
            self.function = ctypes.cast(self._keep, ctypes.c_void_p).value or 0

    def _count(self, engine: int, _address: int, _size: int, _argument: int) -> None:
        words = self.words
        if words[COUNT] >= words[TARGET]:
            words[STOPPED] = 1
            self._stop(engine)
        else:
            words[COUNT] += 1
