"""Which functions a guest is in, by its image's symbols and its stack pointer."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from vlockstep.errors import UsageError
from vlockstep.machine.image import Image
from vlockstep.machine.position import shown

_MOST_FUNCTIONS = 20_000
_DEEPEST = 4096
_RETURN = re.compile(rb"(?=[\xf2\xf3]?\xc3|\xc2|\x48\xcf)")
"""RET, with a prefix or not, RET of some bytes, and IRETQ."""


class Function(NamedTuple):
    address: int
    name: str
    returns: tuple[int, ...]
    """Where an instruction may begin that leaves it. Most of these addresses are in the midst of
    others, where nothing begins."""


def functions(image: Image, names: Sequence[str] = ()) -> list[Function]:
    """Those with code, or those of them that are named. Raises `UsageError` for a name that there
    is not, and if there are too many."""
    starts: dict[int, str] = {}
    for address, name in image.symbols:
        starts.setdefault(address, name)
    present = set(starts.values())
    for name in names:
        if name not in present:
            close = difflib.get_close_matches(name, present)
            guess = f": did you mean {' or '.join(close)}?" if close else ""
            raise UsageError(f"{image.name} has no symbol of a function {shown(name)}{guess}")
    found = []
    ordered = sorted(starts)
    for address, following in zip(ordered, [*ordered[1:], image.end], strict=True):
        if names and starts[address] not in names:
            continue
        for segment in image.segments:
            if segment.executable and segment.address <= address < segment.end:
                begin = address - segment.address
                code = segment.data[begin : following - segment.address]
                leaves = tuple(address + match.start() for match in _RETURN.finditer(code))
                found.append(Function(address, starts[address], leaves))
    if len(found) > _MOST_FUNCTIONS:
        raise UsageError(
            f"{image.name} has {len(found)} functions, and no more than {_MOST_FUNCTIONS} can be "
            "looked at in one go: name some"
        )
    return found


class Calls:
    """Functions that have been entered and not left, outermost first, each with the stack pointer
    at its entry. Of those that are nested deeper than 4096, the outermost are forgotten.

    Who is left otherwise than by returning, by a jump into another function or to another stack, is
    found to be when the stack pointer is above.
    """

    def __init__(self) -> None:
        self._open: list[tuple[int, str]] = []

    @property
    def depth(self) -> int:
        return len(self._open)

    def enter(self, stack: int, name: str) -> list[str]:
        """Whom that shows to have been left, innermost first, before `name` is entered."""
        left = [each for _, each in self.leave(stack)]
        self._open.append((stack, name))
        del self._open[:-_DEEPEST]
        return left

    def leave(self, stack: int) -> Iterator[tuple[bool, str]]:
        """Whom a return leaves, innermost first, and before them those who are shown to have been
        left before, with True."""
        while self._open and self._open[-1][0] <= stack:
            top, name = self._open.pop()
            yield top < stack, name
