"""Moves in an order that is possible, and plans that are not."""

from __future__ import annotations

from dataclasses import replace

import pytest
from drs_clusters import busy, cluster, with_host

from vlockstep.cluster.drs.advice import Move
from vlockstep.cluster.drs.check import check_plan
from vlockstep.cluster.drs.schedule import schedule
from vlockstep.cluster.model import (
    Allocation,
    Apart,
    Automation,
    Cluster,
    OnHosts,
    Replica,
    Role,
    Together,
)

LARGE = Allocation(reservation=600)
ONE, TWO = Replica("one"), Replica("two")
PAIR = frozenset({"one", "two"})


def test_what_has_room_goes_at_once_as_far_as_there_are_slots() -> None:
    found = cluster({busy(f"g{n}", 1): "a" for n in range(5)})
    moves = [Move(Replica(f"g{n}"), "a", "b") for n in range(5)]
    plan = schedule(found, moves, slots=2)
    assert [len(step) for step in plan.steps] == [2, 2, 1]
    assert not check_plan(found, plan.steps, 2)
    assert check_plan(found, [moves], 2)[0] == (
        "step 1: 5 moves from and to host a at the same time"
    )


def test_who_is_moving_keeps_a_slot() -> None:
    found = cluster({busy(f"g{n}", 1): "a" for n in range(3)})
    moving = replace(found, moving={Replica("g0"): "b"})
    moves = [Move(Replica(f"g{n}"), "a", "c") for n in (1, 2)]
    assert [len(step) for step in schedule(moving, moves, slots=2).steps] == [1, 1]
    assert schedule(moving, moves, slots=1) == ((), tuple(moves))


def test_one_waits_for_the_room_of_another() -> None:
    found = cluster({busy("one", 1, cpu=LARGE): "a", busy("two", 1, cpu=LARGE): "b"})
    moves = [Move(ONE, "a", "b"), Move(TWO, "b", "c")]
    assert schedule(found, moves).steps == ((moves[1],), (moves[0],))
    assert "MIPS" in check_plan(found, [moves], 8)[0]


def test_a_circle_is_broken_on_a_third_host() -> None:
    found = cluster({busy("one", 1, cpu=LARGE): "a", busy("two", 1, cpu=LARGE): "b"})
    moves = [Move(ONE, "a", "b"), Move(TWO, "b", "a")]
    plan = schedule(found, moves)
    assert plan.steps == ((Move(ONE, "a", "c"),), (moves[1],), (Move(ONE, "c", "b"),))
    assert not check_plan(found, plan.steps, 8)
    full = with_host(found, "c", cpu=500)
    assert schedule(full, moves) == ((), tuple(moves))


def test_those_that_are_apart_do_not_meet_on_the_way() -> None:
    found = cluster({busy("one", 1): "a", busy("two", 1): "b"}, [Apart("x", PAIR)])
    plan = schedule(found, [Move(ONE, "a", "b"), Move(TWO, "b", "a")])
    assert [len(step) for step in plan.steps] == [1, 1, 1]
    assert not check_plan(found, plan.steps, 8)


def test_those_that_are_together_are_so_again_in_the_end() -> None:
    found = cluster({busy("one", 1): "a", busy("two", 1): "a"}, [Together("x", PAIR)])
    moves = [Move(ONE, "a", "b"), Move(TWO, "a", "b")]
    plan = schedule(found, moves, slots=1)
    assert len(plan.steps) == 2 and not check_plan(found, plan.steps, 1)
    assert check_plan(found, [moves[:1]], 8) == [
        "rule x does not keep its guests together any more"
    ]


def plain() -> Cluster:
    guests = {busy("one", 1, cpu=LARGE): "ab", busy("two", 1, cpu=LARGE): "c"}
    return cluster(guests, hosts="abcd")


@pytest.mark.parametrize(
    ("change", "wrong"),
    [
        ({"maintenance": True}, "takes no guests"),
        ({"standby": True}, "takes no guests"),
        ({"cpu_limit": "qemu64"}, "does not offer the CPU of one"),
        ({"cpu": 599}, "has 599 MIPS"),
        ({"memory": 8}, "has 8 MiB"),
    ],
)
def test_the_checker_sees_what_a_host_lacks(change: dict[str, object], wrong: str) -> None:
    found = with_host(plain(), "d", **change)
    guest = replace(found.guests["one"], overhead=9, datastores=frozenset())
    found = replace(found, guests={**found.guests, "one": guest})
    [text] = check_plan(found, [[Move(ONE, "a", "d")]], 8)
    assert wrong in text
    assert not check_plan(plain(), [[Move(ONE, "a", "d")]], 8)


@pytest.mark.parametrize("needs", [{"datastores": frozenset("x")}, {"networks": frozenset("x")}])
def test_the_checker_sees_what_a_guest_needs(needs: dict[str, object]) -> None:
    found = plain()
    guests = {**found.guests, "one": replace(found.guests["one"], **needs)}  # type: ignore[arg-type]
    [text] = check_plan(replace(found, guests=guests), [[Move(ONE, "a", "d")]], 8)
    assert "has not all datastores and networks of one" in text


def test_the_checker_sees_rules_roles_and_nonsense() -> None:
    def wrong(*moves: Move, **changes: object) -> str:
        return "; ".join(check_plan(replace(plain(), **changes), [moves], 8))  # type: ignore[arg-type]

    off = OnHosts("x", PAIR, frozenset({"d"}), inside=False)
    on = OnHosts("x", PAIR, frozenset("abc"))
    there = Move(ONE, "a", "d")
    assert "rule x keeps one off host d" in wrong(there, rules=(off,))
    assert "rule x keeps one on other hosts than d" in wrong(there, rules=(on,))
    assert not wrong(there, rules=(replace(on, enabled=False),))
    assert "rule x: one and two" in wrong(Move(ONE, "a", "c"), rules=(Apart("x", PAIR),))
    assert "both replicas of one" in wrong(Move(ONE, "a", "b"))
    assert "one does not move from host b" in wrong(Move(ONE, "b", "d"))
    assert "one does not move from host a to host a" in wrong(Move(ONE, "a", "a"))
    assert "there is no host x" in wrong(Move(ONE, "a", "x"))
    assert "one is moving already" in wrong(there, Move(ONE, "a", "c"))
    assert "one is moving already" in wrong(there, moving={ONE: "d"})
    assert "one is not to be moved" in wrong(there, automation=Automation.DISABLED)
    assert "does not offer" in wrong(there, baseline="qemu64")
    assert not wrong(Move(Replica("one", Role.SECONDARY), "b", "d"))
