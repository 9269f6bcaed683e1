"""Bytes as they are on the wire and in files, kept so that no change goes unnoticed.

A test that differs from them has found either a mistake, or a change of a format. For a change on
purpose: raise the format's version (`PROTOCOL` of messages, `VERSION` of logs), and write the bytes
of the new version with

    python tests/golden.py

Logs of older versions stay, for they are still read; messages of older versions go, for replicas of
different versions refuse each other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, get_args

from vlockstep.machine.config import MIB, BlockConfig, GuestConfig, NetConfig
from vlockstep.machine.position import Position
from vlockstep.machine.registers import Registers
from vlockstep.net import portmessages
from vlockstep.protocol import messages
from vlockstep.replay import logfile
from vlockstep.replay.entry import Checkpoint, End, Entry, Kind, output_digest
from vlockstep.replay.keyframe import Keyframe
from vlockstep.replay.recorder import Cadence

TESTS = Path(__file__).parent
HOW = "a change on purpose? See tests/golden.py for what to do"


@dataclass(frozen=True)
class Messages:
    """A family of messages, each kind of which has a line with its bytes in hexadecimal digits."""

    folder: Path
    version: int
    kinds: tuple[type[Any], ...]
    encode: Callable[[Any], bytes]
    decode: Callable[[bytes], Any]

    @property
    def path(self) -> Path:
        return self.folder / f"version{self.version}.txt"

    def samples(self) -> Iterator[Any]:
        for kind in self.kinds:
            yield kind(*(_sample(str(f.type), f.name, i) for i, f in enumerate(fields(kind))))

    def lines(self) -> list[str]:
        return [f"{type(sample).__name__} {self.encode(sample).hex()}" for sample in self.samples()]


def _sample(kind: str, name: str, place: int) -> Any:
    """A value for the field `name`, unlike those of the other fields."""
    values: Mapping[str, Any] = {
        "int": 1 << 7 * place,
        "bool": place % 2 == 0,
        "str": f"«{name}»",
        "bytes": bytes(range(place, place + 6)),
        "dict[str, str]": {name: "a", f"other {name}": ""},
        "dict[str, Any]": {name: [1, "a", b"\xff", None, {}]},
    }
    return values[kind]


REPLICAS = Messages(
    TESTS / "protocol" / "golden",
    messages.PROTOCOL,
    get_args(messages.Message),
    messages.encode,
    messages.decode,
)
PORTS = Messages(
    TESTS / "net" / "golden",
    portmessages.PROTOCOL,
    get_args(portmessages.Message),
    portmessages.encode,
    portmessages.decode,
)

LOG = TESTS / "replay" / f"version{logfile.VERSION}" / "every-kind.vlog"
"""A log that no guest made: each kind of entry once and more, in all shapes that it has."""
IMAGE = Path("guests/every kind.hvt")
CONFIG = GuestConfig(
    "5" * 64,
    memory=64 * MIB,
    arguments=("--lines=2", "ü"),
    blocks={"disk": BlockConfig(4096), "own": BlockConfig(512, local=True, content="6" * 64)},
    nets={"net": NetConfig("02:00:00:00:00:01")},
)

BASIS = {"architecture": "x86_64", "unicorn": "2.1.4", "results": "5490de93df241a7b"}


def entries() -> list[Entry]:
    registers = Registers({"rax": (1 << 64) - 1, "rbx": 0, "rip": 0x100000, "xmm0": 1 << 100})
    checkpoint = Checkpoint(registers, 1 << 20, bytes(range(16))).pack()
    end = End(3, "why", bytes(range(16)), bytes(range(16, 32))).pack()
    digest = output_digest(b"output")
    return [
        (Kind.CYCLES, 0, 0, 1000, b""),
        (Kind.CYCLES, 1, 0, 1500, b""),
        (Kind.WALLTIME, 2, 0, 1_800_000_000 * 10**9, b""),
        (Kind.WALLTIME, 300, 0, 1_799_999_999 * 10**9, b""),
        (Kind.POLL, 301, 0, 1 << 63, b""),
        (Kind.NET_READ, 302, 0, (1, bytes(60)), b""),
        (Kind.NET_READ, 303, 0, (63, None), b""),
        (Kind.BLOCK_READ, 304, 0, bytes(512), b""),
        (Kind.BLOCK_READ, 305, 0, None, b""),
        (Kind.CONSOLE, 306, 0, digest, b""),
        (Kind.NET_WRITE, 307, 0, digest, checkpoint),
        (Kind.BLOCK_WRITE, 308, 0, digest, b""),
        (Kind.INTERRUPT, 308, 70_000, 32, b""),
        (Kind.INTERRUPT, 308, 140_000, 255, checkpoint),
        (Kind.GENERATION, 309, 0, 2, b""),
        (Kind.RANDOM, 310, 0, (1 << 64) - 1, b""),
        (Kind.END, 311, 0, end, b""),
    ]


KEYFRAME = Keyframe(
    5, Position(301, 7), b"a machine", (1500, 1_800_000_000 * 10**9), 3, Cadence(1, 2, 3)
)
"""Before the last entries; its machine is none."""


def write_log(path: Path) -> None:
    with logfile.LogWriter(path, CONFIG, IMAGE, basis=BASIS) as log:
        log.extend(entries()[: KEYFRAME.sequence])
        log.keyframe(KEYFRAME)
        log.extend(entries()[KEYFRAME.sequence :])


if __name__ == "__main__":
    for family in (REPLICAS, PORTS):
        family.folder.mkdir(exist_ok=True)
        for old in family.folder.iterdir():
            old.unlink()
        family.path.write_text("".join(f"{line}\n" for line in family.lines()))
    LOG.parent.mkdir(exist_ok=True)
    LOG.unlink(missing_ok=True)
    write_log(LOG)
