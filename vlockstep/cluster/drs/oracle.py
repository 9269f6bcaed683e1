"""The same questions answered by integer programming, with HiGHS: as a yardstick, and for hosts
that hill climbing cannot empty.

`solve` asks a process of its own, `python -m vlockstep.cluster.drs.oracle`, which reads a `Problem`
as JSON and writes where each unit is to be, or null: so HiGHS is loaded by nobody else, and ends
when its time is up. It comes with the extra `drs`.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import Future
from dataclasses import asdict, dataclass, replace
from importlib.util import find_spec
from threading import Thread
from typing import Any

from vlockstep.cluster.drs.advice import Move
from vlockstep.cluster.drs.draft import Draft, Unit
from vlockstep.cluster.drs.schedule import schedule
from vlockstep.cluster.model import Apart, Cluster, Guest, Replica, Role
from vlockstep.errors import HostError

EVEN, NEAR = "even", "near"
"""To make the loads as even as can be; to move as little memory, and as few replicas, as can be."""
GRACE = 30
"""Seconds for all but the search itself."""
LARGEST = 150_000
"""Units times hosts: for so many HiGHS needs 5 s to find the first answer, and 300 MB."""
NICE = 10
"""Whoever runs on this computer goes first."""
CPU_AND_MEMORY = (0, 1)
TANGENTS = 20
REACH = 0.3
"""A squared deviation is taken for the highest of so many of its tangents, up to this deviation."""


Answer = Mapping[Replica, str] | None


@dataclass(frozen=True)
class Problem:
    """Units and hosts go by their numbers. `loads` are MIPS and MiB of each unit, `reserved` too,
    `capacity` those of each host, `coming` what is reserved by those on their way there; `size` is
    what moving a unit costs. A unit may be on its `allowed` hosts, `at` is where it is; of the
    units in each group of `apart` no two share a host. `even` are the hosts whose loads count;
    `never` are units and hosts of which each time not all are to be together.
    """

    aim: str
    seconds: float
    weights: tuple[float, float]
    loads: list[tuple[float, float]]
    reserved: list[tuple[float, float]]
    size: list[float]
    allowed: list[list[int]]
    at: list[int]
    apart: list[list[int]]
    capacity: list[tuple[float, float]]
    coming: list[tuple[float, float]]
    even: list[int]
    never: list[list[tuple[int, int]]]


def ask(cluster: Cluster, aim: str, seconds: float) -> Future[Answer]:
    """`solve`, without waiting for it."""
    answer: Future[Answer] = Future()

    def wait() -> None:
        try:
            answer.set_result(solve(cluster, aim, seconds))
        except Exception as error:
            answer.set_exception(error)

    Thread(target=wait, name="oracle", daemon=True).start()
    return answer


def solve(cluster: Cluster, aim: str, seconds: float) -> dict[Replica, str] | None:
    """Where all replicas are to be so that every rule holds and every host in maintenance is empty;
    None if that cannot be, or was not found in that time. Replicas that cannot be moved stay. What
    is `NEAR` can be reached: what `schedule` finds no order for is asked for anew without it."""
    if find_spec("highspy") is None:
        raise HostError("HiGHS is not installed: pip install 'vlockstep[drs]'")
    end = time.monotonic() + seconds
    draft = Draft(cluster, {}, strict=False)
    if not draft.placement.at:
        return {}
    units = draft.units
    hosts = sorted(cluster.hosts)
    if len(units) * len(hosts) > LARGEST:
        raise HostError(f"{len(units)} guests on {len(hosts)} hosts are too many for HiGHS")
    problem = _problem(draft, units, hosts, aim, seconds)
    while found := _answer_apart(problem):
        wanted = {
            replica: hosts[index]
            for unit, index in zip(units, found, strict=True)
            for replica in unit
        }
        stranded = _stranded(draft, wanted) if aim == NEAR else set()
        left = end - time.monotonic()
        if not stranded:
            return wanted
        if left <= 0:
            return None
        never = [(units.index(unit), hosts.index(wanted[unit[0]])) for unit in sorted(stranded)]
        problem = replace(problem, seconds=left, never=[*problem.never, never])
    return None


def _stranded(draft: Draft, wanted: Mapping[Replica, str]) -> set[Unit]:
    """Those that find no room on their way."""
    at = draft.placement.at
    moves = [Move(r, at[r], host) for r, host in wanted.items() if at[r] != host]
    return {draft.unit_of(move.replica) for move in schedule(draft.cluster, moves).stranded}


def _answer_apart(problem: Problem) -> list[int] | None:
    """`answer` in a process of its own."""
    command = [sys.executable, "-m", "vlockstep.cluster.drs.oracle"]
    try:
        done = subprocess.run(
            command, input=json.dumps(asdict(problem)), capture_output=True, text=True,
            timeout=problem.seconds + GRACE, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return None
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:] or [f"status {done.returncode}"]
        raise HostError(f"HiGHS failed: {last[0]}")
    found: list[int] | None = json.loads(done.stdout.splitlines()[-1])
    return found


def _problem(
    draft: Draft, units: list[Unit], hosts: list[str], aim: str, seconds: float
) -> Problem:
    cluster, placement = draft.cluster, draft.placement
    numbers = {replica: number for number, unit in enumerate(units) for replica in unit}
    guests = {number: cluster.guests[replica.guest] for replica, number in numbers.items()}
    apart = [
        sorted({number for replica, number in numbers.items() if replica.guest in rule.guests})
        for rule in placement.rules
        if isinstance(rule, Apart)
    ]
    pairs = [
        [numbers[Replica(replica.guest)], number]
        for replica, number in numbers.items()
        if replica.role is Role.SECONDARY and Replica(replica.guest) in numbers
    ]
    coming = {
        host: [guests[numbers[r]] for r, h in cluster.moving.items() if h == host and r in numbers]
        for host in hosts
    }
    return Problem(
        aim,
        seconds,
        draft.loads.weights,
        [draft.loads.total(unit) for unit in units],
        [_reserved([cluster.guests[replica.guest] for replica in unit]) for unit in units],
        [sum(1 + cluster.guests[replica.guest].memory for replica in unit) for unit in units],
        [[n for n, host in enumerate(hosts) if _may_be(draft, unit, host)] for unit in units],
        [hosts.index(placement.at[unit[0]]) for unit in units],
        apart + pairs,
        [(cluster.hosts[host].cpu, cluster.hosts[host].memory) for host in hosts],
        [_reserved(coming[host]) for host in hosts],
        [number for number, host in enumerate(hosts) if host in draft.loads.hosts],
        [],
    )


def _reserved(guests: Iterable[Guest]) -> tuple[float, float]:
    found = list(guests)
    memory = math.fsum(guest.reserved_memory for guest in found)
    return math.fsum(guest.cpu.reservation for guest in found), memory


def _may_be(draft: Draft, unit: Unit, host: str) -> bool:
    fixed = [replica for replica in unit if replica in draft.fixed]
    if fixed:
        return all(draft.placement.at[replica] == host for replica in fixed)
    return all(draft.placement.suits(replica, host) for replica in unit)


def answer(problem: Problem) -> list[int] | None:
    """The host of each unit, by HiGHS in this process."""
    import highspy

    model = highspy.Highs()
    model.silent()
    model.setOptionValue("time_limit", problem.seconds)
    model.setOptionValue("threads", 1)
    on = [{host: model.addBinary() for host in allowed} for allowed in problem.allowed]
    if not all(on):
        return None
    for places in on:
        model.addConstr(model.qsum(places.values()) == 1)
    hosts = range(len(problem.capacity))
    there = [
        [(unit, on[unit][host]) for unit in range(len(on)) if host in on[unit]] for host in hosts
    ]
    for host in hosts:
        for kind in CPU_AND_MEMORY:
            reserved = [
                problem.reserved[unit][kind] * is_there
                for unit, is_there in there[host]
                if problem.reserved[unit][kind]
            ]
            if reserved:
                left = problem.capacity[host][kind] - problem.coming[host][kind]
                model.addConstr(model.qsum(reserved) <= left)
        for group in problem.apart:
            sharing = [is_there for unit, is_there in there[host] if unit in group]
            if len(sharing) > 1:
                model.addConstr(model.qsum(sharing) <= 1)
    for together in problem.never:
        chosen = [on[unit][host] for unit, host in together]
        model.addConstr(model.qsum(chosen) <= len(chosen) - 1)
    moved = [
        problem.size[unit] * is_there
        for host in hosts
        for unit, is_there in there[host]
        if problem.at[unit] != host
    ]
    model.minimize(_unevenness(model, problem, there) if problem.aim == EVEN else model.qsum(moved))
    if model.getInfo().primal_solution_status != highspy.SolutionStatus.kSolutionStatusFeasible:
        return None
    values = model.getSolution().col_value
    return [max(places, key=lambda host: values[places[host].index]) for places in on]


def _unevenness(model: Any, problem: Problem, there: list[list[tuple[int, Any]]]) -> Any:
    """About the sum of the weighted squared deviations, a hundred times."""
    total = model.qsum([])
    count = len(problem.even)
    for kind in CPU_AND_MEMORY:
        mean = model.addVariable()
        levels = [
            model.qsum(
                problem.loads[unit][kind] / problem.capacity[host][kind] * is_there
                for unit, is_there in there[host]
            )
            for host in problem.even
        ]
        model.addConstr(model.qsum(levels) == count * mean)
        for level in levels:
            deviation, square = model.addVariable(lb=0), model.addVariable(lb=0)
            model.addConstr(level - mean <= deviation)
            model.addConstr(mean - level <= deviation)
            for number in range(TANGENTS):
                point = REACH * (number / TANGENTS) ** 2
                model.addConstr(square >= 2 * point * deviation - point**2)
            total += 100 * problem.weights[kind] * square
    return total


def main() -> None:
    """A `Problem` on standard input; the last line of standard output is the answer."""
    os.nice(NICE)
    problem = Problem(**json.load(sys.stdin))
    print(json.dumps(answer(problem)))


if __name__ == "__main__":
    main()
