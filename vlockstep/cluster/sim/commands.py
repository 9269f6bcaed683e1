"""What is done to a simulated cluster, in words: `12.5 crash a`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Self

from vlockstep.cluster.records import GUESTS, TASKS, GuestRecord, Task, key
from vlockstep.cluster.sim.managed import ManagedCluster
from vlockstep.cluster.sim.store import Reach
from vlockstep.errors import UsageError

_SECOND = 1_000_000_000


@dataclass(frozen=True)
class Command:
    """At a time in nanoseconds."""

    time: int
    words: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> Self:
        time, *words = text.split()
        try:
            seconds = float(time)
        except ValueError:
            raise UsageError(
                f"{text!r} is no command: write seconds, a name and words, as in '12.5 crash a'"
            ) from None
        if not 0 <= seconds <= 1e6:
            raise UsageError(f"{text!r}: the time is from 0 to 1000000 s")
        if not words or words[0] not in COMMANDS:
            raise UsageError(f"{text!r}: there are the commands {', '.join(COMMANDS)}")
        return cls(round(seconds * _SECOND), tuple(words))

    def __str__(self) -> str:
        return f"{self.time / _SECOND:.9g} {' '.join(self.words)}"

    def check(self, cluster: ManagedCluster) -> None:
        """`UsageError` if it means something that the cluster does not have."""
        name, *given = self.words
        wanted = COMMANDS[name].wants
        least = len([word for word in wanted if not word.endswith("?")])
        if not least <= len(given) <= len(wanted):
            raise UsageError(f"'{self}': {name} takes {' '.join(wanted) or 'nothing'}")
        for word, what in zip(given, wanted, strict=False):
            _check(cluster, word, what.removesuffix("?"), str(self))

    def perform(self, cluster: ManagedCluster) -> None:
        name, *given = self.words
        cluster.witness.happened(f"- {' '.join(self.words)}")
        COMMANDS[name].do(cluster, *given)


def _check(cluster: ManagedCluster, word: str, what: str, command: str) -> None:
    conditions = cluster.conditions
    known: Mapping[str, object] = {}
    match what:
        case "HOST":
            known = conditions.hosts
        case "STATION":
            known = dict.fromkeys(cluster.network.names)
        case "GUEST":
            known = conditions.guests
        case "DATASTORE":
            known = cluster.datastores
        case "HOSTS":
            for each in word.split(","):
                _check(cluster, each, "STATION", command)
            return
        case "N":
            if not word.isdecimal():
                raise UsageError(f"'{command}': {word!r} is no number")
            return
        case _:
            return
    if word not in known:
        raise UsageError(f"'{command}': there is no {what.lower()} {word!r}")


@dataclass(frozen=True)
class _Kind:
    wants: tuple[str, ...]
    do: Callable[..., object]


_C = ManagedCluster


def _restore(cluster: _C) -> None:
    """All faults are over."""
    cluster.network.heal()
    cluster.links.heal()
    for name, host in cluster.hosts.items():
        agent = cluster.agent(name)
        agent.crash_after = None
        agent.set_reach(Reach.FINE)
        for datastore in cluster.records[name].datastores:
            if name in cluster.datastores[datastore].away:
                cluster.connect(name, datastore)
        host.thaw()
        agent.resume()
        host.boot()
        agent.start()
        for replica in cluster.disks[name].values():
            replica.resume()


def _reach(cluster: _C, host: str, how: str = "away") -> None:
    cluster.agent(host).set_reach(Reach(how))


def _start(cluster: _C, guest: str, host: str | None = None) -> None:
    cluster.submit("start", guest, **({} if host is None else {"host": host}))


def _migrate(cluster: _C, guest: str, host: str | None = None, role: str = "primary") -> None:
    cluster.submit("migrate", guest, role=role, **({} if host is None else {"host": host}))


def _protect(cluster: _C, guest: str, wanted: bool) -> None:
    record = cluster.stored(GuestRecord, key(GUESTS, guest))
    assert record is not None
    cluster.put(key(GUESTS, guest), replace(record, file={**record.file, "ft": wanted}))
    cluster.submit("protect" if wanted else "unprotect", guest)


def _cancel(cluster: _C, target: str) -> None:
    """The newest task."""
    for name, task in reversed(cluster.all(Task, TASKS).items()):
        if task.target == target and not task.state.over:
            cluster.put(name, replace(task, cancel=True))
            return


def _kill_replica(cluster: _C, guest: str, host: str) -> None:
    replica = cluster.disks[host].get(guest)
    if replica is not None:
        replica.kill()


def _delete(cluster: _C, guest: str) -> None:
    cluster.delete(key(GUESTS, guest))


_HOST, _GUEST = ("HOST",), ("GUEST",)
COMMANDS: Mapping[str, _Kind] = {
    "crash": _Kind(_HOST, lambda c, h: c.hosts[h].crash()),
    "crash-at": _Kind(("HOST", "N"), lambda c, h, n: setattr(c.agent(h), "crash_after", int(n))),
    "boot": _Kind(_HOST, lambda c, h: c.hosts[h].boot()),
    "boot-all": _Kind((), lambda c: c.boot()),
    "freeze": _Kind(_HOST, lambda c, h: c.hosts[h].freeze()),
    "thaw": _Kind(_HOST, lambda c, h: c.hosts[h].thaw()),
    "kill-agent": _Kind(_HOST, lambda c, h: c.agents[h].kill()),
    "start-agent": _Kind(_HOST, lambda c, h: c.agents[h].start()),
    "stop-agent": _Kind(_HOST, lambda c, h: c.agents[h].stop()),
    "resume-agent": _Kind(_HOST, lambda c, h: c.agents[h].resume()),
    "unplug": _Kind(("STATION",), lambda c, h: c.network.unplug(h)),
    "plug": _Kind(("STATION",), lambda c, h: c.network.plug(h)),
    "unplug-replicas": _Kind(_HOST, lambda c, h: c.links.unplug(h)),
    "plug-replicas": _Kind(_HOST, lambda c, h: c.links.plug(h)),
    "cut": _Kind(("STATION", "STATION"), lambda c, one, other: c.network.cut(one, other)),
    "part": _Kind(
        ("HOSTS", "HOSTS"), lambda c, one, other: c.network.part(one.split(","), other.split(","))
    ),
    "heal": _Kind((), lambda c: c.network.heal()),
    "away": _Kind(("HOST", "DATASTORE"), lambda c, h, d: c.disconnect(h, d)),
    "back": _Kind(("HOST", "DATASTORE"), lambda c, h, d: c.connect(h, d)),
    "store": _Kind(("HOST", "REACH?"), _reach),
    "restore": _Kind((), _restore),
    "start": _Kind(("GUEST", "HOST?"), _start),
    "stop": _Kind(_GUEST, lambda c, g: c.submit("stop", g)),
    "force-stop": _Kind(_GUEST, lambda c, g: c.submit("stop", g, force=True)),
    "delete": _Kind(_GUEST, _delete),
    "migrate": _Kind(("GUEST", "HOST?"), _migrate),
    "migrate-secondary": _Kind(
        ("GUEST", "HOST?"), lambda c, g, h=None: _migrate(c, g, h, "secondary")
    ),
    "switchover": _Kind(_GUEST, lambda c, g: c.submit("switchover", g)),
    "protect": _Kind(_GUEST, lambda c, g: _protect(c, g, True)),
    "unprotect": _Kind(_GUEST, lambda c, g: _protect(c, g, False)),
    "test-failover": _Kind(_GUEST, lambda c, g: c.submit("test-failover", g)),
    "test-restart-secondary": _Kind(_GUEST, lambda c, g: c.submit("test-restart-secondary", g)),
    "cancel": _Kind(("TARGET",), _cancel),
    "maintenance": _Kind(_HOST, lambda c, h: c.submit("maintenance", h, on=True)),
    "available": _Kind(_HOST, lambda c, h: c.submit("maintenance", h, on=False)),
    "remove": _Kind(_HOST, lambda c, h: c.submit("remove-host", h)),
    "hang": _Kind(_GUEST, lambda c, g: c.hang(g)),
    "fail": _Kind(_GUEST, lambda c, g: c.fail(g, "the guest panicked")),
    "finish": _Kind(_GUEST, lambda c, g: c.fail(g, "ended")),
    "refuse": _Kind(("GUEST", "N"), lambda c, g, n: c.refuse(g, int(n))),
    "kill-replica": _Kind(("GUEST", "HOST"), _kill_replica),
    "end": _Kind((), lambda c: None),
}


def perform(cluster: ManagedCluster, commands: list[Command]) -> None:
    """All of them, each at its time."""
    for command in commands:
        command.check(cluster)
    for command in commands:
        cluster.time.run(command.time)
        command.perform(cluster)
