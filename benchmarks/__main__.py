"""`python -m benchmarks [NAME ...] [--rounds N] [--json]`"""

from __future__ import annotations

import argparse
import json
import platform
import tempfile
from collections.abc import Callable
from pathlib import Path

from benchmarks import exits, network, pair, replay, sort
from benchmarks.contest import Report

Benchmark = Callable[[Path, int], Report]
"""Takes a directory of its own, which is deleted afterwards, and the number of rounds."""

BENCHMARKS: dict[str, tuple[Benchmark, int]] = {
    "sort": (sort.measure, 5),
    "replay": (replay.measure, 11),
    "exits": (exits.measure, 9),
    "pair-sort": (pair.sort, 7),
    "pair-preempt": (pair.preempt, 7),
    "failover": (pair.failover, 20),
    "kv": (network.throughput, 5),
    "kv-latency": (network.latency, 5),
    "kv-log": (network.log, 1),
    "kv-failover": (network.failover, 20),
}
"""Each with as many rounds as it takes to see a few percent."""


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measure, and print ratios next to their targets. Best on an idle machine.",
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(BENCHMARKS))
    parser.add_argument("--rounds", type=int, help="turns that each contestant gets")
    parser.add_argument("--json", action="store_true", help="all figures, for programs")
    options = parser.parse_args()
    for name in options.names:
        if name not in BENCHMARKS:
            parser.error(f"no benchmark {name!r}; there are {', '.join(BENCHMARKS)}")
    if options.rounds is not None and options.rounds < 1:
        parser.error("--rounds must be at least 1")

    found = {}
    for name in options.names or BENCHMARKS:
        measure, rounds = BENCHMARKS[name]
        with tempfile.TemporaryDirectory(prefix="vlockstep-benchmark-") as directory:
            report = measure(Path(directory), options.rounds or rounds)
        found[name] = report.to_dict()
        if not options.json:
            print(report.text(), end="\n\n", flush=True)
    if options.json:
        host = {"machine": platform.machine(), "python": platform.python_version()}
        print(json.dumps({"host": host, "benchmarks": found}, indent=2))


if __name__ == "__main__":
    main()
