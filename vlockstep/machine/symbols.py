"""The names of an image's functions and variables. They are for people only, and come from a
hostile file: what is damaged costs names and nothing else, and no more memory than a few times the
file's size."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

_HEADER = struct.Struct("<40xQ10xHH2x")
_SECTION = struct.Struct("<4xI16xQQI20x")
_SYMBOL = struct.Struct("<IB3xQQ")
_SYMBOL_TABLE = 2
_VARIABLE, _FUNCTION = 1, 2
_LONGEST_NAME = 256


class Symbol(NamedTuple):
    """Of a function, or a variable of some bytes."""

    address: int
    name: str
    size: int
    function: bool


def named(content: bytes) -> Iterator[Symbol]:
    """The functions and variables in the symbol table of this ELF file."""
    start, size, count = _HEADER.unpack_from(content)
    if size != _SECTION.size:
        return
    sections = list(_rows(_SECTION, content, start, size * count))
    for kind, start, size, link in sections:
        if kind == _SYMBOL_TABLE and link < len(sections):
            _, names_start, names_size, _ = sections[link]
            names = content[names_start : names_start + names_size]
            for name, info, address, length in _rows(_SYMBOL, content, start, size):
                if info & 0xF in (_VARIABLE, _FUNCTION):
                    yield Symbol(address, _text(names, name), length, info & 0xF == _FUNCTION)


def _rows(
    layout: struct.Struct, content: bytes, start: int, size: int
) -> Iterator[tuple[int, ...]]:
    """As many whole rows as there are."""
    table = memoryview(content)[start : start + size]
    return layout.iter_unpack(table[: len(table) // layout.size * layout.size])


def _text(names: bytes, start: int) -> str:
    end = names.find(b"\0", start, start + _LONGEST_NAME)
    return names[start : end if end >= 0 else start + _LONGEST_NAME].decode(errors="replace")
