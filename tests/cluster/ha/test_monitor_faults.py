"""Whatever happens: never two owners, never a host down that lives, and one master in the end."""

from __future__ import annotations

import pytest
from faults import Chaos
from support import some

from vlockstep.cluster.ha.timing import PROFILES, Timing

EACH = 10
"""Seeds of a test."""


def survive(seed: int, timing: Timing) -> None:
    chaos = Chaos(seed, timing)
    try:
        chaos.run(chaos.chance.randint(1, 25))
        chaos.end()
        for part in (chaos.whole, chaos.part):
            sides = part()
            chaos.settle()
            for side in sides:
                chaos.check_settled(side)
            chaos.simulation.run(45 * timing.heartbeat)
            chaos.check_views()
    except AssertionError as error:
        raise AssertionError(f"seed {seed}: {error}\n" + "\n".join(chaos.happened)) from error


@pytest.mark.parametrize("first", some([0], *range(0, 12 * EACH, EACH)))
def test_known_faults(first: int) -> None:
    for seed in range(first, first + EACH):
        survive(seed, PROFILES["fast"])


def test_faults_that_nobody_has_seen(any_seed: int) -> None:
    for seed in range(any_seed, any_seed + EACH):
        survive(seed, PROFILES["vsphere55"])
