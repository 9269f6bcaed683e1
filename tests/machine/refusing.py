"""A Linux that refuses what it could do, for the rest of this process's life."""

from __future__ import annotations

import ctypes
import os
import platform
import resource
import struct
from errno import EINVAL, ENOSYS, ENOTTY

__all__ = ["EINVAL", "ENOSYS", "ENOTTY", "IOCTL", "USERFAULTFD", "leave_descriptors", "refuse"]

USERFAULTFD, IOCTL = {"x86_64": (323, 16), "aarch64": (282, 29)}[platform.machine()]

_NO_NEW_PRIVILEGES, _SECCOMP, _FILTER = 38, 22, 2
_LOAD, _EQUAL, _RETURN = 0x20, 0x15, 0x06
_NUMBER, _SECOND_ARGUMENT = 0, 24
_ERROR, _ALLOW = 0x50000, 0x7FFF0000


def refuse(call: int, error: int, second: int | None = None) -> None:
    """Let a system call fail, or that with this second argument, by a filter of seccomp."""
    conditions = [(_NUMBER, call), *([] if second is None else [(_SECOND_ARGUMENT, second)])]
    program = b""
    for index, (offset, value) in enumerate(conditions):
        otherwise = 2 * (len(conditions) - index - 1) + 1
        program += struct.pack("<HBBI", _LOAD, 0, 0, offset)
        program += struct.pack("<HBBI", _EQUAL, 0, otherwise, value)
    program += struct.pack("<HBBI", _RETURN, 0, 0, _ERROR | error)
    program += struct.pack("<HBBI", _RETURN, 0, 0, _ALLOW)
    code = ctypes.create_string_buffer(program, len(program))
    header = struct.pack("@HP", len(program) // 8, ctypes.addressof(code))
    control = ctypes.CDLL(None, use_errno=True).prctl
    assert control(_NO_NEW_PRIVILEGES, 1, 0, 0, 0) == 0
    assert control(_SECCOMP, _FILTER, header) == 0, os.strerror(ctypes.get_errno())


def leave_descriptors(count: int) -> None:
    """Allow so many files more."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    free = os.dup(0)
    os.close(free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free + count, most))
