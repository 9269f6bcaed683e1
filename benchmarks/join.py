"""A lone primary under load is protected again: how long that takes, and what it costs."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.contest import Contestant, Report, interleave, ratio
from benchmarks.network import server_pair
from benchmarks.pairs import next_status
from vlockstep.testing import Pair
from vlockstep.testing.network import GUEST

_LOAD = ["redis-benchmark", "-h", GUEST, "-t", "set,get", "-P", "16", "-c", "50", "-l"]
_WATCHED = 2.0
"""Seconds before and after."""
_BEFORE, _DURING, _AFTER = "entries, alone", "entries, during the join", "entries, protected"


def measure(directory: Path, rounds: int) -> Report:
    """`kv`, with redis-benchmark asking without end."""
    figures = interleave([Contestant("kv", lambda: _rejoin(directory))], rounds)
    units = {name: "/s" for name in figures if "entries" in name}
    units |= {name: unit for name in figures for what, unit in _UNITS.items() if name == what}
    before, during = f"kv, {_BEFORE}", f"kv, {_DURING}"
    figures["speed during the join / alone"] = [ratio(figures, during, before)]
    units["speed during the join / alone"] = ""
    return Report("join: a lone primary is protected again", "s", figures, [], units)


_UNITS = {"kv, held at P": "ms", "kv, sent": "MB"}


def _rejoin(directory: Path) -> dict[str, float]:
    with server_pair(directory, "kv") as pair:
        pair.crash("secondary")
        primary = pair.process("primary")
        primary.wait_event("alone")
        with subprocess.Popen(_LOAD, stdout=subprocess.DEVNULL) as load:
            try:
                time.sleep(1)
                before = _rate(pair, _WATCHED)
                first, started = next_status(pair), time.time()
                pair.start_secondary("--connect", pair.endpoint)
                joined = primary.wait_event("joined")
                last = next_status(pair)
                after = _rate(pair, _WATCHED)
            finally:
                load.kill()
    return {
        "from the newcomer's start to joined": joined["time"] - started,
        "held at P": joined["pause_ms"],
        "sent": joined["bytes"] / 1e6,
        _BEFORE: before,
        _DURING: _between(first, last),
        _AFTER: after,
    }


def _rate(pair: Pair, seconds: float) -> float:
    """Entries a second."""
    first = next_status(pair)
    time.sleep(seconds)
    return _between(first, next_status(pair))


def _between(first: Mapping[str, Any], last: Mapping[str, Any]) -> float:
    return float(last["entries"] - first["entries"]) / float(last["time"] - first["time"])
