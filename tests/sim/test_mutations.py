"""With any one guard of the protocol removed, the simulator finds a violation: it can fail."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from vlockstep.arbiter import ArbiterError, Record, Register, Verdict, rule
from vlockstep.ft import guest, lead
from vlockstep.ft.handoff import Received
from vlockstep.host.background import Job
from vlockstep.protocol.primary import Primary
from vlockstep.protocol.role import NEVER, Action, Release, Role, State
from vlockstep.protocol.secondary import Secondary
from vlockstep.protocol.timing import Timing
from vlockstep.replay import codec
from vlockstep.replay.entry import Kind
from vlockstep.replay.replayer import Replayer
from vlockstep.sim import execution
from vlockstep.sim.background import SimulatedBackground
from vlockstep.sim.execution import Result, execute
from vlockstep.sim.explore import explore, shrink
from vlockstep.sim.schedule import Schedule
from vlockstep.sim.sinks import SharedConsole

SEEDS = range(5000)


def without_output_rule(patch: pytest.MonkeyPatch) -> None:
    """Outputs leave before the secondary has their entries."""
    release = Primary._release

    def hasty(self: Primary, now: int) -> list[Action]:
        actions = release(self, now)
        if self.state is State.PROTECTED and self._outputs and now < self._lease_until:
            actions.append(Release(self.next, self._lease_until))
        return actions

    patch.setattr(Primary, "_release", hasty)


def without_lease(patch: pytest.MonkeyPatch) -> None:
    """An acknowledgement permits to release for ever."""
    eternal = property(lambda self: NEVER, lambda self, value: None)
    patch.setattr(Primary, "_lease_until", eternal, raising=False)


def without_compare_and_set(patch: pytest.MonkeyPatch) -> None:
    """Whoever claims a generation gets it."""
    claim = rule.claim

    def generous(register: Register, wanted: Record) -> Verdict:
        claim(register, wanted)
        return Verdict.WON

    patch.setattr(rule, "claim", generous)


def without_doubt_about_failures(patch: pytest.MonkeyPatch) -> None:
    """An arbiter that fails while its record is read has said no."""
    claim = rule.claim

    def rash(register: Register, wanted: Record) -> Verdict:
        try:
            return claim(register, wanted)
        except ArbiterError:
            return Verdict.LOST

    patch.setattr(rule, "claim", rash)


def without_late_timers(patch: pytest.MonkeyPatch) -> None:
    """Who is called late takes itself for one that was stopped, and forgets the silence so far."""
    patch.setattr(execution, "_LIMIT", 10_000)

    def silent(self: Role, now: int) -> bool:
        if now - self._looked > self.timing.dead // 2:
            self._silence = 0
        else:
            self._silence += now - self._looked
        self._looked = now
        return self._silence >= self._dead_after

    patch.setattr(Role, "_silent", silent)


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
    leave = Primary.leave

    def selfish(self: Primary, now: int, reason: str) -> list[Action]:
        self._leaving = reason
        if self.state is State.PROTECTED and self._running:
            return self._claim()
        return leave(self, now, reason)

    patch.setattr(Primary, "leave", selfish)


def without_patience_with_the_arbiter(patch: pytest.MonkeyPatch) -> None:
    """Who handed over goes on alone when the new primary has to wait for the arbiter's answer."""
    received = Primary.received

    def hasty(self: Primary, now: int, message: Any) -> list[Action]:
        silence = self._silence
        actions = received(self, now, message)
        if self.state is State.HANDED_OVER:
            self._silence = silence
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
    ("remove", "kinds"),
    [
        (without_output_rule, ("cut", "crash", "power")),
        (without_lease, ("pause",)),
        (without_compare_and_set, ("cut",)),
        (without_doubt_about_failures, ("arbiter-flaky", "crash")),
        (without_doubt_about_failures, ("arbiter-stale", "switchover", "crash")),
        (without_late_timers, ("power",)),
        (without_leases_beyond_death, ("slow",)),
        (without_background, ("stall-outputs",)),
        (without_handing_over, ("leave",)),
        (without_patience_with_the_arbiter, ("switchover", "arbiter-slow")),
        (without_sequence_check, ("garble",)),
        (without_suppression_of_outputs, ("crash",)),
        (without_draining, ("slow", "crash")),
        (without_position_check, ("slow", "diverge", "crash")),
    ],
)
def test_a_guard_that_is_missing_is_missed(
    remove: Callable[[pytest.MonkeyPatch], None],
    kinds: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    remove(monkeypatch)
    failure = next((result for result in explore(SEEDS, kinds) if result.violations), None)
    assert failure is not None
    simple = shrink(failure)
    assert simple.violations and len(simple.schedule.faults) <= len(failure.schedule.faults)
    assert execute(Schedule.parse(str(simple.schedule))) == simple


def late_crashes() -> Iterator[Result]:
    """After some seconds, in which clocks drift apart, if the guest takes so long."""
    for seed in range(100):
        yield execute(Schedule.parse(f"ledger/40 seed={seed} crash:primary@30000000us"))


def test_a_guests_clock_that_jumps_by_the_drift_is_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would if the largest lead ever counted."""
    assert not any(result.violations for result in late_crashes())
    monkeypatch.setattr(lead, "_WINDOW", NEVER)
    assert any("counter went by" in text for r in late_crashes() for text in r.violations)


def crashes_after_switchovers() -> Iterator[Result]:
    """Of the new primary, at each of its points, in a guest that writes to one block only."""
    for at in range(200, 8000, 400):
        switchover = f"rewrite/3 seed={at} switchover:primary@{at}us"
        for point in range(1, execute(Schedule.parse(switchover)).points["secondary"] + 1):
            yield execute(Schedule.parse(f"{switchover} crash:secondary@#{point}"))


def test_a_crash_after_a_switchover_takes_nothing_back() -> None:
    results = list(crashes_after_switchovers())
    assert len(results) > 1000
    assert not [result for result in results if result.violations]


def test_a_new_primary_that_makes_outputs_again_is_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    """They were released before the handover; if it dies halfway, an older block is left."""
    forget = Secondary._forget

    def forgetful(self: Secondary, released: int) -> list[Action]:
        return [] if self.state is State.TAKING_OVER else forget(self, released)

    monkeypatch.setattr(Secondary, "_forget", forgetful)
    assert any(result.violations for result in crashes_after_switchovers())
