"""What every host does: carry out the orders that it finds in the store, and report there.

An order is carried out once: a replica that has ended is not started again before the master
orders that anew, whatever has become of the agent or the host meanwhile. A replica without an order
is left alone and reported: the master knows better than a listing that may be incomplete.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Protocol

from vlockstep.cluster.model import Role
from vlockstep.cluster.plain import PlainError, from_plain, to_plain
from vlockstep.cluster.records import ORDERS, REPORTS, End, Life, Order, ReplicaReport, Report, key
from vlockstep.cluster.store import Store
from vlockstep.errors import VlockstepError

_PATIENCE = 10.0
"""Seconds between two attempts to end a replica in some way."""


class Local(Protocol):
    """The replicas of this host, by guest. What it cannot do it tells by a `VlockstepError`."""

    def look(self) -> Mapping[str, ReplicaReport]:
        """Those that run, and those that ended since they were started."""

    def start(self, order: Order) -> None: ...

    def end(self, guest: str, how: End, reason: str) -> None: ...

    def move(self, guest: str, endpoint: str, mover: int) -> None: ...

    def swap(self, guest: str, mover: int) -> None:
        """Let a secondary take over, and follow that."""

    def call_off(self, guest: str) -> None:
        """The move."""

    def hold(self, guest: str, hold: bool) -> None:
        """Its outputs, or no longer, while no other replica has the guest."""


class Keeper:
    """`instance` tells the agent from others of this host."""

    def __init__(self, host: str, instance: str, store: Store, local: Local, every: float) -> None:
        self._host = host
        self._instance = instance
        self._store = store
        self._local = local
        self._every = every
        self._known: dict[str, ReplicaReport] | None = None
        """By guest, what was reported last."""
        self._number = 0
        self._told: tuple[object, ...] | None = None
        self._due = float("-inf")
        self._ended_at: dict[tuple[str, End], float] = {}

    def round(self, now: float, wall: float) -> None:
        """Look, carry out, report. Raises `StoreError` if the store does not answer: then nothing
        was decided."""
        if self._known is None:
            self._known = self._last_report()
        orders = self._orders()
        known = self._known
        seen = self._local.look()
        found: dict[str, ReplicaReport] = {}
        for guest, order in orders.items():
            found[guest] = self._carry_out(now, wall, order, known.get(guest), seen.get(guest))
        for guest, replica in seen.items():
            if guest not in found and replica.life is not Life.ENDED:
                found[guest] = replica
        for guest in [g for g, _ in self._ended_at if g not in orders]:
            self._ended_at = {k: v for k, v in self._ended_at.items() if k[0] != guest}
        self._known = found
        self._report(now, wall, found)

    def _carry_out(
        self,
        now: float,
        wall: float,
        order: Order,
        known: ReplicaReport | None,
        seen: ReplicaReport | None,
    ) -> ReplicaReport:
        alive = seen is not None and seen.life is not Life.ENDED
        if known is None or known.attempt < order.attempt:
            if seen is not None and seen.attempt >= order.attempt:
                return seen  # by an agent that did not come to report it
            if seen is not None and alive:
                self._end(now, order.guest, End.KILL, "another attempt is ordered")
                return seen
            return self._start(wall, order)
        if seen is None:
            lost = "its process has gone"
            ended = known.life is Life.ENDED
            return known if ended else replace(known, life=Life.ENDED, problem=lost)
        if not alive:
            return seen if seen.attempt >= known.attempt else known  # nothing was started by that
        self._see_to(now, order, seen)
        return seen

    def _start(self, wall: float, order: Order) -> ReplicaReport:
        if order.end is not None:
            return ReplicaReport(order.attempt, Life.ENDED, since=wall, problem=order.reason)
        try:
            self._local.start(order)
        except VlockstepError as error:
            return ReplicaReport(order.attempt, Life.ENDED, since=wall, problem=str(error))
        return ReplicaReport(order.attempt, Life.STARTING, since=wall)

    def _see_to(self, now: float, order: Order, seen: ReplicaReport) -> None:
        """What is to happen to a replica that runs."""
        if seen.begun and seen.hold is not order.hold:
            self._local.hold(order.guest, order.hold)
        alone = seen.role is Role.PRIMARY and seen.members == 1
        if alone and order.end in (End.LEAVE, End.DROP):
            return  # the guest is nowhere else, as was thought when this was ordered
        if order.end is not None:
            how = End.KILL if order.end is End.DROP else order.end
            self._end(now, order.guest, how, order.reason)
        elif order.cancel and seen.mover == order.mover and seen.moved is None:
            self._local.call_off(order.guest)
        elif order.move is not None and seen.mover != order.mover and not order.cancel:
            self._local.move(order.guest, order.move, order.mover)
        elif _hands_over(order, seen):
            self._local.swap(order.guest, order.mover)

    def _end(self, now: float, guest: str, how: End, reason: str) -> None:
        if now >= self._ended_at.get((guest, how), float("-inf")) + _PATIENCE:
            self._ended_at[guest, how] = now
            self._local.end(guest, how, reason)

    # The store

    def _last_report(self) -> dict[str, ReplicaReport]:
        """What this host has carried out already."""
        entry = self._store.get(key(REPORTS, self._host))
        if entry is None:
            return {}
        report = from_plain(Report, entry.value)
        self._number = report.number
        return dict(report.replicas)

    def _orders(self) -> dict[str, Order]:
        found = {}
        prefix = key(ORDERS, self._host)
        for name, entry in self._store.list(prefix).items():
            try:
                found[name.rpartition("/")[2]] = from_plain(Order, entry.value)
            except PlainError:
                continue  # another version's; the master sees that nothing comes of it
        return found

    def _report(self, now: float, wall: float, found: dict[str, ReplicaReport]) -> None:
        told = tuple(sorted((guest, _told(replica)) for guest, replica in found.items()))
        if told == self._told and now < self._due:
            return
        self._number += 1
        running = [r for r in found.values() if r.life is not Life.ENDED]
        report = Report(
            self._host,
            self._instance,
            self._number,
            wall,
            found,
            sum(r.cpu for r in running),
            sum(r.memory for r in running),
        )
        self._store.put(key(REPORTS, self._host), to_plain(report), None)
        self._told, self._due = told, now + self._every


def _hands_over(order: Order, seen: ReplicaReport) -> bool:
    """It is to, and has not been asked: under another generation that is long past."""
    rules = seen.role is Role.PRIMARY and seen.generation == order.swap
    return order.swap > 0 and rules and seen.mover != order.mover


def _told(replica: ReplicaReport) -> tuple[object, ...]:
    """What others should know at once, if it changes."""
    return (
        replica.attempt,
        replica.life,
        replica.role,
        replica.state,
        replica.generation,
        replica.members,
        replica.endpoint,
        replica.problem,
        replica.mover,
        replica.moved,
        replica.moving,
        replica.hold,
        replica.holding,
    )
