"""The store's content at the beginning of a round, and what the round writes.

Whoever decides something of a guest writes the guest's record first, by compare-and-set on what the
round has read: so of two masters that know nothing of each other only one decides.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, Generic, TypeVar

from vlockstep.cluster.guestfile import GuestFile, Restart, parse
from vlockstep.cluster.model import Cluster, Guest, Host, Replica, Role
from vlockstep.cluster.plain import PlainError, from_plain, to_plain
from vlockstep.cluster.records import (
    ADVICE,
    CLUSTER,
    EVENTS,
    GUESTS,
    HOSTS,
    ORDERS,
    REPORTS,
    RULES,
    STATUS,
    TASKS,
    Advice,
    Begin,
    ClusterEvent,
    ClusterRecord,
    End,
    GuestRecord,
    HostRecord,
    Life,
    MasterStatus,
    Order,
    ReplicaReport,
    Report,
    RuleRecord,
    Task,
    key,
    numbered,
)
from vlockstep.cluster.store import Conflict, Store
from vlockstep.errors import UsageError, VlockstepError

_T = TypeVar("_T")
EVENTS_KEPT = 1000
TASKS_KEPT = 1000


@dataclass(frozen=True)
class Beliefs:
    """What the master believes of hosts: their `states`, for people; which of them can be given
    guests (`usable`); whose reports are so new that they tell what is (`trusted`); and whose
    replicas are `lost`, whatever became of them; what runs on a host that is cut off, as it says on
    datastores (`listed`). `owned` are the datastores for whose guests this master is
    responsible."""

    states: Mapping[str, str] = field(default_factory=dict)
    usable: frozenset[str] = frozenset()
    trusted: frozenset[str] = frozenset()
    lost: frozenset[str] = frozenset()
    listed: Mapping[str, frozenset[str]] = field(default_factory=dict)
    owned: frozenset[str] = frozenset()


class Stored(Generic[_T]):
    """A record, with the version that was read."""

    __slots__ = ("record", "version")

    def __init__(self, record: _T, version: int) -> None:
        self.record = record
        self.version = version


@dataclass(frozen=True)
class Seat:
    """A replica of a guest on a host: what was ordered, and what the host says of it. What is said
    can be `trusted`; of a host that is `lost` nothing is to come any more."""

    host: str
    order: Stored[Order] | None
    report: ReplicaReport | None
    trusted: bool
    lost: bool

    @property
    def attempt(self) -> int:
        return self.order.record.attempt if self.order is not None else 0

    @property
    def life(self) -> Life | None:
        """As far as the host has come with its order; None if it has not begun."""
        return self.report.life if self.current else None  # type: ignore[union-attr]

    @property
    def current(self) -> bool:
        """The report is of the newest order."""
        return self.report is not None and self.report.attempt >= self.attempt

    @property
    def runs(self) -> bool:
        return self.life is Life.RUNNING

    @property
    def begun(self) -> bool:
        """Its guest runs, or it follows the one that does."""
        return self.current and self.report is not None and self.report.begun

    @property
    def over(self) -> bool:
        return self.life is Life.ENDED

    @property
    def generation(self) -> int:
        """The newest under which it was a member, as far as it says."""
        return self.report.generation if self.current and self.report is not None else 0


class View:
    """Raises `StoreError` if the store does not answer."""

    def __init__(self, store: Store, wall: float) -> None:
        self.beliefs = Beliefs()
        """Without them nothing can be trusted."""
        self.wall = wall
        self._store = store
        self.tasks = self._all(TASKS, Task)  # what they are about was there before them
        self.config = self._one(CLUSTER, ClusterRecord)
        self.hosts = self._all(HOSTS, HostRecord)
        self.guests = self._all(GUESTS, GuestRecord)
        self.rules = self._all(RULES, RuleRecord)
        self.reports = {name: each.record for name, each in self._all(REPORTS, Report).items()}
        self.orders: dict[tuple[str, str], Stored[Order]] = {}
        for name, order in self._all(ORDERS, Order).items():
            host, _, guest = name.partition("/")
            self.orders[host, guest] = order
        self._where: dict[str, set[str]] = {}
        """By guest, the hosts that have an order for it, or report it."""
        for host, guest in self.orders:
            self._where.setdefault(guest, set()).add(host)
        for host in self.hosts.keys() & self.reports.keys():
            for guest in self.reports[host].replicas:
                self._where.setdefault(guest, set()).add(host)
        self._files: dict[str, GuestFile] = {}
        self.damaged: dict[str, str] = {}
        """Guests that are left alone, since what they are cannot be read."""
        for name in [*self.guests]:
            try:
                self._files[name] = parse(self.guests[name].record.file)
            except VlockstepError as error:
                self.damaged[name] = f"{name}: {error}"
                del self.guests[name]
        self._next_event: int | None = None

    def _one(self, name: str, kind: type[_T]) -> Stored[_T]:
        entry = self._store.get(name)
        if entry is None:
            raise UsageError("there is no cluster in this store: create one")
        return Stored(from_plain(kind, entry.value), entry.version)

    def _all(self, prefix: str, kind: type[_T]) -> dict[str, Stored[_T]]:
        found = {}
        for name, entry in self._store.list(prefix).items():
            with suppress(PlainError):  # another version's
                record = from_plain(kind, entry.value)
                found[name.removeprefix(f"{prefix}/")] = Stored(record, entry.version)
        return found

    # Reading

    def file(self, guest: str) -> GuestFile:
        return self._files[guest]

    def protects(self, guest: str) -> bool:
        """It is to have a secondary."""
        return self.file(guest).ft and self.config.record.ft

    def holds(self, guest: str) -> bool:
        """Without one its outputs are to wait."""
        return self.protects(guest) and self.file(guest).hold

    def seats(self, guest: str) -> list[Seat]:
        """By host."""
        found = []
        for host in sorted(self._where.get(guest, ())):
            order = self.orders.get((host, guest))
            report = self.reports.get(host)
            replica = report.replicas.get(guest) if report is not None else None
            if order is not None or (replica is not None and replica.life is not Life.ENDED):
                lost = host in self.beliefs.lost or (
                    host in self.beliefs.listed and guest not in self.beliefs.listed[host]
                )
                trusted = host in self.beliefs.trusted
                found.append(Seat(host, order, replica, trusted, lost))
        return found

    def ours(self, guest: str) -> bool:
        """This master is responsible for it."""
        return guest in self.guests and self.guests[guest].record.datastore in self.beliefs.owned

    def on(self, host: str) -> list[str]:
        """Guests that have a replica there, or may have one."""

        def there(seat: Seat) -> bool:
            return seat.host == host and not (seat.over if seat.trusted else seat.order is None)

        return sorted(guest for guest in self._where if any(map(there, self.seats(guest))))

    def cluster(self) -> Cluster:
        """As decisions see it: what is ordered counts as placed."""
        guests: dict[str, Guest] = {}
        placed: dict[Replica, str] = {}
        moving: dict[Replica, str] = {}
        for name in self.guests:
            model = self.file(name).model(name, self.guests[name].record.datastore)
            there = [seat for seat in self.seats(name) if not (seat.lost or seat.over)]
            for seat in sorted(there, key=lambda seat: seat.generation, reverse=True):
                replica = seat.report if seat.current else None
                role = replica.role if replica is not None else None
                order = seat.order.record if seat.order is not None else None
                if order is not None and order.role is not None and self._comes(seat):
                    moving[Replica(name, order.role)] = seat.host
                    continue
                if role is None:
                    rules = order is None or order.begin.rules
                    role = Role.PRIMARY if rules else Role.SECONDARY
                if role is Role.PRIMARY and Replica(name) in placed:
                    if not seat.trusted:
                        continue  # whatever became of it, another one rules since
                    role = Role.SECONDARY  # it has not come to notice that
                elif role is Role.PRIMARY and replica is not None:
                    model = replace(
                        model, demand=replica.cpu, active=replica.memory, dirty=replica.dirty
                    )
                where = moving if Replica(name, role) in placed else placed
                where.setdefault(Replica(name, role), seat.host)
            guests[name] = model
        under_way = {replica: host for replica, host in moving.items() if replica in placed}
        placed = {**moving, **placed}  # also where one is waited for that comes no more
        config = self.config.record
        return Cluster(
            {name: self.host(name) for name in sorted(self.beliefs.usable & {*self.hosts})},
            guests,
            placed,
            tuple(
                stored.record.rule()
                for stored in sorted(self.rules.values(), key=lambda each: each.record.number)
            ),
            config.automation,
            config.baseline,
            under_way,
        )

    def _comes(self, seat: Seat) -> bool:
        """A replica is still on its way to this seat."""
        assert seat.order is not None
        guest = seat.order.record.guest
        leaves = any(
            other.order is not None and other.order.record.move is not None and not other.over
            for other in self.seats(guest)
            if other.host != seat.host
        )
        return leaves or not seat.begun

    def host(self, name: str) -> Host:
        record = self.hosts[name].record
        return Host(
            name,
            record.cpu,
            record.memory,
            frozenset(record.datastores),
            frozenset(record.networks),
            record.cpu_limit,
            record.maintenance,
            record.standby,
            frozenset(record.kvm),
        )

    def open_tasks(self) -> Iterator[Stored[Task]]:
        """Those that are not over, the oldest first."""
        for stored in sorted(self.tasks.values(), key=lambda each: each.record.number):
            if not stored.record.state.over:
                yield stored

    # Writing

    def resumes(self, name: str) -> bool:
        """Whether a restart of the guest is to go on where it was."""
        return self.file(name).restart is Restart.RESUME and self.guests[name].record.begun

    def set_guest(self, name: str, **changes: Any) -> bool:
        """False if another one was faster: then nothing of this guest may be decided in this
        round."""
        stored = self.guests[name]
        return self._set(key(GUESTS, name), stored, replace(stored.record, **changes))

    def set_host(self, name: str, **changes: Any) -> bool:
        stored = self.hosts[name]
        return self._set(key(HOSTS, name), stored, replace(stored.record, **changes))

    def set_task(self, stored: Stored[Task], **changes: Any) -> bool:
        return self._set(
            numbered(TASKS, stored.record.number), stored, replace(stored.record, **changes)
        )

    def order(
        self,
        host: str,
        guest: str,
        begin: Begin,
        join: str | None = None,
        end: End | None = None,
        role: Role | None = None,
    ) -> int | None:
        """Let the host run a replica, or end the one that it runs unordered; the number of the
        attempt. None if another one was faster."""
        attempt = self.guests[guest].record.attempt + 1
        changes: dict[str, Any] = {"attempt": attempt}
        if begin.rules:
            changes["host"] = host
        if begin is Begin.BOOT:
            changes["begun"] = False
        if not self.set_guest(guest, **changes):
            return None
        self._put_order(host, guest, attempt, begin, join, end, role)
        return attempt

    def adopt(self, seat: Seat, guest: str, begin: Begin) -> None:
        """A replica that runs without an order gets the one that it must have had."""
        assert seat.report is not None
        attempt = max(self.guests[guest].record.attempt, seat.report.attempt)
        if self.set_guest(guest, attempt=attempt):
            self._put_order(seat.host, guest, seat.report.attempt, begin)

    def _put_order(
        self,
        host: str,
        guest: str,
        attempt: int,
        begin: Begin,
        join: str | None = None,
        end: End | None = None,
        role: Role | None = None,
    ) -> None:
        record = self.guests[guest].record
        order = Order(
            guest,
            attempt,
            begin,
            record.datastore,
            record.folder,
            record.file,
            join,
            role,
            end,
            hold=self.holds(guest),
        )
        version = self._store.put(key(ORDERS, host, guest), to_plain(order), None)
        self.orders[host, guest] = Stored(order, version)
        self._where.setdefault(guest, set()).add(host)

    def change_order(self, seat: Seat, **changes: Any) -> bool:
        """False if another one was faster, or it says so already."""
        assert seat.order is not None
        wanted = replace(seat.order.record, **changes)
        if wanted == seat.order.record:
            return False
        return self._set(key(ORDERS, seat.host, wanted.guest), seat.order, wanted)

    def withdraw(self, seat: Seat) -> None:
        """The order: what it was for is over."""
        assert seat.order is not None
        guest = seat.order.record.guest
        with suppress(Conflict):
            self._store.delete(key(ORDERS, seat.host, guest), seat.order.version)
            self.orders.pop((seat.host, guest), None)

    def remove_host(self, name: str) -> None:
        """Who is not in the inventory any more is none of the cluster's."""
        for each in (key(HOSTS, name), key(REPORTS, name)):
            with suppress(Conflict):
                self._store.delete(each, None)
        self.hosts.pop(name, None)

    def add_task(self, kind: str, target: str, by: str, **details: Any) -> None:
        number = max((t.record.number for t in self.tasks.values()), default=0) + 1
        task = Task(number, kind, target, by, self.wall, details)
        with suppress(Conflict):
            version = self._store.put(numbered(TASKS, number), to_plain(task), 0)
            self.tasks[f"{number:010}"] = Stored(task, version)

    def forget_tasks(self) -> None:
        """Those that are over, and old."""
        newest = max((task.record.number for task in self.tasks.values()), default=0)
        for name, task in list(self.tasks.items()):
            if task.record.state.over and task.record.number <= newest - TASKS_KEPT:
                with suppress(Conflict):
                    self._store.delete(key(TASKS, name), task.version)
                    del self.tasks[name]

    def event(
        self,
        kind: str,
        text: str,
        host: str | None = None,
        guest: str | None = None,
        **details: Any,
    ) -> None:
        number = self._next_event or self._first_free()
        while True:
            event = ClusterEvent(number, self.wall, kind, text, host, guest, details)
            number += 1
            with suppress(Conflict):
                self._store.put(numbered(EVENTS, event.number), to_plain(event), 0)
                break
        self._next_event = number
        if (old := number - EVENTS_KEPT) > 0:
            with suppress(Conflict):
                self._store.delete(numbered(EVENTS, old), None)

    def tell(self, status: MasterStatus) -> None:
        self._store.put(STATUS, to_plain(status), None)

    def advise(self, advice: Advice) -> None:
        self._store.put(ADVICE, to_plain(advice), None)

    def _first_free(self) -> int:
        names = self._store.list(EVENTS)
        return max((int(name.rpartition("/")[2]) for name in names), default=0) + 1

    def _set(self, name: str, stored: Stored[_T], record: _T) -> bool:
        try:
            stored.version = self._store.put(name, to_plain(record), stored.version)
        except Conflict:
            return False
        stored.record = record
        return True
