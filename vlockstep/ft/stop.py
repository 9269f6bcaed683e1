"""A guest that stands still, to be looked at, and who asks about it."""

from __future__ import annotations

from collections.abc import Callable
from typing import BinaryIO

from vlockstep.errors import UsageError
from vlockstep.ft import events
from vlockstep.machine.interface import GuestMemory, Probe

MAX_LENGTH = 1 << 20
"""Bytes of RAM that are shown at once."""
_MAX_LINE = 256


def look_around(
    place: str, machine: Probe, lines: BinaryIO, observe: Callable[[events.Event], None]
) -> None:
    """Report the guest's state, and answer `memory ADDRESS LENGTH`, until an empty line or the end
    of `lines`."""
    observe(events.Reached(place, machine.position, machine.registers(), machine.memory.digest()))
    while words := lines.readline(_MAX_LINE).split():
        try:
            address, content = _content(words, machine.memory)
            observe(events.Memory(address, content, ""))
        except UsageError as error:
            observe(events.Memory(0, b"", str(error)))


def _content(words: list[bytes], memory: GuestMemory) -> tuple[int, bytes]:
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
