"""Rules that cannot hold together are found and named; the newer one loses."""

from __future__ import annotations

from dataclasses import replace

from vlockstep.cluster.model import Apart, Cluster, Guest, OnHosts, Rule, Together
from vlockstep.cluster.rules import check_rules, in_force


def cluster(*rules: Rule, ft: str = "") -> Cluster:
    guests = {name: Guest(name, 64, ft=name in ft) for name in "abcde"}
    return Cluster({}, guests, {}, rules)


def together(name: str, guests: str) -> Together:
    return Together(name, frozenset(guests))


def apart(name: str, guests: str) -> Apart:
    return Apart(name, frozenset(guests))


def inside(name: str, guests: str, *hosts: str) -> OnHosts:
    return OnHosts(name, frozenset(guests), frozenset(hosts))


def conflicts(found: Cluster) -> dict[str, tuple[str, ...]]:
    return {conflict.rule: conflict.against for conflict in check_rules(found)}


def test_rules_that_can_hold_are_in_force() -> None:
    found = cluster(together("x", "ab"), apart("y", "bc"), inside("z", "abc", "1", "2"))
    assert not check_rules(found) and in_force(found) == found.rules


def test_together_and_apart_and_the_older_one_wins() -> None:
    older, newer = together("x", "abc"), apart("y", "bcd")
    assert conflicts(cluster(older, newer)) == {"y": ("x",)}
    assert conflicts(cluster(newer, older)) == {"x": ("y",)}
    assert in_force(cluster(older, newer)) == (older,)
    assert not check_rules(cluster(older, replace(newer, enabled=False)))


def test_together_by_way_of_others() -> None:
    chain = together("x", "ab"), together("y", "bc"), together("unrelated", "de")
    assert conflicts(cluster(*chain, apart("z", "ac"))) == {"z": ("x", "y")}


def test_no_host_is_left() -> None:
    assert conflicts(cluster(inside("x", "a", "1"), inside("y", "a", "2"))) == {"y": ("x",)}
    ban = OnHosts("y", frozenset("a"), frozenset({"1"}), inside=False)
    assert conflicts(cluster(inside("x", "a", "1"), ban)) == {"y": ("x",)}
    rules = inside("x", "a", "1"), inside("y", "b", "2"), together("z", "ab")
    assert conflicts(cluster(*rules)) == {"z": ("x", "y")}


def test_fewer_hosts_than_guests_that_are_to_be_apart() -> None:
    rules = inside("x", "ab", "1", "2"), inside("y", "c", "2"), apart("z", "abc")
    assert conflicts(cluster(*rules)) == {"z": ("x", "y")}
    assert not check_rules(cluster(rules[0], apart("z", "abc")))
    assert conflicts(cluster(rules[0], apart("z", "ab"), ft="a")) == {"z": ("x",)}


def test_what_only_should_hold_is_in_no_conflict() -> None:
    soft = replace(inside("y", "a", "2"), mandatory=False)
    assert not check_rules(cluster(inside("x", "a", "1"), soft))


def test_a_conflict_says_what_to_do() -> None:
    [conflict] = check_rules(cluster(together("x", "ab"), apart("y", "ab")))
    assert conflict.text == (
        "rule y is not in force, it cannot hold together with x: change it, or disable x"
    )
