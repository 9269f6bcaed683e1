"""With any one guard of the protocol removed, the simulator finds a violation: it can fail."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import islice
from typing import Any

import pytest
from support import some

from vlockstep.arbiter import ArbiterError, Record, Register, ReignCause, rule
from vlockstep.ft import guest, lead
from vlockstep.ft.handoff import Received
from vlockstep.host.background import Job
from vlockstep.protocol.actions import NEVER, Action, Release
from vlockstep.protocol.candidacy import Candidacy
from vlockstep.protocol.followers import Followers
from vlockstep.protocol.hearing import Hearing
from vlockstep.protocol.journal import Journal
from vlockstep.protocol.primary import Primary
from vlockstep.protocol.secondary import Secondary
from vlockstep.protocol.states import State
from vlockstep.protocol.timing import SECOND, Timing
from vlockstep.replay import codec
from vlockstep.replay.entry import Kind
from vlockstep.replay.replayer import Replayer
from vlockstep.sim import check, execution, programs
from vlockstep.sim.background import SimulatedBackground
from vlockstep.sim.execution import Point, Result, execute
from vlockstep.sim.explore import explore, shrink
from vlockstep.sim.schedule import Fault, Schedule
from vlockstep.sim.scripted import ScriptedMachine
from vlockstep.sim.simulation import Conditions, Simulation
from vlockstep.sim.sinks import SharedConsole

SEEDS = range(5000)
Claim = Callable[..., Record]


def without_output_rule(patch: pytest.MonkeyPatch) -> None:
    """Outputs leave before a secondary has their entries."""
    release = Primary._release

    def hasty(self: Primary, now: int) -> list[Action]:
        actions = release(self, now)
        if self.state is State.PROTECTED and self._outputs and now < self.followers.leased_until:
            actions.append(Release(self.next, self.followers.leased_until))
        return actions

    patch.setattr(Primary, "_release", hasty)


def without_waiting_for_all(patch: pytest.MonkeyPatch) -> None:
    """Outputs leave when one of the members has their entries."""
    release = Primary._release

    def hasty(self: Primary, now: int) -> list[Action]:
        end = max((f.received for f in self.followers.values()), default=self.next)
        actions = release(self, now)
        if self.state is State.PROTECTED and self._outputs and now < self.followers.leased_until:
            actions.append(Release(end, self.followers.leased_until))
        return actions

    patch.setattr(Primary, "_release", hasty)


def without_lease(patch: pytest.MonkeyPatch) -> None:
    """An acknowledgement permits to release for ever."""
    eternal = property(lambda self: NEVER, lambda self, value: None)
    patch.setattr(Followers, "leased_until", eternal)


def with_the_lease_of_one(patch: pytest.MonkeyPatch) -> None:
    """The longest lease that any member has granted counts."""

    def longest(self: Followers) -> int:
        return max((f.lease_until for f in self.values()), default=NEVER)

    patch.setattr(Followers, "leased_until", property(longest))


def without_promises(patch: pytest.MonkeyPatch) -> None:
    """Who granted a lease claims before that is over."""
    patch.setattr(
        Secondary, "_still_until", property(lambda self: 0, lambda self, value: None), raising=False
    )


def without_compare_and_set(patch: pytest.MonkeyPatch) -> None:
    """Whoever claims a generation gets it."""
    claim: Claim = rule.claim

    def generous(
        register: Register,
        wanted: Record,
        leave_out: frozenset[str],
        take_in: Mapping[str, str],
        *more: Any,
    ) -> Record:
        claim(register, wanted, leave_out, take_in, *more)
        before = register.read(wanted.generation - 1)
        members = {wanted.owner} if before is None else {*before.members, wanted.owner}
        return replace(wanted, members=tuple(sorted(members - leave_out | take_in.keys())))

    patch.setattr(rule, "claim", generous)


def without_doubt_about_failures(patch: pytest.MonkeyPatch) -> None:
    """An arbiter that fails while its record is read has said no."""
    claim: Claim = rule.claim

    def rash(register: Register, wanted: Record, *changes: frozenset[str]) -> Record:
        try:
            return claim(register, wanted, *changes)
        except ArbiterError:
            return Record(wanted.generation, "another", ("another",))

    patch.setattr(rule, "claim", rash)


def who_is_left_out_claims(patch: pytest.MonkeyPatch) -> None:
    """It takes the generation that it is told of for one that it may follow."""

    def go_on(self: Secondary, generation: int) -> list[Action]:
        self.generation = max(self.generation, generation)
        return []

    patch.setattr(Secondary, "_left_out", go_on)


def without_membership(patch: pytest.MonkeyPatch) -> None:
    """Anybody may claim the next generation, also who was left out."""
    who_is_left_out_claims(patch)
    claim: Claim = rule.claim

    class Everybodys:
        """A register whose records name whoever reads them as a member."""

        def __init__(self, register: Register, reader: str) -> None:
            self._register, self._reader = register, reader

        def __getattr__(self, name: str) -> Any:
            return getattr(self._register, name)

        def read(self, generation: int) -> Record | None:
            record = self._register.read(generation)
            if record is None:
                return None
            return replace(record, members=tuple({*record.members, self._reader}))

    def open_to_all(register: Register, wanted: Record, *changes: frozenset[str]) -> Record:
        return claim(Everybodys(register, wanted.owner), wanted, *changes)

    patch.setattr(rule, "claim", open_to_all)


def without_a_record_of_who_is_left_out(patch: pytest.MonkeyPatch) -> None:
    """Who seems to be dead is not waited for any more; nobody is asked."""

    def rash(self: Primary, now: int, members: Collection[str], reason: str) -> list[Action]:
        actions = self._call_off(reason)
        self.followers = {m: f for m, f in self.followers.items() if m not in members}
        self.state = State.PROTECTED if self.followers else State.ALONE
        return [*actions, *self._start(), *self._announce(now), *self._release(now)]

    patch.setattr(Primary, "_leave_out", rash)


def before_the_record_stands(patch: pytest.MonkeyPatch) -> None:
    """Outputs do not need who is to be left out any more while the arbiter is asked."""
    answered = Primary._answer

    def hasty(self: Primary, now: int, *arguments: Any) -> list[Action]:
        actions = answered(self, now, *arguments)
        rest = [f for m, f in self.followers.items() if m not in self._claimed.leave_out]
        if self.state is State.CLAIMING and self._running and rest:
            end = min(follower.received for follower in rest)
            until = min(follower.lease_until for follower in rest)
            actions += [Release(end, until)] if now < until else []
        return actions

    patch.setattr(Primary, "_answer", hasty)


def with_numbers_alone(patch: pytest.MonkeyPatch) -> None:
    """Who has as many entries as another is taken to have the same."""
    patch.setattr(Journal, "origin", lambda self, next: 1)


def who_has_less_claims_first(patch: pytest.MonkeyPatch) -> None:
    """And who has more follows it all the same."""
    with_numbers_alone(patch)
    patch.setattr(Candidacy, "turn", lambda self, received, others: self._since)


def without_keeping(patch: pytest.MonkeyPatch) -> None:
    """A secondary forgets what it has received at once, though others may lack it."""
    learn = Secondary._learn

    def forgetful(self: Secondary, released: int, stable: int) -> list[Action]:
        self.journal.trim(self.received_entries)
        return learn(self, released, stable)

    patch.setattr(Secondary, "_learn", forgetful)
    patch.setattr(execution, "_LIMIT", 10_000)  # for ever is long


def without_releasing_before_a_handover(patch: pytest.MonkeyPatch) -> None:
    """A guest that is held is handed over at once."""
    settle = Primary._settle

    def hasty(self: Primary, now: int) -> list[Action]:
        if self.state is State.HOLDING and self._held is not None:
            self._outputs.performed(self.next)
        return settle(self, now)

    patch.setattr(Primary, "_settle", hasty)


def without_late_timers(patch: pytest.MonkeyPatch) -> None:
    """Who is called late takes itself for one that was stopped, and forgets the silence so far."""
    patch.setattr(execution, "_LIMIT", 10_000)

    def silent(self: Hearing, now: int, limit: int) -> bool:
        if now - self._looked > limit // 2:
            self._silence = 0
        else:
            self._silence += now - self._looked
        self._looked = now
        return self._silence >= limit

    patch.setattr(Hearing, "silent", silent)


def without_background(patch: pytest.MonkeyPatch) -> None:
    """A host stands still while it waits for what it writes."""

    def submit(self: SimulatedBackground, job: Job) -> None:
        self._jobs.append(job)
        if self._host.stalled(self._name):
            self._host.paused = True
        else:
            self.drain(0)

    def go_on(self: SimulatedBackground) -> None:
        if self._host.paused:
            self._host.resume()
            self.drain(0)

    patch.setattr(SimulatedBackground, "submit", submit)
    patch.setattr(SimulatedBackground, "go_on", go_on)


def without_leases_beyond_death(patch: pytest.MonkeyPatch) -> None:
    """No lease is longer than what counts as dead, however long a message is on its way."""
    patch.setattr(execution, "_LIMIT", 10_000)  # for ever is long
    patch.setattr(Timing, "max_lease", property(lambda self: self.dead))


def without_handing_over(patch: pytest.MonkeyPatch) -> None:
    """A primary that leaves takes the guest along."""
    leave = Primary._leave

    def selfish(self: Primary, now: int) -> list[Action]:
        if self.state is State.PROTECTED and self._running:
            self.state = State.CLAIMING
            return self._claim(ReignCause.WITHOUT, frozenset(self.followers))
        return leave(self, now)

    patch.setattr(Primary, "_leave", selfish)


def without_patience_with_the_arbiter(patch: pytest.MonkeyPatch) -> None:
    """Who handed over goes on alone when the new primary has to wait for the arbiter's answer."""
    received = Primary.received

    def hasty(self: Primary, now: int, sender: str, message: Any) -> list[Action]:
        follower = self.followers.get(sender)
        silence = 0 if follower is None else follower.hearing._silence
        actions = received(self, now, sender, message)
        if self.state is State.HANDED_OVER and follower is not None:
            follower.hearing._silence = silence
        return actions

    patch.setattr(Primary, "received", hasty)


def without_sequence_check(patch: pytest.MonkeyPatch) -> None:
    """A batch is taken for the next one, though some came before or got lost."""
    batch = Secondary._batch

    def careless(self: Secondary, now: int, message: Any) -> list[Action]:
        first, _ = codec.decode(message.entries)
        self.received_entries = first
        return batch(self, now, message)

    patch.setattr(Secondary, "_batch", careless)


def without_suppression_of_outputs(patch: pytest.MonkeyPatch) -> None:
    """Console text that is emitted again comes after what is there."""

    def append(self: SharedConsole, offset: int, data: bytes) -> None:
        self.content += data

    patch.setattr(SharedConsole, "write", append)


def without_draining(patch: pytest.MonkeyPatch) -> None:
    """A secondary goes live without executing what it has received."""
    finish = Received.finish

    def abruptly(self: Received, function: Callable[[], None]) -> None:
        self._entries.clear()
        finish(self, function)

    patch.setattr(Received, "finish", abruptly)


def without_position_check(patch: pytest.MonkeyPatch) -> None:
    """Entries are taken wherever the guest is."""

    class Trusting(Replayer):
        def _take(self, kind: Kind, exits: int, blocks: int = 0) -> Any:
            return self._source.take()[3]

        def cycles(self, at: int) -> int:
            self._cycles = value = self._take(Kind.CYCLES, at)
            self.sequence += 1
            return int(value)

    patch.setattr(guest, "Replayer", Trusting)


@pytest.mark.parametrize(
    ("remove", "kinds", "replicas", "first"),
    [
        (without_output_rule, ("cut", "crash", "power"), 2, 0),
        (without_waiting_for_all, ("slow",), 3, 0),
        (without_lease, ("pause",), 2, 196),
        (without_promises, ("drop", "cut"), 2, 82),
        (without_compare_and_set, ("cut",), 2, 0),
        (without_membership, ("cut", "split"), 3, 358),
        (without_a_record_of_who_is_left_out, ("cut",), 2, 0),
        (without_a_record_of_who_is_left_out, ("split",), 3, 0),
        (before_the_record_stands, ("split", "arbiter-away"), 3, 273),
        (without_releasing_before_a_handover, ("switchover",), 2, 0),
        (without_doubt_about_failures, ("arbiter-flaky", "crash"), 2, 322),
        (without_doubt_about_failures, ("arbiter-stale", "switchover", "crash"), 2, 2041),
        (without_late_timers, ("power",), 2, 302),
        (without_leases_beyond_death, ("slow",), 2, 156),
        (without_background, ("stall-outputs",), 2, 54),
        (without_handing_over, ("leave",), 2, 0),
        (without_patience_with_the_arbiter, ("switchover", "arbiter-slow"), 2, 145),
        (without_sequence_check, ("garble",), 2, 0),
        (without_suppression_of_outputs, ("crash",), 2, 0),
        (without_draining, ("slow", "crash"), 2, 783),
        (without_position_check, ("diverge", "switchover", "slow"), 2, 216),
    ],
)
def test_a_guard_that_is_missing_is_missed(
    remove: Callable[[pytest.MonkeyPatch], None],
    kinds: tuple[str, ...],
    replicas: int,
    first: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Looked for from a seed on at which it was once."""
    remove(monkeypatch)
    results = explore(SEEDS[first:], kinds, replicas)
    failure = next((result for result in results if result.violations), None)
    assert failure is not None
    assert not any("TypeError" in text for text in failure.violations), "the mutation is wrong"
    simple = shrink(failure)
    assert simple.violations and len(simple.schedule.faults) <= len(failure.schedule.faults)
    assert execute(Schedule.parse(str(simple.schedule))) == simple


def one_behind(later: str = "") -> Iterator[Result]:
    """The primary dies when one of the others lacks some of its last entries."""
    for seed in range(40):
        for at in range(2000, 40000, 4000):
            faults = f"cut:secondary@{at}us+20000us crash:primary@{at + 6000}us {later}"
            yield execute(Schedule.parse(f"ledger/8 seed={seed} replicas=3 {faults}"))


AWAY = "pause:tertiary@45000us+700000us"
"""Who has more than the other one cannot say so."""


@pytest.mark.parametrize(
    ("remove", "later"),
    [(with_numbers_alone, AWAY), (who_has_less_claims_first, ""), (without_keeping, "")],
)
def test_a_guard_between_the_others_that_is_missing_is_missed(
    remove: Callable[[pytest.MonkeyPatch], None], later: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not [result for result in islice(one_behind(later), 20) if result.violations]
    remove(monkeypatch)
    assert any(result.violations for result in one_behind(later))


@pytest.mark.parametrize("careful", [True, False])
def test_one_lease_is_not_enough(careful: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A member that hears nothing takes over, while another one still hears the primary."""
    if not careful:
        with_the_lease_of_one(monkeypatch)
    schedule = Schedule("ledger", 8, 0, (Fault("cut", "tertiary"),), replicas=3)
    with Simulation(
        programs.image(schedule),
        programs.arguments(schedule),
        conditions=Conditions(timings=(Timing(interval=SECOND), Timing(), Timing())),
        machine=ScriptedMachine,
        replicas=3,
    ) as simulation:
        primary, _, tertiary = simulation.hosts
        simulation.run(lambda: len(simulation.emissions) > 3)
        primary.stall("outputs", True)
        simulation.run(lambda: tertiary.received > len(simulation.emissions) + 20)
        simulation.network.cut(["tertiary"])
        simulation.run(lambda: tertiary.generation == 2)
        simulation.network.heal()
        simulation.network.cut(["primary"])
        simulation.run(lambda: "tertiary" in simulation.emitters)
        primary.stall("outputs", False)
        simulation.run()
        found = list(check.violations(simulation, schedule, None))
        assert not found if careful else "output of generation 1" in found[0]


def test_what_clients_saw_has_no_order_if_outputs_do_not_wait(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The secondary lacks a change of which a client was told, and goes on without it."""
    text = "kv/6 seed={} cut:secondary@22000us+400000us crash:primary@26000us"
    schedules = [Schedule.parse(text.format(seed)) for seed in range(26, 426)]
    assert not execute(schedules[0]).violations
    without_output_rule(monkeypatch)
    found = (text for schedule in schedules for text in execute(schedule).violations)
    assert any("no order explains what was replied" in text for text in found)


def test_that_all_members_have_what_was_released_is_checked_directly(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Before anybody claims, and nothing was lost."""
    without_waiting_for_all(monkeypatch)
    violations = execute(Schedule.parse("ledger/8 seed=3 replicas=3")).violations
    assert violations and all("and may claim" in violation for violation in violations)


def test_who_is_left_out_and_claims_all_the_same_gets_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The arbiter's rule is enough."""
    who_is_left_out_claims(monkeypatch)
    monkeypatch.setattr(check, "_survival", lambda *_: ())  # it does not know that it is out
    results = list(explore(range(60), ("cut", "split"), 3))
    assert not [result for result in results if result.violations]


def late_crashes(seeds: Iterable[int]) -> Iterator[Result]:
    """After some seconds, in which clocks drift apart, if the guest takes so long."""
    for seed in seeds:
        yield execute(Schedule.parse(f"ledger/40 seed={seed} crash:primary@30000000us"))


@pytest.mark.parametrize("seeds", some([range(70, 80)], range(100)))
def test_a_guests_clock_that_jumps_by_the_drift_is_missed(
    seeds: Iterable[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would if the largest lead ever counted."""
    assert not any(result.violations for result in late_crashes(seeds))
    monkeypatch.setattr(lead, "_WINDOW", NEVER)
    assert any("counter went by" in text for r in late_crashes(seeds) for text in r.violations)


def crashes_after_switchovers(apart: int) -> Iterator[Result]:
    """Of the new primary, at each of its outputs, in a guest that writes to one block only; the
    switchovers are so many microseconds `apart`."""
    for at in range(8000, 24000, apart):
        switchover = f"rewrite/3 seed={at} switchover:primary@{at}us"
        outputs: list[int] = []

        def watch(point: Point, outputs: list[int] = outputs) -> None:
            if point.host == "secondary" and "output" in point.what:
                outputs.append(point.number)

        execute(Schedule.parse(switchover), watch)
        for point in outputs:
            yield execute(Schedule.parse(f"{switchover} crash:secondary@#{point}"))


@pytest.mark.parametrize("apart", some([1600], 400))
def test_a_crash_after_a_switchover_takes_nothing_back(apart: int) -> None:
    results = list(crashes_after_switchovers(apart))
    assert len(results) * apart > 30_000
    assert not [result for result in results if result.violations]


def test_a_new_primary_that_makes_outputs_again_is_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    """They were released before the handover; if it dies halfway, an older block is left."""
    learn = Secondary._learn

    def forgetful(self: Secondary, released: int, stable: int) -> list[Action]:
        return learn(self, 0 if self.state is State.TAKING_OVER else released, stable)

    monkeypatch.setattr(Secondary, "_learn", forgetful)
    assert any(result.violations for result in crashes_after_switchovers(apart=200))
