"""Looks for executions in which something goes wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from vlockstep.sim.execution import Result, execute
from vlockstep.sim.host import EFFECTS
from vlockstep.sim.schedule import TARGETS, Fault, Schedule

_ATTEMPTS = 500


def explore(seeds: Iterable[int], kinds: Sequence[str] = tuple(TARGETS)) -> Iterator[Result]:
    """Execute the schedule of each seed, with faults of these `kinds`."""
    return (execute(Schedule.random(seed, kinds)) for seed in seeds)


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
    """How many executions there were: with a crash of the primary, and with one of the secondary
    later."""

    single: int = 0
    double: int = 0


def crash_everywhere(schedule: Schedule, cases: Cases) -> Iterator[Result]:
    """Crash the primary at each of its points, and for each of these the secondary at each later
    point at which the world would get something from it; a crash at any other point has the effect
    of one at the next of these. Before the guest runs there is nothing that a second crash could
    lose. Yields every result, and counts."""
    for point in range(1, execute(schedule).points["primary"] + 1):
        crash = Fault("crash", "primary", point=point)
        after = _After(point)
        yield execute(_with(schedule, crash), after.watch)
        cases.single += 1
        for later in after.points:
            yield execute(_with(schedule, crash, Fault("crash", "secondary", point=later)))
            cases.double += 1


class _After:
    """Notes where the secondary has an effect on the world after the primary's point `crash`."""

    def __init__(self, crash: int) -> None:
        self.points: list[int] = []
        self._crash = crash
        self._crashed = self._runs = False

    def watch(self, host: str, point: int, what: str) -> None:
        if host == "primary":
            self._runs = self._runs or what in ("step", "output")
            self._crashed = self._crashed or point == self._crash
        elif self._crashed and self._runs and what in EFFECTS:
            self.points.append(point)


def _with(schedule: Schedule, *faults: Fault) -> Schedule:
    return replace(schedule, faults=(*schedule.faults, *faults))
