"""A crash of Unicorn in a guest's code ends the guest, not the process.

Some guests make Unicorn divide by zero, read far outside of its memory, or abort. What supervises
a guest must then be able to tell of it, end it on all replicas, and write a core; and a secondary
must not go live only to crash at the same instruction. A parent process could tell, but not go on.
So `guarded` calls a function through machine code that leaves a mark on the stack, and a handler of
signals goes back there from wherever below the crash was: the call returns minus the signal, and
Unicorn's engine is never used again but to look at its registers.

The handler leaves alone, for the handler before it, what somebody sent, what comes while Python
executes in this thread, and where there is no mark. There is none of this on other processors.
"""

from __future__ import annotations

import ctypes
import platform
import secrets
import signal
from collections.abc import Callable
from functools import cache
from typing import Any

from vlockstep.machine.nativecode import SA_SIGINFO, SignalAction, address_of, executable

SIGNALS = (signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGABRT)
_HANDLER = 0x33
_X86_64 = (
    # guarded: push rbp, rbx, r12 to r15; mov rax, MARK; xor rax, rsp; push rax
    "55 53 4154 4155 4156 4157 48b8{mark} 4831e0 50"
    # call r9; add rsp, 8
    "41ffd1 4883c408"
    # resume: mov qword [rsp - 8], 0; pop r15 to r12, rbx, rbp; ret
    "48c74424f800000000 415f 415e 415d 415c 5b 5d c3"
    # handler: push rdi, rsi, rdx; mov rax, PyGILState_Check; call rax; pop rdx, rsi, rdi
    "57 56 52 48b8{holds_gil} ffd0 5a 5e 5f"
    # test eax, eax; jnz other; cmp dword [rsi + 8], SI_USER; je other
    "85c0 752f 837e0800 7429"
    # mov rax, [rdx + 160] (RSP); mov ecx, 8192; mov r8, MARK
    "488b82a0000000 b900200000 49b8{mark}"
    # next: mov r9, [rax]; add rax, 8; xor r9, r8; cmp r9, rax; je found; dec ecx; jnz next
    "4c8b08 4883c008 4d31c1 4939c1 7433 ffc9 75ed"
    # other: push rdi; imul eax, edi, 152; mov rsi, BEFORE; add rsi, rax; xor edx, edx
    "57 69c798000000 48be{before} 4801c6 31d2"
    # mov rax, sigaction; call rax; pop rdi; mov rax, raise; jmp rax
    "48b8{sigaction} ffd0 5f 48b8{again} ffe0"
    # found: mov [rdx + 160], rax; lea rax, [resume]; mov [rdx + 168] (RIP), rax
    "488982a0000000 488d056affffff 488982a8000000"
    # neg edi; movsxd rdi, edi; mov [rdx + 144] (RAX), rdi; and dword [rdx + 176], ~DF; ret
    "f7df 4863ff 4889ba90000000 81a2b0000000fffbffff c3"
)
_NSIG = 65


Start = Callable[[Any, int, int, int, int], int]


def guarded(function: Any) -> Start:
    """`function`, of Unicorn's library, which takes an engine and four numbers: a result below 0 is
    minus the signal of a crash."""
    entry = _install()
    if entry is None:
        return lambda *arguments: int(function(*arguments))
    numbers = [ctypes.c_uint64] * 3 + [ctypes.c_size_t]
    prototype = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, *numbers, ctypes.c_void_p)
    call, target = prototype(entry), ctypes.cast(function, ctypes.c_void_p)
    return lambda *arguments: int(call(*arguments, target))


_kept: list[object] = []
"""What the handler uses, as long as the process lives."""


@cache
def _install() -> int | None:
    """The address of the code that marks the stack; None if there is none for this host."""
    if platform.system() != "Linux":
        return None
    library = ctypes.CDLL(None)
    before = (SignalAction * _NSIG)()
    code = _X86_64.format(
        mark=secrets.token_hex(8),
        holds_gil=_pointer(ctypes.pythonapi.PyGILState_Check),
        before=ctypes.addressof(before).to_bytes(8, "little").hex(),
        sigaction=_pointer(library.sigaction),
        again=_pointer(library["raise"]),
    )
    page = executable(x86_64=bytes.fromhex(code), aarch64=None)
    if page is None:
        return None
    start = address_of(page)
    _kept.extend((page, before))
    action = SignalAction(handler=start + _HANDLER, flags=SA_SIGINFO)
    for number in SIGNALS:
        library.sigaction(number, ctypes.byref(action), ctypes.byref(before[number]))
    return start


def _pointer(function: Any) -> str:
    address = ctypes.cast(function, ctypes.c_void_p).value or 0
    return address.to_bytes(8, "little").hex()
