"""With any one guard of the join removed, the simulator finds a violation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from sim.test_joins import INTERRUPTED_BEFORE, LEFT_MEANWHILE, one_that_was_alone, simulation
from sim.test_mutations import without_membership

from vlockstep.ft.guest import Guest
from vlockstep.ft.gueststate import GuestState
from vlockstep.ft.handoff import EntryOutbox
from vlockstep.ft.loading import Loading
from vlockstep.ft.replica import Replica
from vlockstep.ft.transfer import Transfer
from vlockstep.machine.position import BOOT, Position
from vlockstep.machine.world import Outcome
from vlockstep.protocol.actions import NEVER, Action, Release, Resume
from vlockstep.protocol.joiner import Joiner
from vlockstep.protocol.messages import Pages, Took
from vlockstep.protocol.primary import Primary
from vlockstep.protocol.secondary import Secondary
from vlockstep.protocol.timing import MILLISECOND
from vlockstep.replay.entry import Entry
from vlockstep.sim import check
from vlockstep.sim.execution import execute
from vlockstep.sim.explore import explore
from vlockstep.sim.schedule import Fault, Schedule
from vlockstep.sim.scripted import WrittenPages

SEEDS = range(400)


def without_checking_pages(patch: pytest.MonkeyPatch) -> None:
    """A piece that gets lost is not missed."""
    take = Loading.take

    def careless(self: Loading, pages: Pages) -> None:
        if pages.number == 1:
            self._count += 1
            self._answer(Took(self._count))
        else:
            take(self, pages)

    patch.setattr(Loading, "take", careless)


def without_the_last_pages(patch: pytest.MonkeyPatch) -> None:
    """What was written since the last round is forgotten."""
    take = Transfer._take

    def hasty(self: Transfer) -> Any:
        scan, self._dirty.scan = self._dirty.scan, list  # type: ignore[method-assign]
        try:
            return take(self)
        finally:
            self._dirty.scan = scan  # type: ignore[method-assign]

    patch.setattr(Transfer, "_take", hasty)


def with_a_page_that_is_not_noticed(patch: pytest.MonkeyPatch) -> None:
    """One that was written is not told."""
    scan = WrittenPages.scan

    def blind(self: WrittenPages) -> list[tuple[int, int]]:
        found = scan(self)
        return found if len(found) > 4 else found[1:]

    patch.setattr(WrittenPages, "scan", blind)


def without_sealing(patch: pytest.MonkeyPatch) -> None:
    """Entries behind the state are taken with those before it."""

    def take(self: EntryOutbox) -> list[Entry]:
        sealed, self._sealed = self._sealed, None
        self._entries[:0] = sealed or []
        entries, self._entries = self._entries, []
        self._sealed = None if sealed is None else []
        self._told = bool(entries)
        self.urgent = False
        return entries

    patch.setattr(EntryOutbox, "take", take)


def with_another_state(patch: pytest.MonkeyPatch, **changed: Any) -> None:
    capture = Guest.capture

    def forgetful(self: Guest) -> GuestState:
        return replace(capture(self), **changed)

    patch.setattr(Guest, "capture", forgetful)


def without_outputs(patch: pytest.MonkeyPatch) -> None:
    """Those that were made and not released where the state was taken are forgotten."""
    with_another_state(patch, outputs=())


def without_the_place_in_the_console(patch: pytest.MonkeyPatch) -> None:
    """Who joins takes its text for the first."""
    with_another_state(patch, console=0)


def without_a_clock(patch: pytest.MonkeyPatch) -> None:
    """The guest's counter begins anew where the guest goes on."""
    run_on = Guest.run_on

    def timeless(self: Guest, state: GuestState) -> Position:
        return run_on(self, replace(state, clock=(0, 0)))

    patch.setattr(Guest, "run_on", timeless)
    patch.setattr(Guest, "_compare_clocks", lambda self, entries: None)


def nothing_waits_for_who_joins(patch: pytest.MonkeyPatch) -> None:
    """Outputs need it only once the arbiter has answered."""

    def stable(self: Primary) -> int:
        others = [f.received for m, f in self.followers.items() if m not in self._joining]
        return min(others, default=self.next)

    patch.setattr(Primary, "stable", property(stable))


def before_its_state_is_behind_all(patch: pytest.MonkeyPatch) -> None:
    """Who lacks entries that the newcomer never had counts on it."""

    def near(self: Joiner, now: int, stable: int) -> bool:
        return self.follower.ready and not self.follower.slow(now)

    patch.setattr(Joiner, "caught_up", near)


@pytest.mark.parametrize(
    ("remove", "kinds", "replicas"),
    [
        (without_checking_pages, ("join",), 2),
        (without_the_last_pages, ("join",), 2),
        (with_a_page_that_is_not_noticed, ("join",), 2),
        (without_sealing, ("join",), 2),
        (nothing_waits_for_who_joins, ("join",), 2),
        (without_membership, ("cut", "split", "arbiter-slow"), 2),
    ],
)
def test_a_guard_that_is_missing_is_missed(
    remove: Callable[[pytest.MonkeyPatch], None],
    kinds: tuple[str, ...],
    replicas: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    remove(monkeypatch)
    results = explore(SEEDS, kinds, replicas, newcomers=1)
    assert any(result.violations for result in results)


def test_a_permission_without_the_newcomers_promise_is_missed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bind = Primary._bind

    def going_on(self: Primary, now: int, joiner: Joiner) -> list[Action]:
        return [action for action in bind(self, now, joiner) if not isinstance(action, Release)]

    monkeypatch.setattr(Primary, "_bind", going_on)
    assert any("an output of generation" in text for text in one_that_was_alone())


def who_joined_is_left_at_its_state() -> list[str]:
    """The others die when the guest has made one more entry, and with outputs that wait."""
    schedule = Schedule("ledger", 30, 1, (Fault("crash", "primary"),), newcomers=1)
    with simulation(schedule) as pair:
        newcomer, pair.primary.slowness = pair.host("newcomer"), 10_000
        pair.run(lambda: len(pair.emissions) > 6)
        pair.primary.slowness = 1
        pair.primary.stall("outputs", True)
        made = pair.primary.replica.made
        pair.run(lambda: pair.primary.replica.made > made + 4)
        pair.join("newcomer")
        pair.primary.slowness = 10_000
        pair.run(lambda: newcomer.state == "FOLLOWING" and pair.arbiter.generation == 2)
        assert newcomer.received == newcomer.joined_at + 1
        pair.crash("secondary")
        pair.crash("primary")
        pair.run()
        return list(check.violations(pair, schedule, None))


def who_lacks_what_the_newcomer_never_had_is_left_with_it() -> list[str]:
    """It has all that was released and goes on with the guest: nobody waits for what is lost."""
    schedule = Schedule("ledger", 60, 1, (Fault("crash", "primary"),), replicas=3, newcomers=1)
    with simulation(schedule) as pair:
        tertiary = pair.host("tertiary")
        pair.run(lambda: len(pair.emissions) > 6)
        pair.network.cut(["tertiary"])
        made, now = pair.primary.replica.made, pair.now
        pair.run(lambda: pair.primary.replica.made > made + 20)
        pair.join("newcomer")
        pair.run(lambda: pair.now > now + 50 * MILLISECOND)
        pair.crash("secondary")
        pair.crash("primary")
        pair.network.heal()
        pair.run()
        assert isinstance(tertiary.outcome, Outcome)
        found = list(check.violations(pair, schedule, None))
        owner = pair.arbiter.records[2].owner
        return found if owner == "tertiary" else [*found, f"the {owner} was asked for it first"]


def without_the_place_where_it_stood(patch: pytest.MonkeyPatch) -> None:
    """Who was to take over does not know that another one interrupts the guest before."""
    loaded = Secondary.loaded

    def lost(self: Secondary, now: int, next: int, stands: Position, *others: Any) -> list[Action]:
        return loaded(self, now, next, BOOT, *others)

    patch.setattr(Secondary, "loaded", lost)


def another_member_goes_on_where_the_guest_stood() -> list[str]:
    """Its primary has left before who was to take over did."""
    return list(execute(Schedule.parse(INTERRUPTED_BEFORE)).violations)


def without_giving_up_who_gets_the_state(patch: pytest.MonkeyPatch) -> None:
    """The guest goes on, and the rest of its RAM is sent as it is by then."""

    def go_on(self: Primary, now: int, reason: str) -> list[Action]:
        stood, self._stands_until = self.stands, NEVER
        return [Resume()] if stood else []

    patch.setattr(Primary, "_go_on", go_on)
    patch.setattr(Replica, "_resume", lambda self: self._running.outbox.hold(False))


def another_member_leaves_while_the_guest_stands() -> list[str]:
    return list(execute(Schedule.parse(LEFT_MEANWHILE)).violations)


@pytest.mark.parametrize(
    ("remove", "story"),
    [
        (without_outputs, who_joined_is_left_at_its_state),
        (without_the_place_in_the_console, who_joined_is_left_at_its_state),
        (without_a_clock, who_joined_is_left_at_its_state),
        (without_the_place_where_it_stood, another_member_goes_on_where_the_guest_stood),
        (without_giving_up_who_gets_the_state, another_member_leaves_while_the_guest_stands),
        (before_its_state_is_behind_all, who_lacks_what_the_newcomer_never_had_is_left_with_it),
    ],
)
def test_a_guard_that_is_missing_is_missed_in_its_story(
    remove: Callable[[pytest.MonkeyPatch], None],
    story: Callable[[], list[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert not story()
    remove(monkeypatch)
    assert story()
