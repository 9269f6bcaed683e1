"""Random clusters, and random schedules of faults and tasks on them; simpler ones that go wrong.

A schedule is `SEED; COMMAND; COMMAND …`: the seed fixes the cluster and all that varies, the
commands are as in scenarios. Then all faults end, and what shall be must come to be.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Self

from vlockstep.cluster.guestfile import GuestFile, Isolation
from vlockstep.cluster.model import Allocation
from vlockstep.cluster.records import ClusterRecord, HostRecord, RuleRecord
from vlockstep.cluster.sim.commands import Command, perform
from vlockstep.cluster.sim.managed import Conditions, GuestSetting, ManagedCluster
from vlockstep.cluster.sim.settled import settle
from vlockstep.errors import UsageError

SECOND = 1_000_000_000
_MILLISECOND = 1_000_000
_ATTEMPTS = 60
"""To find something simpler."""


@dataclass(frozen=True)
class Schedule:
    seed: int
    commands: tuple[Command, ...]

    @classmethod
    def parse(cls, text: str) -> Self:
        seed, *commands = (part.strip() for part in text.split(";"))
        if not seed.isdecimal():
            raise UsageError(f"a schedule begins with its seed, a number, not with {seed!r}")
        parsed = sorted((Command.parse(each) for each in commands if each), key=lambda c: c.time)
        return cls(int(seed), tuple(parsed))

    @classmethod
    def of(cls, seed: int) -> Self:
        return cls(seed, tuple(_commands(seed)))

    def __str__(self) -> str:
        return "; ".join([str(self.seed), *map(str, self.commands)])


@dataclass(frozen=True)
class Result:
    schedule: Schedule
    violations: tuple[str, ...]
    log: tuple[tuple[int, str], ...]


def conditions(seed: int) -> Conditions:
    """The cluster that the seed stands for."""
    chance = random.Random(f"cluster {seed}")
    datastores = ["ds1", "ds2"][: chance.choice((1, 2, 2))]
    hosts = {}
    for name in "abcde"[: chance.choice((2, 3, 3, 4, 5))]:
        memory = chance.choice((1024, 1024, 2048))
        there = {d: f"/{d}" for d in datastores if "a" in (name, d) or chance.random() < 0.9}
        there = there or {"ds1": "/ds1"}
        hosts[name] = HostRecord(
            name, name, f"tcp://{name}", name, 10_000, memory, there, ("default",)
        )
    guests = {}
    held = random.Random(f"hold {seed}")
    for number in range(1, chance.randint(2, 5)):
        file = GuestFile(
            "simulated",
            memory=512,
            ft=chance.random() < 0.5,
            hold=held.random() < 0.3,
            memory_resources=Allocation(reservation=chance.choice((0, 0, 200, 500))),
        )
        guests[f"g{number}"] = GuestSetting(chance.choice(datastores), file)
    rules = []
    if chance.random() < 0.3:
        some = tuple(sorted(chance.sample(sorted(hosts), min(2, len(hosts)))))
        rules.append(RuleRecord("home", "hosts", 1, ("g1",), some))
    isolation = chance.choice((Isolation.NONE, Isolation.POWER_OFF, Isolation.SHUT_DOWN))
    return Conditions(
        hosts,
        guests,
        tuple(rules),
        ClusterRecord("random", "1", isolation=isolation),
        seed,
        message=chance.choice((0, 1, 10)) * _MILLISECOND,
        operation=chance.choice((0, 1, 10)) * _MILLISECOND,
        lost_answers=chance.choice((0, 0.3)),
        drift=chance.choice((0, 500)),
    )


def _commands(seed: int) -> Iterator[Command]:
    chance = random.Random(f"faults {seed}")
    made = conditions(seed)
    time = round(chance.uniform(0.1, 6), 3)
    for _ in range(chance.randint(1, 12)):
        yield Command(round(time * SECOND), _fault(chance, made))
        time += round(10 ** chance.uniform(-2, 1), 3)


_OF_HOSTS = {
    "crash": 2,
    "boot": 2,
    "freeze": 1,
    "thaw": 2,
    "kill-agent": 1,
    "start-agent": 1,
    "stop-agent": 1,
    "resume-agent": 1,
    "unplug": 1,
    "plug": 1,
    "unplug-replicas": 1,
    "plug-replicas": 1,
    "maintenance": 1,
    "available": 2,
    "remove": 1,
}
_OF_GUESTS = {
    "stop": 2,
    "force-stop": 1,
    "protect": 1,
    "unprotect": 1,
    "switchover": 2,
    "test-failover": 1,
    "test-restart-secondary": 1,
    "fail": 1,
    "finish": 1,
    "hang": 1,
}
_OTHERS = {
    "crash-at": 2,
    "cut": 1,
    "part": 1,
    "heal": 2,
    "away": 2,
    "back": 2,
    "store": 2,
    "store-fine": 1,
    "migrate": 2,
    "migrate-secondary": 1,
    "start": 1,
    "cancel": 1,
    "refuse": 1,
    "kill-replica": 1,
}
_FAULTS = {**_OF_HOSTS, **_OF_GUESTS, **_OTHERS}
"""How often each is chosen."""


def _fault(chance: random.Random, made: Conditions) -> tuple[str, ...]:
    hosts = sorted(made.hosts)
    host, guest = chance.choice(hosts), chance.choice(sorted(made.guests))
    datastore = chance.choice(sorted(made.hosts[host].datastores))
    (name,) = chance.choices(list(_FAULTS), list(_FAULTS.values()))
    match name:
        case "crash-at":
            return name, host, str(chance.randint(0, 60))
        case "cut":
            return name, host, chance.choice(hosts)
        case "part":
            chance.shuffle(hosts)
            where = chance.randint(1, len(hosts) - 1)
            gateway = chance.choice(([], ["gateway"]))
            return name, ",".join([*hosts[:where], *gateway]), ",".join(hosts[where:])
        case "heal":
            return (name,)
        case "away" | "back":
            return name, host, datastore
        case "store":
            return name, host, chance.choice(("away", "deaf", "stale"))
        case "store-fine":
            return "store", host, "fine"
        case "migrate" | "migrate-secondary" | "start":
            return (name, guest) if chance.random() < 0.5 else (name, guest, host)
        case "cancel":
            return name, chance.choice((guest, host))
        case "refuse":
            return name, guest, str(chance.randint(1, 3))
        case "kill-replica":
            return name, guest, host
        case _ if name in _OF_GUESTS:
            return name, guest
        case _:
            return name, host


def execute(schedule: Schedule) -> Result:
    cluster = ManagedCluster(conditions(schedule.seed))
    try:
        cluster.boot()
        perform(cluster, list(schedule.commands))
        perform(cluster, [Command(cluster.time.now + SECOND, ("restore",))])
        left = settle(cluster)
    except Exception as error:
        error.add_note(f"in the schedule {schedule}")
        raise
    violations = cluster.witness.violations or [f"in the end {each}" for each in left]
    return Result(schedule, tuple(violations), tuple(cluster.witness.log))


def shrink(failure: Result, tell: Callable[[str], None] = lambda text: None) -> Result:
    """A shorter schedule that goes wrong, too: first without many commands at once."""
    attempts = 0
    size = len(failure.schedule.commands)
    while size:
        start = 0
        while start < len(failure.schedule.commands) and attempts < _ATTEMPTS:
            commands = failure.schedule.commands
            attempts += 1
            tell(f"looking for a shorter schedule than {failure.schedule}")
            fewer = commands[:start] + commands[start + size :]
            result = execute(replace(failure.schedule, commands=fewer))
            if result.violations:
                failure = result
            else:
                start += size
        size //= 2
    return failure
