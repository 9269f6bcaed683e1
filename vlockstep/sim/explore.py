"""Looks for executions in which something goes wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import NamedTuple

from vlockstep.sim.execution import Point, Result, execute
from vlockstep.sim.host import EFFECTS
from vlockstep.sim.schedule import TARGETS, Fault, Schedule, targets

_ATTEMPTS = 500
_PARTED = 1_000_000
"""Microseconds of a partition."""


def explore(
    seeds: Iterable[int],
    kinds: Sequence[str] = tuple(TARGETS),
    replicas: int | None = None,
    newcomers: int | None = None,
) -> Iterator[Result]:
    """Execute the schedule of each seed, with faults of these `kinds`, so many `replicas` or two or
    three, and so many `newcomers` or up to two."""
    return (execute(Schedule.random(seed, kinds, replicas, newcomers)) for seed in seeds)


def shrink(failure: Result, tell: Callable[[str], None] = lambda text: None) -> Result:
    """A simpler schedule that goes wrong, too, in whatever way. `tell` gets a word on the way."""
    attempts = 0
    simpler: Result | None = failure
    while simpler is not None:
        failure, simpler = simpler, None
        for schedule in failure.schedule.simpler():
            attempts += 1
            tell(f"looking for a simpler schedule than {failure.schedule}")
            if attempts > _ATTEMPTS:
                break
            result = execute(schedule)
            if result.violations:
                simpler = result
                break
    return failure


@dataclass
class Cases:
    """How many executions there were: with one crash, with another one later, with a partition."""

    single: int = 0
    double: int = 0
    partitions: int = 0


class Share(NamedTuple):
    """Of many cases every `of`th, of which `first` tells which ones: any number."""

    first: int = 0
    of: int = 1

    def has(self, case: int) -> bool:
        return (case - self.first) % self.of == 0


ALL = Share()


def crash_everywhere(schedule: Schedule, cases: Cases, share: Share = ALL) -> Iterator[Result]:
    """Crash each replica at each of its points, and for each of these every other one at each later
    point at which the world would get something from it; a crash at any other point has the effect
    of one at the next of these. Before the guest runs there is nothing that a second crash could
    lose. Yields every result, and counts. Of the second crashes only a `share` comes about."""
    numbers = count()
    for first, points in execute(schedule).points.items():
        for point in range(1, points + 1):
            crash = Fault("crash", first, point=point)
            after = _After(first, point)
            yield execute(_with(schedule, crash), after.watch)
            cases.single += 1
            for second, later in after.points:
                if not share.has(next(numbers)):
                    continue
                yield execute(_with(schedule, crash, Fault("crash", second, point=later)))
                cases.double += 1


def part_everywhere(schedule: Schedule, cases: Cases, share: Share = ALL) -> Iterator[Result]:
    """Whenever somebody sends something, let two replicas not reach each other, or one, or all not
    be reached, for as long as makes them take each other for dead. Yields every result of its
    `share`, and counts."""
    numbers = count()
    times = set[int]()

    def watch(point: Point) -> None:
        if point.what == "send":
            times.add(point.time)

    execute(schedule, watch)
    for time in sorted(times):
        for kind in ("split", "cut"):
            for target in targets(kind, schedule.hosts):
                if not share.has(next(numbers)):
                    continue
                yield execute(_with(schedule, Fault(kind, target, time, _PARTED)))
                cases.partitions += 1


class _After:
    """Notes where others have an effect on the world after the point `crash` of `first`."""

    def __init__(self, first: str, crash: int) -> None:
        self.points: list[tuple[str, int]] = []
        self._crash = first, crash
        self._crashed = self._runs = False

    def watch(self, point: Point) -> None:
        self._runs = self._runs or point.what in ("step", "output")
        if (point.host, point.number) == self._crash:
            self._crashed = True
        elif self._crashed and self._runs and point.what in EFFECTS:
            self.points.append((point.host, point.number))


def _with(schedule: Schedule, *faults: Fault) -> Schedule:
    return replace(schedule, faults=(*schedule.faults, *faults))
