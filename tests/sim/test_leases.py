"""A guest that is started again elsewhere when its owner has not renewed its lease: at most one
emits, whoever sleeps for how long."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest

from vlockstep.arbiter import Record, Register, rule
from vlockstep.arbiter.rule import SEALED
from vlockstep.protocol.primary import Primary
from vlockstep.protocol.role import Role
from vlockstep.protocol.tenure import Tenure
from vlockstep.sim.arbiter import Access
from vlockstep.sim.execution import Result, execute
from vlockstep.sim.explore import explore, shrink
from vlockstep.sim.schedule import Schedule

SEEDS = range(5000)


def without_a_lease_of_its_own(patch: pytest.MonkeyPatch) -> None:
    """An owner emits though it has not renewed its lease."""
    patch.setattr(Primary, "_emits_until", property(lambda self: self.followers.leased_until))


def without_patience(patch: pytest.MonkeyPatch) -> None:
    """An outsider seals a token that has just been raised."""
    patch.setattr(rule, "outlasts", lambda lease: lease // 8)


def without_compare_and_set(patch: pytest.MonkeyPatch) -> None:
    """A token is sealed wherever it stands, if it stood where it was seen long enough."""

    def token(self: Access, record: Record) -> int | None:
        return SEALED if self._arbiter.tokens[record.token] == SEALED else 0

    def move_token(self: Access, record: Record, before: int, after: int) -> bool:
        self.operate()
        self._arbiter.move(record, after)
        return True

    patch.setattr(Access, "token", token)
    patch.setattr(Access, "move_token", move_token)


def without_a_seal(patch: pytest.MonkeyPatch) -> None:
    """Who comes from outside starts the guest again at once."""
    patch.setattr(rule, "sealed", lambda register, record: True)
    patch.setattr(rule, "fence", lambda register, record, clock: rule._newest(register, record))


def although_it_is_sealed(patch: pytest.MonkeyPatch) -> None:
    """A lease is renewed that was sealed."""

    def renew(register: Register, record: Record, token: int, next: int) -> bool:
        return register.move_token(record, token, next) or register.move_token(record, SEALED, next)

    patch.setattr(rule, "renew", renew)


def from_the_answer_on(patch: pytest.MonkeyPatch) -> None:
    """A lease counts from when it was answered, not asked."""
    renewed = Tenure.renewed

    def late(self: Tenure, now: int) -> Any:
        self._asked = now
        return renewed(self, now)

    patch.setattr(Tenure, "renewed", late)


def from_the_last_claim_on(patch: pytest.MonkeyPatch) -> None:
    """That of a generation counts from when it was asked for last, not first."""

    def own(self: Role, record: Record) -> None:
        self.generation = record.generation
        self.tenure = Tenure(record, self._now)

    patch.setattr(Role, "_own", own)


def with_the_same_number_again(patch: pytest.MonkeyPatch) -> None:
    """A renewal that finds the token raised by an earlier one takes that for its own."""

    def renew(register: Register, record: Record, token: int, next: int) -> bool:
        return register.move_token(record, token, token + 1) or (
            register.token(record) == token + 1
        )

    renewed = Tenure.renewed

    def one_further(self: Tenure, now: int) -> Any:
        self._tried = self._token + 1
        return renewed(self, now)

    patch.setattr(rule, "renew", renew)
    patch.setattr(Tenure, "renewed", one_further)


MUTATIONS = [
    (without_a_lease_of_its_own, 7),
    (without_patience, 16),
    (without_compare_and_set, 7),
    (without_a_seal, 16),
    (although_it_is_sealed, 7),
    (from_the_answer_on, 225),
]


@pytest.mark.parametrize(("remove", "first"), MUTATIONS)
def test_a_guard_that_is_missing_is_missed(
    remove: Callable[[pytest.MonkeyPatch], None], first: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Looked for from a seed on at which it was once."""
    remove(monkeypatch)
    results = explore(SEEDS[first:], ("restart",))
    failure = next((result for result in results if result.violations), None)
    assert failure is not None
    simple = shrink(failure)
    assert simple.violations and len(simple.schedule.faults) <= len(failure.schedule.faults)
    assert execute(Schedule.parse(str(simple.schedule))) == simple


ALONE = "restart:outsider@25000us crash:secondary@20000us"


def asleep(seed: int, at: Iterable[int]) -> Iterator[Result]:
    """The primary sleeps before it knows that its claim was won."""
    for time in at:
        pause = f"pause:primary@{time}us+200000us"
        yield execute(Schedule.parse(f"ledger/100 seed={seed} lease=50000us {ALONE} {pause}"))


def unanswered(seeds: Iterable[int]) -> Iterator[Result]:
    """Renewals fail, some of them after they had their effect."""
    flaky = "arbiter-flaky@80000us+600000us"
    for seed in seeds:
        yield execute(Schedule.parse(f"ledger/150 seed={seed} lease=60000us {ALONE} {flaky}"))


def test_a_lease_that_counts_from_the_last_claim_is_missed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert not [result for result in asleep(0, range(44000, 60000, 1000)) if result.violations]
    from_the_last_claim_on(monkeypatch)
    assert any(result.violations for result in asleep(0, range(50000, 52000, 100)))


def test_a_renewal_that_is_taken_for_another_one_is_missed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert not [result for result in unanswered(range(262, 268)) if result.violations]
    with_the_same_number_again(monkeypatch)
    assert any(result.violations for result in unanswered(range(262, 500)))


def test_a_guest_is_started_again_behind_what_it_has_printed() -> None:
    schedule = "ledger/100 seed=0 lease=50000us restart:outsider@25000us"
    dead = "crash:primary@60000us crash:secondary@60000us"
    result = execute(Schedule.parse(f"{schedule} {dead}"))
    assert not result.violations and result.points["outsider"] > 300
