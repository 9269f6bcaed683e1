"""A resource is divided by shares, between reservation and limit."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlockstep.cluster.entitlement import Claim, cpu_claim, divide, memory_claim
from vlockstep.cluster.model import Allocation, Guest, Replica


def got(*claims: Claim, capacity: float) -> list[float]:
    replicas = [Replica(f"{index:03}") for index in range(len(claims))]
    shares = divide(dict(zip(replicas, claims, strict=True)), capacity)
    return [shares[replica] for replica in replicas]


def test_everybody_gets_what_it_can_use_where_there_is_enough() -> None:
    assert got(Claim(1, 0, 300), Claim(9, 0, 100), capacity=400) == [300, 100]


def test_shares_decide_what_is_scarce() -> None:
    assert got(Claim(1, 0, 900), Claim(2, 0, 900), capacity=600) == [200, 400]


def test_what_one_cannot_use_is_for_the_others() -> None:
    claims = Claim(1, 0, 900), Claim(2, 0, 100), Claim(1, 0, 900)
    assert got(*claims, capacity=600) == [250, 100, 250]


def test_a_reservation_is_kept() -> None:
    assert got(Claim(1, 500, 900), Claim(2, 0, 900), capacity=600) == [500, 100]
    assert got(Claim(1, 100, 900), Claim(2, 0, 900), capacity=600) == [200, 400]


def test_reservations_beyond_the_capacity_are_cut_alike() -> None:
    assert got(Claim(1, 600, 900), Claim(1, 200, 900), capacity=400) == [300, 100]


def test_without_shares_there_is_the_reservation_alone() -> None:
    assert got(Claim(0, 100, 900), Claim(0, 50, 900), capacity=400) == [100, 50]


def test_claims_of_a_guest() -> None:
    guest = Guest("web", 1000, overhead=50, demand=300, active=200, cpu=Allocation(2000, 400))
    assert cpu_claim(guest) == Claim(2000, 300, 300), "no more than it uses"
    assert memory_claim(guest) == Claim(1000, 50, 50 + 200 + 0.25 * 800)
    limited = Guest("web", 1000, demand=300, cpu=Allocation(limit=100, reservation=200))
    assert cpu_claim(limited) == Claim(1000, 100, 100)


sizes = st.floats(0, 1e6)
claims = st.builds(
    lambda shares, ends: Claim(shares, min(ends), max(ends)),
    st.floats(0.1, 1e4),
    st.tuples(sizes, sizes),
)


@given(st.lists(claims, min_size=1, max_size=12), st.floats(1, 1e6))
def test_all_is_given_out_and_nobody_is_robbed(found: list[Claim], capacity: float) -> None:
    parts = got(*found, capacity=capacity)
    assert sum(parts) == pytest.approx(
        min(capacity, sum(claim.most for claim in found)), rel=1e-6, abs=1e-6
    )
    if sum(claim.least for claim in found) <= capacity:
        assert all(c.least <= part <= c.most for c, part in zip(found, parts, strict=True))
        below = [p / c.shares for c, p in zip(found, parts, strict=True) if p < c.most * (1 - 1e-9)]
        above = [
            p / c.shares for c, p in zip(found, parts, strict=True) if p > c.least * (1 + 1e-9)
        ]
        if below and above:
            assert max(above) <= min(below) * (1 + 1e-6) + 1e-9
