"""What a schedule's guest is made of."""

from __future__ import annotations

from functools import cache
from typing import cast

from vlockstep.machine.bundled import open_bundled
from vlockstep.machine.config import GuestConfig
from vlockstep.machine.image import Image
from vlockstep.machine.machine import Machine
from vlockstep.sim.schedule import Schedule
from vlockstep.sim.scripted import ScriptedMachine

_DISGUISES = {"ledger": "ledger", "preempt": "ledger", "rewrite": "ledger", "tally": "tally"}
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


def scripted(image: Image, config: GuestConfig, count_blocks: bool) -> Machine:
    """A `ScriptedMachine`, which has all of a machine that replicas use."""
    return cast(Machine, ScriptedMachine(image, config, count_blocks))


_open = cache(open_bundled)
