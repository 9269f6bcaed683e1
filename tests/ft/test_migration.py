"""What a migration makes of what becomes of its destination."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from vlockstep.arbiter.rule import Record
from vlockstep.ft import events
from vlockstep.ft.migration import Migration, Phase, Report
from vlockstep.ft.rounds import Precopy
from vlockstep.protocol.actions import Resume
from vlockstep.protocol.journal import Journal
from vlockstep.protocol.messages import Answer, Hello
from vlockstep.protocol.primary import Primary
from vlockstep.protocol.states import State
from vlockstep.protocol.timing import MILLISECOND, Timing


class Replica:
    """One that is a primary, alone, and sends its disks."""

    def __init__(self) -> None:
        self.role = Primary.live(
            "a", Timing(), 1, "image", {}, 0, guest="", endpoint="", members={},
            next=0, stable=0, journal=Journal(), outputs=(), ended=None,
        )  # fmt: skip
        self.transfer: Any = None
        self.asked: list[str] = []

    def drop(self, member: str, reason: str) -> None:
        self.asked.append(f"drop {member}")

    def switch_over(self, wanted: str = "") -> None:
        self.asked.append(f"switch over to {wanted}")

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


def transfer(**changed: object) -> SimpleNamespace:
    """Of the guest's state, to `n`."""
    begun = {
        "to": "n", "bytes": 0, "rounds": 0, "disk_bytes": 0, "pause": 0, "throttle": 0,
        "stands_since": None, "state": None, "sent": False, "copies_disks": False,
        "expected_pause": None, "left": 0,
    }  # fmt: skip
    return SimpleNamespace(**begun | changed)


@pytest.mark.parametrize("disks", [False, True])
def test_a_destination_that_cannot_take_the_guest_ends_it(
    migration: Migration, replica: Replica, answers: list[str], disks: bool
) -> None:
    migration.reached("n")
    replica.transfer = transfer(copies_disks=disks)
    migration.look(0)
    assert migration.phase is (Phase.DISKS if disks else Phase.MEMORY)
    migration.refused("n", "its disk is full")
    assert migration.over and answers == ["its disk is full"]


def test_a_replica_of_the_guest_is_no_destination(migration: Migration, answers: list[str]) -> None:
    migration.reached("a")
    (problem,) = answers
    assert migration.over and "already" in problem


def test_that_it_was_called_off_is_told_once(replica: Replica) -> None:
    told: list[events.Event] = []
    migration = Migration(replica, "there", 0, told.append, lambda problem, report: None)
    migration.look(0)
    assert migration.cancel("called off")
    migration.look(1)
    migration.look(2)
    phases = [each.phase for each in told if isinstance(each, events.Migrating)]
    assert phases == ["failed"]


# By precopy

STAND = 300 * MILLISECOND


@pytest.fixture
def precopy(replica: Replica, answers: list[str]) -> Migration:
    """The guest's state is on its way to `n`."""

    def answer(problem: str, report: Report) -> None:
        answers.append(problem)

    migration = Migration(replica, "there", 0, lambda event: None, answer, Precopy())
    migration.reached("n")
    replica.role.received(0, "n", Hello("image", 0, 0, "", "there"))
    replica.role.received(0, "n", Answer(0, 0, 0, 0))
    replica.transfer = transfer()
    migration.look(0)
    assert migration.phase is Phase.MEMORY
    return migration


def captured(replica: Replica, precopy: Migration) -> None:
    """The guest stands."""
    replica.role.captured(STAND, 0, STAND)
    replica.transfer = transfer(stands_since=STAND, state=SimpleNamespace(next=0), throttle=30)
    precopy.look(STAND)
    assert precopy.phase is Phase.STANDING and not replica.asked


def taken_in(replica: Replica) -> None:
    for _ in range(2):
        replica.role.received(STAND, "n", Answer(1, STAND, 0, 0))
    assert replica.role.state is State.TAKING_IN
    replica.role.arbiter_answered(STAND, Record(2, "a", ("a", "n")))


def test_only_the_destination_gets_the_guest_by_precopy(precopy: Migration) -> None:
    assert precopy.precopy_of("n") and not precopy.precopy_of("m")


def test_a_guest_that_stands_is_handed_over_once_the_destination_is_a_member(
    precopy: Migration, replica: Replica
) -> None:
    captured(replica, precopy)
    taken_in(replica)
    precopy.look(2 * STAND)
    assert precopy.phase is Phase.SWITCHING and replica.asked == ["switch over to n"]
    assert (precopy.report.method, precopy.report.throttle) == ("precopy", 30)


def test_one_that_had_to_go_on_is_not(
    precopy: Migration, replica: Replica, answers: list[str]
) -> None:
    """The destination may be a member by then, and has to go again."""
    captured(replica, precopy)
    for _ in range(2):
        replica.role.received(2 * STAND, "n", Answer(1, STAND, 0, 0))
    assert Resume() in replica.role.tick(2 * STAND)
    precopy.look(2 * STAND)
    assert precopy.phase is Phase.FAILED and replica.asked == ["drop n"]
    assert answers == ["it had to go on before it was taken over there"]


def test_nor_one_that_was_called_off(precopy: Migration, replica: Replica) -> None:
    captured(replica, precopy)
    taken_in(replica)
    assert precopy.cancel("called off") and replica.asked == ["drop n"]
