"""ELF core files that gdb opens together with the image: `gdb IMAGE CORE`."""

from __future__ import annotations

import os
import struct
from pathlib import Path

from vlockstep.errors import HostError
from vlockstep.files.locks import PRIVATE
from vlockstep.machine.image import Image
from vlockstep.machine.memory import READ_FLOOR, Memory
from vlockstep.machine.registers import Registers

_ET_CORE, _EM_X86_64, _PT_LOAD, _PT_NOTE, _NT_PRSTATUS = 4, 62, 1, 4, 1
_HEADER, _PROGRAM_HEADER = struct.Struct("<16sHHIQQQIHHHHHH"), struct.Struct("<IIQQQQQQ")
_SIGABRT = 6

# Order of `struct user_regs_struct` in Linux's <sys/user.h> for x86-64.
_USER_REGISTERS = (
    "r15", "r14", "r13", "r12", "rbp", "rbx", "r11", "r10", "r9", "r8", "rax", "rcx", "rdx",
    "rsi", "rdi", "", "rip", "cs", "rflags", "rsp", "ss", "fs_base", "gs_base", "ds", "es",
    "fs", "gs",
)  # fmt: skip


def write_core(directory: Path, image: Image, memory: Memory, registers: Registers) -> Path:
    """Write the guest's RAM and registers to a new file in `directory`; its path."""
    path = directory / f"core.{image.name}.{os.getpid()}"
    extents = [(max(low, READ_FLOOR), high) for low, high in memory.extents() if high > READ_FLOOR]
    note = _status_note(registers)
    count = 1 + len(extents)
    offset = _HEADER.size + count * _PROGRAM_HEADER.size
    identity = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")
    headers = [
        _HEADER.pack(
            identity, _ET_CORE, _EM_X86_64, 1, 0, _HEADER.size, 0, 0, _HEADER.size,
            _PROGRAM_HEADER.size, count, 0, 0, 0,
        ),
        _PROGRAM_HEADER.pack(_PT_NOTE, 0, offset, 0, 0, len(note), len(note), 4),
    ]  # fmt: skip
    offset += len(note)
    for low, high in extents:
        size = high - low
        headers.append(_PROGRAM_HEADER.pack(_PT_LOAD, 7, offset, low, low, size, size, 1))
        offset += size
    try:
        directory.mkdir(parents=True, exist_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        with os.fdopen(os.open(path, flags, PRIVATE), "wb") as file:
            file.writelines(headers)
            file.write(note)
            for low, high in extents:
                file.write(memory.ram[low:high])
    except OSError as error:
        raise HostError(f"cannot write the core file {path}: {error.strerror}") from error
    return path


def _status_note(registers: Registers) -> bytes:
    """An NT_PRSTATUS note: `struct elf_prstatus` of Linux on x86-64."""
    values = [registers[name] if name else (1 << 64) - 1 for name in _USER_REGISTERS]
    status = struct.pack("<iiihxxQQIIII", _SIGABRT, 0, 0, _SIGABRT, 0, 0, 1, 1, 1, 1)
    status += bytes(64) + struct.pack("<27Q", *values) + struct.pack("<ixxxx", 0)
    return struct.pack("<III8s", 5, len(status), _NT_PRSTATUS, b"CORE") + status
