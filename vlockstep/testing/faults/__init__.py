"""Real faults on real processes, as data: what is done, what must happen, and whether it did.

`FAULTS` is all of them, `run` injects one, `python -m vlockstep.testing.faults` prints the table.
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
