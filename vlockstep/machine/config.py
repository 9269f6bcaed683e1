"""What a guest is started with: equal on every replica, stored in every log."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, field
from typing import Any, TypeVar

from vlockstep.errors import LogError, UsageError

MIB = 1 << 20
MEMORY_STEP = 2 * MIB
MAX_MEMORY = 4096 * MIB
DEFAULT_MEMORY = 512 * MIB
COMMAND_LINE_SIZE = 8192
_T = TypeVar("_T")
_MAC = re.compile(r"[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}")
CYCLE_FREQUENCY = 1_000_000_000
"""Hz of the guest's time-stamp counter: one cycle is one nanosecond."""


@dataclass(frozen=True)
class BlockConfig:
    """A block device as the guest sees it. `local`: each replica has its own identical copy,
    whose content at the start has the digest `content`."""

    capacity: int
    local: bool = False
    content: str = ""

    def __post_init__(self) -> None:
        if type(self.capacity) is not int or self.capacity < 0:
            raise UsageError(f"a disk of capacity {self.capacity!r}: it must be a number of bytes")
        if type(self.local) is not bool or type(self.content) is not str:
            raise UsageError("a disk is `local` or not, and its content's digest is a text")


@dataclass(frozen=True)
class NetConfig:
    mac: str
    mtu: int = 1500

    def __post_init__(self) -> None:
        if type(self.mac) is not str or not _MAC.fullmatch(self.mac):
            raise UsageError(f"{self.mac!r} is no MAC address: write it as 02:00:00:00:00:01")
        if type(self.mtu) is not int or not 68 <= self.mtu <= 65535:
            raise UsageError(f"an MTU of {self.mtu!r}: it must be from 68 to 65535")


@dataclass(frozen=True)
class GuestConfig:
    """Everything but the image that determines how a guest starts. `memory` is in bytes."""

    image_digest: str
    memory: int = DEFAULT_MEMORY
    arguments: tuple[str, ...] = ()
    cpu: str = "westmere"
    blocks: dict[str, BlockConfig] = field(default_factory=dict)
    nets: dict[str, NetConfig] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.memory % MEMORY_STEP or not MEMORY_STEP <= self.memory <= MAX_MEMORY:
            raise UsageError(
                f"guest memory of {self.memory / MIB:g} MiB: give a multiple of 2 from 2 to 4096",
                key=("memory",),
            )
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
        """Plain types, for msgpack and JSON."""
        return asdict(self) | {"arguments": list(self.arguments)}

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
            )
        except (KeyError, TypeError, AttributeError, RecursionError, UsageError) as error:
            raise LogError(f"the guest configuration is malformed ({error})") from error


def _typed(kind: type[_T], value: Any) -> _T:
    if type(value) is not kind:
        raise TypeError(f"{type(value).__name__} where {kind.__name__} should be")
    return value
