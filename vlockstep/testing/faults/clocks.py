"""Hosts whose clocks do not agree, or jump."""

from __future__ import annotations

import re
from itertools import pairwise

from vlockstep.testing.faults.fault import Fault
from vlockstep.testing.faults.trial import KILLED, Trial
from vlockstep.testing.pair import Pair

_MINUTE = 60 * 10**9
_CLOCKS = re.compile(rb" wall=(\d+) tsc=(\d+) ")
_MONOTONIC = ["unshare", "--time", "--fork", "--kill-child", "--monotonic", 10**6]
_FAKETIME = ["faketime", "-m", "--exclude-monotonic", "-f"]
_AT_ONCE = ["FAKETIME_NO_CACHE=1", "FAKETIME_FORCE_MONOTONIC_FIX=0"]
"""It reads the file each time, and keeps from timed waits, which are on the other clock."""


def _check_clocks(pair: Pair) -> None:
    """The guest's clocks never go back, nor jump."""
    clocks = [tuple(map(int, match.groups())) for match in _CLOCKS.finditer(pair.transcript)]
    for before, after in pairwise(clocks):
        for name, old, new in zip(("wall clock", "cycles"), before, after, strict=True):
            assert old <= new < old + _MINUTE, f"{name}: {old} to {new}"


def other_monotonic_clock(trial: Trial) -> str:
    pair = trial.held(under={"secondary": _MONOTONIC})
    pair.crash("primary")
    pair.go("secondary")
    result = trial.ends(pair, KILLED, 0, {2: "secondary"})
    _check_clocks(pair)
    return f"no jump; {result}"


def other_wall_clock(trial: Trial) -> str:
    pair = trial.held(under={"secondary": [*_FAKETIME, "-1d"]})
    pair.crash("primary")
    pair.go("secondary")
    result = trial.ends(pair, KILLED, 0, {2: "secondary"})
    _check_clocks(pair)
    return f"no jump; {result}"


def wall_clock_set_back(trial: Trial) -> str:
    clock = trial.directory / "clock"
    clock.write_text("+0")
    env = ["env", "-u", "FAKETIME", f"FAKETIME_TIMESTAMP_FILE={clock}", *_AT_ONCE]
    pair = trial.held(under={"primary": [*_FAKETIME, "+0", *env]})
    clock.write_text("-1d")
    pair.go()
    result = trial.ends(pair, 0, 0)
    _check_clocks(pair)
    return f"no jump; {result}"


_ON = "the guest's clocks go on without a jump"
FAULTS = (
    Fault(
        "monotonic clocks 11 days apart, primary: SIGKILL",
        _ON,
        other_monotonic_clock,
        root=True,
        needs=("unshare",),
    ),
    Fault(
        "secondary's wall clock a day behind, primary: SIGKILL",
        _ON,
        other_wall_clock,
        needs=("faketime",),
    ),
    Fault("primary's wall clock set back by a day", _ON, wall_clock_set_back, needs=("faketime",)),
)
