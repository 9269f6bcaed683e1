"""IDIV of the least number by -1, which is #DE in a guest.

Unicorn divides with the host's own instruction, and an x86-64 host answers with SIGFPE. A handler
in machine code skips that instruction: the quotient is then the least number, still, which is too
large for the guest's register, and Unicorn raises #DE itself. Other hosts need no handler. Other
faults go where they went.
"""

from __future__ import annotations

import ctypes
import mmap
import platform
import re
import signal
import struct
from functools import cache
from pathlib import Path

from vlockstep.machine.nativecode import SA_SIGINFO, SignalAction, address_of, executable

# Arguments: signal, details, context. Data: bounds of Unicorn, old handler, signal().
_HANDLER = (
    "49b9{data}"  #       mov  r9, data
    "488b82a8000000"  #   mov  rax, [rdx + 0xa8], which is RIP
    "493b01 7235"  #      cmp  rax, [r9]; jb other
    "493b4108 732f"  #    cmp  rax, [r9 + 8]; jae other
    "440fb600"  #         movzx r8d, byte [rax]
    "4180e0f0 4180f840"  # and r8b, 0xf0; cmp r8b, 0x40
    "7503 48ffc0"  #      jne + 3; inc rax, over REX
    "440fb700"  #         movzx r8d, word [rax]
    "664181e0fff8"  #     and  r8w, 0xf8ff
    "664181f8f7f8"  #     cmp  r8w, 0xf8f7, which is IDIV of a register
    "750c"  #             jne  other
    "4883c002"  #         add  rax, 2
    "488982a8000000 c3"  # mov [rdx + 0xa8], rax; ret
    "498b4110"  # other:  mov  rax, [r9 + 0x10]
    "4883f801"  #         cmp  rax, 1
    "7602 ffe0"  #        jbe  default; jmp rax
    "31f6 41ff6118"  #    default: xor esi, esi; jmp [r9 + 0x18]
)


@cache
def survive(library: str) -> None:
    """Let divisions of the shared library `library`, which is loaded, not end this process, from
    now on and before any handler of SIGFPE that is there."""
    if platform.system() != "Linux" or platform.machine() != "x86_64":
        return
    made = _handler(library)
    if made is None:
        return
    code, data = made
    libc = ctypes.CDLL(None)
    old = SignalAction()
    libc.sigaction(signal.SIGFPE, None, ctypes.byref(old))
    memoryview(data).cast("Q")[2] = old.handler or 0
    new = SignalAction(address_of(code), old.mask, SA_SIGINFO | old.flags, None)
    libc.sigaction(signal.SIGFPE, ctypes.byref(new), None)


@cache
def _handler(library: str) -> tuple[mmap.mmap, mmap.mmap] | None:
    """Its code and its data; None where the host forbids such code."""
    data = mmap.mmap(-1, mmap.PAGESIZE)
    words = memoryview(data).cast("Q")
    words[0], words[1] = _bounds(library)
    words[3] = ctypes.cast(ctypes.CDLL(None).signal, ctypes.c_void_p).value or 0
    at = struct.pack("<Q", address_of(data)).hex()
    code = executable(x86_64=bytes.fromhex(_HANDLER.format(data=at)), aarch64=b"")
    return None if code is None else (code, data)


def _bounds(library: str) -> tuple[int, int]:
    """Of its code; an empty range if it is not known."""
    path = str(Path(library).resolve())
    lines = Path("/proc/self/maps").read_text().splitlines()
    found = [
        (int(match[1], 16), int(match[2], 16))
        for line in lines
        if line.endswith(f" {path}") and (match := re.match(r"(\w+)-(\w+) r-xp", line))
    ]
    return (min(found)[0], max(found)[1]) if found else (0, 0)
