"""Clusters made by hand, by chance, and what tests ask about them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from hypothesis import strategies as st

from vlockstep.cluster.drs.advice import Move
from vlockstep.cluster.model import (
    Allocation,
    Apart,
    Automation,
    Cluster,
    Guest,
    Host,
    OnHosts,
    Replica,
    Role,
    Rule,
    Together,
)
from vlockstep.cluster.rules import in_force


def cluster(
    guests: Mapping[Guest, str],
    rules: Iterable[Rule] = (),
    hosts: str = "abc",
    automation: Automation = Automation.FULL,
) -> Cluster:
    """Guests by where they are, on hosts of 1,000 MIPS and 1,000 MiB; two letters are the hosts of
    both replicas."""
    placed = {}
    for guest, where in guests.items():
        for role, host in zip(Role, where, strict=False):
            placed[Replica(guest.name, role)] = host
    return Cluster(
        {name: Host(name, 1000, 1000) for name in hosts},
        {guest.name: guest for guest in guests},
        placed,
        tuple(rules),
        automation,
    )


def busy(name: str, demand: float, **more: object) -> Guest:
    """Its CPU is all that matters."""
    return replace(Guest(name, 0, overhead=0, demand=demand), **more)  # type: ignore[arg-type]


def with_host(found: Cluster, name: str, **changes: object) -> Cluster:
    host = replace(found.hosts[name], **changes)  # type: ignore[arg-type]
    return replace(found, hosts={**found.hosts, name: host})


def moved(found: Cluster, moves: Iterable[Move]) -> Cluster:
    """When all is where it moved to."""
    return replace(found, placed={**found.placed, **{m.replica: m.target for m in moves}})


def broken(found: Cluster) -> set[str]:
    """What does not hold: the names of rules, guests whose replicas share a host, and hosts on
    which too much is reserved."""
    at = found.placed
    wrong = set()
    for rule in in_force(found):
        hosts = [at[r] for g in sorted(rule.guests) for r in map(Replica, (g, g), Role) if r in at]
        primaries = {at[Replica(g)] for g in rule.guests if Replica(g) in at}
        match rule:
            case Apart():
                by_guest = [
                    {at[r] for r in map(Replica, (g, g), Role) if r in at} for g in rule.guests
                ]
                holds = len(set[str]().union(*by_guest)) == sum(map(len, by_guest))
            case Together():
                holds = len(primaries) < 2
            case OnHosts():
                inside = {host in rule.hosts for host in hosts}
                holds = inside <= {rule.inside} or not rule.mandatory
        if not holds:
            wrong.add(rule.name)
    for guest in found.guests:
        both = [at.get(Replica(guest, role)) for role in Role]
        if both[0] is not None and both[0] == both[1]:
            wrong.add(guest)
    for host in found.hosts.values():
        there = [found.guests[r.guest] for r, name in at.items() if name == host.name]
        cpu = sum(guest.cpu.reservation for guest in there)
        memory = sum(guest.ram.reservation + guest.overhead for guest in there)
        if cpu > host.cpu * (1 + 1e-9) or memory > host.memory * (1 + 1e-9):
            wrong.add(f"host {host.name}")
    return wrong


HOSTS = "abcde"
NAMES = [f"g{number}" for number in range(9)]
MAYBE = st.sampled_from([True, False, False, False, False, False])


@st.composite
def clusters(draw: st.DrawFn) -> Cluster:
    """With a bit of everything, also what is broken."""
    hosts = {
        name: Host(
            name,
            draw(st.sampled_from([800, 1000, 2000])),
            draw(st.sampled_from([600, 1000, 2000])),
            frozenset(draw(st.sampled_from([("s",), ("s", "t")]))),
            frozenset({"lan"}),
            draw(st.sampled_from([None, None, None, "westmere"])),
            maintenance=draw(MAYBE),
            standby=draw(MAYBE),
        )
        for name in HOSTS[: draw(st.integers(2, 5))]
    }
    guests, placed = {}, {}
    for name in NAMES[: draw(st.integers(0, 9))]:
        memory = draw(st.sampled_from([32, 128, 400]))
        guests[name] = Guest(
            name,
            memory,
            draw(
                st.sampled_from(
                    ["qemu64", "westmere", "sandybridge"] if draw(MAYBE) else ["westmere"]
                )
            ),
            frozenset({"t"} if draw(MAYBE) else {"s"}),
            frozenset({"lan"}),
            Allocation(draw(st.integers(1, 3)) * 1000, draw(st.sampled_from([0, 0, 100, 500]))),
            Allocation(reservation=draw(st.sampled_from([0, 0, memory]))),
            draw(st.sampled_from([0, 16])),
            ft=draw(MAYBE),
            automation=draw(st.sampled_from([None, None, None, *Automation])),
            demand=draw(st.integers(0, 700)),
            active=draw(st.integers(0, memory)),
        )
        for role in Role:
            if role is Role.PRIMARY or guests[name].ft:
                placed[Replica(name, role)] = draw(st.sampled_from(sorted(hosts)))
    groups = st.frozensets(st.sampled_from(NAMES), min_size=1, max_size=3)
    some_hosts = st.frozensets(st.sampled_from(HOSTS), min_size=1, max_size=3)
    rules = draw(
        st.lists(
            st.one_of(
                st.builds(Apart, st.just(""), groups),
                st.builds(Together, st.just(""), groups),
                st.builds(OnHosts, st.just(""), groups, some_hosts, st.booleans(), st.booleans()),
            ),
            max_size=3,
        )
    )
    named = tuple(replace(rule, name=f"r{number}") for number, rule in enumerate(rules))
    automation = draw(st.sampled_from([Automation.FULL, Automation.FULL, Automation.MANUAL]))
    moving = {
        r: h
        for r in placed
        if draw(MAYBE) and (h := draw(st.sampled_from(sorted(hosts)))) != placed[r]
    }
    return Cluster(hosts, guests, placed, named, automation, moving=moving)
