"""How long replicas wait for each other, and how much they let pile up."""

from __future__ import annotations

from dataclasses import dataclass

from vlockstep.errors import UsageError

MILLISECOND = 1_000_000
SECOND = 1_000_000_000
MOST_HELD = 64 << 20
"""Bytes of outputs that may wait for another member: it gets them in one message."""
_KNOWN_LATE = 10 * MILLISECOND
"""So late the primary may learn what a secondary has executed that is not behind."""


@dataclass(frozen=True)
class Timing:
    """All times are in nanoseconds of a monotonic clock."""

    interval: int = 50 * MILLISECOND
    """Between two heartbeats."""
    misses: int = 5
    """So many intervals without a word, and the peer counts as dead."""
    max_lag: int = 100 * MILLISECOND
    """The primary is slowed when it does not know after this time and a round trip that the
    secondary has executed an entry. A failover takes so much longer at most."""
    max_log: int = 64 << 20
    """Bytes of entries and outputs that may wait for the secondary."""
    patience: int = 30 * SECOND
    """For a peer to appear at the start."""

    def __post_init__(self) -> None:
        if self.interval < MILLISECOND:
            raise UsageError("the heartbeat interval must be at least 1 ms")
        if self.misses < 2:
            raise UsageError("a peer counts as dead after 2 missed heartbeats at the least")
        if self.max_lag < _KNOWN_LATE or self.max_log < 1 << 16:
            raise UsageError("the lag limit is below 10 ms, or the log limit below 64 KiB")

    @property
    def dead(self) -> int:
        return self.interval * self.misses

    @property
    def starting(self) -> int:
        """Of silence before the guest has started: while nobody is live, haste gains nothing."""
        return max(self.dead, 5 * SECOND)

    @property
    def starting_interval(self) -> int:
        """Between two looks, and words, before the guest has started."""
        return max(self.interval, SECOND)

    @property
    def min_lease(self) -> int:
        return self.interval

    @property
    def max_lease(self) -> int:
        """What a secondary grants at the most. The primary's timing may be another."""
        return max(self.dead, SECOND)

    def check_hold(self) -> None:
        """Raise `UsageError` if more outputs may wait than one that joins can get."""
        if self.max_log > MOST_HELD:
            raise UsageError(
                "outputs that wait for another replica go there in one message, which takes "
                f"{MOST_HELD >> 20} MiB of them: let no more wait, or do not hold them",
                key=("timing", "max_log"),
            )

    def promise(self, lease: int) -> int:
        """How long a secondary keeps still for a `lease`: 5 % longer, for clocks that drift."""
        return lease + lease // 20 + MILLISECOND
