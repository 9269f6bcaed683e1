"""What does not last moves nothing."""

from __future__ import annotations

from dataclasses import replace

import pytest
from drs_clusters import busy, cluster
from hypothesis import given
from hypothesis import strategies as st

from vlockstep.cluster.drs.advice import Settings
from vlockstep.cluster.drs.balancer import PARTS, Balancer
from vlockstep.cluster.model import Cluster

HOLD = 60
EVEN = cluster({busy("one", 100): "a", busy("two", 100): "b", busy("three", 100): "c"})
TWO = cluster({busy("one", 100): "a", busy("two", 100): "a"}, hosts="ab")
EAGER = Settings(5, hold=HOLD, goodness=0)


def demanding(found: Cluster, **demands: float) -> Cluster:
    guests = {name: replace(found.guests[name], demand=demand) for name, demand in demands.items()}
    return replace(found, guests={**found.guests, **guests})


def test_what_lasts_counts_when_it_has_lasted() -> None:
    balancer = Balancer(EAGER)
    for now in range(0, HOLD, 10):
        balancer.observe(now, TWO)
        assert not balancer.recommend(TWO).moves
    balancer.observe(HOLD, TWO)
    assert len(balancer.recommend(TWO).moves) == 1


def test_a_spike_counts_when_it_has_lasted() -> None:
    balancer = Balancer(EAGER)
    balancer.observe(0, TWO)
    balancer.observe(HOLD, TWO)
    spike = demanding(TWO, one=800)
    for now in range(2 * HOLD, 3 * HOLD, 5):
        balancer.observe(now, spike)
        assert balancer.history["one"].usual.cpu == 100
        assert balancer.history["one"].peak.cpu == 800
    balancer.observe(3 * HOLD, spike)
    assert balancer.history["one"].usual.cpu == 800


@given(
    st.sampled_from(["one", "two", "three"]),
    st.sampled_from([0, 1000]),
    st.floats(0.1, HOLD - 0.1),
    st.lists(st.floats(0.01, 20), min_size=1, max_size=150),
)
def test_a_spike_or_a_dip_shorter_than_the_hold_time_moves_nothing(
    guest: str, demand: float, lasts: float, waits: list[float]
) -> None:
    balancer = Balancer(EAGER)
    balancer.observe(0, EVEN)
    now, begin = float(HOLD), HOLD + 1
    balancer.observe(now, EVEN)
    for wait in waits:
        now += wait
        during = begin <= now < begin + lasts
        found = demanding(EVEN, **{guest: demand}) if during else EVEN
        balancer.observe(now, found)
        assert not balancer.recommend(found).moves
        assert balancer.history[guest].usual.cpu == 100


def test_the_history_is_bounded_and_forgets_guests() -> None:
    balancer = Balancer(EAGER)
    for step in range(10_000):
        balancer.observe(step / 50, TWO)
    assert max(map(len, balancer._parts.values())) <= PARTS + 2
    balancer.observe(201, replace(TWO, guests={}, placed={}))
    assert not balancer.history


def test_without_a_hold_time_all_counts_at_once() -> None:
    balancer = Balancer(Settings(5, hold=0))
    balancer.observe(0, TWO)
    assert balancer.recommend(TWO).moves


def test_time_does_not_go_back() -> None:
    balancer = Balancer(EAGER)
    balancer.observe(1, TWO)
    with pytest.raises(ValueError, match="after 1 s"):
        balancer.observe(0, TWO)
