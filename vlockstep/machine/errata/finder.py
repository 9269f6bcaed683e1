"""Where code may hold an instruction that Unicorn gets wrong."""

from __future__ import annotations

import re
from collections.abc import Iterable

from vlockstep.machine.errata.boundaries import PREFIXES, Extent, instructions

_PREFIXES = b"[" + re.escape(bytes(PREFIXES)) + b"]{0,14}"
_EXCHANGE = rb"\x0f\xc7[\x08-\x0f\x48-\x4f\x88-\x8f]"  # CMPXCHG8B, CMPXCHG16B
_LOOP = rb"[\xe0\xe1]"  # LOOPNE, LOOPE
_LOOP_AT_END = _LOOP + rb".\Z"
_OTHERS = (
    rb"\xd9[\xf0-\xf3\xf5\xf8\xf9\xfb\xfe\xff]"  # F2XM1 to FPATAN, FPREM1, FPREM to FSINCOS, ...
    rb"|[\xc4\xc5]"  # VEX
    rb"|\x0f\x3a[\x60-\x63]"  # PCMPxSTRx
    rb"|\x0f\x38[\x01-\x03\x05-\x07][\xc0-\xff]"  # PHADDx, PHSUBx
)


def _one_of(*codes: bytes) -> re.Pattern[bytes]:
    return re.compile(b"|".join(codes), re.DOTALL)


_ERRATUM, _HINT = _one_of(_EXCHANGE, _OTHERS, _LOOP), _one_of(_EXCHANGE, _OTHERS, _LOOP_AT_END)
_ANYWHERE = re.compile(b"(?=" + _PREFIXES + b"(?:" + _HINT.pattern + b"))", re.DOTALL)
_EXCHANGES = re.compile(b"(?=" + _PREFIXES + _EXCHANGE + b")", re.DOTALL)


def find(code: bytes) -> set[int]:
    """Offsets at which one begins, as far as this is all code."""
    return _among(code, instructions(code))


def find_in_block(block: bytes) -> set[int]:
    """The same in a translated block, most of which have none. Where that cannot be told, every
    offset at which one might begin."""
    if not _HINT.search(block):
        return set()
    extents = list(instructions(block))
    if extents and extents[-1].end == len(block):
        return _among(block, extents)
    return {match.start() for match in _ANYWHERE.finditer(block)}


def _among(code: bytes, extents: Iterable[Extent]) -> set[int]:
    """One that has prefixes is told behind each, too: in 32-bit code not all of them are any."""
    return {
        offset
        for extent in extents
        if _ERRATUM.match(code, extent.opcode)
        for offset in range(extent.start, extent.opcode + 1)
    }


def find_exchanges(code: bytes) -> set[int]:
    """Offsets of those that are right where a block begins with them."""
    return {match.start() for match in _EXCHANGES.finditer(code)}
