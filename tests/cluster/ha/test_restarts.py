"""The master starts what shall run and does not: when, where, in which order, and until when."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

import pytest

from vlockstep.cluster.ha.restarts import (
    MINUTE,
    Cause,
    GaveUp,
    Restarts,
    RestartTiming,
    Start,
    Unplaced,
)
from vlockstep.cluster.model import (
    Allocation,
    Apart,
    Cluster,
    Guest,
    Host,
    OnHosts,
    Priority,
    Replica,
    Role,
    Rule,
    Together,
)
from vlockstep.errors import UsageError
from vlockstep.protocol.actions import NEVER

TIMING = RestartTiming()
SECONDARY = Role.SECONDARY


class Site:
    """Hosts that start nothing until told what becomes of it, and their master."""

    def __init__(
        self,
        hosts: Iterable[Host | str],
        guests: Iterable[Guest | str],
        rules: tuple[Rule, ...] = (),
        apart: bool = False,
    ) -> None:
        made = [Host(h, 100_000, 100_000) if isinstance(h, str) else h for h in hosts]
        named = [Guest(g, 64) if isinstance(g, str) else g for g in guests]
        self.cluster = Cluster({h.name: h for h in made}, {g.name: g for g in named}, {}, rules)
        self.restarts = Restarts(TIMING, apart=apart)
        self.now = 0
        self.missing: dict[Replica, Cause] = {}
        self.starts: list[Start] = []
        self.told: list[Unplaced | GaveUp] = []

    def update(self, **changes: object) -> None:
        self.cluster = replace(self.cluster, **changes)  # type: ignore[arg-type]
        self.did(self.restarts.update(self.now, self.cluster, self.missing))

    def lost(self, *replicas: Replica | str, cause: Cause = Cause.HOST_FAILED) -> None:
        for replica in replicas:
            self.missing[Replica(replica) if isinstance(replica, str) else replica] = cause
        self.update()

    def host(self, name: str, **changes: object) -> None:
        """It joins, or is another from now on."""
        host = replace(self.cluster.hosts.get(name, Host(name, 100_000, 100_000)), **changes)  # type: ignore[arg-type]
        self.update(hosts={**self.cluster.hosts, name: host})

    def runs(self, placed: Mapping[Replica, str]) -> None:
        self.update(placed={**self.cluster.placed, **placed})

    def started(self, start: Start) -> None:
        self.missing.pop(start.replica, None)
        self.restarts.started(start.replica, start.host)
        self.runs({start.replica: start.host})

    def failed(self, start: Start, reason: str = "no room on the disk") -> None:
        self.did(self.restarts.failed(self.now, start.replica, start.host, reason))
        self.update()

    def host_failed(self, name: str) -> None:
        hosts = {host: h for host, h in self.cluster.hosts.items() if host != name}
        placed = {r: host for r, host in self.cluster.placed.items() if host != name}
        self.did(self.restarts.host_failed(self.now, name))
        self.update(hosts=hosts, placed=placed)

    def to_the_next(self) -> None:
        """Attempt, whose pause ends."""
        self.now = self.restarts.deadline()
        assert self.now < NEVER
        self.update()

    def did(self, actions: Sequence[Start | Unplaced | GaveUp]) -> None:
        for action in actions:
            if isinstance(action, Start):
                self.starts.append(action)
            else:
                self.told.append(action)

    def take(self) -> list[Start]:
        """What was asked for since."""
        taken, self.starts = self.starts, []
        return taken

    def names(self) -> list[str]:
        return [start.replica.guest for start in self.take()]


# When


def test_what_is_missing_is_started_at_once() -> None:
    site = Site(["h1"], ["db"])
    site.lost("db")
    assert site.take() == [Start(Replica("db"), "h1", 1, TIMING.start)]
    site.update()
    assert site.take() == []


def test_four_attempts_fail_and_the_fifth_succeeds() -> None:
    """Scenario 17: after 0, 2, 6, 14 and 30 minutes."""
    site, minutes = Site(["h1"], ["db"]), []
    site.lost("db")
    for _ in range(4):
        [start] = site.take()
        minutes.append(site.now // MINUTE)
        site.failed(start)
        site.to_the_next()
    [start] = site.take()
    assert [*minutes, site.now // MINUTE] == [0, 2, 6, 14, 30]
    assert start.attempt == 5
    site.started(start)
    assert (site.told, site.restarts.deadline()) == ([], NEVER)


def test_a_pause_begins_when_the_failure_is_known() -> None:
    site = Site(["h1"], ["db"])
    site.lost("db")
    site.now = 90
    site.failed(site.take()[0])
    assert site.restarts.deadline() == 90 + 2 * MINUTE


def test_after_five_attempts_a_guest_is_given_up_until_a_user_acts() -> None:
    """Scenario 18."""
    site = give_up()
    assert [str(told) for told in site.told] == [
        "db could not be started in 5 attempts (no room on the disk); mend that and start it"
    ]
    assert site.restarts.given_up == {Replica("db")}
    assert site.restarts.deadline() == NEVER
    site.now += 10**6 * MINUTE
    site.host("h2")
    site.update()
    assert site.take() == []
    site.restarts.again("other")
    site.update()
    assert site.take() == []
    site.restarts.again("db")
    site.update()
    assert [start.attempt for start in site.take()] == [1]
    assert site.restarts.given_up == frozenset()


def test_a_guest_that_was_given_up_and_ended_by_a_user_is_forgotten() -> None:
    site = give_up()
    site.missing.clear()
    site.update()
    assert site.restarts.given_up == frozenset()
    site.lost("db")
    assert [start.attempt for start in site.take()] == [1]


def give_up() -> Site:
    site = Site(["h1"], ["db"])
    site.lost("db")
    for attempt in range(1, 6):
        [start] = site.take()
        assert start.attempt == attempt
        site.failed(start)
        if attempt < 5:
            site.to_the_next()
    return site


def test_who_was_started_and_is_missing_again_is_counted_anew() -> None:
    site = Site(["h1"], ["db"])
    site.lost("db")
    site.failed(site.take()[0])
    site.to_the_next()
    [second] = site.take()
    site.restarts.started(second.replica, second.host)
    site.update()
    assert [start.attempt for start in site.take()] == [1]


def test_a_new_master_counts_anew() -> None:
    """Scenario 19."""
    site = Site(["h1"], ["db"])
    site.lost("db")
    site.failed(site.take()[0])
    site.to_the_next()
    site.failed(site.take()[0])
    site.restarts = Restarts(TIMING)
    site.update()
    assert [start.attempt for start in site.take()] == [1]


def test_what_another_is_starting_is_not_started_until_that_has_failed() -> None:
    """The master before, or a user."""
    site = Site(["h1", "h2"], ["db"])
    site.missing[Replica("db")] = Cause.HOST_FAILED
    site.runs({Replica("db"): "h1"})
    assert site.take() == []
    site.update(placed={})
    assert site.names() == ["db"]


def test_it_counts_where_it_is_being_started() -> None:
    site = Site(["h1"], [Guest("db", 64, priority=Priority.HIGH), "web"])
    site.missing[Replica("db")] = Cause.HOST_FAILED
    site.runs({Replica("db"): "h1"})
    site.lost("web")
    assert site.take() == []
    del site.missing[Replica("db")]
    site.update()
    assert site.names() == ["web"]


def test_the_most_urgent_that_is_being_started_counts_whoever_does_it() -> None:
    site = Site(["h1"], priorities("high", "medium", "low"))
    site.lost("high")
    assert site.names() == ["high"]
    site.missing[Replica("low")] = Cause.HOST_FAILED
    site.runs({Replica("low"): "h1"})
    site.lost("medium")
    assert site.take() == []


# Unknown, and late


def test_an_attempt_whose_host_is_lost_counts_when_its_failure_is_established() -> None:
    site = Site(["h1", "h2"], ["db"])
    site.lost("db")
    [start] = site.take()
    site.update(hosts={"h2": site.cluster.hosts["h2"]} if start.host == "h1" else {})
    site.now += 10 * MINUTE
    site.update()
    assert site.take() == []
    site.host_failed(start.host)
    assert site.restarts.deadline() == site.now + 2 * MINUTE
    site.to_the_next()
    assert [(s.host, s.attempt) for s in site.take()] == [("h2", 2)]


def test_what_is_noted_starts_nothing_by_a_cluster_that_was() -> None:
    """A guest that waited may have been ended by a user, its host may be gone."""
    site = Site(["h1"], priorities("high", "low"))
    site.lost("high", "low")
    [high] = site.take()
    site.restarts.started(high.replica, "h1")
    site.missing.clear()
    site.update()
    assert site.take() == []


def test_answers_of_attempts_that_have_ended_are_not_heeded() -> None:
    site = Site(["h1", "h2"], ["db"])
    site.lost("db")
    [first] = site.take()
    site.failed(first)
    site.to_the_next()
    [second] = site.take()
    assert second.host != first.host
    site.failed(first, "late")
    site.restarts.started(first.replica, first.host)
    assert site.restarts.under_way == {Replica("db"): second.host}


def test_a_guest_that_is_deleted_while_it_is_missing_is_dropped() -> None:
    """Scenario 41: nothing hangs on it."""
    site = Site(["h1"], ["db", "web"])
    site.lost("db")
    [start] = site.take()
    site.missing.clear()
    site.update(guests={"web": Guest("web", 64)})
    site.failed(start)
    assert (site.restarts.deadline(), site.restarts.under_way, site.told) == (NEVER, {}, [])
    site.lost("web")
    assert site.names() == ["web"]


def test_a_guest_that_is_wanted_again_waits_for_the_attempt_that_is_under_way() -> None:
    site = Site(["h1"], ["db"])
    site.lost("db")
    [start] = site.take()
    site.missing.clear()
    site.update()
    site.lost("db")
    assert site.take() == []
    site.failed(start)
    site.to_the_next()
    assert [s.attempt for s in site.take()] == [2]


# Order


def priorities(*names: str) -> list[Guest]:
    return [Guest(name, 64, priority=Priority[name.split("-")[0].upper()]) for name in names]


def test_the_order_on_one_host() -> None:
    """Scenarios 22 and 23: secondaries, high, medium, low; and never who is disabled."""
    guests = priorities("low", "disabled", "high", "medium", "low-ft")
    site = Site(["h1", "h2"], guests)
    site.host("h2", maintenance=True)
    site.runs({Replica("low-ft"): "h2"})
    site.lost("low", "disabled", "medium", "high", Replica("low-ft", SECONDARY))
    order = []
    while starts := site.take():
        order += [start.replica.guest for start in starts]
        for start in starts:
            site.started(start)
    assert order == ["low-ft", "high", "medium", "low"]
    assert Replica("disabled") in site.missing
    assert site.restarts.pending == {}


def test_the_less_urgent_wait_for_the_end_of_attempts_and_not_for_success() -> None:
    site = Site(["h1"], priorities("high-1", "high-2", "low"))
    site.lost("low", "high-1", "high-2")
    first, second = site.take()
    site.failed(first)
    assert site.take() == []
    site.failed(second)
    assert site.names() == ["low"]


def test_the_order_is_each_host_s_own() -> None:
    site = Site(["h1", "h2"], priorities("high", "low"))
    site.lost("low", "high")
    assert site.names() == ["high", "low"]


def test_forty_guests_on_the_one_host_that_is_left() -> None:
    """Scenario 21: 32 at a time, and the low ones when no other is being started."""
    names = [f"high-{i}" for i in range(36)] + [f"low-{i}" for i in range(4)]
    site = Site(["h1"], priorities(*names))
    site.lost(*names)
    high = site.take()
    assert len(high) == 32
    site.started(high.pop())
    assert [name.split("-")[0] for name in site.names()] == ["high"]
    for start in high[:3]:
        site.failed(start)
    assert len(site.take()) == 3
    for start in high[3:]:
        site.started(start)
    assert site.take() == []
    assert len(site.restarts.under_way) == 4
    for replica, host in [*site.restarts.under_way.items()]:
        site.started(Start(replica, host, 1, 0))
    assert site.names() == ["low-0", "low-1", "low-2", "low-3"]


# Where


def test_restarts_are_spread_over_hosts() -> None:
    names = [f"g{i}" for i in range(12)]
    site = Site(["h1", "h2", "h3"], names)
    site.lost(*names)
    starts = site.take()
    assert [sum(start.host == host for start in starts) for host in ("h1", "h2", "h3")] == [4, 4, 4]


def test_they_are_spread_though_one_host_is_less_loaded() -> None:
    """A start loads a host whatever the guest does afterwards."""
    names = ["a", "b", "c", "d"]
    site = Site(["h1", "h2"], [Guest("busy", 50_000, active=50_000), *names])
    site.runs({Replica("busy"): "h1"})
    site.lost(*names)
    assert sorted(start.host for start in site.take()) == ["h1", "h1", "h2", "h2"]


def test_of_idle_hosts_the_less_loaded_is_taken() -> None:
    site = Site(["h1", "h2"], [Guest("busy", 64, demand=50_000), "db"])
    site.runs({Replica("busy"): "h1"})
    site.lost("db")
    assert [start.host for start in site.take()] == ["h2"]


def test_the_next_attempt_is_elsewhere_if_it_can_be() -> None:
    site = Site(["h1", "h2"], ["db"])
    site.lost("db")
    hosts = []
    for _ in range(4):
        [start] = site.take()
        hosts.append(start.host)
        site.failed(start)
        site.to_the_next()
    assert set(hosts[:2]) == {"h1", "h2"}


def test_hosts_that_are_kept_free_are_taken_first_and_others_when_they_are_full() -> None:
    """Scenario 31."""
    guests = [reserving(f"g{i}", 400) for i in range(3)]
    spare = Host("spare", 100_000, 1000, standby=True)
    site = Site(["h1", spare], guests)
    site.lost(*(guest.name for guest in guests))
    assert [start.host for start in site.take()] == ["spare", "spare", "h1"]


def reserving(name: str, memory: float, **more: object) -> Guest:
    return replace(
        Guest(name, memory, ram=Allocation(reservation=memory), overhead=0),
        **more,  # type: ignore[arg-type]
    )


def test_a_guest_that_fits_nowhere_is_pending_with_reasons_and_told_once() -> None:
    """Scenario 20."""
    away = Host("h2", 1000, 1000, maintenance=True)
    site = Site([Host("h1", 1000, 256), away], [reserving("db", 512)])
    site.lost("db")
    reasons = {
        "h1": ("host h1 has 256 of 256 MiB that are not reserved, and the guest reserves 512",),
        "h2": ("host h2 is in maintenance",),
    }
    assert site.told == [Unplaced(Replica("db"), Cause.HOST_FAILED, reasons)]
    assert str(site.told[0]) == (
        "no host can take db (its host failed); h1: host h1 has 256 of 256 MiB that are not "
        "reserved, and the guest reserves 512; h2: host h2 is in maintenance"
    )
    assert site.restarts.pending == {Replica("db"): reasons}
    site.update()
    assert len(site.told) == 1
    site.host("h2", maintenance=False)
    assert [(start.host, start.attempt) for start in site.take()] == [("h2", 1)]
    assert site.restarts.pending == {}


def a_host_joins(site: Site, _: Start) -> None:
    site.host("h2")


def a_host_gets_room(site: Site, _: Start) -> None:
    site.host("h1", memory=2000)


def a_guest_is_smaller(site: Site, _: Start) -> None:
    site.update(guests={**site.cluster.guests, "db": reserving("db", 100)})


def an_attempt_fails(site: Site, attempt: Start) -> None:
    """And leaves its room to others until the next."""
    site.failed(attempt)


@pytest.mark.parametrize(
    "event", [a_host_joins, a_host_gets_room, a_guest_is_smaller, an_attempt_fails]
)
def test_what_wakes_a_guest_that_is_pending(event: Callable[[Site, Start], None]) -> None:
    site = Site([Host("h1", 1000, 1000)], [reserving("large", 800), reserving("db", 512)])
    site.lost("large")
    [large] = site.take()
    site.lost("db")
    assert site.restarts.pending.keys() == {Replica("db")}
    event(site, large)
    assert site.names() == ["db"]
    assert site.restarts.pending == {}


def test_who_turns_out_to_run_where_it_was_lost_has_its_room_on_both_hosts() -> None:
    site = Site([Host("h1", 100_000, 1000)], [reserving("db", 600), reserving("web", 600)])
    site.lost("db")
    site.host("h2", memory=1000)
    site.runs({Replica("db"): "h2"})
    site.lost("web")
    assert site.names() == ["db"]
    assert site.restarts.pending.keys() == {Replica("web")}


def test_without_hosts_a_guest_is_pending() -> None:
    site = Site([], ["db"])
    site.lost("db")
    assert str(site.told[0]) == "no host can take db (its host failed); there is no host"


@pytest.mark.parametrize(("apart", "running"), [(False, 2), (True, 1)])
def test_guests_that_are_to_be_apart_with_one_host_left(apart: bool, running: int) -> None:
    """Scenario 24."""
    rule = Apart("spread", frozenset({"a", "b"}))
    site = Site(["h1"], ["a", "b"], (rule,), apart=apart)
    site.lost("a", "b")
    assert len(site.take()) == running
    assert list(site.restarts.pending.values()) == [
        {"h1": ("rule spread keeps the guest apart from a",)}
    ] * (2 - running)


def test_guests_that_are_to_be_apart_are_if_there_is_room() -> None:
    rule = Apart("spread", frozenset({"a", "b"}))
    site = Site(["h1", "h2"], ["a", "b"], (rule,), apart=True)
    site.lost("a", "b")
    assert {start.host for start in site.take()} == {"h1", "h2"}


def test_a_mandatory_rule_whose_hosts_are_dead_keeps_a_guest_pending() -> None:
    """Scenario 25."""
    site = Site(["h1"], ["db"], (OnHosts("licence", frozenset({"db"}), frozenset({"h9"})),))
    site.lost("db")
    assert site.restarts.pending == {
        Replica("db"): {"h1": ("rule licence keeps the guest off host h1",)}
    }
    site.update(rules=())
    assert site.names() == ["db"]


@pytest.mark.parametrize(
    "rule",
    [
        OnHosts("near", frozenset({"db"}), frozenset({"h9"}), mandatory=False),
        OnHosts("licence", frozenset({"db"}), frozenset({"h9"}), enabled=False),
        Together("close", frozenset({"db", "web"})),
    ],
    ids=lambda rule: rule.name,
)
def test_no_other_rule_does(rule: Rule) -> None:
    """Scenario 26."""
    site = Site(["h1", "h2"], ["db", "web"], (rule,))
    site.host("h2", maintenance=True)
    site.runs({Replica("web"): "h2"})
    site.lost("db")
    assert [start.host for start in site.take()] == ["h1"]


# Protected guests


def test_the_host_of_a_primary_fails() -> None:
    """Scenario 37: its secondary runs, and gets a new secondary on another host."""
    site = Site(["h2", "h3"], [Guest("db", 64, ft=True)])
    site.runs({Replica("db"): "h2"})
    site.lost(Replica("db", SECONDARY), cause=Cause.NEW)
    assert site.take() == [Start(Replica("db", SECONDARY), "h3", 1, TIMING.start)]


def test_both_hosts_of_a_protected_guest_fail() -> None:
    """Scenario 38: its primary first, and then its secondary, elsewhere."""
    site = Site(["h3", "h4"], [Guest("db", 64, ft=True)])
    site.lost(Replica("db", SECONDARY), Replica("db"))
    [primary] = site.take()
    assert primary.replica.role is Role.PRIMARY
    assert site.restarts.pending == {}
    site.runs({Replica("db"): primary.host})  # not yet: it is still missing
    assert site.take() == []
    site.started(primary)
    [secondary] = site.take()
    assert (secondary.replica.role, {primary.host, secondary.host}) == (SECONDARY, {"h3", "h4"})


def test_a_secondary_waits_until_its_guest_has_been_taken_over() -> None:
    """By another secondary: the primary is not missing, and not there yet."""
    site = Site(["h2", "h3"], [Guest("db", 64, ft=True)])
    site.lost(Replica("db", SECONDARY))
    assert site.take() == []
    site.runs({Replica("db"): "h2"})
    assert [start.host for start in site.take()] == ["h3"]


def test_a_secondary_without_a_second_host_is_pending() -> None:
    site = Site(["h1"], [Guest("db", 64, ft=True)])
    site.runs({Replica("db"): "h1"})
    site.lost(Replica("db", SECONDARY))
    assert str(site.told[0]).startswith("no host can take the secondary of db (its host failed); ")
    assert str(site.told[0]).endswith("h1: host h1 has the guest's primary")


# Settings


def test_a_faster_profile_has_all_times_divided() -> None:
    fast = TIMING.faster(120)
    assert [fast.attempts, fast.at_once, fast.start] == [5, 32, TIMING.start // 120]
    assert sum(fast.pauses) == MINUTE // 4


@pytest.mark.parametrize("settings", [{"pauses": (-1,)}, {"start": 0}, {"at_once": 0}])
def test_settings_that_make_no_sense_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        RestartTiming(**settings)  # type: ignore[arg-type]
