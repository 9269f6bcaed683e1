"""What a guest is entitled to, of CPU and of memory: by its demand, shares, reservation and limit.

A resource is divided as water finds its level. Everybody gets the same for each share, but not
less than its reservation, and not more than its limit or what it can use; what one cannot use is
for the others. Both of a guest's replicas execute the same, so each claims as much.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from vlockstep.cluster.model import Allocation, Guest, Replica

IDLE_IN_DEMAND = 0.25
"""How much of the memory that a guest has and does not touch counts as its demand."""


class Claim(NamedTuple):
    """Compared with others, at least, and at most."""

    shares: float
    least: float
    most: float


def cpu_claim(guest: Guest) -> Claim:
    """In MIPS."""
    return _claim(guest.cpu, guest.demand)


def memory_claim(guest: Guest) -> Claim:
    """In MiB, with the overhead, of which a guest is never short."""
    active = min(guest.active, guest.memory)
    claim = _claim(guest.ram, active + IDLE_IN_DEMAND * (guest.memory - active))
    return Claim(claim.shares, claim.least + guest.overhead, claim.most + guest.overhead)


def _claim(allocation: Allocation, demand: float) -> Claim:
    most = demand if allocation.limit is None else min(demand, allocation.limit)
    return Claim(allocation.shares, min(allocation.reservation, most), most)


def divide(claims: Mapping[Replica, Claim], capacity: float) -> dict[Replica, float]:
    """What each gets of the capacity. Where it does not do for what all are to get at least, each
    gets the same part of that."""
    replicas = sorted(claims)
    if sum(claims[replica].most for replica in replicas) <= capacity:
        return {replica: claims[replica].most for replica in replicas}
    least = sum(claims[replica].least for replica in replicas)
    if least > capacity:
        return {replica: claims[replica].least * capacity / least for replica in replicas}
    level = _level([claims[replica] for replica in replicas], capacity - least)
    return {
        replica: min(max(level * claim.shares, claim.least), claim.most)
        for replica, claim in ((replica, claims[replica]) for replica in replicas)
    }


def _level(claims: list[Claim], left: float) -> float:
    """For each share, when what is left beside the least has been given out."""
    turns = []
    for shares, least, most in claims:
        if shares > 0:
            turns += [(least / shares, shares), (most / shares, -shares)]
    level = rate = 0.0
    for turn, change in sorted(turns):
        if rate * (turn - level) >= left:
            break
        left -= rate * (turn - level)
        level = turn
        rate += change
    return level + left / rate if rate > 0 else level
