"""What a demonstration shows: the guest, and where which fault strikes its primary."""

from __future__ import annotations

import random
from dataclasses import dataclass
from signal import SIGKILL, SIGSTOP, Signals

from vlockstep.errors import UsageError
from vlockstep.ft.faults import Place
from vlockstep.machine.bundled import open_bundled, open_image
from vlockstep.machine.image import DeviceKind, Image
from vlockstep.testing.ledger import BLOCK
from vlockstep.testing.pair import DISK_SIZE

LEDGER = "ledger"
_ENTRIES_PER_LINE = 5
"""Of the ledger: poll, walltime, cycles, console, block write. Only where a fault is placed by
chance depends on it."""
_EARLIEST, _LATEST = 0.3, 0.6
"""Between which parts of a ledger a fault is placed by chance."""


@dataclass(frozen=True)
class Plan:
    """`lines` is the length of a ledger, None for other guests; `memory` is in MiB; `chosen` tells
    whether the place comes from the seed."""

    image: Image
    reference: str
    arguments: tuple[str, ...]
    memory: int
    place: str
    signal: Signals
    seed: int
    chosen: bool
    lines: int | None

    @property
    def guest(self) -> str:
        """The guest and its arguments, for people."""
        return " ".join([self.image.name.removesuffix(".hvt"), *self.arguments])

    @property
    def deed(self) -> str:
        return "paused" if self.signal is SIGSTOP else "killed"


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
    if ledger:
        if any(argument.startswith("--lines=") for argument in arguments):
            raise UsageError("give the demo --lines N, not its guest")
        arguments = [f"--lines={lines}", *arguments]
    count = lines if ledger else None
    chosen = place is None and ledger
    text = _choose(random.Random(seed), count) if place is None else place.removeprefix("at=")
    Place.parse(text)
    number = SIGSTOP if pause else SIGKILL
    return Plan(image, reference, tuple(arguments), memory, text, number, seed, chosen, count)


def _choose(chance: random.Random, lines: int | None) -> str:
    """In the middle of a ledger; for a guest we know nothing of, its first output."""
    if lines is None:
        return "write:0"
    entries = _ENTRIES_PER_LINE * lines
    return f"write:{chance.randint(int(_EARLIEST * entries), int(_LATEST * entries))}"


def disk_sizes(plan: Plan) -> dict[str, int]:
    """Bytes of each disk that the guest needs."""
    size = max(DISK_SIZE, (plan.lines or 0) * BLOCK)
    return {d.name: size for d in plan.image.devices if d.kind is DeviceKind.BLOCK}
