"""The rule of generations, over whatever keeps their records.

A generation is a number that only ever rises. Each has one *record*, which names its *owner* and
its *members*: the replicas that may claim the next one. It is created once, if no other is there,
and never changes but for being marked ended. Going live, going on without somebody, taking somebody
in, and going on with another file for a disk are all one step: creating the record of the next
generation, which only one can.

An operation that fails says nothing: what was asked may have happened or not. Neither does a record
that is not there prove anything, since a copy of the register may be stale. So a claim is lost only
when a record was read that names another owner, or other members; in doubt there is no answer, and
the claim is asked again, which recognises what came of it before.

A record may have a *lease*. Then it has a *token*, a number that its owner raises: that renews the
lease. The owner emits only while its own clock, read before it asked, says that what it asked last
with success, the claim or a renewal, is younger than the lease. An outsider, who is no member, may
*seal* the token when it has stood for longer than that by the outsider's clock, from when it has
seen it: the owner is silent by then. Raising and sealing are compare-and-sets on the token, so a
sealed one can never be renewed, and after it the guest may be started afresh. No clock is compared
with another, but that none may run faster by more than the margin.

Each attempt to renew raises the token to a number that was never asked for before. So one that has
that number was raised by this attempt, not by an earlier one whose answer was lost: that would be
as old as it is. For the same reason a token belongs to one attempt to create a record.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

from vlockstep.errors import HostError


class ArbiterError(HostError):
    """No answer: the arbiter cannot be reached, does not work, or is not what it was."""


@dataclass(frozen=True)
class Record:
    """Who owns `generation`, and all who may claim the next one, the owner among them: by their
    `instance`, which is unlike that of any other replica. `lease` is how long the owner may emit
    without renewing it, in nanoseconds; 0 for ever. `token` is what its token is called, if it has
    a lease: unlike that of any other attempt to create a record. `endpoints` are where members are
    reached by others, of those that are. `disks` are the files of those disks that have moved since
    the guest started, by the guest's names for them; `disks_before` of those that had before, when
    it ran earlier. `cause` is why it was claimed, a `causes.ReignCause`.

    `name`, `host` and `pid` are the owner's, for people; `process` tells that process from others
    that had its number."""

    generation: int
    owner: str
    members: tuple[str, ...]
    lease: int = 0
    token: str = ""
    endpoints: Mapping[str, str] = field(default_factory=dict)
    disks: Mapping[str, str] = field(default_factory=dict)
    disks_before: Mapping[str, str] = field(default_factory=dict)
    name: str = ""
    host: str = ""
    pid: int = 0
    process: str = ""
    cause: str = ""
    ended: bool = False
    """Told with the answer to a claim, not kept: the guest has ended under this generation, and
    nobody goes on with it."""

    @property
    def moved(self) -> Mapping[str, str]:
        """The files of all disks that have moved, whenever that was."""
        return {**self.disks_before, **self.disks}


SEALED = -1
"""What a token stands at that nobody can raise any more."""
_LOOKS = 8
"""So often an outsider looks at a token in the time of a lease."""
_RENEWED = 3
"""An owner that has renewed its lease after so many is alive."""
_MARGIN = 5_000_000
"""Nanoseconds."""


class Register(Protocol):
    """Where records are kept. Every operation may raise `ArbiterError`."""

    def read(self, generation: int) -> Record | None:
        """None if there is none yet, as far as can be seen from here."""

    def create(self, record: Record) -> bool:
        """Atomically, if its generation has none; False if it has. If it has a lease, its token
        stands at 0 before anybody can see the record."""

    def ended(self, generation: int) -> bool:
        """Whether it is marked ended, as far as can be seen from here."""

    def end(self, generation: int) -> None:
        """Mark it ended: its guest has ended, and all outputs are made."""

    def token(self, record: Record) -> int | None:
        """Where its token stands; None if that cannot be seen from here."""

    def move_token(self, record: Record, before: int, after: int) -> bool:
        """Atomically, if it stands at `before`, and lastingly; False if it does not, as far as can
        be seen from here."""


class Clock(Protocol):
    """That of an outsider, in nanoseconds."""

    def now(self) -> int:
        """A monotonic time."""

    def sleep(self, time: int) -> None:
        """May raise whatever is to end the wait."""


class Arbiter(Protocol):
    """A register with a name for who claims. What it does may take as long as it likes."""

    def claim(
        self,
        owner: str,
        expected: int,
        leave_out: frozenset[str],
        take_in: Mapping[str, str],
        moved: Mapping[str, str] | None = None,
        afresh: bool = False,
        cause: str = "",
    ) -> Record:
        """Let `owner` own the generation after `expected`, with its members and disks but for
        these, for this `cause`; `take_in` has where each is reached, or "". The newest record,
        which tells whether it does. Raises `ArbiterError` if there is no answer."""

    def renew(self, record: Record, token: int, next: int) -> bool:
        """As `rule.renew`."""

    def end(self, generation: int) -> None:
        """The guest has ended under `generation`, all its outputs are made: another may start."""


def claim(
    register: Register,
    claimant: Record,
    leave_out: frozenset[str] = frozenset(),
    take_in: Mapping[str, str] | None = None,
    moved: Mapping[str, str] | None = None,
    afresh: bool = False,
) -> Record:
    """Create the record of `claimant.generation`, with the members of the one before but for who is
    left out and who is taken in, each by where it is reached, and with its disks but for those that
    have `moved`; the newest record, as far as it can be seen.

    Only a member may, unless the guest has ended; then, where there was none, and where the lease
    of the one before is sealed, who starts it `afresh` may: the only members are then itself and
    who is taken in, and no disk has moved since the start. Otherwise only the owner may take
    somebody in, or move a disk.
    """
    expected, owner, take_in = claimant.generation - 1, claimant.owner, take_in or {}
    assert owner not in leave_out
    before = register.read(expected) if expected else None
    if before is None and expected:
        raise ArbiterError(
            f"there is no record of generation {expected} any more; nothing can be claimed after it"
        )
    ended = before is not None and register.ended(expected)
    member = before is not None and owner in before.members
    if before is not None and member:
        assert not (take_in or moved) or owner == before.owner
        members = frozenset(before.members) - leave_out | take_in.keys()
    elif before is None or (afresh and (ended or sealed(register, before))):
        members = frozenset(take_in) | {owner}
    else:
        return _newest(register, before)
    found = register.read(claimant.generation)
    if found is None and before is not None and member and ended:
        return replace(before, ended=True)
    if found is None:
        known = {**(before.endpoints if before is not None else {}), **take_in}
        endpoints = {name: known[name] for name in sorted(members) if known.get(name)}
        wanted = replace(claimant, members=tuple(sorted(members)), endpoints=endpoints)
        if before is not None and member:
            disks = {**before.disks, **(moved or {})}
            wanted = replace(
                wanted, disks=disks, disks_before=before.disks_before, lease=before.lease
            )
        elif before is not None:
            wanted = replace(wanted, disks_before=before.moved)
        if register.create(wanted):
            return wanted
        found = register.read(claimant.generation)
    if found is None:
        raise ArbiterError(f"the record of generation {claimant.generation} cannot be seen yet")
    return _newest(register, found)


def renew(register: Register, record: Record, token: int, next: int) -> bool:
    """Raise the token of `record`, which stood at `token` when that was known last, to `next`,
    which no attempt before was to raise it to. False if it is sealed."""
    if register.move_token(record, token, next):
        return True
    found = register.token(record)
    if found == SEALED:
        return False
    if found is not None and register.move_token(record, found, next):
        return True
    raise ArbiterError(f"the lease of generation {record.generation} cannot be seen yet")


def sealed(register: Register, record: Record) -> bool:
    """Whether nobody emits under this record any more, and anybody may start its guest afresh."""
    return record.lease > 0 and register.token(record) == SEALED


def outlasts(lease: int) -> int:
    """The time after which an owner that has not renewed its lease is silent by any clock."""
    return lease + lease // 20 + _MARGIN


def fence(register: Register, record: Record, clock: Clock) -> Record:
    """Wait, as an outsider, until nobody emits under the newest record, `record` or one after it,
    and seal that; or until it has ended. The newest record: neither if it has no lease, or if that
    is still renewed after some time."""
    began = since = clock.now()
    watched: tuple[int, int] | None = None
    while True:
        record = _newest(register, record)
        if not record.lease or register.ended(record.generation):
            return record
        token, now = register.token(record), clock.now()
        if token == SEALED:
            return record
        moved = False
        if token is not None and (record.generation, token) != watched:
            moved = watched is not None
            watched, since = (record.generation, token), now
        elif now - since >= outlasts(record.lease):
            if token is not None and register.move_token(record, token, SEALED):
                return record
            moved, since = True, now  # and is seen late
        if moved and now - began >= _RENEWED * record.lease:
            return record
        clock.sleep(record.lease // _LOOKS)


def _newest(register: Register, found: Record) -> Record:
    while (later := register.read(found.generation + 1)) is not None:
        found = later
    return found
