"""Whatever happens to hosts, guests and attempts, and in whatever order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from vlockstep.cluster.ha.restarts import Cause, GaveUp, Restarts, RestartTiming, Start, Unplaced
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
)
from vlockstep.cluster.placement import fits
from vlockstep.protocol.actions import NEVER

TIMING = RestartTiming(pauses=(2, 4), start=5, at_once=2)
GUESTS = [f"g{i}" for i in range(6)]
HOSTS = ["h0", "h1", "h2", "spare"]
RULES = (
    Apart("apart", frozenset({"g0", "g1"})),
    OnHosts("bound", frozenset({"g2"}), frozenset({"h0", "h1", "new0", "new1"})),
    OnHosts("should", frozenset({"g3"}), frozenset({"h0"}), mandatory=False),
)
ROOM = 1000


class Failures(RuleBasedStateMachine):
    """The truth about a cluster: who lives, what runs, what is being started. The master sees a
    host that died until it is noticed."""

    @initialize(
        priorities=st.lists(st.sampled_from(Priority), min_size=6, max_size=6),
        protected=st.sets(st.sampled_from(GUESTS)),
        large=st.sets(st.sampled_from(GUESTS)),
        apart=st.booleans(),
    )
    def begin(
        self, priorities: list[Priority], protected: set[str], large: set[str], apart: bool
    ) -> None:
        self.now = 0
        self.apart = apart
        self.hosts = {h: Host(h, 1000, ROOM, standby=h == "spare") for h in HOSTS}
        self.guests = {
            name: Guest(
                name,
                64,
                ram=Allocation(reservation=600 if name in large else 200),
                overhead=0,
                ft=name in protected,
                priority=priority,
            )
            for name, priority in zip(GUESTS, priorities, strict=True)
        }
        self.wanted = set(GUESTS)
        self.dead: set[str] = set()
        self.running: dict[Replica, str] = {}
        self.starting: dict[Replica, str] = {}
        self.attempts: dict[Replica, int] = {}
        self.restarts = Restarts(TIMING, apart=apart)
        self.update()

    def missing(self) -> dict[Replica, Cause]:
        """A secondary takes over at once where there is one."""
        shall = [
            Replica(name, role)
            for name in sorted(self.wanted)
            for role in (Role if self.guests[name].ft else [Role.PRIMARY])
        ]
        return {replica: Cause.HOST_FAILED for replica in shall if replica not in self.running}

    def cluster(self) -> Cluster:
        return Cluster(self.hosts, self.guests, {**self.running, **self.starting}, RULES)

    def update(self) -> None:
        self.did(self.restarts.update(self.now, self.cluster(), self.missing()))

    def did(self, actions: Sequence[Start | Unplaced | GaveUp]) -> None:
        for action in actions:
            if isinstance(action, Start):
                self.check(action)
                self.starting[action.replica] = action.host
                self.attempts[action.replica] = action.attempt
            if isinstance(action, GaveUp):
                assert action.attempts == TIMING.attempts

    def check(self, start: Start) -> None:
        replica, host = start.replica, start.host
        assert replica not in self.starting, "two attempts at once"
        assert replica not in self.running
        assert fits(self.cluster(), replica, host, failover=True) == ()
        others = [
            other
            for other, where in self.starting.items()
            if where == host and other.guest in self.wanted
        ]
        assert len(others) < TIMING.at_once
        assert all(self.turn(other) >= self.turn(replica) for other in others)
        assert self.guests[replica.guest].priority is not Priority.DISABLED
        assert 1 <= start.attempt <= TIMING.attempts
        if replica.role is Role.SECONDARY:
            assert Replica(replica.guest) in self.running
        if self.apart and replica.guest in RULES[0].guests:
            [partner] = RULES[0].guests - {replica.guest}
            there = {other.guest for other, where in self.cluster().placed.items() if where == host}
            assert partner not in there

    def turn(self, replica: Replica) -> int:
        """Nothing begins beside something with a lower number."""
        if replica.role is Role.SECONDARY:
            return 0
        return 4 - self.guests[replica.guest].priority

    @invariant()
    def nothing_grows(self) -> None:
        if hasattr(self, "restarts"):
            replicas = {Replica(name, role) for name in self.guests for role in Role}
            assert self.restarts.under_way.keys() <= replicas
            assert self.restarts.pending.keys() <= replicas
            assert not self.restarts.pending.keys() & self.restarts.under_way.keys()

    def some(self, data: st.DataObject, where: dict[Replica, str]) -> Replica:
        return data.draw(st.sampled_from(sorted(where)))

    def answering(self) -> dict[Replica, str]:
        return {r: host for r, host in self.starting.items() if host not in self.dead}

    @precondition(lambda self: self.answering())
    @rule(data=st.data(), succeeds=st.booleans())
    def an_attempt_ends(self, data: st.DataObject, succeeds: bool) -> None:
        self.end(self.some(data, self.answering()), succeeds)

    def end(self, replica: Replica, succeeds: bool) -> None:
        host = self.starting.pop(replica)
        if succeeds and replica.guest in self.wanted:
            self.running[replica] = host
            self.restarts.started(replica, host)
        else:
            self.did(self.restarts.failed(self.now, replica, host, "it was said so"))
        self.update()

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def a_guest_fails(self, data: st.DataObject) -> None:
        self.gone([self.some(data, self.running)])
        self.update()

    def gone(self, replicas: list[Replica]) -> None:
        """A primary that is gone has its secondary's place, if that still runs."""
        for replica in replicas:
            del self.running[replica]
        for name in self.guests:
            secondary = Replica(name, Role.SECONDARY)
            if Replica(name) not in self.running and secondary in self.running:
                self.running[Replica(name)] = self.running.pop(secondary)

    @rule(host=st.sampled_from(HOSTS))
    def a_host_dies(self, host: str) -> None:
        if host in self.hosts:
            self.dead.add(host)

    @precondition(lambda self: self.dead)
    @rule(data=st.data(), first=st.booleans())
    def a_death_is_established(self, data: st.DataObject, first: bool) -> None:
        """The master hears of it before, or after, it sees what is missing."""
        self.establish(data.draw(st.sampled_from(sorted(self.dead))), first)

    def establish(self, host: str, first: bool) -> None:
        self.dead.remove(host)
        del self.hosts[host]
        self.gone([replica for replica, where in self.running.items() if where == host])
        if not first:
            self.update()
        self.starting = {r: where for r, where in self.starting.items() if where != host}
        self.did(self.restarts.host_failed(self.now, host))
        self.update()

    @rule(host=st.sampled_from(HOSTS))
    def a_host_joins(self, host: str) -> None:
        if host not in self.hosts:
            self.hosts[host] = Host(host, 1000, ROOM, standby=host == "spare")
            self.update()

    @rule(host=st.sampled_from(HOSTS), maintenance=st.booleans())
    def maintenance_begins_or_ends(self, host: str, maintenance: bool) -> None:
        if host in self.hosts:
            self.hosts[host] = replace(self.hosts[host], maintenance=maintenance)
            self.update()

    @rule(guest=st.sampled_from(GUESTS))
    def a_user_ends_a_guest(self, guest: str) -> None:
        self.wanted.discard(guest)
        self.running = {r: host for r, host in self.running.items() if r.guest != guest}
        self.update()

    @rule(guest=st.sampled_from(GUESTS))
    def a_user_wants_a_guest(self, guest: str) -> None:
        self.wanted.add(guest)
        self.restarts.again(guest)
        self.update()

    @rule(time=st.integers(1, 5))
    def time_passes(self, time: int) -> None:
        self.now += time
        self.update()

    @rule()
    def another_master_is_elected(self) -> None:
        self.restarts = Restarts(TIMING, apart=self.apart)
        self.update()

    def teardown(self) -> None:
        """With room, and attempts that succeed, all runs in the end that is to be restarted."""
        if not hasattr(self, "restarts"):
            return
        for host in sorted(self.dead):
            self.establish(host, True)
        for name in ("new0", "new1", "new2", "new3"):  # two protected guests, to be apart
            self.hosts[name] = Host(name, 10_000, 10_000)
        for guest in GUESTS:
            self.restarts.again(guest)
        self.update()
        while self.starting or self.restarts.deadline() < NEVER:
            if self.starting:
                self.end(min(self.starting), True)
            else:
                self.now = self.restarts.deadline()
                self.update()
        left = {r for r in self.missing() if self.guests[r.guest].priority is not Priority.DISABLED}
        assert not {r for r in left if r.role is Role.PRIMARY or Replica(r.guest) in self.running}
        assert not left
        assert self.restarts.pending == {}


TestFailures = Failures.TestCase
TestFailures.settings = settings(max_examples=60, stateful_step_count=40)
