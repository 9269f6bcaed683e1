"""What a person, or the command line, asks of a cluster: by its store, wherever the master is."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from vlockstep.cluster import guestfile
from vlockstep.cluster.guestfile import DiskSetting, GuestFile, check_name
from vlockstep.cluster.plain import PlainError, from_plain, to_plain
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
    Power,
    Report,
    Retired,
    RuleRecord,
    Task,
    TaskState,
    key,
    numbered,
)
from vlockstep.cluster.store import Conflict, Store
from vlockstep.errors import HostError, UsageError

_T = TypeVar("_T")
_POLL = 0.1
_ATTEMPTS = 20
QUEUED_SECONDS = 30.0
"""A task that no master has taken up by then waits for one that may never come."""


class Operator:
    """Raises `UsageError` for what cannot be asked, `StoreError` if the store does not answer."""

    def __init__(self, store: Store) -> None:
        self._store = store

    # The cluster

    def create(self, name: str, **settings: Any) -> ClusterRecord:
        check_name(name)
        record = ClusterRecord(name, uuid.uuid4().hex, **settings)
        try:
            self._store.put(CLUSTER, to_plain(record), 0)
        except Conflict as error:
            raise UsageError("there is a cluster in this store already") from error
        return record

    def config(self) -> ClusterRecord:
        found = self._get(CLUSTER, ClusterRecord)
        if found is None:
            raise UsageError(
                "there is no cluster in this store: make one by `vlockstep cluster create NAME`"
            )
        return found

    def set_config(self, **changes: Any) -> ClusterRecord:
        return self._change(CLUSTER, ClusterRecord, "there is no cluster", **changes)

    def status(self) -> MasterStatus | None:
        """What the master told last; None if there was none yet."""
        return self._get(STATUS, MasterStatus)

    def advice(self) -> Advice | None:
        return self._get(ADVICE, Advice)

    def recommended(self, keys: Sequence[str]) -> list[Mapping[str, str]]:
        """The moves of these recommendations and of those that they need, in their order, each with
        the `code` of its reason. What a recommendation needs and is not there is done without
        anybody's consent."""
        advice = self.advice()
        found = advice.recommendations if advice is not None else ()
        known = {each["key"] for each in found}
        for each in keys:
            if each not in known:
                raise UsageError(f"there is no recommendation {each!r} any more")
        wanted = {*keys}
        for advised in reversed(found):
            if advised["key"] in wanted:
                wanted.update(advised["prerequisites"])
        chosen = [advised for advised in found if advised["key"] in wanted]
        return [{**m, "code": a.get("code", "")} for a in chosen for m in a["moves"]]

    # Inventories

    def hosts(self) -> dict[str, HostRecord]:
        return self._all(HOSTS, HostRecord)

    def reports(self) -> dict[str, Report]:
        return self._all(REPORTS, Report)

    def orders(self) -> dict[str, Order]:
        return self._all(ORDERS, Order)

    def ordered(self) -> set[tuple[str, str]]:
        """Host and guest of each order."""
        names = (name.split("/") for name in self._store.list(ORDERS))
        return {(parts[1], parts[2]) for parts in names if len(parts) == 3}

    def guests(self) -> dict[str, GuestRecord]:
        return self._all(GUESTS, GuestRecord)

    def guest(self, name: str) -> GuestRecord:
        found = self._get(key(GUESTS, name), GuestRecord)
        if found is None:
            known = ", ".join(sorted(self.guests())) or "none"
            raise UsageError(f"there is no guest {name!r} (there are: {known})")
        return found

    def rules(self) -> list[RuleRecord]:
        return sorted(self._all(RULES, RuleRecord).values(), key=lambda rule: rule.number)

    def events(self, after: int = 0) -> list[ClusterEvent]:
        found = self._all(EVENTS, ClusterEvent).values()
        return sorted((e for e in found if e.number > after), key=lambda event: event.number)

    def tasks(self) -> list[Task]:
        return sorted(self._all(TASKS, Task).values(), key=lambda task: task.number)

    # Guests

    def create_guest(
        self,
        name: str,
        datastore: str,
        guest: GuestFile,
        image: Path | None,
        disks: Mapping[str, int | Path],
    ) -> GuestRecord:
        """Make the guest's folder and register it. `image` is copied there, and each disk is made:
        so many bytes, thin, or a copy of a file."""
        check_name(name)
        self._expect_free(name)
        folder = self.datastore(datastore) / name
        try:
            folder.mkdir()
        except FileExistsError as error:
            raise UsageError(
                f"{folder} is there already: register it, or choose another name"
            ) from error
        except OSError as error:
            raise HostError(f"cannot make the folder {folder}: {error.strerror}") from error
        try:
            if image is not None:
                shutil.copyfile(image, folder / image.name)
                guest = replace(guest, image=image.name)
            for disk, source in disks.items():
                self._make_disk(folder / f"{disk}.img", source)
            guest = replace(guest, disks={disk: DiskSetting(f"{disk}.img") for disk in disks})
            guestfile.write(folder, guest)
            return self.register(name, datastore, name)
        except OSError as error:
            shutil.rmtree(folder, ignore_errors=True)
            what = error.filename or folder
            raise HostError(f"cannot make the guest: {what}: {error.strerror}") from error
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise

    def register(self, name: str, datastore: str, folder: str) -> GuestRecord:
        """A guest whose folder is there."""
        check_name(name)
        guestfile.check_folder(folder)
        guest = guestfile.read(self.datastore(datastore) / folder)
        for other in self.guests().values():
            if (other.datastore, other.folder) == (datastore, folder):
                raise UsageError(f"the folder {folder} in {datastore} is {other.name}'s")
        retired = self._get(RETIRED, Retired) or Retired()
        record = GuestRecord(name, datastore, folder, guest.to_dict(), attempt=retired.attempt)
        try:
            self._store.put(key(GUESTS, name), to_plain(record), 0)
        except Conflict as error:
            raise UsageError(f"there is a guest {name!r} already") from error
        return record

    def set_guest(self, name: str, change: Callable[[GuestFile], GuestFile]) -> GuestFile:
        """In its file and in the inventory; what it runs with is taken from there when it starts
        next, but for what the master looks at: that counts at once."""
        record = self.guest(name)
        folder = self.datastore(record.datastore) / record.folder
        changed = guestfile.parse(change(guestfile.read(folder)).to_dict())
        guestfile.write(folder, changed)
        missing = f"there is no guest {name!r}"
        self._change(key(GUESTS, name), GuestRecord, missing, file=changed.to_dict())
        return changed

    def want_protection(self, name: str, wanted: bool) -> None:
        """Whether the guest is to have a secondary; a task sees to it."""
        if wanted and not self.config().ft:
            raise UsageError("fault tolerance is off in this cluster: `cluster set ft=true`")
        self.set_guest(name, lambda file: replace(file, ft=wanted))

    def unregister(self, name: str, delete: bool = False) -> None:
        """Forget a guest that is powered off, and `delete` its folder if that is wanted."""
        record = self.guest(name)
        if record.power is Power.ON:
            raise UsageError(f"{name} is powered on: stop it first")
        if any(order.guest == name for order in self.orders().values()):
            raise UsageError(f"{name} is still being ended: try again")
        folder = self.datastore(record.datastore) / record.folder if delete else None
        self._retire(record.attempt)
        self._store.delete(key(GUESTS, name), None)
        if folder is not None:
            try:
                shutil.rmtree(folder)
            except OSError as error:
                raise HostError(f"cannot delete {folder}: {error.strerror}") from error

    def datastore(self, name: str) -> Path:
        """Where it is, as seen from this computer."""
        paths = {
            path
            for host in self.hosts().values()
            for ds, path in host.datastores.items()
            if ds == name
        }
        if not paths:
            raise UsageError(f"no host has a datastore {name!r}: start one that has")
        for path in sorted(paths):
            if Path(path).is_dir():
                return Path(path)
        raise UsageError(
            f"the datastore {name!r} is not mounted here at {' or '.join(sorted(paths))}: do this "
            "on one of its hosts"
        )

    def _retire(self, attempt: int) -> None:
        for _ in range(_ATTEMPTS):
            entry = self._store.get(RETIRED)
            if entry is not None and from_plain(Retired, entry.value).attempt >= attempt:
                return
            version = 0 if entry is None else entry.version
            try:
                self._store.put(RETIRED, to_plain(Retired(attempt)), version)
            except Conflict:
                continue
            return
        raise HostError("so many guests are deleted now that this one could not be: try again")

    def _expect_free(self, name: str) -> None:
        if name in self.guests():
            raise UsageError(f"there is a guest {name!r} already")

    def _make_disk(self, path: Path, source: int | Path) -> None:
        if isinstance(source, Path):
            shutil.copyfile(source, path)
            return
        with path.open("xb") as file:
            os.truncate(file.fileno(), source)

    # Rules

    def add_rule(self, rule: RuleRecord) -> None:
        check_name(rule.name)
        known = self.guests()
        for guest in rule.guests:
            if guest not in known:
                raise UsageError(f"there is no guest {guest!r}")
        hosts = self.hosts()
        for host in rule.hosts:
            if host not in hosts:
                raise UsageError(f"there is no host {host!r}")
        number = max((each.number for each in self.rules()), default=0) + 1
        try:
            self._store.put(key(RULES, rule.name), to_plain(replace(rule, number=number)), 0)
        except Conflict as error:
            raise UsageError(f"there is a rule {rule.name!r} already") from error

    def remove_rule(self, name: str) -> None:
        if self._get(key(RULES, name), RuleRecord) is None:
            raise UsageError(f"there is no rule {name!r}")
        self._store.delete(key(RULES, name), None)

    # Tasks

    def submit(self, kind: str, target: str, **details: Any) -> Task:
        """Ask for something that takes time."""
        by = f"{getpass.getuser()}@{socket.gethostname()}"
        given = {name: value for name, value in details.items() if value is not None}
        for _ in range(_ATTEMPTS):
            number = max((task.number for task in self.tasks()), default=0) + 1
            task = Task(number, kind, target, by, time.time(), given)
            try:
                self._store.put(numbered(TASKS, number), to_plain(task), 0)
            except Conflict:
                continue
            return task
        raise HostError("so many ask for something now that this could not be asked: try again")

    def task(self, number: int) -> Task:
        found = self._get(numbered(TASKS, number), Task)
        if found is None:
            raise UsageError(f"there is no task {number}")
        return found

    def cancel(self, number: int) -> None:
        if self.task(number).state.over:
            raise UsageError(f"task {number} is over already")
        self._change(numbered(TASKS, number), Task, f"there is no task {number}", cancel=True)

    def follow(self, task: Task, tell: Callable[[Task], None]) -> Task:
        """To its end; each look is told, whether or not something is new. Raises `HostError` if it
        failed, and if no master takes it up."""
        asked = time.monotonic()
        while not task.state.over:
            if task.state is TaskState.QUEUED and time.monotonic() > asked + QUEUED_SECONDS:
                raise HostError(
                    f"no master has taken up task {task.number} in {QUEUED_SECONDS:g} s: does any "
                    "host's agent run? It stays queued"
                )
            time.sleep(_POLL)
            task = self.task(task.number)
            tell(task)
        if task.state is not TaskState.DONE:
            raise HostError(task.reason)
        return task

    # The store

    def _get(self, name: str, kind: type[_T]) -> _T | None:
        entry = self._store.get(name)
        return None if entry is None else from_plain(kind, entry.value)

    def _all(self, prefix: str, kind: type[_T]) -> dict[str, _T]:
        return dict(self._read(prefix, kind))

    def _read(self, prefix: str, kind: type[_T]) -> Iterator[tuple[str, _T]]:
        for name, entry in self._store.list(prefix).items():
            try:
                yield name.removeprefix(f"{prefix}/"), from_plain(kind, entry.value)
            except PlainError:
                continue  # another version's

    def _change(self, name: str, kind: type[_T], missing: str, **changes: Any) -> _T:
        for _ in range(_ATTEMPTS):
            entry = self._store.get(name)
            if entry is None:
                raise UsageError(missing)
            record: Any = replace(from_plain(kind, entry.value), **changes)  # type: ignore[type-var]
            try:
                self._store.put(name, to_plain(record), entry.version)
            except Conflict:
                continue
            made: _T = record
            return made
        raise HostError(f"{name} changes all the time: try again")
