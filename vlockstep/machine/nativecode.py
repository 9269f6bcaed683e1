"""Machine code of our own, a few dozen bytes at a time, where the host allows it."""

from __future__ import annotations

import ctypes
import mmap
import platform

SA_SIGINFO = 4
_NAMES = {"x86_64": "x86_64", "amd64": "x86_64", "aarch64": "aarch64", "arm64": "aarch64"}


class SignalAction(ctypes.Structure):
    """`struct sigaction` of Linux's C libraries on x86-64."""

    _fields_ = [
        ("handler", ctypes.c_void_p),
        ("mask", ctypes.c_uint64 * 16),
        ("flags", ctypes.c_int),
        ("restorer", ctypes.c_void_p),
    ]


def executable(*, x86_64: bytes, aarch64: bytes | None) -> mmap.mmap | None:
    """The code for this host's processor in executable memory, at its start; None for another
    processor, or where the host forbids such memory.

    Written first and made executable after: on aarch64 that is when the kernel makes the
    instruction cache see the bytes, and no page is ever writable and executable.
    """
    stubs = {"x86_64": x86_64, "aarch64": aarch64}
    stub = stubs.get(_NAMES.get(platform.machine().lower(), ""))
    if stub is None or platform.system() == "Windows":
        return None
    code = mmap.mmap(-1, mmap.PAGESIZE)
    code[: len(stub)] = stub
    protect = ctypes.CDLL(None).mprotect
    protect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    if protect(address_of(code), mmap.PAGESIZE, mmap.PROT_READ | mmap.PROT_EXEC) != 0:
        return None
    return code


def address_of(page: mmap.mmap) -> int:
    """Where it lies in this process. It stays mapped from now on, as long as anything holds it."""
    return ctypes.addressof(ctypes.c_char.from_buffer(page))
