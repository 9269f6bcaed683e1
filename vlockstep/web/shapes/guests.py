"""Guests: how they are, what they have done, what can be asked of them."""

from __future__ import annotations

from typing import Any, Literal, NotRequired, TypedDict

from vlockstep.web.shapes.words import Level


class Replica(TypedDict):
    """A replica of a guest on a host. Of a cluster it has all fields of `ReplicaReport`; of a run
    directory those of a status that have the same meaning. `lag_ms` is what only a primary
    knows."""

    host: str
    life: Literal["starting", "running", "ended"]
    role: Literal["primary", "secondary", "unprotected"] | None
    state: str
    """For machines: `vlockstep.protocol.states.State`."""
    state_text: str
    generation: int
    members: int
    endpoint: str
    lag_ms: float | None
    lag_entries: int | None
    log_bytes_per_s: float
    """On the logging channel."""
    disk_bytes_per_s: float
    network_frames_per_s: float
    channel_bytes: NotRequired[int]
    """So far, on the logging channel, of a cluster."""
    cpu: NotRequired[float]
    """MIPS, of a cluster."""
    memory: NotRequired[float]
    """MiB, of a cluster."""
    host_state: NotRequired[str]
    """What the master says of its host, of a cluster; "" if nothing."""


class Migration(TypedDict):
    """How far a guest's migration is."""

    phase: str
    text: str
    bytes: int
    bytes_per_s: float
    rounds: int
    """Those that are over; one goes on."""
    lag_entries: int
    throttle: int
    pause_ms: float | None
    """For how long the guest would be held now, by what is left; None if that is not known."""
    left: int | None
    """Bytes that this round has still to bring; None if that is not known."""
    to: str
    """A host or an endpoint; "" if it is not known."""
    role: str
    """Of the replica that moves; "" if it is not known."""


class Guest(TypedDict):
    """A guest of a cluster, with all fields of `GuestRecord`; or a process of a run directory, with
    those of `vlockstep status --json` (its greeting, and `status`)."""

    name: str
    image: str
    power: Literal["on", "off"]
    host: str | None
    """Where it is or was last: the primary's."""
    ft: bool
    """Whether it shall have a secondary."""
    protection: str
    """In a word, as `vlockstep top` has it: protected, ALONE, unprotected, off, no answer, ..."""
    level: Level
    replicas: dict[str, Replica]
    """By host; of a run directory just its own."""
    peers: list[str]
    """Of a run directory: processes here with other replicas of the same guest."""
    pending: str
    """Why it does not run though it shall; "" if nothing is in its way."""
    migration: Migration | None
    status: NotRequired[dict[str, Any] | None]
    """Of a run directory; None if it does not answer."""


class Generation(TypedDict):
    """Who ruled from `since` (seconds since the epoch) on, and why that changed."""

    generation: int
    since: float
    ruler: str
    """A host, or a process of a run directory."""
    members: int
    cause: str
    """For machines, an `arbiter.ReignCause`; "" if it is not known."""
    reason: str
    """The same for people."""


class Sample(TypedDict):
    """At `time`, once a second."""

    time: float
    lag_ms: float | None
    lag_entries: int | None
    log_bytes_per_s: float
    disk_bytes_per_s: float
    network_frames_per_s: float


class GuestDetails(TypedDict):
    """`GET /api/guests/NAME`."""

    name: str
    generations: list[Generation]
    """The oldest first; what is known since the server looks."""
    samples: list[Sample]
    """The newest 300."""
    disks: dict[str, dict[str, Any]]
    """By name: path, block_size; read and written in bytes where that is known."""
    nics: dict[str, dict[str, Any]]
    """By name: group or frames received and sent, where that is known."""
    arguments: list[str]
    console: str
    """Why its console cannot be shown; "" if it can."""
    actions: dict[str, str]
    """By the last word of their path: why it is refused now, "" if it can be asked for."""
    secondary: str
    """The command that starts a secondary of it, once it was protected here and
    as long as it is a primary that is alone; "" elsewhere."""
    hosts: list[str]
    """Where it could be asked to migrate."""


class Console(TypedDict):
    """`GET /api/guests/NAME/console?after=BYTES`, at most 64 KiB of it. Without `after` the end."""

    guest: str
    after: int
    """Where `text` begins, in bytes."""
    next: int
    """Where it ends: ask from there."""
    size: int
    text: str


class Compatibility(TypedDict):
    """`GET /api/guests/NAME/migrate?host=HOST&role=ROLE`: whether its replica in that role, the
    primary unless told otherwise, could run there."""

    host: str
    possible: bool
    checks: list[tuple[str, str]]
    """What was looked at, and what is in the way; "" if nothing."""
