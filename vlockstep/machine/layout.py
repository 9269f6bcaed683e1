"""Where Unicorn keeps what is none of its registers: offsets within the context that it saves.

They are found by bringing a CPU into states that are known.
"""

from __future__ import annotations

import ctypes
import gc
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, NamedTuple

import unicorn
from unicorn import unicorn_const as uc_const
from unicorn.unicorn_py3.unicorn import uclib

from vlockstep.errors import HostError
from vlockstep.machine.boot import (
    CODE_DESCRIPTOR,
    CODE_SELECTOR,
    DATA_DESCRIPTOR,
    DATA_SELECTOR,
    GDT_LIMIT,
)
from vlockstep.machine.unicorncpu import Segment, check, open_cpu

INHIBIT_INTERRUPTS = 1 << 3
"""Of the hidden flags."""


class Layout(NamedTuple):
    """Offsets within a saved context."""

    error_code: int
    is_int: int
    in_flight: int
    hidden_flags: int
    code: int
    stack: int


@cache
def find_layout() -> Layout:
    """Bring the CPU into states that are known and look where they are kept."""
    bad_selector = 0xABC8
    load_it = b"\x66\xb8" + bad_selector.to_bytes(2, "little") + b"\x8e\xd8"
    general_protection = _provoke(load_it, uc_const.UC_HOOK_INTR)
    divide_error = _provoke(b"\x31\xc9\xf7\xf1", uc_const.UC_HOOK_INTR)
    interrupt = _provoke(b"\xcd\x80", uc_const.UC_HOOK_INTR)
    behind_sti = _provoke(b"\xfb\xeb\x00\xeb\x00", uc_const.UC_HOOK_BLOCK, 2)
    one_later = _provoke(b"\xfb\xeb\x00\xeb\x00", uc_const.UC_HOOK_BLOCK, 3)
    loaded, code_segment, stack_segment = _load_segments()
    candidates = [
        Layout(
            code, code + 4, flight, hidden, loaded.find(code_segment), loaded.find(stack_segment)
        )
        for code, flight in _offsets(
            (general_protection, bad_selector, 13), (divide_error, 0, 0), (interrupt, 0, -1)
        )
        for hidden in range(0, len(behind_sti) - 4, 4)
        if _word(interrupt, code + 4) == 1
        and _word(divide_error, code + 4) == 0
        and _word(behind_sti, hidden) == _word(one_later, hidden) | INHIBIT_INTERRUPTS
        and not _word(one_later, hidden) & INHIBIT_INTERRUPTS
        and loaded.count(code_segment) == loaded.count(stack_segment) == 1
    ]
    if len(candidates) != 1:
        raise HostError(
            f"this version of Unicorn ({unicorn.__version__}) is not known to vlockstep; "
            "install one that its pyproject.toml names"
        )
    return candidates[0]


_CODE_AT = 0x1000


def _word(context: bytes, offset: int) -> int:
    return int.from_bytes(context[offset : offset + 4], "little")


def _offsets(*samples: tuple[bytes, int, int]) -> Iterator[tuple[int, int]]:
    """Pairs of offsets whose words are (error code, exception in flight) in every sample."""
    words = range(0, len(samples[0][0]) - 4, 4)

    def matching(index: int, signed: str) -> list[int]:
        return [
            o
            for o in words
            if all(struct.unpack_from(signed, s[0], o)[0] == s[index] for s in samples)
        ]

    for code in matching(1, "<I"):
        for flight in matching(2, "<i"):
            yield code, flight


def _provoke(code: bytes, hook: int, times: int = 1) -> bytes:
    """The context a flat CPU saves when the hook is called for the n-th time in `code`."""
    try:
        return _context_in(code, hook, times)
    finally:
        gc.collect(1)  # an engine and its hooks refer to each other; it reserves a GiB


def _context_in(code: bytes, hook: int, times: int) -> bytes:
    uc, _ = open_cpu("qemu64")
    uc.mem_map(_CODE_AT, 0x1000)
    uc.mem_write(_CODE_AT, code)
    saved: list[bytes] = []

    def save(engine: Any, *_details: Any) -> None:
        with _context(engine) as content:
            saved.append(content)
        if len(saved) == times:
            engine.emu_stop()

    uc.hook_add(hook, save)
    uc.emu_start(_CODE_AT, 0)
    return saved[times - 1]


def _load_segments() -> tuple[bytes, bytes, bytes]:
    """The context of a CPU that has loaded CS and SS, and what it must hold of each."""
    # lgdt [rip + 28]; mov eax, DATA_SELECTOR; mov ss, eax; mov esp, 0x2000; push CODE_SELECTOR;
    # lea rax, [rip + 3]; push rax; retfq; jmp $ + 2
    load_them = bytes.fromhex("0f01151c000000 b810000000 8ed0 bc00200000 6a08")
    load_them += bytes.fromhex("488d0503000000 50 48cb eb00 0000")
    table = struct.pack("<HQ", GDT_LIMIT, _CODE_AT + len(load_them) + 10)
    table += struct.pack("<QQQ", 0, CODE_DESCRIPTOR, DATA_DESCRIPTOR)
    code, stack = Segment(), Segment()
    code.load(CODE_SELECTOR, CODE_DESCRIPTOR)
    stack.load(DATA_SELECTOR, DATA_DESCRIPTOR)
    return _provoke(load_them + table, uc_const.UC_HOOK_BLOCK, 4), bytes(code), bytes(stack)


@contextmanager
def _context(engine: Any) -> Iterator[bytes]:
    pointer = ctypes.c_void_p()
    check(uclib.uc_context_alloc(engine._uch, ctypes.byref(pointer)), "allocate a context")
    try:
        check(uclib.uc_context_save(engine._uch, pointer), "save its context")
        yield ctypes.string_at(pointer, uclib.uc_context_size(engine._uch))
    finally:
        uclib.uc_context_free(pointer)
