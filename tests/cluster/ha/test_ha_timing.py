"""How long hosts wait: two profiles, each number by its name, none that contradicts another."""

from __future__ import annotations

from dataclasses import asdict, replace

import pytest

from vlockstep.cluster.ha.timing import PROFILES, Timing, timing
from vlockstep.errors import UsageError
from vlockstep.protocol.timing import SECOND

VSPHERE = PROFILES["vsphere55"]


def test_the_numbers_of_vsphere() -> None:
    seconds = {name: ns / SECOND for name, ns in asdict(VSPHERE).items()}
    assert seconds == {
        "heartbeat": 1,
        "storage_after": 3,
        "storage_watch": 15,
        "storage_heartbeat": 5,
        "unreachable": 10,
        "ping": 5,
        "election": 15,
        "takeover": 10,
        "isolation": 5,
        "isolation_delay": 30,
        "lease": 15,
    }


def test_the_fast_ones_are_a_twentieth_and_the_default() -> None:
    assert timing() == Timing() == PROFILES["fast"]
    assert {name: ns * 20 for name, ns in asdict(Timing()).items()} == asdict(VSPHERE)


def test_each_can_be_set_by_its_name() -> None:
    assert timing("vsphere55", {"ping": 6 * SECOND}) == replace(VSPHERE, ping=6 * SECOND)


@pytest.mark.parametrize(
    ("profile", "settings", "message"),
    [
        ("slow", {}, "no timing profile 'slow'; there are fast, vsphere55"),
        ("fast", {"pong": 1}, "no timing setting 'pong'; there are heartbeat, "),
        ("fast", {"takeover": 0}, "takeover must be more than 0"),
        ("fast", {"ping": -1}, "ping must be more than 0"),
        ("fast", {"unreachable": SECOND // 11}, "unreachable must be two heartbeats or more"),
        ("fast", {"storage_watch": SECOND // 4}, "storage_watch must be two times"),
        ("fast", {"storage_after": SECOND}, "storage_after must not be more than unreachable"),
        ("fast", {"isolation": SECOND // 2}, "isolation must be less than takeover"),
        ("fast", {"isolation_delay": SECOND // 2}, "isolation and isolation_delay together"),
        ("fast", {"lease": 2 * SECOND}, "lease must not be more than"),
    ],
)
def test_what_cannot_work_is_refused(profile: str, settings: dict[str, int], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        timing(profile, settings)
    assert str(caught.value).startswith(message)
