"""Roles as they come to be: a primary `a` of members that follow it, a secondary of `a`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from vlockstep.arbiter.rule import Record
from vlockstep.protocol.actions import Action, Release, Send, Start
from vlockstep.protocol.journal import Batch as Kept
from vlockstep.protocol.journal import Journal
from vlockstep.protocol.messages import Answer, Batch, Hello, Query, Ruling, Welcome
from vlockstep.protocol.primary import Primary
from vlockstep.protocol.secondary import Secondary
from vlockstep.protocol.states import State
from vlockstep.protocol.timing import MILLISECOND as MS
from vlockstep.protocol.timing import Timing
from vlockstep.replay import codec
from vlockstep.replay.entry import Entry, Kind

START = 10_000 * MS
TIMING = Timing()
LEASE = 50 * MS
THERE = "tcp://there"
"""Where each secondary is reached."""
CLOCK: Entry = (Kind.CYCLES, 0, 0, 5, b"")
LINE: Entry = (Kind.CONSOLE, 1, 0, b"12345678", b"")
END: Entry = (Kind.END, 2, 0, b"", b"")

_M = TypeVar("_M")


def sent(actions: Sequence[Action], kind: type[_M], to: str | None = None) -> list[_M]:
    """Messages of this kind, to somebody or to anybody."""
    sends = [a for a in actions if isinstance(a, Send) and to in (None, a.to)]
    return [a.message for a in sends if isinstance(a.message, kind)]


def releases(actions: Sequence[Action]) -> list[int]:
    return [a.end for a in actions if isinstance(a, Release)]


def kinds(actions: Sequence[Action]) -> set[type[Action]]:
    return {type(action) for action in actions}


def record(generation: int, owner: str, *others: str) -> Record:
    return Record(generation, owner, tuple(sorted((owner, *others))))


def hello(next: int = 0, origin: int = 0, image: str = "image", guest: str = "") -> Hello:
    return Hello(image, next, origin, guest, THERE)


def query(generation: int = 1, lease: int = LEASE, released: int = 0, stable: int = 0) -> Query:
    return Query(generation, START, lease, released, stable)


def batch(
    first: int,
    entries: list[Entry],
    *,
    generation: int = 1,
    origin: int = 1,
    released: int = 0,
    lease: int = LEASE,
) -> Batch:
    content = codec.encode(first, entries)
    return Batch(generation, START, lease, released, 0, origin, content)


def ruling(generation: int, owner: str, *others: str) -> Ruling:
    return Ruling(generation, owner, {m: "" if m == "a" else THERE for m in (owner, *others)})


# A primary


def waiting(secondaries: int = 1, timing: Timing = TIMING) -> Primary:
    return Primary("a", timing, 0, "image", {}, START, secondaries=secondaries)


def claiming(*members: str, timing: Timing = TIMING) -> Primary:
    """All have come that it waits for."""
    primary = waiting(len(members), timing)
    for member in members:
        assert sent(primary.received(START, member, hello()), Welcome, member)
        assert primary.state is State.WAITING
        primary.received(START, member, Answer(0, 0, 0, 0))
    assert primary.state is State.CLAIMING
    return primary


def unanswered(*members: str, timing: Timing = TIMING) -> Primary:
    """It owns the generation, but has no lease yet."""
    primary = claiming(*members, timing=timing)
    actions = primary.arbiter_answered(START, record(1, "a", *members))
    assert all(sent(actions, Query, member) for member in members)
    assert primary.state is State.PROTECTED and primary.idle
    return primary


def protected(*members: str, timing: Timing = TIMING) -> Primary:
    """Its guest has started, with secondaries (`b` if none are named) that have no entry yet."""
    members = members or ("b",)
    primary = unanswered(*members, timing=timing)
    for member in members:
        actions = primary.received(START, member, Answer(START, 1, 0, 0))
    assert Start({}) in actions
    return primary


def alone() -> Primary:
    return went_live(2, next=5)


def went_live(
    generation: int,
    *others: str,
    next: int,
    stable: int | None = None,
    journal: Journal | None = None,
    ended: int | None = None,
) -> Primary:
    """`a`, that was a secondary until entry `next`; the others have the entries before `stable`."""
    if journal is None:
        journal = Journal()
        journal.mark(0, generation - 1)
    return Primary.live(
        "a",
        TIMING,
        generation,
        "image",
        {},
        START,
        guest="",
        endpoint="",
        members=dict.fromkeys(others, THERE),
        former=("b", "x"),
        next=next,
        stable=next if stable is None else stable,
        journal=journal,
        outputs=(),
        ended=ended,
    )


def append(primary: Primary, now: int, *entries: Entry) -> list[Action]:
    """The guest makes them."""
    parts = codec.batches(primary.next, entries)
    return primary.append(
        now, list(entries), [Kept(first, end, primary.generation, c) for first, end, c in parts]
    )


def answer(
    primary: Primary, now: int, member: str, received: int, executed: int = 0, lease: int = LEASE
) -> list[Action]:
    """`member` answers at `now` what it was sent at the start."""
    return primary.received(now, member, Answer(START, lease, received, executed))


# A secondary


def joining(me: str = "b", timing: Timing = TIMING) -> Secondary:
    return Secondary(me, timing, "image", START, endpoint=THERE)


def ready(me: str = "b", timing: Timing = TIMING) -> Secondary:
    secondary = joining(me, timing)
    secondary.received(START, "a", Welcome(0, 0, {}))
    assert secondary.state is State.READY
    return secondary


def following(me: str = "b", *others: str, timing: Timing = TIMING) -> Secondary:
    """It follows `a`, with no entry yet."""
    secondary = ready(me, timing)
    secondary.received(START, "a", ruling(1, "a", me, *others))
    secondary.received(START, "a", query())
    assert secondary.state is State.FOLLOWING
    return secondary
