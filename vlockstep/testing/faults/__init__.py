"""Real faults on real processes, as data: what is done, what must happen, and whether it did.

`FAULTS` is all of them, `run` injects one, `python -m vlockstep.testing.faults` prints the table.

    fault       Fault, Result, run: what a fault is
    trial       Trial: where one is injected, and what is checked of all
    outside     Outputs, check_log: what can be seen of a pair from the outside
    table       render: what must happen, and what did

The faults

    deaths      processes that are killed
    leaving     processes that are asked to leave
    silences    replicas that live and are not heard, or are slow
    damage      a network that changes what it carries
    resources   what replicas use and may not have
    stalls      writers that stand still
    clocks      hosts whose clocks do not agree, or jump
    strangers   secondaries that may not follow

What they need

    duty        DutyCycle: a part of a CPU's time
    mounts      small, freezable: file systems that fill up, or stand still
"""

from vlockstep.testing.faults import (
    clocks,
    damage,
    deaths,
    leaving,
    resources,
    silences,
    stalls,
    strangers,
)
from vlockstep.testing.faults.fault import Fault, Result, run

__all__ = ["FAULTS", "Fault", "Result", "run"]

FAULTS = (
    *deaths.FAULTS,
    *leaving.FAULTS,
    *silences.FAULTS,
    *damage.FAULTS,
    *resources.FAULTS,
    *stalls.FAULTS,
    *clocks.FAULTS,
    *strangers.FAULTS,
)
