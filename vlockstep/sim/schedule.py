"""What happens in one simulated execution: a guest, a seed for everything that varies, faults.

As text: `tally/3 seed=17 pause:primary@5ms+300ms crash:secondary@#41`. A fault strikes at a time
since the start, and may last; a crash may also strike at one of the host's points.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Self

from vlockstep.errors import UsageError
from vlockstep.sim.simulation import ALL, HOSTS, NEWCOMERS, OUTSIDER

PROGRAMS = ("ledger", "preempt", "rewrite", "tally", "kv")
REAL = ("ledger", "preempt", "tally")
"""Those that the engine can run."""
ONCE = {
    "crash": ALL,
    "power": ALL,
    "leave": ALL,
    "end": ALL,
    "switchover": ALL,
    "move": ALL,
    "diverge": ALL[1:],
    "drop": (),
    "join": NEWCOMERS,
    "precopy": NEWCOMERS,
    "restart": (OUTSIDER,),
}
"""Faults that strike, and whom. `power` is a crash that no connection tells of; who is to leave was
asked to stop, and does so in order; where the guest is to end, it is on all replicas. By `precopy`
the primary moves to a newcomer, which otherwise joins. Who is to `move` the guest's disk to another
file does so if it is the primary. The outsider comes to `restart` the guest, if there is a lease.
"""
PAIRS = tuple(f"{one}-{other}" for one, other in combinations(ALL, 2))
STALLS = {"stall-outputs": ALL, "stall-log": ALL, "stall-events": ALL}
"""What a host writes stands still: its console and disks, its log, what it tells."""
LASTING = {
    **STALLS,
    "pause": ALL,
    "slow": ALL,
    "unplug": ALL,
    "hold": (),
    "cut": (*ALL, "all"),
    "split": PAIRS,
    "garble": (*ALL, "all"),
    "arbiter-away": (),
    "arbiter-deaf": (),
    "arbiter-slow": (),
    "arbiter-flaky": (),
    "arbiter-stale": (),
}
"""Faults that strike and pass. A `slow` guest takes longer from exit to exit. A `cut` names who is
not reached, `split` which two do not reach each other, `garble` who gets messages with a flipped
bit among others, `unplug` whose NIC has no network. All are asked to `hold`: who has no other
member emits nothing then. An arbiter that is deaf does what it is asked, but its answers get lost;
one that is flaky fails now and then, in the midst of a claim, too; with one that is stale nobody
sees what others have written."""
TARGETS = ONCE | LASTING
HARMLESS = frozenset(STALLS) | {
    "slow", "unplug", "hold", "switchover", "leave", "join", "move",
    *(kind for kind in LASTING if kind.startswith("arbiter-")),
}  # fmt: skip
"""Faults of which nobody is dead, nor seems to be."""

_FAULT = re.compile(
    r"(?P<kind>[a-z-]+)(:(?P<target>[a-z-]+))?@(#(?P<point>\d+)|(?P<at>\d+)us(\+(?P<for>\d+)us)?)"
)
_HEAD = re.compile(r"(?P<real>real-)?(?P<program>[a-z]+)/(?P<size>[1-9]\d{0,3})")


@dataclass(frozen=True)
class Fault:
    """`at` and `lasting` are in microseconds. With a `point` it strikes there instead."""

    kind: str
    target: str = ""
    at: int = 0
    lasting: int = 0
    point: int | None = None

    def __str__(self) -> str:
        name = f"{self.kind}:{self.target}" if self.target else self.kind
        if self.point is not None:
            return f"{name}@#{self.point}"
        return f"{name}@{self.at}us" + (f"+{self.lasting}us" if self.kind in LASTING else "")

    @classmethod
    def parse(cls, text: str) -> Self:
        match = _FAULT.fullmatch(text)
        if match is None:
            raise UsageError(f"{text!r} is no fault: write KIND:TARGET@TIMEus[+TIMEus]")
        kind, target, point = match["kind"], match["target"] or "", match["point"]
        if kind not in TARGETS:
            raise UsageError(f"no fault {kind!r}; there are {', '.join(TARGETS)}")
        if target not in (TARGETS[kind] or ("",)):
            raise UsageError(f"{text!r}: {kind} takes {' or '.join(TARGETS[kind]) or 'no target'}")
        if point is not None and kind != "crash":
            raise UsageError(f"{text!r}: only a crash strikes at a point")
        if point is None and (match["for"] is not None) != (kind in LASTING):
            raise UsageError(
                f"{text!r}: {'+TIMEus tells how long' if kind in LASTING else 'this does not last'}"
            )
        return cls(
            kind,
            target,
            int(match["at"] or 0),
            int(match["for"] or 0),
            None if point is None else int(point),
        )


@dataclass(frozen=True)
class Schedule:
    """`real` guests run under the engine, others are scripted. `size` is the number of lines or
    requests, `replicas` that of the primary and its secondaries; `newcomers` are those that join.
    If the owner has a `lease`, which is in microseconds, there is an outsider.
    """

    program: str
    size: int
    seed: int
    faults: tuple[Fault, ...] = ()
    real: bool = False
    replicas: int = 2
    newcomers: int = 0
    lease: int = 0

    @property
    def hosts(self) -> tuple[str, ...]:
        """By name."""
        outsiders = (OUTSIDER,) if self.lease else ()
        return (*HOSTS[: self.replicas], *NEWCOMERS[: self.newcomers], *outsiders)

    def __str__(self) -> str:
        name = f"{'real-' if self.real else ''}{self.program}/{self.size}"
        count = [f"replicas={self.replicas}"] if self.replicas != 2 else []
        count += [f"newcomers={self.newcomers}"] if self.newcomers else []
        count += [f"lease={self.lease}us"] if self.lease else []
        return " ".join([name, f"seed={self.seed}", *count, *map(str, self.faults)])

    @classmethod
    def parse(cls, text: str) -> Self:
        head, *rest = text.split() or [""]
        match = _HEAD.fullmatch(head)
        if match is None or match["program"] not in PROGRAMS:
            raise UsageError(f"{head!r} is no guest: write {'/N, '.join(PROGRAMS)}/N")
        if match["real"] and match["program"] not in REAL:
            raise UsageError(f"{head!r}: real guests are {', '.join(REAL)}")
        if not rest or not re.fullmatch(r"seed=\d+", rest[0]):
            raise UsageError(f"{text!r}: write seed=N behind the guest")
        seed, replicas, newcomers, lease = int(rest.pop(0).removeprefix("seed=")), 2, 0, 0
        if rest and rest[0].startswith("replicas="):
            replicas = _number(rest.pop(0), "replicas", 2, 3)
        if rest and rest[0].startswith("newcomers="):
            newcomers = _number(rest.pop(0), "newcomers", 1, 2)
        if rest and rest[0].startswith("lease="):
            lease = _time_of(rest.pop(0))
        faults = tuple(map(Fault.parse, rest))
        real = match["real"] is not None
        program, size = match["program"], int(match["size"])
        schedule = cls(program, size, seed, faults, real, replicas, newcomers, lease)
        for fault in faults:
            if not _named(fault.target) <= set(schedule.hosts):
                there = ", ".join(sorted(schedule.hosts))
                raise UsageError(f"{str(fault)!r}: there are only {there}")
        return schedule

    def joined(self) -> Self:
        """The same, and each newcomer joins as soon as the guest runs."""
        joins = (Fault("join", name) for name in NEWCOMERS[: self.newcomers])
        return replace(self, faults=(*self.faults, *joins))

    @classmethod
    def random(
        cls,
        seed: int,
        kinds: Sequence[str] = tuple(TARGETS),
        replicas: int | None = None,
        newcomers: int | None = None,
    ) -> Self:
        """The schedule that `seed` stands for: a scripted guest, and up to five faults of these
        `kinds`, with so many `replicas` or two or three, and so many `newcomers` or up to two."""
        chance = random.Random(f"schedule {seed}")
        program = chance.choice(("ledger", "preempt", "rewrite", "tally"))
        late = chance.random() < 0.1
        horizon = int(10 ** (chance.uniform(6.5, 7.3) if late else chance.uniform(3.5, 5.8)))
        count, size = chance.randint(1, 5), chance.randint(1, 8)
        replicas = replicas or chance.choice((2, 2, 3))
        some = chance.choice((0, 0, 1, 2)) if "join" in kinds else 0
        newcomers = some if newcomers is None else newcomers
        moves = "precopy" in kinds
        restarts = "restart" in kinds
        holds = "hold" in kinds
        special = (NEWCOMERS, TARGETS["restart"])
        kinds = [k for k in kinds if k != "hold" and TARGETS[k] not in special] or ["drop"]
        faults = [_fault(chance, horizon, kinds, HOSTS[:replicas]) for _ in range(count)]
        there = HOSTS[:replicas] + NEWCOMERS[:newcomers]
        if newcomers:
            size += chance.randint(8, 48)  # so that a guest is there to join
            joins = [int(10 ** chance.uniform(2, 4.3)) for _ in range(newcomers)]
            faults += [
                Fault("precopy" if moves and at % 4 == 0 else "join", name, at)
                for name, at in zip(there[replicas:], joins, strict=True)
            ]
            faults += [_fault(chance, horizon, kinds, there) for _ in range(chance.randint(0, 3))]
        lease, longer, more = _outsider(seed, there) if restarts else (0, 0, [])
        later, held = _held(seed, horizon) if holds else (0, [])
        size += longer + later
        faults = sorted([*faults, *more, *held], key=_time)
        if program == "tally" and not lease and chance.random() < 0.5:
            program = "kv"  # it differs in nothing else that is drawn
        return cls(program, size, seed, tuple(faults), False, replicas, newcomers, lease)

    def simpler(self) -> list[Schedule]:
        """Simpler schedules, the simplest first."""
        named = {name for fault in self.faults for name in _named(fault.target)}
        found = [replace(self, replicas=2)] if self.replicas > 2 and HOSTS[2] not in named else []
        unneeded = len(set(NEWCOMERS[: self.newcomers]) - named)
        if unneeded and NEWCOMERS[self.newcomers - 1] not in named:
            found.append(replace(self, newcomers=self.newcomers - 1))
        found += [replace(self, lease=0)] if self.lease and OUTSIDER not in named else []
        found += [
            replace(self, faults=self.faults[:i] + self.faults[i + 1 :])
            for i in range(len(self.faults))
        ]
        found += [replace(self, size=size) for size in (self.size // 2, self.size - 1) if size]
        for i, fault in enumerate(self.faults):
            for simpler in (
                replace(fault, lasting=fault.lasting // 2),
                replace(fault, at=fault.at // 10 * 10),
                replace(fault, at=fault.at // 1000 * 1000),
            ):
                if simpler != fault:
                    found.append(
                        replace(self, faults=(*self.faults[:i], simpler, *self.faults[i + 1 :]))
                    )
        return found


def _number(word: str, name: str, least: int, most: int) -> int:
    number = word.removeprefix(f"{name}=")
    if number not in (str(least), str(most)):
        raise UsageError(f"{word!r}: write {name}={least} or {name}={most}")
    return int(number)


def _time_of(word: str) -> int:
    match = re.fullmatch(r"lease=([1-9]\d*)us", word)
    if match is None:
        raise UsageError(f"{word!r}: write lease=TIMEus")
    return int(match[1])


def _outsider(seed: int, there: Sequence[str]) -> tuple[int, int, list[Fault]]:
    """The lease, if there is one, how much longer the guest runs for that, and the outsider that
    comes then. What happens besides to it, to those who are there, and to the arbiter: it may last
    for longer than any lease."""
    chance = random.Random(f"outsider {seed}")
    if chance.random() < 0.5:
        return 0, 0, []
    lease = int(10 ** chance.uniform(4, 5.3))
    faults = [Fault("restart", OUTSIDER, int(10 ** chance.uniform(3, 5)))]
    if chance.random() < 0.6:  # one owner is left
        faults += [Fault("crash", name, chance.randint(5000, lease)) for name in there[1:]]
    for _ in range(chance.randint(1, 4)):
        kind = chance.choice(_OUTAGES)
        target = chance.choice((*there, OUTSIDER)) if TARGETS[kind] else ""
        lasting = int(lease * chance.uniform(0.2, 5)) if kind in LASTING else 0
        faults.append(Fault(kind, target, chance.randint(0, 4 * lease), lasting))
    return lease, chance.randint(10, 150), faults


def _held(seed: int, horizon: int) -> tuple[int, list[Fault]]:
    """How much longer the guest runs so that there is something to hold, and when it is held, if it
    is: from the start on, or later."""
    chance = random.Random(f"hold {seed}")
    if chance.random() < 0.5:
        return 0, []
    at = chance.choice((0, chance.randint(0, horizon)))
    return chance.randint(8, 40), [Fault("hold", "", at, int(10 ** chance.uniform(3.5, 5.9)))]


def targets(kind: str, there: Sequence[str]) -> list[str]:
    """Whom a fault of this kind may strike of the hosts that are there."""
    return [target for target in TARGETS[kind] if _named(target) <= set(there)]


def _named(target: str) -> set[str]:
    """The hosts in it."""
    return set(target.split("-")) & set(ALL)


def _fault(
    chance: random.Random, horizon: int, kinds: Sequence[str], there: Sequence[str]
) -> Fault:
    kind = chance.choices(kinds, weights=[_WEIGHTS.get(k, 2) for k in kinds])[0]
    target = chance.choice(targets(kind, there) or [""])
    lasting = int(10 ** chance.uniform(3, 5.9)) if kind in LASTING else 0
    return Fault(kind, target, chance.randint(0, horizon), lasting)


def _time(fault: Fault) -> int:
    return fault.at


_OUTAGES = ("pause", "pause", "pause", "crash", "cut", "arbiter-away", "arbiter-deaf")
_WEIGHTS = {"crash": 6, "power": 3, "drop": 4, "diverge": 1, "end": 1}
