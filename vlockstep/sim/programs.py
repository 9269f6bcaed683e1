"""What a schedule's guest is made of."""

from __future__ import annotations

from functools import cache

from vlockstep.machine.bundled import open_bundled
from vlockstep.machine.image import Image
from vlockstep.sim.schedule import Schedule

_DISGUISES = {
    "ledger": "ledger",
    "preempt": "ledger",
    "rewrite": "ledger",
    "tally": "tally",
    "kv": "tally",
}
"""The images whose devices scripted guests have."""


def image(schedule: Schedule) -> Image:
    return _open(schedule.program if schedule.real else _DISGUISES[schedule.program])


def arguments(schedule: Schedule) -> tuple[str, ...]:
    if not schedule.real:
        return str(schedule.size), schedule.program
    return {
        "ledger": (f"--lines={schedule.size}", "--pause=1", "--work=10"),
        "preempt": (f"--work={schedule.size * 1000}", "--tsc=1"),
        "tally": (f"--requests={schedule.size}",),
    }[schedule.program]


_open = cache(open_bundled)
