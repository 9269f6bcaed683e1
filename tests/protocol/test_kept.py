"""A log from which a guest can be resumed: outputs wait for it as for a member, and who resumes the
guest takes over what it holds."""

from __future__ import annotations

from dataclasses import replace

import pytest
from protocol.roles import (
    CLOCK,
    END,
    LINE,
    START,
    TIMING,
    answer,
    append,
    kinds,
    protected,
    record,
    releases,
)

from vlockstep.arbiter.rule import Record
from vlockstep.protocol.actions import Announce, Claim, Done, GoLive, Notice, Release, Stop
from vlockstep.protocol.primary import Primary
from vlockstep.protocol.secondary import Secondary
from vlockstep.protocol.states import State
from vlockstep.protocol.timing import MILLISECOND as MS

LEASE = 1000 * MS


def leased(generation: int, owner: str, *others: str) -> Record:
    return replace(record(generation, owner, *others), lease=LEASE, token=f"of {generation}")


def keeping() -> Primary:
    """It runs its guest alone, and keeps a log."""
    primary = Primary("a", TIMING, 0, "image", {}, START, secondaries=0, kept=0)
    primary.tick(START)
    primary.arbiter_answered(START, leased(1, "a"))
    assert primary.state is State.ALONE
    return primary


def test_an_output_waits_until_its_entry_is_kept() -> None:
    primary = keeping()
    assert not releases(append(primary, START, CLOCK, LINE))
    assert not releases(primary.kept(START, 1)), "all entries up to its own are needed"
    assert releases(primary.kept(START, 2)) == [2]
    primary.performed(START, 2)
    assert primary.kept(START, 2) == []


def test_a_renewed_lease_lets_nothing_leave_that_is_not_kept() -> None:
    primary = keeping()
    append(primary, START, CLOCK, LINE)
    [renewal] = primary.tick(START + LEASE // 4)
    assert kinds(primary.lease_answered(START + LEASE // 4, renewal, True)) <= {Announce}  # type: ignore[arg-type]
    assert not releases(primary.tick(START + LEASE // 4 + MS))


def test_what_is_kept_leaves_only_within_the_lease() -> None:
    primary = keeping()
    append(primary, START, CLOCK, LINE)
    assert primary.kept(START + LEASE, 2) == []


def test_a_guest_ends_when_its_last_output_was_kept() -> None:
    primary = keeping()
    append(primary, START, CLOCK, END)
    assert primary.state is State.ALONE
    assert releases(primary.kept(START, 2)) == [2]
    assert Done() in primary.performed(START, 2)


def test_without_the_log_outputs_leave_at_once() -> None:
    primary = keeping()
    append(primary, START, CLOCK, LINE)
    assert releases(primary.kept(START, None)) == [2]
    primary.performed(START, 2)
    assert releases(append(primary, START, LINE)) == [3]


def test_outputs_wait_for_members_and_the_log() -> None:
    primary = protected("b")
    primary.kept(START, 0)
    append(primary, START, CLOCK, LINE)
    assert not releases(answer(primary, START, "b", 2, executed=2))
    assert releases(primary.kept(START, 2)) == [2]
    primary.performed(START, 2)
    append(primary, START, LINE)
    assert not releases(primary.kept(START, 3))
    assert releases(answer(primary, START, "b", 3)) == [3]


# Who resumes


def resuming(**changes: object) -> Secondary:
    """After generation 4: three entries, of which the second has an output that may not be made."""
    told = {"next": 3, "released": 1, "outputs": (1,), "ended": None} | changes
    secondary = Secondary.resuming(
        "b",
        TIMING,
        "image",
        START,
        guest="",
        endpoint="here",
        generation=4,
        **told,  # type: ignore[arg-type]
    )
    assert secondary.resume(START) == [Claim(4, take_in={"b": "here"}, afresh=True)]
    return secondary


def test_who_resumes_claims_as_an_outsider_and_goes_live() -> None:
    secondary = resuming()
    secondary.progressed(START, 2)
    actions = secondary.arbiter_answered(START, leased(5, "b"))
    assert GoLive(5, frozenset()) in actions and secondary.state is State.LIVE
    secondary.progressed(START + MS, 3)
    assert secondary.tenure.until == START + LEASE


def test_it_makes_again_what_may_not_have_been_made() -> None:
    secondary = resuming()
    secondary.arbiter_answered(START, leased(5, "b"))
    primary = Primary.live(
        "b",
        TIMING,
        5,
        "image",
        {},
        START,
        guest="",
        endpoint="",
        members={},
        next=secondary.received_entries,
        stable=secondary.stable,
        journal=secondary.journal,
        outputs=secondary.outputs,
        ended=None,
        tenure=secondary.tenure,
        kept=3,
    )
    assert primary.released == 1
    assert [a for a in primary.begin(START) if isinstance(a, Release)] == [
        Release(3, START + LEASE)
    ]


@pytest.mark.parametrize("found", [leased(4, "a"), leased(5, "c")])
def test_who_does_not_get_the_generation_stops(found: Record) -> None:
    """Also if the lease of the one before was renewed after all."""
    [stop] = resuming().arbiter_answered(START, found)
    assert isinstance(stop, Stop) and not stop.orderly


def test_an_arbiter_that_does_not_answer_is_asked_again() -> None:
    secondary = resuming()
    assert kinds(secondary.arbiter_answered(START, None)) == {Notice}
    again = secondary.deadline()
    assert secondary.tick(again) == [Claim(4, take_in={"b": "here"}, afresh=True)]
    assert GoLive(5, frozenset()) in secondary.arbiter_answered(again, leased(5, "b"))


def test_a_guest_that_diverges_from_the_log_never_goes_live() -> None:
    secondary = resuming()
    secondary.arbiter_answered(START, leased(5, "b"))
    assert Stop in kinds(secondary.diverged(START, "other text"))
    assert secondary.state is State.STOPPED
