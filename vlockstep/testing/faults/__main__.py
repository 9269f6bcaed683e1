"""`python -m vlockstep.testing.faults`"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

from vlockstep import program
from vlockstep.testing.faults import FAULTS, run
from vlockstep.testing.faults.table import render


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m vlockstep.testing.faults",
        description="Inject faults into pairs of real processes, one after another, and print what "
        "must happen and what did. The exit status is 1 if anything was not as it must be.",
        epilog="Example: python -m vlockstep.testing.faults partition arbiter",
    )
    parser.add_argument("--json", action="store_true", help="a line of JSON for each fault")
    parser.add_argument("name", nargs="*", help="only faults whose name contains one of these")
    options = parser.parse_args()
    chosen = [f for f in FAULTS if not options.name or any(n in f.name for n in options.name)]
    if not chosen:
        parser.error(f"no fault's name contains {' or '.join(options.name)}")
    rows = []
    for number, fault in enumerate(chosen, 1):
        with tempfile.TemporaryDirectory(prefix="vlockstep-faults-") as directory:
            result = run(fault, Path(directory))
        verdict = {True: "as it must be", False: "WRONG", None: result.did}[result.ok]
        program.say(f"{number} of {len(chosen)}: {fault.name}: {verdict}, {result.seconds:.1f} s")
        if result.error is not None:
            program.say(f"{result.error}\n")
        rows.append(result.row())
        if options.json:
            print(json.dumps(rows[-1]), flush=True)
    if not options.json:
        print(render(rows), end="")
    return 1 if any(row["ok"] is False for row in rows) else 0


if __name__ == "__main__":
    sys.exit(program.run(main))
