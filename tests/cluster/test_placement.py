"""Where a replica can run, and the reasons why not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from vlockstep.cluster.guestfile import GuestFile
from vlockstep.cluster.model import (
    Allocation,
    Apart,
    Cluster,
    Guest,
    Host,
    OnHosts,
    Replica,
    Role,
    Rule,
    Together,
)
from vlockstep.cluster.placement import Placement, fits, ranked, why_not

HOSTS = [Host(name, 1000, 1000, frozenset({"shared"}), frozenset({"lan"})) for name in "abc"]
WEB, SECONDARY = Replica("web"), Replica("web", Role.SECONDARY)


def cluster(
    *guests: Guest,
    placed: Mapping[Replica, str] | None = None,
    rules: tuple[Rule, ...] = (),
    hosts: list[Host] = HOSTS,
) -> Cluster:
    return Cluster(
        {host.name: host for host in hosts},
        {guest.name: guest for guest in guests},
        placed or {},
        rules,
    )


def test_nothing_keeps_a_guest_off_an_empty_host() -> None:
    assert fits(cluster(Guest("web", 64)), WEB, "a") == ()


@pytest.mark.parametrize(
    ("host", "guest", "reason"),
    [
        ({"maintenance": True}, {}, "host a is in maintenance"),
        ({"standby": True}, {}, "host a is kept free for the guests of hosts that fail"),
        ({"cpu": 0}, {}, "host a has no CPU or no memory for guests"),
        ({}, {"datastores": frozenset({"own"})}, "host a does not have the datastore own"),
        ({}, {"networks": frozenset({"wan"})}, "host a does not have the network wan"),
        (
            {"cpu_limit": "westmere"},
            {"cpu_model": "sandybridge"},
            "the limit westmere of host a does not offer xsave, xsaveopt, rdtscp, which the "
            "guest's CPU model sandybridge has",
        ),
        (
            {"kvm": frozenset({"nehalem"})},
            {"kvm": True},
            "host a does not offer the engine kvm for the guest's CPU model westmere",
        ),
        (
            {},
            {"cpu": Allocation(reservation=1001)},
            "host a has 1000 of 1000 MIPS that are not reserved, and the guest reserves 1001",
        ),
        (
            {},
            {"ram": Allocation(reservation=937)},
            "host a has 1000 of 1000 MiB that are not reserved, and the guest reserves 1001",
        ),
    ],
)
def test_a_host_that_cannot_run_a_guest_says_why(
    host: dict[str, object], guest: dict[str, object], reason: str
) -> None:
    hosts = [replace(HOSTS[0], **host), *HOSTS[1:]]  # type: ignore[arg-type]
    assert fits(cluster(Guest("web", 64, **guest), hosts=hosts), WEB, "a") == (reason,)  # type: ignore[arg-type]


def test_a_guest_that_is_to_run_on_kvm_takes_the_hosts_that_have_it() -> None:
    file = GuestFile("kv", engine="kvm").model("web", "shared")
    hosts = [HOSTS[0], replace(HOSTS[1], kvm=frozenset({"westmere"}))]
    assert ranked(cluster(file, hosts=hosts), WEB) == ["b"]
    assert ranked(cluster(replace(file, kvm=False), hosts=hosts), WEB) == ["a", "b"]


def test_a_host_that_is_not_connected() -> None:
    assert fits(cluster(Guest("web", 64)), WEB, "gone") == ("host gone is not connected",)


def test_the_baseline_bounds_all_guests() -> None:
    bounded = replace(cluster(Guest("web", 64, "sandybridge")), baseline="westmere")
    assert "of the cluster does not offer" in why_not(bounded, WEB)["b"]


def test_two_replicas_of_a_guest_never_share_a_host() -> None:
    both = cluster(Guest("web", 64, ft=True), placed={WEB: "a"})
    assert fits(both, SECONDARY, "a", failover=True) == ("host a has the guest's primary",)
    moving = replace(both, moving={WEB: "b"})
    assert sorted(why_not(moving, SECONDARY)) == ["a", "b"]


def test_one_that_moves_takes_room_on_both_hosts() -> None:
    guests = [Guest(name, 64, cpu=Allocation(reservation=600)) for name in ("web", "db")]
    moving = replace(cluster(*guests, placed={Replica("db"): "a"}), moving={Replica("db"): "b"})
    assert ranked(moving, WEB) == ["c"]
    assert "600" in why_not(moving, WEB)["a"] and "600" in why_not(moving, WEB)["b"]
    assert fits(moving, Replica("db"), "a") == fits(moving, Replica("db"), "b") == ()


def test_rules_keep_guests_together_and_apart() -> None:
    guests = [Guest(name, 64, ft=True) for name in ("web", "db")]
    placed = {Replica("db"): "a", Replica("db", Role.SECONDARY): "b"}
    apart = cluster(*guests, placed=placed, rules=(Apart("x", frozenset({"web", "db"})),))
    assert why_not(apart, WEB) == {
        host: f"rule x keeps the guest apart from db, which host {host} has" for host in "ab"
    }
    together = cluster(*guests, placed=placed, rules=(Together("x", frozenset({"web", "db"})),))
    assert ranked(together, WEB) == ["a"]
    assert ranked(together, SECONDARY) == ["c", "a", "b"], "for primaries alone"


def test_a_failover_breaks_rules_about_guests_if_it_must() -> None:
    guests = [Guest("web", 64), Guest("db", 64)]
    apart = Apart("x", frozenset({"web", "db"}))
    hosts = [*HOSTS[:2], replace(HOSTS[2], standby=True)]
    found = cluster(*guests, placed={Replica("db"): "a"}, rules=(apart,), hosts=hosts)
    assert ranked(found, WEB) == ["b"]
    assert ranked(found, WEB, failover=True) == ["c", "b", "a"]
    must = replace(found, rules=(OnHosts("y", frozenset({"web"}), frozenset({"a"})),))
    assert ranked(must, WEB, failover=True) == ["a"]


def test_rules_bind_to_hosts_or_off_them() -> None:
    web = Guest("web", 64, ft=True)
    inside = cluster(web, rules=(OnHosts("x", frozenset({"web"}), frozenset("ab")),))
    assert ranked(inside, SECONDARY) == ["a", "b"]
    assert fits(inside, WEB, "c") == ("rule x keeps the guest off host c",)
    outside = cluster(web, rules=(OnHosts("x", frozenset({"web"}), frozenset("ab"), inside=False),))
    assert ranked(outside, WEB) == ["c"]


def test_a_rule_that_should_hold_ranks_hosts_and_binds_if_strict() -> None:
    rule = OnHosts("x", frozenset({"web"}), frozenset("c"), mandatory=False)
    found = cluster(Guest("web", 64), rules=(rule,))
    assert ranked(found, WEB) == ["c", "a", "b"]
    assert Placement(found, strict=True).ranked(WEB) == ["c"]


def test_the_least_loaded_host_is_best() -> None:
    loaded = [Guest("one", 64, demand=500), Guest("two", 64, demand=400)]
    placed = {Replica("one"): "a", Replica("two"): "b"}
    assert ranked(cluster(Guest("web", 64, demand=100), *loaded, placed=placed), WEB) == [*"cba"]


def test_a_placement_follows() -> None:
    found = Placement(cluster(Guest("web", 64, cpu=Allocation(reservation=1000)), Guest("db", 64)))
    found.put(WEB, "a")
    assert found.can(WEB, "a") and found.at == {WEB: "a"}
    found.begin(WEB, "b")
    assert found.hosts_of(WEB) == ("a", "b")
    found.put(WEB, "b")
    assert list(found.on["b"]) == [WEB] and not found.on["a"]
    found.take(WEB)
    assert not found.at and found.hosts_of(WEB) == ()
