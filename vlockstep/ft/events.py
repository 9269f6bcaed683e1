"""What a replica reports: typed events, each with a name for machines and a form for JSON.

In JSON an event is an object whose key `event` is its `name`; the other keys are its fields, in
plain types: a position as text, digests as hexadecimal digits, registers by name. A state is told
twice: as a machine's name, and as a person's `state_text`. Who writes events down for a reader
adds their `time`, and if the reader is too slow the count of those `dropped`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, ClassVar

from vlockstep.arbiter.causes import cause_text
from vlockstep.host.devices import DiskCounters
from vlockstep.machine.position import Position
from vlockstep.machine.registers import Registers
from vlockstep.net.nic import Counters
from vlockstep.protocol.states import State


@dataclass(frozen=True)
class Event:
    name: ClassVar[str]

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "event": self.name,
            **{field.name: _plain(getattr(self, field.name)) for field in fields(self)},
        }


def _plain(value: Any) -> Any:
    match value:
        case bytes():
            return value.hex()
        case Position():
            return str(value)
        case Registers():
            return value.to_dict()
    return value


# How a replica begins


@dataclass(frozen=True)
class Waiting(Event):
    """A primary waits for a secondary, which may connect to `endpoint`."""

    name = "waiting"
    endpoint: str


@dataclass(frozen=True)
class Joining(Event):
    """A secondary connects to the primary at `endpoint`."""

    name = "joining"
    endpoint: str


@dataclass(frozen=True)
class Started(Event):
    """The guest runs; protected, but where there is no other replica to wait for."""

    name = "started"


@dataclass(frozen=True)
class Resuming(Event):
    """The guest goes on here where its last owner's log ends, after so many `entries`, of which it
    executes those from `begin` on."""

    name = "resuming"
    entries: int
    begin: int


@dataclass(frozen=True)
class NotResumed(Event):
    """It boots, since it cannot be resumed, for this reason."""

    name = "not-resumed"
    reason: str


# Roles and protection


@dataclass(frozen=True)
class Live(Event):
    """A secondary has become the primary; `protected` if another one follows it. Its `cause` is the
    one in the arbiter's record, told for people, too. If nobody had asked it to, the primary had
    said nothing for `silent_ms` by then."""

    name = "live"
    generation: int
    protected: bool
    cause: str = ""
    silent_ms: float | None = None

    def to_dict(self) -> dict[str, Any]:
        return super().to_dict() | {"cause_text": cause_text(self.cause)}


@dataclass(frozen=True)
class Following(Event):
    """A primary has become the secondary of the new one of `generation`."""

    name = "following"
    generation: int


@dataclass(frozen=True)
class Alone(Event):
    """A primary goes on without a secondary."""

    name = "alone"
    generation: int


@dataclass(frozen=True)
class Unprotected(Event):
    """The guest has no other replica any more."""

    name = "unprotected"


@dataclass(frozen=True)
class Protected(Event):
    """Another replica is there, or back."""

    name = "protected"


@dataclass(frozen=True)
class Holding(Event):
    """The guest's outputs wait until there is another replica."""

    name = "holding"


@dataclass(frozen=True)
class HoldingOver(Event):
    """They do no longer."""

    name = "holding_over"


@dataclass(frozen=True)
class Loading(Event):
    """A replica that joins a guest that runs receives the guest's state."""

    name = "loading"


@dataclass(frozen=True)
class Joined(Event):
    """Another replica has joined the guest that runs, as one of so many `members`. The state took
    so many `bytes` of RAM, in so many `rounds`, and the guest was held for `pause_ms`."""

    name = "joined"
    generation: int
    members: int
    bytes: int
    rounds: int
    pause_ms: float


@dataclass(frozen=True)
class Migrating(Event):
    """How far a migration is: its phase, in words, too, the bytes that were sent, of RAM in so many
    rounds, by how many entries the destination's execution is behind, by how many percent the
    guest is slowed, and for how many milliseconds it would be held by what is left, if that is
    known; and the bytes that this round has still to bring."""

    name = "migrating"
    phase: str
    text: str
    bytes: int
    rounds: int
    lag_entries: int
    throttle: int
    pause_ms: float | None = None
    left: int | None = None


@dataclass(frozen=True)
class DiskMoving(Event):
    """How far the move of a disk to another file is: its phase, in words, too, and so many bytes of
    those that are no holes."""

    name = "disk-moving"
    disk: str
    phase: str
    text: str
    bytes: int
    total: int


@dataclass(frozen=True)
class DiskMoved(Event):
    """A disk is the file `path` now, and no more the one `before`."""

    name = "disk-moved"
    disk: str
    path: str
    before: str


@dataclass(frozen=True)
class SwitchoverAnswered(Event):
    """To whoever asked for a switchover: the roles are swapped and `generation` rules, or it is 0
    and `reason` says why not."""

    name = "switchover"
    generation: int
    reason: str


# The guest's network


@dataclass(frozen=True)
class NetworkLost(Event):
    """None of the NICs has a network any more."""

    name = "network_lost"


@dataclass(frozen=True)
class NetworkBack(Event):
    """One has again."""

    name = "network_back"


# How it ends


@dataclass(frozen=True)
class Finished(Event):
    """The guest has ended, and every output is where it belongs. `reason` if by an error."""

    name = "finished"
    status: int
    reason: str
    position: Position
    registers: Registers
    memory_digest: bytes


@dataclass(frozen=True)
class Diverged(Event):
    """A secondary is in another state than the log says; it stops."""

    name = "diverged"
    report: str


@dataclass(frozen=True)
class Stopped(Event):
    """The replica had to stop."""

    name = "stopped"
    reason: str


@dataclass(frozen=True)
class Left(Event):
    """The replica stopped as it was asked to; the guest goes on with the other one."""

    name = "left"
    reason: str


# What a person should know


@dataclass(frozen=True)
class Notice(Event):
    name = "notice"
    text: str


@dataclass(frozen=True)
class Rejected(Event):
    """Something came over the network that is heeded by nobody; from `party`, if it is known. Not
    all of it is told: `total` counts it all."""

    name = "rejected"
    reason: str
    party: str = ""
    total: int = 0


@dataclass(frozen=True)
class Status(Event):
    """How things stand. `lag_entries` is how far the secondary is behind, as seen from here, and
    `lag_ms` in time, of which only a primary knows. `channel_bytes` have been said and heard on the
    logging channel. `outputs_held` wait for an acknowledgement, or for the world to take them; with
    `hold` they wait for another member, too, where there is none, and do if it is `holding` them.
    `network` tells whether a NIC has one; None if there are no NICs. `moves` are those that are on
    their way, of the replica or a disk, in words. `endpoint` is where others reach the replica.
    `cause` is why the generation began that it rules, "" if it rules none. Since it went live
    it may have claimed other ones: `took_over` stays why it did that, as long as it rules, and
    `silent_ms` for how long the primary before had said nothing then, if nobody had asked it to.
    `arbiter` is the directory of the arbiter, if there is one."""

    name = "status"
    role: str
    state: State
    generation: int
    exits: int
    entries: int
    lag_entries: int
    log_bytes: int
    lag_ms: float | None = None
    nics: Mapping[str, Counters] = field(default_factory=dict)
    rejected: int = 0
    channel_bytes: int = 0
    disks: Mapping[str, DiskCounters] = field(default_factory=dict)
    outputs_held: int = 0
    hold: bool = False
    holding: bool = False
    members: int = 1
    network: bool | None = None
    moves: tuple[str, ...] = ()
    endpoint: str = ""
    cause: str = ""
    took_over: str = ""
    silent_ms: float | None = None
    arbiter: str | None = None

    def to_dict(self) -> dict[str, Any]:
        return super().to_dict() | {
            "state": self.state.name.lower(),
            "state_text": self.state.value,
            "nics": {name: asdict(counters) for name, counters in self.nics.items()},
            "disks": {name: asdict(counters) for name, counters in self.disks.items()},
        }


# A guest that stands still to be looked at


@dataclass(frozen=True)
class Reached(Event):
    """The guest has come to a `place` where it was to stop."""

    name = "reached"
    place: str
    position: Position
    registers: Registers
    memory_digest: bytes


@dataclass(frozen=True)
class Memory(Event):
    """Bytes of its RAM, as asked for, or the `problem` with that."""

    name = "memory"
    address: int
    content: bytes
    problem: str
