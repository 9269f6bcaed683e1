"""A demonstration while it happens."""

from __future__ import annotations

from typing import Literal, TypedDict


class Player(TypedDict):
    """A replica of a demonstration."""

    pid: int
    role: str
    state: str
    generation: int
    position: str
    entries: int
    log_bytes_per_s: float | None
    gone: bool
    """It was killed or paused, or has ended."""


class Moment(TypedDict):
    """`seconds` are since the guest started."""

    seconds: float
    text: str
    tone: Literal["", "good", "bad"]


class StoryCheck(TypedDict):
    name: str
    ok: bool
    text: str


class Answers(TypedDict):
    """What somebody saw of the guest: `times` in seconds since it started, the newest 500 of
    `count`, or of a cluster those that one can tell apart."""

    name: str
    count: int
    times: list[float]
    trouble: str


class Verdict(TypedDict):
    ok: bool
    text: str
    notes: list[str]


class StoryReplica(TypedDict):
    guest: str
    role: str


class StoryHost(TypedDict):
    """A host of a demonstration of a cluster, and what runs there."""

    name: str
    state: str
    """As the master says."""
    master: bool
    struck: bool
    """It is this one that something was done to."""
    replicas: list[StoryReplica]


class StorySpan(TypedDict):
    """A replica on a host in one role; `end` is None while it runs, or all its time was before."""

    guest: str
    host: str
    role: str
    begin: float
    end: float | None


class Story(TypedDict):
    """A demonstration as it is now; times are in seconds since its guest started, or, of a cluster,
    since clients came."""

    title: list[str]
    deed: str
    """What is done to the primary, or to a host."""
    seconds: float
    ahead: str
    """How far it is to that."""
    over: bool
    players: dict[str, Player]
    lag_entries: int | None
    lag_ms: float | None
    struck: float | None
    live: float | None
    """When the secondary took over."""
    failover_ms: float | None
    moments: list[Moment]
    answers: list[Answers]
    lines: list[str]
    """What the guest said last."""
    checks: list[StoryCheck]
    verdict: Verdict | None
    hosts: list[StoryHost]
    """Of a cluster; there are no players then."""
    spans: list[StorySpan]
