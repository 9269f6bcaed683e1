"""What stands in the store: shapes, and under which keys.

| key | value | who writes it |
| --- | --- | --- |
| `cluster` | `ClusterRecord` | who sets it |
| `hosts/HOST` | `HostRecord` | the host's agent; `maintenance` and `left` the master |
| `guests/GUEST` | `GuestRecord` | who registers it; then the master |
| `rules/NAME` | `RuleRecord` | who makes it |
| `orders/HOST/GUEST` | `Order` | the master: what the host is to run |
| `reports/HOST` | `Report` | the host's agent: what it runs |
| `tasks/NUMBER` | `Task` | who wants something; then the master |
| `events/NUMBER` | `ClusterEvent` | the master |
| `status` | `MasterStatus` | the master |
| `recommendations` | `Advice` | the master |
| `retired` | `Retired` | who deletes a guest |
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from vlockstep.cluster.guestfile import Isolation
from vlockstep.cluster.model import Apart, Automation, OnHosts, Role, Rule, Together

CLUSTER = "cluster"
HOSTS = "hosts"
GUESTS = "guests"
RULES = "rules"
ORDERS = "orders"
REPORTS = "reports"
TASKS = "tasks"
EVENTS = "events"
STATUS = "status"
ADVICE = "recommendations"
RETIRED = "retired"


def key(*parts: str) -> str:
    return "/".join(parts)


def numbered(prefix: str, number: int) -> str:
    """Keys in the order of their numbers."""
    return f"{prefix}/{number:010}"


@dataclass(frozen=True)
class ClusterRecord:
    """How the cluster is set. `identity` is unlike that of any other cluster; `profile` names the
    timings, of which `timing` has those that differ, in milliseconds. Restarts keep to the rules
    that keep guests apart, too, if they are to (`apart`). `fence` is the lease in the records of
    guests, in milliseconds; a replica counts as dead after `misses` heartbeats of 50 ms."""

    name: str
    identity: str
    ha: bool = True
    ft: bool = True
    drs: bool = True
    automation: Automation = Automation.FULL
    threshold: int = 3
    interval: float = 15.0
    hold: float = 30.0
    baseline: str | None = None
    isolation: Isolation = Isolation.NONE
    apart: bool = False
    admission: Mapping[str, Any] = field(default_factory=dict)
    profile: str = "fast"
    timing: Mapping[str, float] = field(default_factory=dict)
    fence: int = 1000
    misses: int = 20


@dataclass(frozen=True)
class HostRecord:
    """`instance` tells this host from another one of its name; `management` is the endpoint of its
    agent, `address` where others reach its replicas, and `pings` where something accepts
    connections as long as the host lives. `datastores` are their paths there. `kvm` are the CPU
    models of which guests can run on the processor itself."""

    name: str
    instance: str
    management: str
    address: str
    cpu: float
    memory: float
    datastores: Mapping[str, str]
    networks: tuple[str, ...] = ()
    cpu_limit: str | None = None
    pings: str | None = None
    public_key: str = ""
    maintenance: bool = False
    left: bool = False
    """By all its guests in maintenance: it takes no part in the cluster. The last host does not."""
    standby: bool = False
    kvm: tuple[str, ...] = ()


class Power(StrEnum):
    ON = "on"
    OFF = "off"


@dataclass(frozen=True)
class GuestRecord:
    """`file` is what its `guest.toml` said when it was registered or set. `power` is what is
    wanted, `host` where it is or was last, and `attempt` counts the orders to run it. It has
    `begun`, if that matters: since it was powered on, or reset, its log tells what it did. `ended`
    is why it is powered off, if nobody has asked for that."""

    name: str
    datastore: str
    folder: str
    file: Mapping[str, Any]
    power: Power = Power.OFF
    host: str | None = None
    attempt: int = 0
    begun: bool = False
    ended: str = ""


@dataclass(frozen=True)
class Retired:
    """The greatest `attempt` of any guest that was deleted. New guests count on from there: hosts
    still know what became of the orders for an older guest of the same name."""

    attempt: int = 0


@dataclass(frozen=True)
class RuleRecord:
    """One of the kinds `together`, `apart` and `hosts`. Those of one cluster are in the order of
    their `number`."""

    name: str
    kind: str
    number: int
    guests: tuple[str, ...]
    hosts: tuple[str, ...] = ()
    inside: bool = True
    mandatory: bool = True
    enabled: bool = True

    def rule(self) -> Rule:
        guests = frozenset(self.guests)
        if self.kind == "together":
            return Together(self.name, guests, self.enabled)
        if self.kind == "apart":
            return Apart(self.name, guests, self.enabled)
        hosts = frozenset(self.hosts)
        return OnHosts(self.name, guests, hosts, self.inside, self.mandatory, self.enabled)


class Begin(StrEnum):
    """How a replica begins."""

    BOOT = "boot"
    """As the guest's primary."""
    RESUME = "resume"
    """As the guest's primary, where its last owner's log ends, if there is one."""
    JOIN = "join"
    """As another member, at the primary's endpoint."""
    RECEIVE = "receive"
    """It waits for another replica to move here."""

    @property
    def rules(self) -> bool:
        """As the guest's primary."""
        return self in (Begin.BOOT, Begin.RESUME)


class End(StrEnum):
    """How a replica is to end."""

    POWER_OFF = "power off"
    """With its guest, wherever that has replicas."""
    LEAVE = "leave"
    """It alone: the guest goes on elsewhere."""
    DROP = "drop"
    """It alone, now: another replica goes on with the guest."""
    KILL = "kill"
    """Now: the guest is another host's."""


@dataclass(frozen=True)
class Order:
    """A host is to run a replica of this guest. `attempt` is another one in each order for the
    guest: who has carried it out does not do so again. `role` is that of the replica that is to
    move here. `move` is the endpoint where another replica waits for this one to move there, by the
    task `mover`; `swap` the generation under which it is to swap roles with a secondary, by that
    task. It is to `hold` its guest's outputs while no other replica has the guest."""

    guest: str
    attempt: int
    begin: Begin
    datastore: str
    folder: str
    file: Mapping[str, Any]
    join: str | None = None
    role: Role | None = None
    end: End | None = None
    reason: str = ""
    move: str | None = None
    mover: int = 0
    swap: int = 0
    cancel: bool = False
    hold: bool = False


_BEGINNING = ("", "waiting", "joining", "loading", "ready")
"""States of a replica whose guest is not there yet."""
_CLAIMING = "claiming"
"""That of one which asks whether it may begin, or, if it did, go on."""


class Life(StrEnum):
    """Of a replica's process."""

    STARTING = "starting"
    RUNNING = "running"
    ENDED = "ended"


@dataclass(frozen=True)
class ReplicaReport:
    """How an order stands. `role`, `state`, `generation`, `members` and `endpoint` are the
    replica's own words. `problem` is why it ended, "" if its guest ended by itself with `status`;
    `guest_error` tells that it was the guest's own.
    `cpu` is in MIPS, `memory` in MiB, and `dirty` in MiB a second what the guest writes of that.
    `progress` counts its exits, `idle` tells whether it waits, and `traffic` its blocks and frames.
    Who is to `hold` its guest's outputs is `holding` them while no other replica has the guest."""

    attempt: int
    life: Life
    pid: int = 0
    since: float = 0
    role: Role | None = None
    state: str = ""
    generation: int = 0
    members: int = 0
    endpoint: str = ""
    problem: str = ""
    status: int = 0
    guest_error: bool = False
    cpu: float = 0
    memory: float = 0
    dirty: float = 0
    progress: int = 0
    idle: bool = False
    traffic: int = 0
    mover: int = 0
    moved: str | None = None
    """What came of `mover`: "" if that is done, else why not; None as long as it is under way."""
    moving: str = ""
    """How far that is, for people."""
    took: Mapping[str, Any] = field(default_factory=dict)
    """What the move took, as the replica's answer to `migrate` tells."""
    hold: bool = False
    holding: bool = False
    resumed: int | None = None
    """Entries of its last owner's log after which the guest goes on here."""
    unresumed: str = ""
    """Why it boots instead."""
    lag_ms: float | None = None
    """By how much a secondary is behind, as its primary knows; None if it does not."""
    lag_entries: int = 0
    channel_bytes: int = 0
    disk_bytes: int = 0
    frames: int = 0
    migration: Mapping[str, Any] = field(default_factory=dict)
    """What its last event `migrating` told."""
    cause: str = ""
    """Why the generation began that it rules, as the arbiter's record has it."""
    took_over: str = ""
    """Why the one began with which it went live, as long as it rules; "" if it was booted here."""
    silent_ms: float | None = None
    """For how long the primary before had said nothing then, unless it was asked to."""

    @property
    def begun(self) -> bool:
        """The guest runs here, or the replica follows the one that does."""
        asks = self.state == _CLAIMING and not self.progress
        return self.life is Life.RUNNING and self.state not in _BEGINNING and not asks


@dataclass(frozen=True)
class Report:
    """What a host runs, by guest; `number` rises with each report of its agent's `instance`."""

    host: str
    instance: str
    number: int
    time: float
    replicas: Mapping[str, ReplicaReport]
    cpu: float = 0
    """MIPS that its guests use."""
    memory: float = 0
    """MiB."""


class TaskState(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELED = "canceled"

    @property
    def over(self) -> bool:
        return self in (TaskState.DONE, TaskState.FAILED, TaskState.CANCELED)


@dataclass(frozen=True)
class Task:
    """`kind` is what is to be done with the guest or host `target`; `details` are the kind's own.
    `cancel` asks to call it off; `progress` tells how far it is, and in the end what came of it,
    `reason` why it failed. Times are since the epoch."""

    number: int
    kind: str
    target: str
    by: str
    created: float
    details: Mapping[str, Any] = field(default_factory=dict)
    state: TaskState = TaskState.QUEUED
    progress: str = ""
    reason: str = ""
    result: Mapping[str, Any] = field(default_factory=dict)
    cancel: bool = False
    begun: float | None = None
    ended: float | None = None


TEST = "test"
"""The cause of a takeover that a drill has brought about, in the details of its event; others are
those of `arbiter.ReignCause`."""


@dataclass(frozen=True)
class ClusterEvent:
    """`kind` is for machines, `text` for people; `host` and `guest` are whom it is about, `details`
    what its kind has besides."""

    number: int
    time: float
    kind: str
    text: str
    host: str | None = None
    guest: str | None = None
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class MasterStatus:
    """As the master sees it: the states of hosts, why guests do not run (`pending`), and why rules
    do not hold (`faults`)."""

    master: str
    since: float
    time: float
    hosts: Mapping[str, str]
    pending: Mapping[str, str] = field(default_factory=dict)
    faults: tuple[str, ...] = ()
    imbalance: float = 0


@dataclass(frozen=True)
class Advice:
    """What load balancing recommends and does not do by itself."""

    time: float
    recommendations: tuple[Mapping[str, Any], ...] = ()
