"""A guest that stands still, to be looked at, and who asks about it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, BinaryIO

from vlockstep.errors import UsageError
from vlockstep.machine.machine import Machine
from vlockstep.machine.memory import Memory

MAX_LENGTH = 1 << 20
"""Bytes of RAM that are shown at once."""
_MAX_LINE = 256


def look_around(
    place: str, machine: Machine, lines: BinaryIO, observe: Callable[[dict[str, Any]], None]
) -> None:
    """Report the guest's state, and answer `memory ADDRESS LENGTH`, until an empty line or the end
    of `lines`."""
    observe(
        {
            "event": "reached",
            "place": place,
            "position": str(machine.position),
            "registers": machine.registers().to_dict(),
            "memory_digest": machine.memory.digest().hex(),
        }
    )
    while words := lines.readline(_MAX_LINE).split():
        try:
            address, content = _content(words, machine.memory)
            answer = {"address": address, "content": content.hex(), "problem": ""}
        except UsageError as error:
            answer = {"address": 0, "content": "", "problem": str(error)}
        observe({"event": "memory", **answer})


def _content(words: list[bytes], memory: Memory) -> tuple[int, bytes]:
    try:
        command, *numbers = words
        address, length = (int(number, 0) for number in numbers)
        if command != b"memory":
            raise ValueError
    except ValueError:
        raise UsageError(
            "write an empty line to let the guest go on, or memory ADDRESS LENGTH"
        ) from None
    if length > MAX_LENGTH:
        raise UsageError(f"{length} bytes are too many: ask for at most {MAX_LENGTH} at once")
    return address, memory.peek(address, length)
