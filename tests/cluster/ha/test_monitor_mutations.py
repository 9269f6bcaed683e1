"""A check that cannot fail proves nothing: each guard of a monitor is taken away in turn, and the
tests of monitors see it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import test_detection_scenarios as scenarios
import test_monitor as events
import test_monitor_faults
import test_timelines as timelines

from vlockstep.cluster.ha.actions import Action, Release
from vlockstep.cluster.ha.messages import Master, Resigned, Word
from vlockstep.cluster.ha.monitor import Monitor
from vlockstep.cluster.ha.peer import Peer, _Heartbeats
from vlockstep.cluster.ha.states import Availability
from vlockstep.cluster.ha.timing import PROFILES, Timing

TIMING = PROFILES["fast"]
A = Availability


def hears_always(said: Any) -> Any:
    return lambda peer, now, word: said(peer, now, type(word)(word.datastores, True))


def nothing(_: Any) -> Any:
    return lambda *_args, **_named: []


def without_waiting(choose: Any) -> Any:
    def mutated(self: Monitor, now: int) -> list[Action]:
        words = {host: peer.word for host, peer in self._peers.items()}
        for peer in self._peers.values():
            peer.word = Master(0, True) if peer.word else None
        done: list[Action] = choose(self, now)
        for host, peer in self._peers.items():
            peer.word = words[host]
        return done

    return mutated


def never_resigning(heed: Any) -> Any:
    def mutated(self: Monitor, now: int, sender: str, word: Word) -> list[Action]:
        if isinstance(word, Master) and self.state is A.MASTER:
            return []
        done: list[Action] = heed(self, now, sender, word)
        return done

    return mutated


def keeping_locks(to: Any) -> Any:
    return lambda *args, **named: [a for a in to(*args, **named) if not isinstance(a, Release)]


def never_asleep(_: Any) -> Any:
    def mutated(self: Monitor, now: int) -> list[Action]:
        self._now = now
        return []

    return mutated


def always_ready(judge: Any) -> Any:
    def mutated(self: Monitor, now: int, host: str) -> list[Action]:
        ready, self._ready = self._ready, True
        done: list[Action] = judge(self, now, host)
        self._ready = ready
        return done

    return mutated


def keeping_all(choose: Any) -> Any:
    """What was known of hosts before the election counts after it."""

    def mutated(self: Monitor, now: int) -> list[Action]:
        since, self._since = self._since, 0
        if now - since >= self.timing.election:
            done: list[Action] = choose(self, now)
            return done
        self._since = since
        return []

    return mutated


def takes_any_lock(_: Any) -> Any:
    def mutated(self: Monitor, now: int, datastore: str) -> list[Action]:
        self.owned |= {datastore}
        return []

    return mutated


def constant(value: object) -> Callable[[Any], Any]:
    return lambda _: lambda *_args: value


def any_faults(_: Timing) -> None:
    for seed in range(12):
        test_monitor_faults.survive(seed, TIMING)


def unit(test: Callable[[], None]) -> Callable[[Timing], None]:
    return lambda _timing: test()


MUTATIONS: list[tuple[type, str, Callable[[Any], Any], Callable[[Timing], None]]] = [
    (Peer, "said", hears_always, scenarios.test_a_link_with_one_direction_is_none),
    (Peer, "_beats", constant(False), scenarios.test_a_slave_loses_the_network_alone),
    (Peer, "_beats", constant(False), any_faults),
    (Peer, "quiet", constant(False), timelines.test_a_slave_dies),
    (
        _Heartbeats,
        "fresh",
        constant(True),
        unit(events.test_what_cannot_be_read_any_more_decides_nothing),
    ),
    (Monitor, "_choose", without_waiting, timelines.test_a_candidate_dies_during_the_election),
    (
        Monitor,
        "_choose",
        keeping_all,
        timelines.test_a_host_that_a_new_master_never_heard_has_all_the_time,
    ),
    (Monitor, "_heed", never_resigning, scenarios.test_a_partition_has_two_masters_and_one_owner),
    (Monitor, "_to", keeping_locks, timelines.test_the_master_is_isolated),
    (
        Monitor,
        "_begin",
        never_asleep,
        scenarios.test_a_frozen_master_does_nothing_with_what_it_knew,
    ),
    (Monitor, "_judge", always_ready, timelines.test_the_master_dies),
    (Monitor, "_isolate", nothing, any_faults),
    (Monitor, "_look_for_master", nothing, timelines.test_the_master_dies),
    (
        Monitor,
        "_master_gone",
        nothing,
        lambda _: events.test_a_master_that_is_none_any_more_is_left_at_once(Resigned()),
    ),
    (Monitor, "acquired", takes_any_lock, unit(events.test_a_lock_that_comes_too_late_is_released)),
]


@pytest.mark.parametrize(
    ("of", "name", "mutate", "check"),
    MUTATIONS,
    ids=[f"{of.__name__}.{name}-{mutate.__name__}" for of, name, mutate, _ in MUTATIONS],
)
def test_a_guard_that_is_taken_away_is_missed(
    of: type,
    name: str,
    mutate: Callable[[Any], Any],
    check: Callable[[Timing], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(of, name, mutate(getattr(of, name)))
    with pytest.raises(AssertionError):
        check(TIMING)
