"""What a migration makes of what becomes of its destination."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from vlockstep.ft.migration import Migration, Phase, Report
from vlockstep.protocol.journal import Journal
from vlockstep.protocol.primary import Primary
from vlockstep.protocol.timing import Timing


class Replica:
    """One that is a primary, alone, and sends its disks."""

    def __init__(self) -> None:
        self.role = Primary.live(
            "a", Timing(), 1, "image", {}, 0, guest="", endpoint="", members={},
            next=0, stable=0, journal=Journal(), outputs=(), ended=None,
        )  # fmt: skip
        self.transfer: Any = None

    def drop(self, member: str, reason: str) -> None: ...

    def switch_over(self, wanted: str = "") -> None: ...

    def leave(self, reason: str) -> None: ...


@pytest.fixture
def answers() -> list[str]:
    return []


@pytest.fixture
def replica() -> Replica:
    return Replica()


@pytest.fixture
def migration(replica: Replica, answers: list[str]) -> Migration:
    def answer(problem: str, report: Report) -> None:
        answers.append(problem)

    return Migration(replica, "there", 0, lambda event: None, answer)


@pytest.mark.parametrize("disks", [False, True])
def test_a_destination_that_cannot_take_the_guest_ends_it(
    migration: Migration, replica: Replica, answers: list[str], disks: bool
) -> None:
    migration.reached("n")
    replica.transfer = SimpleNamespace(
        to="n",
        bytes=0,
        rounds=0,
        disk_bytes=0,
        pause=0,
        throttle=0,
        stands_since=None,
        state=None,
        sent=False,
        copies_disks=disks,
    )
    migration.look(0)
    assert migration.phase is (Phase.DISKS if disks else Phase.MEMORY)
    migration.refused("n", "its disk is full")
    assert migration.over and answers == ["its disk is full"]


def test_a_replica_of_the_guest_is_no_destination(migration: Migration, answers: list[str]) -> None:
    migration.reached("a")
    (problem,) = answers
    assert migration.over and "already" in problem
