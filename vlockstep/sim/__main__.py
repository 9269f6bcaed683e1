"""`python -m vlockstep.sim`"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import chain

from vlockstep import program
from vlockstep.errors import UsageError
from vlockstep.program.progress import Progress
from vlockstep.sim.execution import Result, execute
from vlockstep.sim.explore import Cases, crash_everywhere, explore, part_everywhere, shrink
from vlockstep.sim.schedule import TARGETS, Schedule

_SHOWN = 5

_DESCRIPTION = """\
Execute protected guests in virtual time under many faults, and check what the world saw: nothing
lost, nothing repeated that should not be, at most one replica live, survivors going on."""
_EPILOG = f"""\
examples:
  python -m vlockstep.sim --seeds 10000
  python -m vlockstep.sim --exhaustive real-ledger/2
  python -m vlockstep.sim --exhaustive ledger/2 --replicas 3
  python -m vlockstep.sim --exhaustive ledger/2 --newcomers 1 --first 3
  python -m vlockstep.sim --schedule 'tally/3 seed=17 pause:primary@5000us+300000us'

faults: {", ".join(TARGETS)}
exit status: 0 if all is well, 1 if something went wrong, 2 for a wrong command line"""


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m vlockstep.sim",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--seeds", type=int, default=1000, help="random schedules (default: 1000)")
    what.add_argument("--schedule", help="one schedule, as this command prints it")
    what.add_argument(
        "--exhaustive",
        metavar="GUEST/SIZE",
        help="crash each replica everywhere, then another one; part them everywhere",
    )
    parser.add_argument(
        "--first", type=int, default=0, help="the first seed, or that of --exhaustive (default: 0)"
    )
    parser.add_argument(
        "--only", metavar="KIND", nargs="+", choices=TARGETS, help="random faults of these kinds"
    )
    parser.add_argument(
        "--replicas",
        type=int,
        choices=(2, 3),
        help="so many (default: --seeds take either, --exhaustive 2)",
    )
    parser.add_argument(
        "--newcomers",
        type=int,
        choices=(0, 1, 2),
        help="so many join (default: --seeds take any number, --exhaustive 0)",
    )
    parser.add_argument("--json", action="store_true", help="the result, for programs")
    options = parser.parse_args()
    if options.seeds < 1 or options.first < 0:
        parser.error("--seeds must be at least 1, and --first not negative")
    cases = Cases()
    try:
        if options.schedule is not None:
            results: Iterator[Result] = iter([execute(Schedule.parse(options.schedule))])
        elif options.exhaustive is not None:
            head = f"{options.exhaustive} seed={options.first} replicas={options.replicas or 2}"
            schedule = replace(Schedule.parse(head), newcomers=options.newcomers or 0).joined()
            results = chain(crash_everywhere(schedule, cases), part_everywhere(schedule, cases))
        else:
            seeds = range(options.first, options.first + options.seeds)
            kinds = options.only or tuple(TARGETS)
            results = explore(seeds, kinds, options.replicas, options.newcomers)
    except UsageError as error:
        parser.error(str(error))
    sys.exit(_report(results, cases, options.json))


def _report(results: Iterator[Result], cases: Cases, as_json: bool) -> int:
    """Print what went wrong, each with a simpler schedule that does; the exit status."""
    started = time.monotonic()
    count, failures = 0, []
    progress = Progress()
    for count, result in enumerate(results, 1):
        if result.violations:
            failures.append(result)
            if len(failures) == _SHOWN:
                break
        progress.tell(f"{count} executions, {len(failures)} went wrong")
    seconds = time.monotonic() - started
    found = [(result, shrink(result, progress.tell)) for result in failures]
    progress.clear()
    if as_json:
        print(json.dumps(_data(found, count, cases, seconds), indent=2))
    else:
        for result, simple in found:
            _explain(result, simple)
        counts = (
            f"{cases.single} crashes, {cases.double} double ones, {cases.partitions} partitions"
        )
        wrong = f"{len(found)} went wrong" if found else "all well"
        exhaustive = f", {counts}" if cases.single else ""
        executions = "execution" if count == 1 else "executions"
        print(f"{count} {executions} in {seconds:.1f} s{exhaustive}: {wrong}")
    return 1 if found else 0


def _data(
    found: list[tuple[Result, Result]], count: int, cases: Cases, seconds: float
) -> dict[str, object]:
    return {
        "executions": count,
        "single": cases.single,
        "double": cases.double,
        "partitions": cases.partitions,
        "seconds": seconds,
        "failures": [
            {
                "schedule": str(result.schedule),
                "violations": result.violations,
                "simpler": str(simple.schedule),
                "simpler_violations": simple.violations,
            }
            for result, simple in found
        ],
    }


def _explain(result: Result, simple: Result) -> None:
    print(f"violation of {result.schedule}")
    for violation in result.violations:
        print(f"  {violation}")
    print("to see it again, in a simpler execution:")
    print(f"  python -m vlockstep.sim --schedule {shlex.quote(str(simple.schedule))}")
    for violation in simple.violations:
        print(f"  {violation}")
    print()


if __name__ == "__main__":
    sys.exit(program.run(main))
