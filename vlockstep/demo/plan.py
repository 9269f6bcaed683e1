"""What a demonstration shows: the guest, and where which fault strikes its primary."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from signal import SIGKILL, SIGSTOP, Signals
from typing import Any

from vlockstep.errors import UsageError
from vlockstep.ft.places import Place
from vlockstep.machine.bundled import open_bundled, open_image
from vlockstep.machine.config import MIB, GuestConfig
from vlockstep.machine.image import DeviceKind, Image
from vlockstep.net.passt import DEFAULT_GATEWAY, DEFAULT_GUEST
from vlockstep.sim.ledger import BLOCK
from vlockstep.testing.pair import DISK_SIZE

LEDGER, KV = "ledger", "kv"
ADDRESSES = (f"--ipv4={DEFAULT_GUEST}", f"--ipv4-gateway={DEFAULT_GATEWAY}")
"""Options of a guest that passt is to reach."""
_ENTRIES_PER_LINE = 5
"""Of the ledger: poll, walltime, cycles, console, block write. Only where a fault is placed by
chance depends on it."""
_EARLIEST, _LATEST = 0.3, 0.6
"""Between which parts of a ledger a fault is placed by chance."""
_BUSY = 1.2, 2.0
"""Seconds between which one is placed when clients are at work."""


@dataclass(frozen=True)
class Plan:
    """`lines` is the length of a ledger, None for other guests; `networked` tells whether there are
    clients; `memory` is in MiB; `chosen` tells whether the place comes from the seed."""

    image: Image
    reference: str
    arguments: tuple[str, ...]
    memory: int
    place: str
    signal: Signals
    seed: int
    chosen: bool
    lines: int | None
    networked: bool = False

    @property
    def guest(self) -> str:
        """The guest and its arguments, but for addresses, for people."""
        shown = [argument for argument in self.arguments if argument not in ADDRESSES]
        return " ".join([self.image.name.removesuffix(".hvt"), *shown])

    @property
    def deed(self) -> str:
        return "paused" if self.signal is SIGSTOP else "killed"

    def ahead(self, status: Mapping[str, Any], seconds: float) -> str:
        """How far the guest has to go to the fault, from a status of the primary."""
        place = Place.parse(self.place)
        if place.seconds is not None:
            return f"{max(0.0, place.seconds - seconds):.1f} s"
        if place.position is not None:
            return f"{max(0, place.position.exits - status['exits'])} exits"
        return f"{max(0, place.entry - status['entries'])} entries"


def make_plan(
    reference: str,
    arguments: list[str],
    *,
    lines: int,
    memory: int,
    place: str | None,
    pause: bool,
    seed: int,
) -> Plan:
    """Choose what was left to chance. Raises `UsageError` for what cannot be."""
    image = open_image(reference)
    ledger = image.digest == open_bundled(LEDGER).digest
    networked = image.digest == open_bundled(KV).digest
    if ledger:
        if any(argument.startswith("--lines=") for argument in arguments):
            raise UsageError(
                "the demo gives the ledger its length: give it to the demo, not to its guest",
                key=("demo", "lines"),
            )
        arguments = [f"--lines={lines}", *arguments]
    elif networked:
        if arguments:
            raise UsageError(f"the demo gives {KV} its options: leave out {' '.join(arguments)}")
        arguments = [*ADDRESSES]
    elif any(device.kind is DeviceKind.NET for device in image.devices):
        raise UsageError(
            f"of the guests with a network the demo shows {KV}: name that", key=("demo", "guest")
        )
    GuestConfig(image.digest, memory * MIB, tuple(arguments))  # refuses what no guest can have
    count = lines if ledger else None
    chosen = place is None and (ledger or networked)
    chance = random.Random(seed)
    text = _choose(chance, count, networked) if place is None else place.removeprefix("at=")
    if Place.parse(text).seconds is None and networked:
        raise UsageError(
            f"{text}: what {KV} does depends on its clients; write time:SECONDS",
            key=("demo", "kill"),
        )
    number = SIGSTOP if pause else SIGKILL
    return Plan(
        image, reference, tuple(arguments), memory, text, number, seed, chosen, count, networked
    )


def _choose(chance: random.Random, lines: int | None, networked: bool) -> str:
    """In the middle of a ledger, or of clients' work; for a guest we know nothing of, its first
    output."""
    if networked:
        return f"time:{chance.uniform(*_BUSY):.3f}"
    if lines is None:
        return "write:0"
    entries = _ENTRIES_PER_LINE * lines
    return f"write:{chance.randint(int(_EARLIEST * entries), int(_LATEST * entries))}"


def disk_sizes(plan: Plan) -> dict[str, int]:
    """Bytes of each disk that the guest needs."""
    size = max(DISK_SIZE, (plan.lines or 0) * BLOCK)
    return {d.name: size for d in plan.image.devices if d.kind is DeviceKind.BLOCK}
