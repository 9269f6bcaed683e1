"""The arbiter's directory: of all who claim a generation exactly one gets it."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from vlockstep.errors import UsageError
from vlockstep.ft.arbiter import ArbiterError, DirectoryArbiter
from vlockstep.ft.protocol import Claim, Verdict

ROUNDS = 50


def _claim_rounds(directory: Path, name: str, barrier: Barrier) -> list[bool]:
    arbiter = DirectoryArbiter(directory, name)
    won = []
    for generation in range(1, ROUNDS + 1):
        barrier.wait(10)
        won.append(arbiter.claim(Claim(generation, alone=True)) is Verdict.WON)
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
        (second, 2, Verdict.LOST),
        (first, 1, Verdict.WON),
        (second, 1, Verdict.LOST),
        (second, 2, Verdict.WON),
        (first, 1, Verdict.LOST),
    ):
        assert arbiter.claim(Claim(expected, alone=True)) is verdict
    assert first.current() == 3


def test_who_was_not_told_that_it_won_learns_so_when_it_asks_again(tmp_path: Path) -> None:
    arbiter = DirectoryArbiter(tmp_path, "a")
    arbiter.start()
    claim = Claim(1, alone=True)
    assert [arbiter.claim(claim) for _ in range(2)] == [Verdict.WON] * 2
    assert arbiter.current() == 2
    assert arbiter.claim(Claim(1, alone=False)) is Verdict.LOST


def test_loser_learns_that_the_winner_does_not_want_to_be_alone(tmp_path: Path) -> None:
    first, second = DirectoryArbiter(tmp_path, "a"), DirectoryArbiter(tmp_path, "b")
    first.start()
    assert second.claim(Claim(1, alone=False)) is Verdict.WON
    assert first.claim(Claim(1, alone=True)) is Verdict.TAKEN_OVER
    assert first.claim(Claim(2, alone=True)) is Verdict.WON
    assert second.claim(Claim(1, alone=True)) is Verdict.LOST


def test_starting_again(tmp_path: Path) -> None:
    first, second = DirectoryArbiter(tmp_path, "a"), DirectoryArbiter(tmp_path, "b")
    assert first.start() == 1
    with pytest.raises(UsageError, match="owner a"):
        second.start()
    first.end(1)
    assert second.start() == 2
    with pytest.raises(UsageError, match="generation 2 still runs"):
        first.start()


def test_directory_that_is_gone(tmp_path: Path) -> None:
    arbiter = DirectoryArbiter(tmp_path / "arbiter", "a")
    with pytest.raises(ArbiterError):
        arbiter.claim(Claim(0, alone=True))
    (tmp_path / "arbiter").write_text("a file")
    with pytest.raises(ArbiterError):
        arbiter.start()
