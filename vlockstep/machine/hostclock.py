"""Take the host's clock away from Unicorn.

Unicorn shrinks its TLB when a tenth of a second has passed since it last grew. Which translations
are cached can be seen by a guest (in the accessed bits of page tables that it changes without
INVLPG), so what it computes would depend on how busy its host was. For this alone, the library
calls `gettimeofday`. `stop_clock` leads that call to a function whose time stands still: then the
TLB grows by what the guest does, and never shrinks.
"""

from __future__ import annotations

import ctypes
import sys
from functools import cache
from pathlib import Path

from vlockstep.errors import HostError
from vlockstep.machine.nativecode import address_of, executable

X86_64 = bytes.fromhex(
    "31c0"  #     xor  eax, eax
    "488907"  #   mov  qword ptr [rdi], rax
    "48894708"  # mov  qword ptr [rdi + 8], rax
    "c3"  #       ret
)
AARCH64 = bytes.fromhex(
    "1f7c00a9"  # stp  xzr, xzr, [x0]
    "00008052"  # mov  w0, #0
    "c0035fd6"  # ret
)

_FUNCTION = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)

_STRINGS, _SYMBOLS, _STRINGS_SIZE = 5, 6, 10
_CALLS, _CALLS_SIZE, _OTHERS, _OTHERS_SIZE = 23, 2, 7, 8
"""Of the dynamic section: names, symbols, and relocations, those of calls apart."""
_RELOCATION_WORDS, _SYMBOL_SIZE = 3, 24


class _LinkMap(ctypes.Structure):
    """What the handle of a loaded library points to, in glibc and in musl."""

    _fields_ = [
        ("base", ctypes.c_uint64),
        ("name", ctypes.c_char_p),
        ("dynamic", ctypes.c_uint64),
    ]


@cache
def stop_clock(library: ctypes.CDLL) -> None:
    """Make it always 1970 for `library`. Only on Linux; elsewhere its clock goes on.

    Raises `HostError` if the library does not read the clock in the way that is known.
    """
    if sys.platform != "linux":
        return
    slots = _slots(_LinkMap.from_address(library._handle))
    if not slots:
        raise HostError(
            f"{library._name} does not call gettimeofday, so it is no Unicorn that is known to "
            "vlockstep; install one that its pyproject.toml names, from PyPI"
        )
    function, _ = _still_clock()
    try:
        # In this way they are written whether or not the linker has made them read-only.
        with Path("/proc/self/mem").open("r+b", buffering=0) as memory:
            for slot in slots:
                memory.seek(slot)
                memory.write(function.to_bytes(8, sys.byteorder))
    except OSError as error:
        raise HostError(
            f"cannot take the clock away from Unicorn ({error.strerror}); /proc must be mounted, "
            "and /proc/self/mem writable"
        ) from error


@cache
def _still_clock() -> tuple[int, object]:
    """The address of a `gettimeofday` that always answers 0, and what keeps it there."""
    code = executable(x86_64=X86_64, aarch64=AARCH64)
    if code is not None:
        return address_of(code), code
    portable = _FUNCTION(_answer_zero)
    return ctypes.cast(portable, ctypes.c_void_p).value or 0, portable


def _answer_zero(time: int, _zone: int) -> int:
    ctypes.memset(time, 0, 16)
    return 0


def _slots(library: _LinkMap) -> list[int]:
    """Where the linker has put the address of `gettimeofday` for `library`'s own calls."""
    dynamic = _dynamic_section(library)
    strings = ctypes.string_at(dynamic[_STRINGS], dynamic[_STRINGS_SIZE])
    name = strings.find(b"\0gettimeofday\0") + 1
    if not name:
        return []

    def relocated(table: int, size: int) -> list[int]:
        words = (ctypes.c_uint64 * (dynamic.get(size, 0) // 8)).from_address(dynamic.get(table, 0))
        pairs = zip(words[0::_RELOCATION_WORDS], words[1::_RELOCATION_WORDS], strict=True)
        return [
            library.base + offset
            for offset, kind in pairs
            if kind >> 32
            and name
            == ctypes.c_uint32.from_address(dynamic[_SYMBOLS] + _SYMBOL_SIZE * (kind >> 32)).value
        ]

    return relocated(_CALLS, _CALLS_SIZE) or relocated(_OTHERS, _OTHERS_SIZE)


def _dynamic_section(library: _LinkMap) -> dict[int, int]:
    """Values and addresses by their tags. Some linkers keep addresses relative to the base."""
    values: dict[int, int] = {}
    at = library.dynamic
    while tag := ctypes.c_uint64.from_address(at).value:
        values[tag] = ctypes.c_uint64.from_address(at + 8).value
        at += 16
    for tag in (_STRINGS, _SYMBOLS, _CALLS, _OTHERS):
        if 0 < values.get(tag, 0) < library.base:
            values[tag] += library.base
    return values
