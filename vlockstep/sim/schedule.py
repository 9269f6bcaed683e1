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
from vlockstep.sim.simulation import HOSTS

PROGRAMS = ("ledger", "preempt", "rewrite", "tally")
REAL = ("ledger", "preempt", "tally")
"""Those that the engine can run."""
ONCE = {
    "crash": HOSTS,
    "power": HOSTS,
    "leave": HOSTS,
    "end": HOSTS,
    "switchover": HOSTS,
    "diverge": HOSTS[1:],
    "drop": (),
}
"""Faults that strike, and whom. `power` is a crash that no connection tells of; who is to leave was
asked to stop, and does so in order; where the guest is to end, it is on all replicas."""
PAIRS = tuple(f"{one}-{other}" for one, other in combinations(HOSTS, 2))
STALLS = {"stall-outputs": HOSTS, "stall-log": HOSTS, "stall-events": HOSTS}
"""What a host writes stands still: its console and disks, its log, what it tells."""
LASTING = {
    **STALLS,
    "pause": HOSTS,
    "slow": HOSTS,
    "unplug": HOSTS,
    "cut": (*HOSTS, "all"),
    "split": PAIRS,
    "garble": (*HOSTS, "all"),
    "arbiter-away": (),
    "arbiter-deaf": (),
    "arbiter-slow": (),
    "arbiter-flaky": (),
    "arbiter-stale": (),
}
"""Faults that strike and pass. A `slow` guest takes longer from exit to exit. A `cut` names who is
not reached, `split` which two do not reach each other, `garble` who gets messages with a flipped
bit among others, `unplug` whose NIC has no network. An arbiter that is deaf does what it is asked,
but its answers get lost; one that is flaky fails now and then, in the midst of a claim, too; with
one that is stale nobody sees what others have written."""
TARGETS = ONCE | LASTING
HARMLESS = frozenset(STALLS) | {"slow", "unplug", "switchover", "leave"} | {
    kind for kind in LASTING if kind.startswith("arbiter-")
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
    requests, `replicas` that of the primary and its secondaries."""

    program: str
    size: int
    seed: int
    faults: tuple[Fault, ...] = ()
    real: bool = False
    replicas: int = 2

    def __str__(self) -> str:
        name = f"{'real-' if self.real else ''}{self.program}/{self.size}"
        count = [f"replicas={self.replicas}"] if self.replicas != 2 else []
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
        seed, replicas = int(rest.pop(0).removeprefix("seed=")), 2
        if rest and rest[0].startswith("replicas="):
            replicas = _replicas(rest.pop(0))
        faults = tuple(map(Fault.parse, rest))
        for fault in faults:
            if replicas < _needs(fault.target):
                raise UsageError(f"{str(fault)!r}: there are only {replicas} replicas")
        real = match["real"] is not None
        return cls(match["program"], int(match["size"]), seed, faults, real, replicas)

    @classmethod
    def random(
        cls, seed: int, kinds: Sequence[str] = tuple(TARGETS), replicas: int | None = None
    ) -> Self:
        """The schedule that `seed` stands for: a scripted guest, and up to five faults of these
        `kinds`, with so many `replicas` or two or three."""
        chance = random.Random(f"schedule {seed}")
        program = chance.choice(PROGRAMS)
        late = chance.random() < 0.1
        horizon = int(10 ** (chance.uniform(6.5, 7.3) if late else chance.uniform(3.5, 5.8)))
        count, size = chance.randint(1, 5), chance.randint(1, 8)
        replicas = replicas or chance.choice((2, 2, 3))
        faults = sorted((_fault(chance, horizon, kinds, replicas) for _ in range(count)), key=_time)
        return cls(program, size, seed, tuple(faults), replicas=replicas)

    def simpler(self) -> list[Schedule]:
        """Simpler schedules, the simplest first."""
        pair = all(_needs(fault.target) <= 2 for fault in self.faults)
        found = [replace(self, replicas=2)] if self.replicas > 2 and pair else []
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


def _replicas(word: str) -> int:
    number = word.removeprefix("replicas=")
    if number not in ("2", "3"):
        raise UsageError(f"{word!r}: write replicas=2 or replicas=3")
    return int(number)


def targets(kind: str, replicas: int) -> list[str]:
    """Whom a fault of this kind may strike where there are so many `replicas`."""
    return [target for target in TARGETS[kind] if _needs(target) <= replicas]


def _needs(target: str) -> int:
    """How many replicas there must be to be this target."""
    return max((HOSTS.index(name) + 1 for name in target.split("-") if name in HOSTS), default=2)


def _fault(chance: random.Random, horizon: int, kinds: Sequence[str], replicas: int) -> Fault:
    kind = chance.choices(kinds, weights=[_WEIGHTS.get(k, 2) for k in kinds])[0]
    target = chance.choice(targets(kind, replicas) or [""])
    lasting = int(10 ** chance.uniform(3, 5.9)) if kind in LASTING else 0
    return Fault(kind, target, chance.randint(0, horizon), lasting)


def _time(fault: Fault) -> int:
    return fault.at


_WEIGHTS = {"crash": 6, "power": 3, "drop": 4, "diverge": 1, "end": 1}
