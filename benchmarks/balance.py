"""Load balancing: how even against HiGHS, and how long for a large cluster.

Both are to make the loads as even as they can, from the same placement at random, with the same
reservations, whatever moves it takes; what counts is the imbalance of the result, the standard
deviation itself. HiGHS minimises the squared deviations by tangents, which is linear, and gives
the best that it has found when its time is up; proven to be the best it never is by then.
"""

from __future__ import annotations

import random
import time
from dataclasses import replace
from pathlib import Path

from benchmarks.contest import Claim, Contestant, Figures, Report, interleave, progress
from vlockstep.cluster.drs import oracle
from vlockstep.cluster.drs.advice import Settings
from vlockstep.cluster.drs.draft import Draft
from vlockstep.cluster.drs.recommend import recommend
from vlockstep.cluster.model import Allocation, Apart, Automation, Cluster, Guest, Host, Replica

HOSTS, GUESTS = 8, 40
CLUSTERS = 10
"""In each round."""
SECONDS = 5.0
"""That HiGHS has for each."""
LARGE_HOSTS, LARGE_GUESTS = 1000, 30_000
CLIMBED, SOLVED = "imbalance, hill climbing", "imbalance, HiGHS"


def random_cluster(seed: int, hosts: int, guests: int) -> Cluster:
    """Hosts about half full, of different sizes; guests of different sizes, anywhere; of each
    hundred three are to be apart."""
    chance = random.Random(seed)
    each = guests / hosts
    named = [
        Host(
            f"h{n:04}", each * chance.choice((1600, 2000, 2400)), each * chance.choice((2200, 3000))
        )
        for n in range(hosts)
    ]
    known, placed = {}, {}
    for number in range(guests):
        name = f"g{number:05}"
        memory = chance.choice((512, 1024, 2048, 4096)) * 0.75
        known[name] = Guest(
            name,
            memory,
            cpu=Allocation(reservation=chance.choice((0, 0, 200))),
            ram=Allocation(reservation=chance.choice((0, 0, 256))),
            demand=chance.uniform(100, 2000),
            active=memory * chance.uniform(0.05, 0.8),
        )
        placed[Replica(name)] = chance.choice(named).name
    trios = [frozenset(f"g{first + n:05}" for n in range(3)) for first in range(0, guests - 2, 100)]
    return Cluster(
        {host.name: host for host in named},
        known,
        placed,
        tuple(Apart(f"trio {number}", trio) for number, trio in enumerate(trios)),
        Automation.FULL,
    )


def imbalance(cluster: Cluster) -> float:
    return Draft(cluster, {}, strict=False).loads.imbalance


def compare(seed: int, seconds: float) -> tuple[float, float]:
    """The imbalance that hill climbing reaches, and HiGHS."""
    cluster = random_cluster(seed, HOSTS, GUESTS)
    moves = recommend(cluster, Settings(exhaustive=True)).moves
    climbed = {**cluster.placed, **{move.replica: move.target for move in moves}}
    solved = oracle.solve(cluster, oracle.EVEN, seconds)
    return imbalance(replace(cluster, placed=climbed)), imbalance(
        replace(cluster, placed=solved or cluster.placed)
    )


def quality(_directory: Path, rounds: int) -> Report:
    figures: Figures = {CLIMBED: [], SOLVED: []}
    for seed in range(rounds * CLUSTERS):
        progress(f"cluster {seed + 1} of {rounds * CLUSTERS}")
        for name, found in zip((CLIMBED, SOLVED), compare(seed, SECONDS), strict=True):
            figures[name].append(found)
    progress("")
    ratios = [a / b for a, b in zip(figures[CLIMBED], figures[SOLVED], strict=True)]
    return Report(
        f"balance: {HOSTS} hosts, {GUESTS} guests, at random",
        "",
        figures,
        [Claim("hill climbing / HiGHS, the worst of all", max(ratios), 1.05, at_least=False)],
    )


def speed(_directory: Path, rounds: int) -> Report:
    cluster = random_cluster(0, LARGE_HOSTS, LARGE_GUESTS)

    def plan() -> dict[str, float]:
        wall, cpu = time.perf_counter(), time.process_time()
        advice = recommend(cluster)
        return {
            "time": time.perf_counter() - wall,
            "CPU time": time.process_time() - cpu,
            "moves": len(advice.moves),
            "imbalance, before": advice.before,
            "imbalance, after": advice.after,
        }

    figures = interleave([Contestant("plan", plan)], rounds)
    units = {name: "" for name in figures if "time" not in name}
    longest = max(figures["plan, CPU time"])
    return Report(
        f"balance: a plan for {LARGE_HOSTS:,} hosts and {LARGE_GUESTS:,} guests",
        "s",
        figures,
        [Claim("CPU time, the longest", longest, 10, at_least=False, unit="s")],
        units,
    )
