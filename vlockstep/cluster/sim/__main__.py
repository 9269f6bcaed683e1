"""`python -m vlockstep.cluster.sim`"""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from pathlib import Path

from vlockstep import program
from vlockstep.cluster.sim import scenario
from vlockstep.cluster.sim.schedule import Result, Schedule, execute, shrink
from vlockstep.errors import UsageError
from vlockstep.program.progress import Progress

_SHOWN = 5
_DESCRIPTION = """\
Execute clusters in virtual time under many faults, and check from outside: no guest twice, no
output lost, all rules hold, and all comes right when faults end."""
_EPILOG = """\
examples:
  python -m vlockstep.cluster.sim tests/cluster/scenarios/host-loses-power
  python -m vlockstep.cluster.sim --random 1000 --seed 7
  python -m vlockstep.cluster.sim --schedule '17; 3.2 crash a; 4.1 migrate g1'

exit status: 0 if all is well, 1 if something went wrong, 2 for a wrong command line"""


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m vlockstep.cluster.sim",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("scenario", nargs="*", type=Path, help="folders of scenarios")
    parser.add_argument("--update", action="store_true", help="write what scenarios are to expect")
    parser.add_argument("--random", type=int, metavar="N", help="so many random schedules")
    parser.add_argument("--seed", type=int, default=0, help="the first of them (default: 0)")
    parser.add_argument("--schedule", help="one schedule, as this command prints it")
    options = parser.parse_args()
    ways = [bool(options.scenario), options.random is not None, options.schedule is not None]
    if sum(ways) != 1:
        parser.error("give folders of scenarios, or --random, or --schedule")
    if options.seed < 0 or (options.random is not None and options.random < 1):
        parser.error("--random must be at least 1, and --seed not negative")
    try:
        if options.scenario:
            sys.exit(_scenarios(options.scenario, options.update))
        if options.schedule is not None:
            result = execute(Schedule.parse(options.schedule))
            _show(result.log)
            _explain(result)
            sys.exit(1 if result.violations else 0)
    except UsageError as error:
        parser.error(str(error))
    sys.exit(_random(options.random, options.seed))


def _scenarios(folders: list[Path], update: bool) -> int:
    wrong = 0
    for folder in folders:
        found = scenario.run(scenario.read(folder))
        text = scenario.text(found)
        if len(folders) == 1:
            print(text, end="")
        if update:
            (folder / scenario.EXPECTED).write_text(text)
        elif difference := scenario.difference(folder, text):
            print(difference, end="")
            wrong += 1
    return 1 if wrong else 0


def _random(count: int, first: int) -> int:
    began, failures, progress = time.monotonic(), 0, Progress()
    done = 0
    for seed in range(first, first + count):
        result = execute(Schedule.of(seed))
        done += 1
        if result.violations:
            failures += 1
            shorter = shrink(result, progress.tell)
            progress.clear()
            _explain(result)
            print("to see it again, in a simpler execution:")
            again = shlex.quote(str(shorter.schedule))
            print(f"  python -m vlockstep.cluster.sim --schedule {again}")
            _explain(shorter)
            if failures == _SHOWN:
                break
        progress.tell(f"{done} executions, {failures} went wrong")
    progress.clear()
    wrong = f"{failures} went wrong" if failures else "all well"
    executions = "execution" if done == 1 else "executions"
    print(f"{done} {executions} in {time.monotonic() - began:.1f} s: {wrong}")
    return 1 if failures else 0


def _show(log: tuple[tuple[int, str], ...]) -> None:
    print(scenario.text(log), end="")


def _explain(result: Result) -> None:
    if result.violations:
        print(f"violation of {result.schedule}")
        for violation in result.violations:
            print(f"  {violation}")


if __name__ == "__main__":
    sys.exit(program.run(main))
