"""What a guest is started with: equal on every replica, stored in every log."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, field
from typing import Any, TypeVar

from vlockstep.errors import Key, LogError, UsageError
from vlockstep.machine.sites import LONGEST_INSTRUCTION, Site

MIB = 1 << 20
MEMORY_STEP = 2 * MIB
MAX_MEMORY = 4096 * MIB
DEFAULT_MEMORY = 512 * MIB
COMMAND_LINE_SIZE = 8192
BLOCK_SIZE = 512
"""The usual one, and the least."""
MAX_BLOCK_SIZE = 32768
"""The greatest power of two in the 16 bits that the manifest has for it."""
MTU = 1500
"""The usual one."""
MIN_MTU, MAX_MTU = 68, 65535
_T = TypeVar("_T")
_MAC = re.compile(r"[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}")
_OTHERS = (RecursionError, UsageError)
CYCLE_FREQUENCY = 1_000_000_000
"""Hz of the guest's time-stamp counter: one cycle is one nanosecond."""


@dataclass(frozen=True)
class BlockConfig:
    """A block device as the guest sees it, in blocks of `block_size` bytes. `local`: each replica
    has its own identical copy, whose content at the start has the digest `content`."""

    capacity: int
    local: bool = False
    content: str = ""
    block_size: int = BLOCK_SIZE

    def __post_init__(self) -> None:
        if type(self.capacity) is not int or self.capacity < 0:
            raise UsageError(f"a disk of capacity {self.capacity!r}: it must be a number of bytes")
        if type(self.local) is not bool or type(self.content) is not str:
            raise UsageError("a disk is `local` or not, and its content's digest is a text")
        check_block_size(self.block_size)


@dataclass(frozen=True)
class NetConfig:
    mac: str
    mtu: int = MTU

    def __post_init__(self) -> None:
        if type(self.mac) is not str or not _MAC.fullmatch(self.mac):
            raise UsageError(f"{self.mac!r} is no MAC address: write it as 02:00:00:00:00:01")
        check_mtu(self.mtu)


def check_block_size(size: int, key: Key = ()) -> None:
    """`UsageError` if a block device cannot have blocks of so many bytes."""
    if type(size) is not int or size & (size - 1) or not BLOCK_SIZE <= size <= MAX_BLOCK_SIZE:
        raise UsageError(
            f"blocks of {size!r} bytes: give a power of two from {BLOCK_SIZE} to {MAX_BLOCK_SIZE}",
            key=key,
        )


def check_mtu(mtu: int, key: Key = ()) -> None:
    """`UsageError` if a NIC cannot have this MTU."""
    if type(mtu) is not int or not MIN_MTU <= mtu <= MAX_MTU:
        raise UsageError(f"an MTU of {mtu!r}: it must be from {MIN_MTU} to {MAX_MTU}", key=key)


def check_memory(memory: int) -> None:
    """`UsageError` if a guest cannot have so many bytes of RAM."""
    if memory % MEMORY_STEP or not MEMORY_STEP <= memory <= MAX_MEMORY:
        raise UsageError(
            f"guest memory of {memory / MIB:g} MiB: give a multiple of 2 from 2 to 4096",
            key=("memory",),
        )


@dataclass(frozen=True)
class GuestConfig:
    """Everything but the image that determines how a guest starts. `memory` is in bytes."""

    image_digest: str
    memory: int = DEFAULT_MEMORY
    arguments: tuple[str, ...] = ()
    cpu: str = "westmere"
    blocks: dict[str, BlockConfig] = field(default_factory=dict)
    nets: dict[str, NetConfig] = field(default_factory=dict)
    sites: tuple[Site, ...] | None = None
    """Where `sitefinder` found them, so that any engine may run the guest; None if it did not."""

    def __post_init__(self) -> None:
        check_memory(self.memory)
        try:
            length = len(self.command_line)
        except UnicodeEncodeError as error:
            raise UsageError("the guest's command line is not valid UTF-8") from error
        if length >= COMMAND_LINE_SIZE:
            raise UsageError(
                f"the guest's command line is {length} bytes long; the limit is "
                f"{COMMAND_LINE_SIZE - 1}",
                key=("arguments",),
            )
        if b"\0" in self.command_line:
            raise UsageError(
                "the guest's command line holds a NUL character; remove it", key=("arguments",)
            )

    @property
    def command_line(self) -> bytes:
        return " ".join(self.arguments).encode()

    def to_dict(self) -> dict[str, Any]:
        """Plain types, for msgpack and JSON. The usual block size, and that there are no traps, go
        without saying: so logs and digests are what they were before there were others."""
        plain = asdict(self) | {"arguments": list(self.arguments)}
        if self.sites is None:
            del plain["sites"]
        else:
            plain["sites"] = [list(site) for site in self.sites]
        for block in plain["blocks"].values():
            if block["block_size"] == BLOCK_SIZE:
                del block["block_size"]
        return plain

    @classmethod
    def from_dict(cls, data: Any) -> GuestConfig:
        """The reverse of `to_dict`; `LogError` if `data` is not such a dict."""
        try:
            return cls(
                image_digest=_typed(str, data["image_digest"]),
                memory=_typed(int, data["memory"]),
                arguments=tuple(_typed(str, a) for a in data["arguments"]),
                cpu=_typed(str, data["cpu"]),
                blocks={_typed(str, k): BlockConfig(**v) for k, v in data["blocks"].items()},
                nets={_typed(str, k): NetConfig(**v) for k, v in data["nets"].items()},
                sites=_sites(data["sites"]) if "sites" in data else None,
            )
        except (
            KeyError,
            TypeError,
            ValueError,
            AttributeError,
            RecursionError,
            UsageError,
        ) as error:
            raise LogError(f"the guest configuration is malformed ({error})") from error


def _sites(data: Any) -> tuple[Site, ...]:
    return tuple(_site(*fields) for fields in data)


def _site(address: object, length: object, kind: object) -> Site:
    site = Site(_typed(int, address), _typed(int, length), _typed(str, kind))
    if not (0 <= site.address < MAX_MEMORY and 0 <= site.length <= LONGEST_INSTRUCTION):
        raise ValueError("a trap that no memory holds")
    return site


def _typed(kind: type[_T], value: Any) -> _T:
    if type(value) is not kind:
        raise TypeError(f"{type(value).__name__} where {kind.__name__} should be")
    return value
