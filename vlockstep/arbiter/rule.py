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
    without renewing the record, in nanoseconds; 0 for ever. `disks` are the files of those disks
    that have moved since the guest started, by the guest's names for them.

    `name`, `host` and `pid` are the owner's, for people; `process` tells that process from others
    that had its number."""

    generation: int
    owner: str
    members: tuple[str, ...]
    lease: int = 0
    disks: Mapping[str, str] = field(default_factory=dict)
    name: str = ""
    host: str = ""
    pid: int = 0
    process: str = ""
    ended: bool = False
    """Told with the answer to a claim, not kept: the guest has ended under this generation, and
    nobody goes on with it."""


class Register(Protocol):
    """Where records are kept. Every operation may raise `ArbiterError`."""

    def read(self, generation: int) -> Record | None:
        """None if there is none yet, as far as can be seen from here."""

    def create(self, record: Record) -> bool:
        """Atomically, if its generation has none; False if it has."""

    def ended(self, generation: int) -> bool:
        """Whether it is marked ended, as far as can be seen from here."""

    def end(self, generation: int) -> None:
        """Mark it ended: its guest has ended, and all outputs are made."""


class Arbiter(Protocol):
    """A register with a name for who claims. What it does may take as long as it likes."""

    def claim(
        self,
        owner: str,
        expected: int,
        leave_out: frozenset[str],
        take_in: frozenset[str],
        moved: Mapping[str, str] | None = None,
    ) -> Record:
        """Let `owner` own the generation after `expected`, with its members and disks but for
        these; the newest record, which tells whether it does. Raises `ArbiterError` if there is no
        answer."""

    def end(self, generation: int) -> None:
        """The guest has ended under `generation`, all its outputs are made: another may start."""


def claim(
    register: Register,
    claimant: Record,
    leave_out: frozenset[str] = frozenset(),
    take_in: frozenset[str] = frozenset(),
    moved: Mapping[str, str] | None = None,
) -> Record:
    """Create the record of `claimant.generation`, with the members of the one before but for who is
    left out and who is taken in, and with its disks but for those that have `moved`; the newest
    record, as far as it can be seen.

    Only a member may, unless the guest has ended, or, where that has or there was none, who starts
    it afresh with others: the only members are then itself and who is taken in. Otherwise only the
    owner may take somebody in, or move a disk.
    """
    expected, owner = claimant.generation - 1, claimant.owner
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
        members = frozenset(before.members) - leave_out | take_in
    elif before is None or (ended and take_in):
        members = take_in | {owner}
    else:
        return _newest(register, before)
    found = register.read(claimant.generation)
    if found is None and before is not None and member and ended:
        return replace(before, ended=True)
    if found is None:
        disks = {**before.disks, **(moved or {})} if before is not None and member else {}
        wanted = replace(claimant, members=tuple(sorted(members)), disks=disks)
        if register.create(wanted):
            return wanted
        found = register.read(claimant.generation)
    if found is None:
        raise ArbiterError(f"the record of generation {claimant.generation} cannot be seen yet")
    return _newest(register, found)


def _newest(register: Register, found: Record) -> Record:
    while (later := register.read(found.generation + 1)) is not None:
        found = later
    return found
