"""What is recommended, why, how urgently, and what is not."""

from __future__ import annotations

from dataclasses import replace

import pytest
from drs_clusters import broken, busy, cluster, moved, with_host

from vlockstep.cluster.drs.advice import Advice, Move, Reason, Settings
from vlockstep.cluster.drs.balance import priority_of
from vlockstep.cluster.drs.draft import Draft, Lasting
from vlockstep.cluster.drs.loads import Pair
from vlockstep.cluster.drs.recommend import recommend
from vlockstep.cluster.model import (
    Allocation,
    Apart,
    Automation,
    Cluster,
    Guest,
    OnHosts,
    Replica,
    Role,
    Together,
)
from vlockstep.errors import UsageError

UNEVEN = {busy("one", 400): "a", busy("two", 400): "a"}
RESERVING = Allocation(reservation=600)


def only(advice: Advice) -> tuple[Reason, int, tuple[Move, ...]]:
    [found] = advice.recommendations
    return found.reason, found.priority, found.moves


def pinned(guest: str, *hosts: str, mandatory: bool = True, inside: bool = True) -> OnHosts:
    return OnHosts("pin", frozenset({guest}), frozenset(hosts), inside, mandatory)


def test_a_busy_host_gives_to_an_idle_one() -> None:
    advice = recommend(cluster(UNEVEN, hosts="ab"))
    assert only(advice) == (Reason.UNEVEN_CPU, 2, (Move(Replica("one"), "a", "b"),))
    [found] = advice.recommendations
    assert found.text == "the load of host a is 80% of its CPU, that of host b 0%"
    assert (advice.before, advice.after) == (pytest.approx(0.4), pytest.approx(0))
    assert found.gain == pytest.approx(0.8) and found.risk == 0
    assert found.automatic and found.rating == 4 and not found.prerequisites


def test_memory_is_balanced_too() -> None:
    found = cluster(
        {Guest(n, 400, active=400, overhead=0): "a" for n in ("one", "two")}, hosts="ab"
    )
    assert only(recommend(found))[0] is Reason.UNEVEN_MEMORY


def test_idle_memory_counts_for_a_quarter() -> None:
    loads = Draft(cluster({Guest("one", 400, active=200): "a"}), {}, strict=False).loads
    assert loads.memory == {"a": pytest.approx((64 + 200 + 50) / 1000), "b": 0, "c": 0}


def test_a_resource_that_is_scarce_weighs_more() -> None:
    found = cluster({Guest("one", 100, active=100, overhead=0, demand=300): "a"})
    assert Draft(found, {}, strict=False).loads.weights == (
        pytest.approx(0.75),
        pytest.approx(0.25),
    )


def test_a_host_that_is_short_is_seen_to_be() -> None:
    found = cluster({busy(f"g{n}", 500): "a" for n in range(4)})
    assert Draft(found, {}, strict=False).loads.cpu["a"] == pytest.approx(2)
    after = moved(found, recommend(found).moves)
    assert max(Draft(after, {}, strict=False).loads.cpu.values()) <= 1


@pytest.mark.parametrize(
    ("imbalance", "hosts", "priority"),
    [(0.282, 2, 2), (0.14, 2, 4), (0.1, 4, 4), (0.05, 4, 5), (0.05, 16, 4), (3, 2, 2), (0, 4, 6)],
)
def test_the_more_uneven_the_more_urgent(imbalance: float, hosts: int, priority: int) -> None:
    assert priority_of(imbalance, hosts) == priority


@pytest.mark.parametrize(("demand", "first"), [(400, 2), (100, 4), (60, 5)])
def test_a_threshold_is_for_what_is_urgent_enough(demand: float, first: int) -> None:
    found = cluster({busy("one", demand): "a", busy("two", demand): "a"}, hosts="ab")
    for threshold in range(1, 6):
        moves = recommend(found, Settings(threshold)).moves
        assert bool(moves) == (threshold >= first and threshold > 1)


def test_two_guests_change_places_where_no_move_helps() -> None:
    guests = {
        busy("one", 500): "a",
        busy("two", 400): "a",
        busy("three", 350): "b",
        busy("four", 300): "b",
    }
    _, _, moves = only(recommend(cluster(guests, hosts="ab"), Settings(5)))
    assert len(moves) == 2 and {move.source for move in moves} == {"a", "b"}


def test_a_move_must_be_worth_its_cost() -> None:
    guests = [replace(busy(name, 60), memory=400) for name in ("one", "two")]
    found = cluster(dict.fromkeys(guests, "a"), hosts="ab")
    assert recommend(found, Settings(5)).moves
    assert not recommend(found, Settings(5, bandwidth=1)).moves
    assert not recommend(found, Settings(5, goodness=0.2)).moves


def test_a_move_that_does_not_pay_when_guests_are_busy_again_is_not_made() -> None:
    found = cluster(
        {busy("one", 300): "a", busy("two", 300): "a", busy("three", 100): "b"}, hosts="ab"
    )
    [usual] = recommend(found).recommendations
    calm = Lasting(Pair(300, 0), Pair(300, 0))
    wild = Lasting(Pair(100, 0), Pair(900, 0))
    history = {"one": calm, "two": calm, "three": wild}
    assert usual.risk == 0 and not recommend(found, history=history).moves


def test_a_host_takes_and_gives_no_more_than_the_limit() -> None:
    found = cluster({busy(f"g{n}", 50): "a" for n in range(16)})
    moves = recommend(found, Settings(5, move_limit=3)).moves
    assert len(moves) == 3
    assert len(recommend(found, Settings(5)).moves) == 8


def test_nothing_is_recommended_where_balancing_is_disabled() -> None:
    found = cluster(UNEVEN, automation=Automation.DISABLED)
    assert recommend(with_host(found, "a", maintenance=True)) == Advice(
        (), (), pytest.approx(0), pytest.approx(0)
    )


@pytest.mark.parametrize("automation", [Automation.MANUAL, Automation.PARTIAL])
def test_moves_wait_for_consent(automation: Automation) -> None:
    [found] = recommend(cluster(UNEVEN, automation=automation)).recommendations
    assert not found.automatic


def test_a_guest_has_a_mode_of_its_own_and_automatic_ones_go_first() -> None:
    guests = {
        busy("one", 400, automation=Automation.MANUAL): "a",
        busy("two", 300): "a",
        busy("three", 300, automation=Automation.DISABLED): "a",
    }
    found = recommend(cluster(guests), Settings(4)).recommendations
    assert [(r.moves[0].replica.guest, r.automatic) for r in found] == [
        ("two", True),
        ("one", False),
    ]


def test_hosts_in_maintenance_or_standby_take_nobody() -> None:
    found = with_host(cluster(UNEVEN), "b", standby=True)
    assert {move.target for move in recommend(found).moves} == {"c"}


def test_a_host_in_maintenance_is_emptied_first() -> None:
    found = with_host(
        cluster({busy("one", 100): "a", busy("two", 50): "ab"}), "a", maintenance=True
    )
    advice = recommend(found, Settings(threshold=1))
    assert [(r.reason, r.priority, r.text) for r in advice.recommendations] == [
        (Reason.MAINTENANCE, 1, "host a is in maintenance")
    ] * 2
    assert not advice.faults
    assert "a" not in moved(found, advice.moves).placed.values()


def test_no_rule_is_broken_to_empty_a_host() -> None:
    guests = {busy("one", 0): "a", busy("two", 0): "b", busy("three", 0, cpu=RESERVING): "a"}
    rules = [Apart("x", frozenset({"one", "two"}))]
    found = with_host(cluster(guests, rules, hosts="ab"), "a", maintenance=True)
    advice = recommend(found)
    [fault] = advice.faults
    assert (fault.replica, fault.text) == (Replica("one"), "host a is in maintenance")
    assert fault.obstacles == {
        "a": "host a is in maintenance",
        "b": "rule x keeps the guest apart from two, which host b has",
    }
    assert advice.moves == [Move(Replica("three"), "a", "b")]


def test_a_guest_that_is_not_to_be_moved_is_named() -> None:
    guests = {busy("one", 0, automation=Automation.DISABLED): "a"}
    [fault] = recommend(with_host(cluster(guests), "a", maintenance=True)).faults
    assert fault.text == (
        "host a is in maintenance; guest one is not to be moved, its automation is disabled"
    )


def test_another_guest_makes_room_and_goes_first() -> None:
    guests = {
        busy("large", 0, cpu=Allocation(reservation=900)): "a",
        busy("small", 0, cpu=Allocation(reservation=200)): "b",
        busy("other", 0, cpu=Allocation(reservation=500)): "c",
    }
    advice = recommend(with_host(cluster(guests), "a", maintenance=True))
    assert [
        (r.reason, r.moves[0].replica.guest, r.prerequisites) for r in advice.recommendations
    ] == [
        (Reason.ROOM, "small", ()),
        (Reason.MAINTENANCE, "large", (1,)),
    ]


def test_guests_that_are_to_be_together_move_as_one() -> None:
    rules = [Together("x", frozenset({"one", "two"}))]
    found = cluster({busy("one", 100): "a", busy("two", 100): "a"}, rules)
    _, _, moves = only(recommend(with_host(found, "a", maintenance=True)))
    assert {move.replica.guest for move in moves} == {"one", "two"}
    assert len({move.target for move in moves}) == 1


def mends(found: Cluster, reason: Reason) -> Advice:
    """One recommendation, which mends it."""
    advice = recommend(found)
    assert broken(found) and not broken(moved(found, advice.moves))
    assert only(advice)[:2] == (reason, 1)
    return advice


@pytest.mark.parametrize("shut", ["a", "b", "ab", "abc"])
def test_a_search_leaves_guests_where_they_are_that_cannot_be_gathered(shut: str) -> None:
    found = cluster(
        {
            busy("one", 100, ram=RESERVING): "a",
            busy("two", 100, ram=RESERVING): "b",
            busy("else", 200): "c",
        },
        [Together("both", frozenset({"one", "two"}))],
    )
    for host in shut:
        found = with_host(found, host, standby=True)
    assert recommend(found, Settings(exhaustive=True)).recommendations == ()


def test_guests_that_are_to_be_apart_are_parted() -> None:
    guests = {busy("one", 10): "a", busy("two", 10): "bc", busy("three", 10): "b"}
    advice = mends(cluster(guests, [Apart("x", frozenset({"two", "three"}))], "abc"), Reason.APART)
    assert "keeps three, two apart, which host b has" in advice.recommendations[0].text


def test_guests_that_are_to_be_together_are_gathered() -> None:
    guests = {busy("one", 10): "a", busy("two", 10): "b", busy("three", 10): "b"}
    rule = Together("x", frozenset({"one", "two", "three"}))
    assert mends(cluster(guests, [rule]), Reason.TOGETHER).moves == [Move(Replica("one"), "a", "b")]


@pytest.mark.parametrize("inside", [True, False])
def test_a_guest_goes_where_a_rule_wants_it(inside: bool) -> None:
    rule = pinned("one", "b" if inside else "a", inside=inside)
    mends(cluster({busy("one", 10): "a"}, [rule], "ab"), Reason.MUST_ON_HOSTS)


def test_both_replicas_keep_a_rule_about_hosts() -> None:
    found = cluster({busy("one", 10): "ab"}, [pinned("one", "b", "c")])
    assert mends(found, Reason.MUST_ON_HOSTS).moves == [Move(Replica("one"), "a", "c")]


def test_a_pair_is_parted() -> None:
    mends(cluster({busy("one", 10): "aa"}), Reason.PAIR)


@pytest.mark.parametrize("kind", ["cpu", "ram"])
def test_reservations_are_honoured(kind: str) -> None:
    guests = {busy(name, 0, **{kind: RESERVING}): "a" for name in ("one", "two")}
    reason = Reason.RESERVED_CPU if kind == "cpu" else Reason.RESERVED_MEMORY
    assert len(mends(cluster(guests, hosts="ab"), reason).moves) == 1


def test_a_rule_that_should_hold_is_kept_where_it_can_be() -> None:
    found = cluster({busy("one", 100): "a"}, [pinned("one", "b", mandatory=False)])
    assert only(recommend(found))[:2] == (Reason.SHOULD_ON_HOSTS, 2)
    assert not recommend(found, Settings(threshold=1)).moves


def test_a_rule_that_should_hold_gives_way_to_full_hosts_and_to_maintenance() -> None:
    soft = replace(pinned("one", "a", mandatory=False), guests=frozenset({"one", "two"}))
    full = cluster({busy("one", 600): "a", busy("two", 600): "a"}, [soft], "ab")
    advice = recommend(full)
    assert advice.relaxed and len(advice.moves) == 1
    calm = cluster({busy("one", 400): "a", busy("two", 400): "a"}, [soft], "ab")
    assert not recommend(calm).relaxed and not recommend(calm).moves
    emptied = recommend(with_host(calm, "a", maintenance=True))
    assert emptied.relaxed and len(emptied.moves) == 2 and not emptied.faults


def test_replicas_that_move_already_are_left_alone() -> None:
    found = replace(cluster(UNEVEN, hosts="ab"), moving={Replica("one"): "b"})
    assert not recommend(found).moves, "when it has arrived, loads are even"


def test_a_secondary_moves_too_but_not_to_its_primary() -> None:
    found = cluster({busy("one", 300): "ab", busy("two", 300): "b"})
    assert only(recommend(found, Settings(5)))[2][0].target == "c"
    pair = with_host(cluster({busy("one", 300): "ab"}, hosts="ab"), "b", maintenance=True)
    [fault] = recommend(pair).faults
    assert fault.replica == Replica("one", Role.SECONDARY)
    assert fault.obstacles["a"] == "host a has the guest's primary"


def test_an_empty_cluster_has_nothing_to_recommend() -> None:
    assert recommend(Cluster({}, {}, {})) == Advice((), (), 0, 0)
    assert recommend(cluster({busy("one", 1): "a"}, hosts="")) == Advice((), (), 0, 0)


@pytest.mark.parametrize(
    "wrong",
    [
        {"threshold": 0},
        {"threshold": 6},
        {"hold": -1},
        {"bandwidth": 0},
        {"goodness": float("nan")},
    ],
)
def test_wrong_settings_are_refused_by_name(wrong: dict[str, float]) -> None:
    [name] = wrong
    with pytest.raises(UsageError, match=name) as refused:
        Settings(**wrong)  # type: ignore[arg-type]
    assert refused.value.key == (name,)
