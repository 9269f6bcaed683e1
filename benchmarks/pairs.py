"""Pairs of real processes."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from vlockstep.testing import Pair

_DISK = 256 << 20
_PATIENT = 40
"""Missed heartbeats: that a machine stalls for a moment shall not part a pair."""
_numbers = itertools.count()


@contextmanager
def protected(
    directory: Path,
    guest: str,
    *arguments: str,
    memory: int = 512,
    logs: bool = False,
    misses: int = _PATIENT,
    primary_options: Sequence[object] = (),
    secondary_options: Sequence[object] = (),
) -> Iterator[Pair]:
    """A pair that runs, connected directly, without the relay that breaks the network in tests.
    `memory` is in MiB."""
    pair = Pair(
        guest,
        arguments,
        directory=directory / f"pair-{next(_numbers)}",
        disks={"disk": _DISK} if guest == "ledger" else {},
        memory=memory,
        logs=logs,
        misses=misses,
        primary_options=primary_options,
        secondary_options=secondary_options,
    )
    try:
        pair.start_primary()
        pair.start_secondary("--connect", pair.endpoint)
        for role in ("primary", "secondary"):
            pair.process(role).wait_event("started")
        yield pair
    finally:
        pair.close()


def finish(pair: Pair) -> None:
    """Wait for both guests to end. `RuntimeError` if one did not end well, or the pair parted."""
    statuses = pair.wait_finished()
    if statuses != (0, 0) or pair.process("primary").status.get("state") == "alone":
        raise RuntimeError(f"the pair did not stay together to its end: {statuses}")


def guest_seconds(pair: Pair) -> float:
    """From the start of the guest to its end and its last output, as the primary reports it."""
    finish(pair)
    events = {event["event"]: event["time"] for event in pair.events("primary")}
    return float(events["finished"] - events["started"])


def next_status(pair: Pair) -> Mapping[str, Any]:
    """The primary's status as it is now; there are ten a second."""
    primary = pair.process("primary")
    last = primary.status
    return primary.wait_status(lambda status: status is not last)
