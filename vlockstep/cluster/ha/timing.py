"""How long hosts wait for each other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace

from vlockstep.errors import UsageError
from vlockstep.protocol.timing import SECOND


@dataclass(frozen=True)
class Timing:
    """All times are in nanoseconds of a monotonic clock. The defaults are the profile `vsphere55`
    at a twentieth."""

    heartbeat: int = SECOND // 20
    """Between two words, pings, and looks at the clock."""
    storage_after: int = 3 * SECOND // 20
    """Of silence, and the master watches a host's datastore heartbeats, too."""
    storage_watch: int = 15 * SECOND // 20
    """So long they are watched without a change, and the host has none."""
    storage_heartbeat: int = 5 * SECOND // 20
    """Between two datastore heartbeats of a host, and two attempts to own a datastore."""
    unreachable: int = 10 * SECOND // 20
    """Of silence, and a host is unreachable: its master pings it, its slaves elect another."""
    ping: int = 5 * SECOND // 20
    """So long an unreachable host is pinged without an answer, and does not answer."""
    election: int = 15 * SECOND // 20
    """From the first candidacy to the choice."""
    takeover: int = 10 * SECOND // 20
    """So long a new master lets hosts join before it judges any."""
    isolation: int = 5 * SECOND // 20
    """A master that hears nobody, nor an isolation address, for so long is isolated."""
    isolation_delay: int = 30 * SECOND // 20
    """From there to the isolation response."""
    lease: int = 15 * SECOND // 20
    """Of a datastore that a master owns; renewed every quarter."""

    def __post_init__(self) -> None:
        for field in fields(self):
            if getattr(self, field.name) <= 0:
                raise UsageError(f"{field.name} must be more than 0")
        for name in ("storage_after", "unreachable", "ping", "election", "isolation", "lease"):
            if getattr(self, name) < 2 * self.heartbeat:
                raise UsageError(f"{name} must be two heartbeats or more, for one may be lost")
        if self.storage_watch < 2 * self.storage_heartbeat:
            raise UsageError(
                "storage_watch must be two times storage_heartbeat or more: a host that lives"
                " would count as failed"
            )
        if self.storage_after > self.unreachable:
            raise UsageError("storage_after must not be more than unreachable")
        if self.isolation >= min(self.takeover, self.unreachable + self.ping):
            raise UsageError(
                "isolation must be less than takeover, and than unreachable and ping together: a"
                " master that is cut off would take all others for failed"
            )
        if self.isolation + self.isolation_delay < self.unreachable + self.election:
            raise UsageError(
                "isolation and isolation_delay together must not be less than unreachable and"
                " election: guests would be stopped before another master can restart them"
            )
        if self.lease > self.unreachable + self.election:
            raise UsageError(
                "lease must not be more than unreachable and election together: a new master"
                " would find datastores still owned by the one that failed"
            )


PROFILES: Mapping[str, Timing] = {
    "fast": Timing(),
    "vsphere55": Timing(**{name: ns * 20 for name, ns in asdict(Timing()).items()}),
}


def timing(profile: str = "fast", settings: Mapping[str, int] | None = None) -> Timing:
    """The profile of this name, but for the `settings`: nanoseconds by the names of fields."""
    if profile not in PROFILES:
        raise UsageError(f"no timing profile {profile!r}; there are {', '.join(PROFILES)}")
    names = [field.name for field in fields(Timing)]
    for name in settings or {}:
        if name not in names:
            raise UsageError(f"no timing setting {name!r}; there are {', '.join(names)}")
    return replace(PROFILES[profile], **settings or {})
