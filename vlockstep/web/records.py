"""What stands in a cluster's store, read once for each change; and what there cannot be read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, TypeVar, cast

from vlockstep.cluster.guestfile import parse
from vlockstep.cluster.operator import Operator
from vlockstep.cluster.plain import PlainError, from_plain
from vlockstep.cluster.records import (
    ADVICE,
    CLUSTER,
    EVENTS,
    GUESTS,
    HOSTS,
    ORDERS,
    REPORTS,
    RETIRED,
    RULES,
    STATUS,
    TASKS,
    Advice,
    ClusterEvent,
    ClusterRecord,
    GuestRecord,
    HostRecord,
    MasterStatus,
    Order,
    ReplicaReport,
    Report,
    Retired,
    RuleRecord,
    Task,
    key,
    numbered,
)
from vlockstep.cluster.store.interface import Entry
from vlockstep.cluster.store.values import Unreadable
from vlockstep.errors import VlockstepError
from vlockstep.ft.events import Migrating
from vlockstep.web.mirror import Mirror

_T = TypeVar("_T")


class _Read(NamedTuple):
    entry: Entry
    record: Any
    """None if it is broken."""
    broken: tuple[tuple[str, str], ...]
    """Where, and how."""


class _Part(NamedTuple):
    entries: Mapping[str, Entry]
    found: dict[str, _Read]
    records: dict[str, Any]
    """By what follows the part in their keys."""


class Reader(Operator):
    """An operator that only looks, at what a mirror has. What is broken is left out, as others do,
    and told. May be asked by several threads."""

    def __init__(self, mirror: Mirror) -> None:
        super().__init__(mirror)
        self._mirror = mirror
        self._parts: dict[str, _Part] = {}
        self._config: ClusterRecord | None = None

    def config(self) -> ClusterRecord:
        """The last one that could be read, while it is broken."""
        found = self._part(CLUSTER)
        if self._config is None or found.records or not found.entries:
            self._config = super().config()
        return self._config

    def ordered(self) -> set[tuple[str, str]]:
        names = (name.split("/") for name in self._part(ORDERS).entries)
        return {(parts[1], parts[2]) for parts in names if len(parts) == 3}

    def broken(self) -> list[tuple[str, str]]:
        """Where something cannot be read, and how it is broken; the key comes first."""
        parts = (self._part(first) for first in _KINDS)
        return [each for part in parts for read in part.found.values() for each in read.broken]

    def _get(self, name: str, kind: type[_T]) -> _T | None:
        first, _, rest = name.partition("/")
        return cast(_T | None, self._part(first).records.get(rest))

    def _read(self, prefix: str, kind: type[_T]) -> Iterator[tuple[str, _T]]:
        return iter(self._part(prefix).records.items())

    def _part(self, first: str) -> _Part:
        entries, known = self._mirror.part(first), self._parts.get(first)
        if known is not None and known.entries is entries:
            return known
        before = known.found if known is not None else {}
        found = {}
        for name in sorted(entries):
            entry, old = entries[name], before.get(name)
            found[name] = old if old and old.entry is entry else _read(first, name, entry, old)
        records = {
            name.partition("/")[2]: read.record
            for name, read in found.items()
            if read.record is not None
        }
        made = self._parts[first] = _Part(entries, found, records)
        return made


def _read(first: str, name: str, entry: Entry, before: _Read | None) -> _Read:
    """`before` is what stood there."""
    if isinstance(entry.value, Unreadable):
        return _Read(entry, None, ((name, entry.value.problem),))
    try:
        if first == REPORTS:
            return _read_report(name, entry, before)
        record = from_plain(_KINDS[first], entry.value)
        if first in _KEYS and (its := _KEYS[first](record)) != name:
            raise PlainError(f"it says that it is {its}")
    except PlainError as error:
        return _Read(entry, None, ((name, str(error)),))
    broken: list[str] = []
    if first == GUESTS:
        record = _known_of_guest(record, broken)
    elif first == ADVICE:
        record = _known_of_advice(record, broken)
    return _Read(entry, record, tuple((name, why) for why in broken))


def _read_report(name: str, entry: Entry, before: _Read | None) -> _Read:
    """Each replica for itself: of hundreds few differ from what was told before."""
    told = entry.value.get("replicas")
    if not isinstance(told, dict):
        raise PlainError("Report.replicas is no object")
    report = from_plain(Report, {**entry.value, "replicas": {}})
    if key(REPORTS, report.host) != name:
        raise PlainError(f"it says that it is {key(REPORTS, report.host)}")
    known = before.entry.value["replicas"] if before and before.record is not None else {}
    replicas, broken = {}, []
    for guest, replica in told.items():
        if known.get(guest) == replica and guest in before.record.replicas:  # type: ignore[union-attr]
            replicas[guest] = before.record.replicas[guest]  # type: ignore[union-attr]
            continue
        try:
            found = replicas[guest] = from_plain(ReplicaReport, replica)
            if found.migration:
                from_plain(Migrating, found.migration)
        except PlainError as error:
            broken.append((name, f"{guest}: {error}"))
            replicas.pop(guest, None)
    return _Read(entry, replace(report, replicas=replicas), tuple(broken))


def _known_of_guest(guest: GuestRecord, broken: list[str]) -> GuestRecord:
    """Nothing of what is set for it, if that is `broken`."""
    try:
        parse(guest.file)
    except VlockstepError as error:
        broken.append(f"what is set for the guest: {error}")
        return replace(guest, file={})
    return guest


def _known_of_advice(advice: Advice, broken: list[str]) -> Advice:
    """The recommendations that are none are `broken`."""
    found = []
    for number, each in enumerate(advice.recommendations):
        try:
            from_plain(_Recommendation, each)
            found.append(each)
        except PlainError as error:
            broken.append(f"recommendation {number}: {error}")
    return replace(advice, recommendations=tuple(found))


@dataclass(frozen=True)
class _Move:
    guest: str
    role: str
    to: str


@dataclass(frozen=True)
class _Recommendation:
    """What the view needs of one."""

    key: str
    priority: int
    reason: str
    code: str
    gain: float
    cost: float
    risk: float
    prerequisites: tuple[str, ...]
    moves: tuple[_Move, ...]


_KINDS: Mapping[str, type[Any]] = {
    CLUSTER: ClusterRecord,
    HOSTS: HostRecord,
    GUESTS: GuestRecord,
    RULES: RuleRecord,
    ORDERS: Order,
    REPORTS: Report,
    TASKS: Task,
    EVENTS: ClusterEvent,
    STATUS: MasterStatus,
    ADVICE: Advice,
    RETIRED: Retired,
}
_KEYS: Mapping[str, Callable[[Any], str]] = {
    HOSTS: lambda host: key(HOSTS, host.name),
    GUESTS: lambda guest: key(GUESTS, guest.name),
    RULES: lambda rule: key(RULES, rule.name),
    TASKS: lambda task: numbered(TASKS, task.number),
    EVENTS: lambda event: numbered(EVENTS, event.number),
}
"""Where a record would stand that says this of itself."""
