"""The lease of a record: its owner renews it, an outsider seals it, and only one of them can."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Barrier

import pytest

from vlockstep.arbiter import ArbiterError, DirectoryArbiter, Record, rule
from vlockstep.arbiter.rule import SEALED
from vlockstep.errors import UsageError

LEASE = 1_000_000_000
NOBODY: frozenset[str] = frozenset()


class VirtualClock:
    """At each `sleep` something may happen."""

    def __init__(self, happens: Callable[[int], object] = lambda now: None) -> None:
        self.time = 0
        self._happens = happens

    def now(self) -> int:
        return self.time

    def sleep(self, time: int) -> None:
        self.time += time
        self._happens(self.time)


def ruled(path: Path) -> tuple[DirectoryArbiter, Record]:
    """An arbiter, and the record of who rules alone by it."""
    arbiter = DirectoryArbiter(path, "a", lease=LEASE)
    return arbiter, arbiter.claim("a", arbiter.start(), NOBODY, {}, afresh=True)


def test_a_lease_is_renewed_and_stays_through_generations(tmp_path: Path) -> None:
    arbiter, first = ruled(tmp_path)
    assert (first.lease, arbiter.token(first)) == (LEASE, 0)
    assert all(arbiter.renew(first, number, number + 1) for number in range(5))
    assert arbiter.token(first) == 5
    second = DirectoryArbiter(tmp_path, "a").claim("a", 1, NOBODY, {"b": ""})
    assert (second.lease, arbiter.token(second), arbiter.token(first)) == (LEASE, 0, 5)
    assert arbiter.read(2) == second


def test_a_renewal_whose_answer_was_lost_is_not_taken_for_the_next_one(tmp_path: Path) -> None:
    """That raises the token once more."""
    arbiter, record = ruled(tmp_path)
    assert arbiter.renew(record, 0, 1)
    assert arbiter.renew(record, 0, 2)
    assert arbiter.token(record) == 2


def test_a_rename_whose_answer_was_lost_is_recognised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """NFS sends it again, and then there is no such file."""
    arbiter, record = ruled(tmp_path)
    rename = Path.rename

    def twice(self: Path, target: Path) -> Path:
        rename(self, target)
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", twice)
    assert arbiter.move_token(record, 0, 1)
    assert not arbiter.move_token(record, 0, 2)
    assert arbiter.renew(record, 0, 3)
    assert arbiter.move_token(record, 3, SEALED)


def test_a_directory_that_is_away_is_no_answer(tmp_path: Path) -> None:
    arbiter, record = ruled(tmp_path / "arbiter")
    (tmp_path / "arbiter").rename(tmp_path / "away")
    with pytest.raises(ArbiterError, match="cannot read the arbiter"):
        arbiter.renew(record, 0, 1)
    (tmp_path / "away").rename(tmp_path / "arbiter")
    assert arbiter.renew(record, 0, 2)
    for token in tmp_path.glob("arbiter/lease-*"):
        token.unlink()
    with pytest.raises(ArbiterError, match="lease of generation 1 cannot be seen"):
        arbiter.renew(record, 2, 3)


@pytest.mark.parametrize("lease", [-1, LEASE])
def test_a_record_with_a_lease_that_is_none_cannot_be_read(tmp_path: Path, lease: int) -> None:
    arbiter, record = ruled(tmp_path)
    file = tmp_path / "generation-0000000001"
    text = file.read_text()
    file.write_text(text.replace(str(LEASE), str(lease)).replace(record.token, "../../x"))
    with pytest.raises(ArbiterError, match="a lease without a token"):
        arbiter.read(1)


def test_of_an_owner_that_renews_and_one_that_seals_one_does(tmp_path: Path) -> None:
    rounds, barrier = 100, Barrier(2)
    records = [replace(ruled(tmp_path / f"{n}")[1]) for n in range(rounds)]
    arbiters = [DirectoryArbiter(tmp_path / f"{n}", "x") for n in range(rounds)]

    def race(after: int) -> list[bool]:
        won = []
        for arbiter, record in zip(arbiters, records, strict=True):
            barrier.wait(10)
            won.append(arbiter.move_token(record, 0, after))
        return won

    with ThreadPoolExecutor(2) as pool:
        renewed, sealed = pool.map(race, (1, SEALED))
    assert all(one != other for one, other in zip(renewed, sealed, strict=True))


def test_an_outsider_starts_the_guest_again_once_it_has_sealed_the_lease(tmp_path: Path) -> None:
    arbiter, record = ruled(tmp_path)
    outsider, clock, said = DirectoryArbiter(tmp_path, "x", lease=5), VirtualClock(), list[str]()
    with pytest.raises(UsageError, match="that process still runs: stop it first"):
        outsider.start()
    assert outsider.claim("x", 1, NOBODY, {}, afresh=True) == record
    assert outsider.fence(clock, said.append)
    assert clock.time >= rule.outlasts(LEASE)
    owner = f"owner a, process {os.getpid()} on this host"
    assert said == [f"waiting for the lease of generation 1 to run out ({owner})"]
    assert not arbiter.renew(record, 0, 1)
    assert outsider.claim("x", 1, NOBODY, {}) == record, "it does not start the guest afresh"
    assert outsider.start() == 1
    again = outsider.claim("x", 1, NOBODY, {"y": ""}, afresh=True)
    assert (again.members, again.lease) == (("x", "y"), 5)
    assert arbiter.claim("a", 1, NOBODY, {}).owner == "x"


def test_an_outsider_that_died_after_the_seal_is_followed_by_the_next(tmp_path: Path) -> None:
    arbiter, record = ruled(tmp_path)
    assert arbiter.move_token(record, 0, SEALED)
    clock, said = VirtualClock(), list[str]()
    assert DirectoryArbiter(tmp_path, "x").fence(clock, said.append)
    assert (clock.time, said) == (0, [])


def test_a_member_may_go_on_though_the_lease_before_is_sealed(tmp_path: Path) -> None:
    arbiter, record = ruled(tmp_path)
    arbiter.move_token(record, 0, SEALED)
    assert arbiter.claim("a", 1, NOBODY, {}).generation == 2
    outsider = DirectoryArbiter(tmp_path, "x")
    assert outsider.claim("x", 1, NOBODY, {}, afresh=True).owner == "a"
    with pytest.raises(UsageError, match="generation 2 has not ended"):
        outsider.start()


def test_without_a_lease_nobody_waits(tmp_path: Path) -> None:
    arbiter = DirectoryArbiter(tmp_path, "a")
    clock, said = VirtualClock(), list[str]()
    assert not arbiter.fence(clock, said.append)
    arbiter.claim("a", 0, NOBODY, {}, afresh=True)
    assert not arbiter.fence(clock, said.append)
    with pytest.raises(UsageError, match="has not ended"):
        arbiter.start()
    assert (clock.time, said) == (0, [])


def test_an_owner_that_renews_its_lease_is_left_alone(tmp_path: Path) -> None:
    arbiter, record = ruled(tmp_path)
    clock = VirtualClock(lambda now: arbiter.renew(record, now - LEASE // 8, now))
    outsider = DirectoryArbiter(tmp_path, "x")
    assert not outsider.fence(clock, lambda text: None)
    assert 3 * LEASE <= clock.time < 4 * LEASE
    with pytest.raises(UsageError, match="has not ended"):
        outsider.start()


def test_a_guest_that_ends_meanwhile_needs_no_fence(tmp_path: Path) -> None:
    arbiter, _ = ruled(tmp_path)
    clock = VirtualClock(lambda now: arbiter.end(1))
    outsider = DirectoryArbiter(tmp_path, "x")
    assert not outsider.fence(clock, lambda text: None)
    assert (outsider.start(), clock.time) == (1, LEASE // 8)


def test_after_a_member_has_gone_on_the_wait_begins_anew(tmp_path: Path) -> None:
    arbiter, first = ruled(tmp_path)

    def go_on(now: int) -> None:
        if now == LEASE:
            arbiter.claim("a", 1, NOBODY, {})

    clock = VirtualClock(go_on)
    assert DirectoryArbiter(tmp_path, "x").fence(clock, lambda text: None)
    assert clock.time >= LEASE + rule.outlasts(LEASE)
    second = arbiter.read(2)
    assert second is not None
    assert (arbiter.token(first), arbiter.token(second)) == (0, SEALED)


class Blurred(DirectoryArbiter):
    """What is listed is late, or not there."""

    seen: Iterator[int | None]

    def token(self, record: Record) -> int | None:
        true = super().token(record)
        return true if true == SEALED else next(self.seen)


def test_a_token_that_was_raised_unseen_is_not_sealed(tmp_path: Path) -> None:
    arbiter, record = ruled(tmp_path)
    outsider = Blurred(tmp_path, "x")
    outsider.seen = iter([0] * 1000)

    def renew(now: int) -> None:
        with contextlib.suppress(StopIteration):
            arbiter.renew(record, now - LEASE // 8, now)

    clock = VirtualClock(renew)
    assert not outsider.fence(clock, lambda text: None)
    assert clock.time < 5 * LEASE
    assert arbiter.token(record) == clock.time


def test_a_token_that_is_never_seen_is_not_sealed(tmp_path: Path) -> None:
    ruled(tmp_path)
    outsider = Blurred(tmp_path, "x")
    outsider.seen = iter([None] * 1000)
    assert not outsider.fence(VirtualClock(), lambda text: None)
