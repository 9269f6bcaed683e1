"""The states of a host, who may tell them, and the one table by which a master does.

Own states and where they may lead:

| state | may lead to |
| --- | --- |
| uninitialized | election |
| election | master, connectedToMaster, uninitialized |
| master | election, connectedToMaster, networkIsolated, uninitialized |
| connectedToMaster | election, uninitialized |
| networkIsolated | election, uninitialized |
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum


class Availability(StrEnum):
    """As in vSphere, where it is the state of the agent of HA on a host."""

    UNINITIALIZED = "uninitialized"
    """Takes no part; or its master does not know yet."""
    ELECTION = "election"
    """Looks for a master, or stands for election."""
    MASTER = "master"
    CONNECTED = "connectedToMaster"
    """A slave."""
    PARTITIONED = "networkPartitionedFromMaster"
    """Lives, but is not reached from the master."""
    ISOLATED = "networkIsolated"
    """Lives, and has declared that it reaches nobody."""
    DOWN = "hostDown"
    UNREACHABLE = "fdmUnreachable"
    """The computer answers, its monitor does not."""


_A = Availability
TRANSITIONS: Mapping[Availability, frozenset[Availability]] = {
    _A.UNINITIALIZED: frozenset({_A.ELECTION}),
    _A.ELECTION: frozenset({_A.MASTER, _A.CONNECTED, _A.UNINITIALIZED}),
    _A.MASTER: frozenset({_A.ELECTION, _A.CONNECTED, _A.ISOLATED, _A.UNINITIALIZED}),
    _A.CONNECTED: frozenset({_A.ELECTION, _A.UNINITIALIZED}),
    _A.ISOLATED: frozenset({_A.ELECTION, _A.UNINITIALIZED}),
}
"""Where each of a host's own states may lead. Any other step is a bug."""

_YES, _NO, _ANY = True, False, None
JUDGEMENTS: tuple[tuple[bool | None, bool | None, bool | None, bool | None, Availability], ...] = (
    # words  datastores  ping  isolated
    (_YES, _ANY, _ANY, _ANY, _A.CONNECTED),
    (_NO, _ANY, _YES, _ANY, _A.UNREACHABLE),
    (_NO, _YES, _NO, _YES, _A.ISOLATED),
    (_NO, _YES, _NO, _NO, _A.PARTITIONED),
    (_NO, _NO, _NO, _ANY, _A.DOWN),
)
"""Who hears a host's words, sees its heartbeats on datastores, gets answers to pings, and read that
it declares itself isolated, judges so. What it does not know (None) is neither yes nor no."""


def judge(
    words: bool | None, datastores: bool | None, ping: bool | None, isolated: bool
) -> Availability | None:
    """The state of another host, by the table; None as long as too little is known."""
    known = (words, datastores, ping, isolated)
    for *row, state in JUDGEMENTS:
        if all(column is _ANY or column is k for column, k in zip(row, known, strict=True)):
            return state
    return None
