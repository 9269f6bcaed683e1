"""The arbiter's directory: of all who claim a generation exactly one gets it."""

from __future__ import annotations

import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from vlockstep.arbiter import ArbiterError, DirectoryArbiter, Record, Register, Verdict, claim
from vlockstep.errors import UsageError

ROUNDS = 50


def _claim_rounds(directory: Path, name: str, barrier: Barrier) -> list[bool]:
    arbiter = DirectoryArbiter(directory, name)
    won = []
    for generation in range(1, ROUNDS + 1):
        barrier.wait(10)
        won.append(arbiter.claim(generation, alone=True) is Verdict.WON)
    return won


def _check_race(directory: Path, results: list[list[bool]]) -> None:
    assert all(sum(claims) == 1 for claims in zip(*results, strict=True))
    assert DirectoryArbiter(directory, "x").current() == ROUNDS + 1
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
    first, second = DirectoryArbiter(tmp_path, "a"), DirectoryArbiter(tmp_path, "b")
    assert first.current() == 0
    assert first.start() == 1
    for arbiter, expected, verdict in (
        (second, 0, Verdict.LOST),
        (first, 1, Verdict.WON),
        (second, 1, Verdict.LOST),
        (second, 2, Verdict.WON),
        (first, 1, Verdict.LOST),
    ):
        assert arbiter.claim(expected, alone=True) is verdict
    assert first.current() == 3
    with pytest.raises(ArbiterError, match="no record of generation 4"):
        second.claim(4, alone=True)


def test_who_was_not_told_that_it_won_learns_so_when_it_asks_again(tmp_path: Path) -> None:
    arbiter = DirectoryArbiter(tmp_path, "a")
    arbiter.start()
    assert [arbiter.claim(1, alone=True) for _ in range(2)] == [Verdict.WON] * 2
    assert arbiter.current() == 2
    assert arbiter.claim(1, alone=False) is Verdict.LOST


def test_loser_learns_that_the_winner_does_not_want_to_be_alone(tmp_path: Path) -> None:
    first, second = DirectoryArbiter(tmp_path, "a"), DirectoryArbiter(tmp_path, "b")
    first.start()
    assert second.claim(1, alone=False) is Verdict.WON
    assert first.claim(1, alone=True) is Verdict.TAKEN_OVER
    assert first.claim(2, alone=True) is Verdict.WON
    assert second.claim(1, alone=True) is Verdict.LOST


def test_a_record_that_cannot_be_read_is_no_answer(tmp_path: Path) -> None:
    """Whatever stands in its way: a claim is lost only to an owner that was read."""
    first, second = DirectoryArbiter(tmp_path, "a"), DirectoryArbiter(tmp_path, "b")
    first.start()
    record = tmp_path / "generation-0000000002"
    record.mkdir()  # reading it fails with an OSError, for root too
    with pytest.raises(ArbiterError, match="cannot read the arbiter"):
        second.claim(1, alone=True)
    record.rmdir()
    odd = b'{"generation": 2, "replica": "c", "alone": true, "pid": "1", "process": ""}'
    for content in (b"", b"{", b"\xff", b"[]", b"{}", b'{"generation": 2}', odd):
        record.write_bytes(content)
        with pytest.raises(ArbiterError, match="no record of a generation"):
            second.claim(1, alone=True)
    record.unlink()
    assert second.claim(1, alone=True) is Verdict.WON


def test_a_directory_that_was_emptied_gives_nothing_away(tmp_path: Path) -> None:
    """Another guest may have begun to use it."""
    arbiter = DirectoryArbiter(tmp_path, "a")
    arbiter.start()
    arbiter.claim(1, alone=True)
    for file in tmp_path.iterdir():
        file.unlink()
    DirectoryArbiter(tmp_path, "b").start()
    with pytest.raises(ArbiterError, match="no record of generation 2 any more"):
        arbiter.claim(2, alone=True)


class Stale:
    """A register whose listings and look-ups lag behind, as a client's cache of NFS may."""

    def __init__(self, register: Register) -> None:
        self._register = register
        self.create = register.create
        self.end = register.end
        self.blind = True

    def read(self, generation: int) -> Record | None:
        return None if self.blind and generation > 1 else self._register.read(generation)


def test_who_sees_an_old_copy_of_the_directory_does_not_lose_by_it(tmp_path: Path) -> None:
    first, second = DirectoryArbiter(tmp_path, "a"), DirectoryArbiter(tmp_path, "b")
    first.start()
    second.claim(1, alone=True)
    stale = Stale(first)
    with pytest.raises(ArbiterError, match="cannot be seen yet"):
        claim(stale, Record(2, "c", True))
    stale.blind = False
    assert claim(stale, Record(2, "c", True)) is Verdict.LOST


def test_starting_again(tmp_path: Path) -> None:
    first, second = DirectoryArbiter(tmp_path, "a"), DirectoryArbiter(tmp_path, "b")
    assert first.start() == 1
    with pytest.raises(UsageError, match=f"owner a, process {os.getpid()} on this host"):
        second.start()
    first.end(1)
    assert second.start() == 2
    with pytest.raises(UsageError, match="generation 2 has not ended"):
        first.start()


def test_directory_that_is_gone(tmp_path: Path) -> None:
    arbiter = DirectoryArbiter(tmp_path / "arbiter", "a")
    with pytest.raises(ArbiterError):
        arbiter.claim(0, alone=True)
    (tmp_path / "arbiter").write_text("a file")
    with pytest.raises(ArbiterError):
        arbiter.start()
