"""What holds of whatever is recommended, for any cluster."""

from __future__ import annotations

from dataclasses import replace

from drs_clusters import MAYBE, broken, clusters, moved
from hypothesis import given
from hypothesis import strategies as st

from vlockstep.cluster.drs.advice import MANDATORY, Advice, Settings
from vlockstep.cluster.drs.check import check_plan
from vlockstep.cluster.drs.draft import Draft
from vlockstep.cluster.drs.recommend import recommend
from vlockstep.cluster.drs.schedule import SLOTS, schedule
from vlockstep.cluster.model import Automation, Cluster, Replica
from vlockstep.cluster.placement import Placement

settings = st.builds(
    Settings, threshold=st.integers(1, 5), move_limit=st.integers(1, 8), exhaustive=MAYBE
)
eager = st.builds(Settings, threshold=st.just(5), goodness=st.just(0))


def imbalance(cluster: Cluster) -> float:
    return Draft(cluster, {}, strict=False).loads.imbalance


@given(clusters(), settings | eager)
def test_every_plan_passes_the_checker_and_breaks_nothing(found: Cluster, chosen: Settings) -> None:
    advice = recommend(found, chosen)
    plan = schedule(found, advice.moves)
    assert check_plan(found, plan.steps, SLOTS) == []
    assert not plan.stranded
    assert broken(moved(found, advice.moves)) <= broken(found)


@given(clusters(), settings | eager)
def test_loads_get_more_even_with_each_recommendation_for_that(
    found: Cluster, chosen: Settings
) -> None:
    advice = recommend(found, chosen)
    now = found
    for recommendation in advice.recommendations:
        after = moved(now, recommendation.moves)
        if recommendation.priority > MANDATORY and recommendation.reason.startswith("fairness"):
            assert imbalance(after) < imbalance(now)
        now = after


@given(clusters(), settings, st.randoms(use_true_random=False))
def test_the_same_cluster_gives_the_same_advice(
    found: Cluster, chosen: Settings, chance: object
) -> None:
    def shuffled(mapping: object) -> dict[object, object]:
        items = list(mapping.items())  # type: ignore[attr-defined]
        chance.shuffle(items)  # type: ignore[attr-defined]
        return dict(items)

    mixed = replace(
        found,
        hosts=shuffled(found.hosts),
        guests=shuffled(found.guests),
        placed=shuffled(found.placed),
        moving=shuffled(found.moving),
    )
    assert recommend(mixed, chosen) == recommend(found, chosen)


@given(clusters(), settings, st.data())
def test_what_is_accepted_with_its_prerequisites_can_be_carried_out(
    found: Cluster, chosen: Settings, data: st.DataObject
) -> None:
    advice = recommend(found, replace(chosen, exhaustive=False))
    accepted: set[int] = set()
    moves = []
    for recommendation in advice.recommendations:
        assert all(key < recommendation.key for key in recommendation.prerequisites)
        if accepted.issuperset(recommendation.prerequisites) and data.draw(st.booleans()):
            accepted.add(recommendation.key)
            moves += recommendation.moves
    plan = schedule(found, moves)
    assert not plan.stranded
    assert not check_plan(found, plan.steps, SLOTS)


@given(clusters(), settings)
def test_only_what_may_be_moved_by_itself_is_automatic(found: Cluster, chosen: Settings) -> None:
    advice: Advice = recommend(found, chosen)
    for recommendation in advice.recommendations:
        modes = {
            found.guests[move.replica.guest].automation or found.automation
            for move in recommendation.moves
        }
        assert Automation.DISABLED not in modes
        assert recommendation.automatic <= (modes == {Automation.FULL})
        assert recommendation.rating == 6 - recommendation.priority


@given(clusters())
def test_a_host_in_maintenance_is_emptied_or_it_is_said_why_not(found: Cluster) -> None:
    advice = recommend(found)
    after = moved(found, advice.moves)
    missed = {fault.replica.guest for fault in advice.faults}
    for replica, host in after.placed.items():
        if found.hosts[host].maintenance and replica not in found.moving:
            guests = {name for f in advice.faults for name in group_of(found, f.replica)}
            assert replica.guest in missed | guests


def group_of(found: Cluster, replica: Replica) -> set[str]:
    """Who moves together with it."""
    return {member.guest for member in Draft(found, {}, strict=False).unit_of(replica)}


@given(clusters(), st.data())
def test_room_is_counted_as_replicas_come_and_go(found: Cluster, data: st.DataObject) -> None:
    placement = Placement(found)
    for replica in found.placed:
        placement.put(replica, data.draw(st.sampled_from(sorted(found.hosts))))
    fresh = Placement(replace(found, placed=placement.at, moving={}))
    for replica in found.placed:
        for host in found.hosts:
            assert placement.obstacles(replica, host) == fresh.obstacles(replica, host)
            assert placement.can(replica, host) == (not fresh.obstacles(replica, host))
