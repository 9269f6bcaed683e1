"""The arbiter's directory: of all who claim a generation exactly one gets it."""

from __future__ import annotations

import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from vlockstep.arbiter import ArbiterError, DirectoryArbiter, Record, Register, rule
from vlockstep.errors import UsageError

ROUNDS = 50


def owner(arbiter: DirectoryArbiter, replica: str, expected: int, *left_out: str) -> str:
    """Who owns the newest generation after `replica` has tried to; it takes all others in."""
    everybody = {"a", "b", "t0", "t1", "t2", "t3", "p0", "p1"} - {replica}
    take_in = dict.fromkeys(everybody if expected == 0 else (), "")
    return arbiter.claim(replica, expected, frozenset(left_out), take_in).owner


def _claim_rounds(directory: Path, name: str, barrier: Barrier) -> list[bool]:
    arbiter = DirectoryArbiter(directory, name)
    won = []
    for generation in range(1, ROUNDS + 1):
        barrier.wait(10)
        won.append(owner(arbiter, name, generation - 1) == name)
    return won


def _check_race(directory: Path, results: list[list[bool]]) -> None:
    assert all(sum(claims) == 1 for claims in zip(*results, strict=True))
    assert DirectoryArbiter(directory, "x").current() == ROUNDS
    assert not list(directory.glob(".claim-*")), "claims are left behind"


def test_threads_race(tmp_path: Path) -> None:
    DirectoryArbiter(tmp_path, "first").start()
    barrier = Barrier(4)
    with ThreadPoolExecutor(4) as pool:
        runs = [pool.submit(_claim_rounds, tmp_path, f"t{i}", barrier) for i in range(4)]
        _check_race(tmp_path, [run.result() for run in runs])


def test_processes_race(tmp_path: Path) -> None:
    DirectoryArbiter(tmp_path, "first").start()
    context = multiprocessing.get_context("spawn")
    with context.Manager() as manager, ProcessPoolExecutor(2, mp_context=context) as pool:
        barrier = manager.Barrier(2)
        runs = [pool.submit(_claim_rounds, tmp_path, f"p{i}", barrier) for i in range(2)]
        _check_race(tmp_path, [run.result() for run in runs])


def test_only_the_next_generation_can_be_claimed(tmp_path: Path) -> None:
    first, second = DirectoryArbiter(tmp_path, "first"), DirectoryArbiter(tmp_path, "second")
    assert first.current() == first.start() == 0
    assert owner(first, "a", 0) == "a"
    assert owner(second, "b", 0) == "a"
    assert owner(first, "a", 1) == "a"
    assert owner(second, "b", 1) == "a"
    assert owner(second, "b", 2) == "b"
    assert owner(first, "a", 1) == "b"
    assert first.current() == 3
    with pytest.raises(ArbiterError, match="no record of generation 4"):
        owner(second, "b", 4)


def test_who_was_not_told_that_it_won_learns_so_when_it_asks_again(tmp_path: Path) -> None:
    arbiter = DirectoryArbiter(tmp_path, "a")
    assert [owner(arbiter, "a", 0) for _ in range(2)] == ["a", "a"]
    assert arbiter.current() == 1


def test_the_loser_learns_whether_the_winner_counts_on_it(tmp_path: Path) -> None:
    arbiter = DirectoryArbiter(tmp_path, "a")
    owner(arbiter, "a", 0)
    assert "a" in arbiter.claim("b", 1, frozenset(), {}).members
    assert "b" not in arbiter.claim("a", 2, frozenset({"b"}), {}).members
    assert owner(arbiter, "b", 2) == owner(arbiter, "b", 3) == "a"
    assert arbiter.current() == 3


def test_a_record_that_cannot_be_read_is_no_answer(tmp_path: Path) -> None:
    """Whatever stands in its way: a claim is lost only to an owner that was read."""
    first, second = DirectoryArbiter(tmp_path, "a"), DirectoryArbiter(tmp_path, "b")
    owner(first, "a", 0)
    record = tmp_path / "generation-0000000002"
    record.mkdir()  # reading it fails with an OSError, for root too
    with pytest.raises(ArbiterError, match="cannot read the arbiter"):
        owner(second, "b", 1)
    record.rmdir()
    odd = (
        b'{"generation": 2, "owner": "c", "members": ["c"], "pid": "1"}',
        b'{"generation": 2, "owner": "c", "members": ["d"]}',
        b'{"generation": 2, "owner": "c", "members": ["c", 7]}',
        b'{"generation": 2, "owner": "c", "members": {}}',
        b'{"generation": 2, "owner": "c", "members": ["c"], "endpoints": ["c"]}',
        b'{"generation": 2, "owner": "c", "members": ["c"], "endpoints": {"c": 7}}',
    )
    for content in (b"", b"{", b"\xff", b"[]", b"{}", b'{"generation": 2}', *odd):
        record.write_bytes(content)
        with pytest.raises(ArbiterError, match="no record of a generation"):
            owner(second, "b", 1)
    record.unlink()
    assert owner(second, "b", 1) == "b"


def test_a_directory_that_was_emptied_gives_nothing_away(tmp_path: Path) -> None:
    """Another guest may have begun to use it."""
    arbiter = DirectoryArbiter(tmp_path, "a")
    owner(arbiter, "a", 0)
    owner(arbiter, "a", 1)
    for file in tmp_path.iterdir():
        file.unlink()
    owner(DirectoryArbiter(tmp_path, "b"), "b", 0)
    with pytest.raises(ArbiterError, match="no record of generation 2 any more"):
        owner(arbiter, "a", 2)


class Stale:
    """A register whose listings and look-ups lag behind, as a client's cache of NFS may."""

    def __init__(self, register: Register) -> None:
        self._register = register
        self.create = register.create
        self.end = register.end
        self.ended = register.ended
        self.blind = True

    def read(self, generation: int) -> Record | None:
        return None if self.blind and generation > 1 else self._register.read(generation)


def test_who_sees_an_old_copy_of_the_directory_does_not_lose_by_it(tmp_path: Path) -> None:
    arbiter = DirectoryArbiter(tmp_path, "a")
    owner(arbiter, "a", 0)
    owner(arbiter, "a", 1)
    stale, claimant = Stale(arbiter), Record(2, "b", ("b",))
    with pytest.raises(ArbiterError, match="cannot be seen yet"):
        rule.claim(stale, claimant)
    stale.blind = False
    assert rule.claim(stale, claimant).owner == "a"


def test_starting_again(tmp_path: Path) -> None:
    first, second = DirectoryArbiter(tmp_path, "a"), DirectoryArbiter(tmp_path, "b")
    assert first.start() == 0
    assert owner(first, "a", 0) == "a"
    with pytest.raises(UsageError, match=f"owner a, process {os.getpid()} on this host"):
        second.start()
    assert owner(second, "stranger", 1) == "a"
    first.end(1)
    assert second.start() == 1
    afresh = second.claim("stranger", 1, frozenset(), {"secondary": ""}, afresh=True)
    assert (afresh.owner, afresh.members) == ("stranger", ("secondary", "stranger"))
    with pytest.raises(UsageError, match="generation 2 has not ended"):
        first.start()


def test_directory_that_is_gone(tmp_path: Path) -> None:
    arbiter = DirectoryArbiter(tmp_path / "arbiter", "a")
    with pytest.raises(ArbiterError):
        owner(arbiter, "a", 0)
    (tmp_path / "arbiter").write_text("a file")
    with pytest.raises(ArbiterError):
        arbiter.start()


def test_where_disks_have_moved_outlives_resets_and_starts(tmp_path: Path) -> None:
    register = DirectoryArbiter(tmp_path / "arbiter", "test")
    register.guest()
    assert register.moved() == {}
    register.claim("a", register.start(), frozenset(), {"b": ""})
    register.claim("a", 1, frozenset(), {}, {"disk": "/new"})
    assert register.moved() == {"disk": "/new"}
    register.end(2)
    register.reset()
    assert register.moved() == {"disk": "/new"}
    register.claim("c", register.start(), frozenset(), {"d": ""}, afresh=True)
    assert register.moved() == {"disk": "/new"}, "they are still there"
    register.end(4)
    register.claim("e", register.start(), frozenset(), {}, afresh=True)
    assert register.moved() == {"disk": "/new"}


def test_where_members_are_reached_is_read_again(tmp_path: Path) -> None:
    places = {"a": "primary tcp://here:1", "b": "secondary tcp://there:2"}
    DirectoryArbiter(tmp_path, "a").claim("a", 0, frozenset(), places)
    found = DirectoryArbiter(tmp_path, "b").read(1)
    assert found is not None and found.endpoints == places
