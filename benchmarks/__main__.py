"""`python -m benchmarks [NAME ...] [--rounds N] [--long] [--json] [--figure FILE]`"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from benchmarks import (
    backwards,
    balance,
    dirty,
    events,
    exits,
    figure,
    growth,
    hour,
    join,
    keyframes,
    kvm,
    lag,
    memory,
    migration,
    network,
    pair,
    replay,
    scroll,
    sort,
    start,
    view,
    web,
)
from benchmarks.contest import Report
from benchmarks.programs import missing
from vlockstep import GuestConfig, program
from vlockstep.machine import engines


class Benchmark(NamedTuple):
    """`measure` takes a directory of its own, which is deleted afterwards, and the number of
    rounds; `rounds` are as many as it takes to see a few percent, and all within half an hour."""

    measure: Callable[[Path, int], Report]
    rounds: int
    needs: tuple[str, ...] = ()
    """Programs."""
    on_kvm: bool = False


_NETWORK = ("redis-benchmark", "ip")
_WEB = ("ab", "ip")
BENCHMARKS = {
    "sort": Benchmark(sort.measure, 3),
    "replay": Benchmark(replay.measure, 5),
    "backwards": Benchmark(backwards.measure, 2),
    "hour": Benchmark(hour.measure, 2),
    "keyframes": Benchmark(keyframes.computing, 5),
    "exits": Benchmark(exits.measure, 5),
    "exit-rate": Benchmark(events.rate, 3),
    "log-size": Benchmark(events.size, 1),
    "pair-sort": Benchmark(pair.sort, 5),
    "pair-preempt": Benchmark(pair.preempt, 5),
    "start": Benchmark(start.measure, 9),
    "migration": Benchmark(migration.usual, 5),
    "migration-large": Benchmark(migration.large, 1),
    "migration-hopeless": Benchmark(migration.hopeless, 1),
    "join": Benchmark(join.measure, 3, _NETWORK),
    "dirty": Benchmark(dirty.measure, 3),
    "memory": Benchmark(memory.measure, 2),
    "lag": Benchmark(lag.measure, 2),
    "growth-time": Benchmark(growth.short, 1),
    "growth-ram": Benchmark(growth.over_ram, 4),
    "failover": Benchmark(pair.killed, 50),
    "failover-silent": Benchmark(pair.stopped, 10),
    "kvm-sort": Benchmark(kvm.sort, 3, kvm.SORT_NEEDS, on_kvm=True),
    "kvm-loops": Benchmark(kvm.loops, 3, kvm.NEEDS, on_kvm=True),
    "kvm-exits": Benchmark(kvm.exit_cost, 3, on_kvm=True),
    "kvm-failover": Benchmark(kvm.failover, 5, on_kvm=True),
    "balance": Benchmark(balance.quality, 2),
    "balance-large": Benchmark(balance.speed, 3),
    "view": Benchmark(view.measure, 3),
    "scroll": Benchmark(scroll.measure, 3, ("chromium",)),
    "kv": Benchmark(network.throughput, 3, _NETWORK),
    "kv-latency": Benchmark(network.latency, 3, _NETWORK),
    "kv-cost": Benchmark(network.cost, 3, _NETWORK),
    "kv-keyframes": Benchmark(keyframes.serving, 7, _NETWORK),
    "kv-log": Benchmark(network.log, 1, _NETWORK),
    "kv-failover": Benchmark(network.failover, 20, _NETWORK),
    "web-cost": Benchmark(web.cost, 3, _WEB),
    "web-latency": Benchmark(web.latency, 3, _WEB),
}
LONG = {"growth-time": Benchmark(growth.long, 1)}
"""In the place of their namesakes with `--long`."""


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measure, and print ratios next to their targets. Best on an idle machine.",
        epilog="Example: python -m benchmarks sort failover lag --figure figure.svg",
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(BENCHMARKS))
    parser.add_argument("--rounds", type=int, help="turns that each contestant gets")
    parser.add_argument(
        "--long", action="store_true", help="let growth-time take its 10 minutes twice"
    )
    parser.add_argument("--json", action="store_true", help="all figures, for programs")
    parser.add_argument(
        "--figure",
        type=Path,
        metavar="FILE",
        help=f"draw {', '.join(figure.DRAWN)} as {' or '.join(figure.SUFFIXES)}; "
        f"needs matplotlib: {figure.INSTALL}",
    )
    options = parser.parse_args()
    for name in options.names:
        if name not in BENCHMARKS:
            parser.error(f"no benchmark {name!r}; there are {', '.join(BENCHMARKS)}")
    if options.rounds is not None and options.rounds < 1:
        parser.error("--rounds must be at least 1")
    names = options.names or list(BENCHMARKS)
    if options.figure is not None:
        _check_figure(parser, options.figure, names)

    known = BENCHMARKS | (LONG if options.long else {})
    reports: dict[str, Report] = {}
    failed = False
    for name in names:
        try:
            reports[name] = _measure(name, known[name], options.rounds)
        except Exception as error:  # it must not take the others' figures with it
            print(f"{name} failed: {type(error).__name__}: {error}", file=sys.stderr)
            failed = True
            continue
        if not options.json:
            print(reports[name].text(), end="\n\n", flush=True)
    if options.json:
        host = {"machine": platform.machine(), "python": platform.python_version()}
        found = {name: report.to_dict() for name, report in reports.items()}
        print(json.dumps({"host": host, "benchmarks": found}, indent=2))
    if options.figure is not None and not failed:
        figure.draw(reports, options.figure)
    sys.exit(failed)


def _check_figure(parser: argparse.ArgumentParser, path: Path, names: list[str]) -> None:
    """Say now, not after ten minutes, that it cannot be drawn."""
    if reason := figure.obstacle():
        parser.error(reason)
    if path.suffix not in figure.SUFFIXES:
        parser.error(f"--figure draws {' or '.join(figure.SUFFIXES)}, not {path.name!r}")
    if not path.parent.is_dir():
        parser.error(f"--figure: there is no directory {path.parent}")
    if not set(figure.DRAWN).intersection(names):
        parser.error(f"--figure shows {', '.join(figure.DRAWN)}: name one of them")


def _measure(name: str, benchmark: Benchmark, rounds: int | None) -> Report:
    lacking = missing(benchmark.needs)
    if benchmark.on_kvm:
        lacking = lacking or engines.why_not(GuestConfig.cpu)
    if lacking:
        return Report(f"{name}: not measured", "", {}, notes=[lacking])
    with tempfile.TemporaryDirectory(prefix="vlockstep-benchmark-") as directory:
        return benchmark.measure(Path(directory), rounds or benchmark.rounds)


if __name__ == "__main__":
    sys.exit(program.run(main))
