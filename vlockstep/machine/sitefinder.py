"""Where an image has instructions at which an engine that runs guests on the processor itself
cannot stop, and which get a trap (`sites`).
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator
from functools import lru_cache

from vlockstep.errors import ImageError
from vlockstep.machine.config import GuestConfig
from vlockstep.machine.cpumodels import MODELS
from vlockstep.machine.errata.boundaries import Extent, instructions
from vlockstep.machine.image import Image, Segment
from vlockstep.machine.position import shown
from vlockstep.machine.randomness import decode
from vlockstep.machine.sites import (
    CPUID,
    LONGEST_INSTRUCTION,
    RANDOM,
    RDTSC,
    RDTSCP,
    UNDEFINED,
    Site,
)

_KINDS = {
    RDTSC: rb"\x0f\x31",
    RDTSCP: rb"\x0f\x01\xf9",
    CPUID: rb"\x0f\xa2",
    RANDOM: rb"\x0f\xc7[\xf0-\xff]",
    # SYSCALL, RDPMC, SYSENTER, VMCALL, VMMCALL
    UNDEFINED: rb"\x0f(?:[\x05\x33\x34]|\x01[\xc1\xd9])",
}
_SUSPECTS = re.compile(
    b"|".join(b"(?P<%s>%s)" % (kind.encode(), code) for kind, code in _KINDS.items()), re.DOTALL
)


@lru_cache(maxsize=1)
def find(image: Image, model: str) -> tuple[Site, ...]:
    """All of an image, by address, for a CPU of this model. Raises `ImageError` where it cannot be
    told whether bytes are one: code is read from each function's beginning to the next one's, in
    two ways that must agree."""
    if image.executable_heap:
        raise ImageError(
            f"{image.name}: asks for a heap in which it may write code, where there would be no "
            "traps: such an image cannot run on the processor itself, use the engine unicorn",
            key=("engine",),
        )
    starts = [address for address, _ in image.symbols]
    return tuple(
        site if _has(MODELS[model], site, code) else site._replace(kind=UNDEFINED)
        for segment in image.segments
        if segment.executable
        for site, code in _in_segment(image, segment, starts)
    )


def _in_segment(image: Image, segment: Segment, starts: list[int]) -> Iterator[tuple[Site, bytes]]:
    read: dict[int, list[Extent]] = {}
    for match in _SUSPECTS.finditer(segment.data):
        offset = match.start()
        first = bisect_right(starts, segment.address + offset) - 1
        begin = max(starts[first] - segment.address, 0) if first >= 0 else 0
        behind = starts[first + 1] - segment.address if first + 1 < len(starts) else None
        if begin not in read:
            read[begin] = _read(segment.data[begin:behind])
        at = offset - begin
        holds = next((e for e in read[begin] if e.start <= at < e.end), None)
        if holds is None:
            raise ImageError(
                f"{image.name}: cannot tell whether the bytes at {segment.address + offset:#x} "
                f"({match.group().hex(' ')}) are an instruction ({match.lastgroup}), so that this "
                "image cannot run on the processor itself: use the engine unicorn",
                key=("engine",),
            )
        if holds.opcode == at:
            address, length = segment.address + begin + holds.start, holds.end - holds.start
            code = segment.data[begin + holds.start : begin + holds.end]
            yield Site(address, length, match.lastgroup or ""), code


def _has(features: frozenset[str], site: Site, code: bytes) -> bool:
    """Whether a CPU with these features has the instruction; none has RDPID."""
    if site.kind == RANDOM:
        read = decode(code)
        return read is not None and read.feature in features
    return site.kind != RDTSCP or "rdtscp" in features


def _read(code: bytes) -> list[Extent]:
    """The instructions of a function, as far as both ways see the same."""
    import capstone

    reader = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)
    others = {(at, at + size) for at, size, _, _ in reader.disasm_lite(code, 0)}
    return [extent for extent in instructions(code) if (extent.start, extent.end) in others]


def check(image: Image, sites: tuple[Site, ...]) -> None:
    """Raises `ImageError` if there is no such instruction in the image at one of them, or if they
    are not in order."""
    end = 0
    for site in sites:
        if site.address < end or not _is_there(image, site):
            raise ImageError(
                f"{image.name}: the guest's configuration names an instruction "
                f"({shown(site.kind)}) at {site.address:#x}, where the image has none"
            )
        end = site.address + site.length


def check_whole(image: Image, config: GuestConfig) -> None:
    """Raises `ImageError` if an instruction has no trap that needs one on the processor itself."""
    given = frozenset(config.sites or ())
    for site in find(image, config.cpu):
        if site not in given:
            raise ImageError(
                f"{image.name}: the guest's configuration gives no trap to the instruction "
                f"({site.kind}) at {site.address:#x}: use the engine unicorn",
                key=("engine",),
            )


def _is_there(image: Image, site: Site) -> bool:
    code = b""
    for segment in image.segments:
        if segment.executable and segment.address <= site.address < segment.end:
            at = site.address - segment.address
            code = segment.data[at : at + LONGEST_INSTRUCTION]
    extent = next(instructions(code), None)
    match = _SUSPECTS.match(code, extent.opcode) if extent else None
    if extent is None or match is None or extent.end != site.length:
        return False
    lacked = site.kind == UNDEFINED and match.lastgroup in (RANDOM, RDTSCP)
    return site.kind == match.lastgroup or lacked
