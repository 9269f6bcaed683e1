"""The rule of generations: who may create the next record, and what is an answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import greenlet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlockstep.arbiter.rule import ArbiterError, Record, claim


def no_failure(operation: str, generation: int) -> str:
    return ""


@dataclass
class MemoryRegister:
    """`fault` says of each operation whether it goes wrong: `before` it had an effect, `after`
    that, or is `stale`, so that what others wrote is not seen."""

    records: dict[int, Record] = field(default_factory=dict)
    marks: set[int] = field(default_factory=set)
    fault: Callable[[str, int], str] = no_failure
    seen_by: str = ""

    def read(self, generation: int) -> Record | None:
        record = self.records.get(generation)
        stale = record is not None and record.owner != self.seen_by
        return None if self._goes_wrong("read", generation) and stale else record

    def create(self, record: Record) -> bool:
        fault = self.fault("create", record.generation)
        if fault == "before":
            raise ArbiterError("before")
        created = self.records.setdefault(record.generation, record) is record
        if fault == "after":
            raise ArbiterError("after")
        return created

    def ended(self, generation: int) -> bool:
        return not self._goes_wrong("ended", generation) and generation in self.marks

    def end(self, generation: int) -> None:
        self.marks.add(generation)

    def _goes_wrong(self, operation: str, generation: int) -> bool:
        fault = self.fault(operation, generation)
        if fault in ("before", "after"):
            raise ArbiterError(fault)
        return fault == "stale"


def of(generation: int, owner: str, *others: str) -> Record:
    return Record(generation, owner, tuple(sorted((owner, *others))))


def register(*records: Record) -> MemoryRegister:
    return MemoryRegister({record.generation: record for record in records})


def ask(
    asked: MemoryRegister, owner: str, expected: int, leave_out: str = "", take_in: str = ""
) -> Record:
    claimant = Record(expected + 1, owner, (owner,), name=f"replica {owner}")
    return claim(asked, claimant, frozenset(leave_out), dict.fromkeys(take_in, ""))


def start(asked: MemoryRegister, owner: str, expected: int, take_in: str = "") -> Record:
    """As who starts the guest afresh."""
    claimant = Record(expected + 1, owner, (owner,))
    return claim(asked, claimant, take_in=dict.fromkeys(take_in, ""), afresh=True)


def names(record: Record) -> tuple[int, str, str]:
    return record.generation, record.owner, "".join(record.members)


# Who may


def test_who_starts_the_first_guest_takes_its_secondaries_in() -> None:
    asked = register()
    assert names(ask(asked, "a", 0, take_in="bc")) == (1, "a", "abc")
    assert asked.records[1].name == "replica a"


@pytest.mark.parametrize("owner", ["a", "b", "c"])
def test_any_member_may_claim_the_next_one(owner: str) -> None:
    asked = register(of(1, "a", "b", "c"))
    assert names(ask(asked, owner, 1)) == (2, owner, "abc")


def test_who_is_left_out_is_no_member_any_more() -> None:
    asked = register(of(1, "a", "b", "c"))
    assert names(ask(asked, "b", 1, leave_out="a")) == (2, "b", "bc")
    assert names(ask(asked, "b", 2, leave_out="c")) == (3, "b", "b")


def test_nobody_else_may() -> None:
    asked = register(of(1, "a", "b"))
    assert ask(asked, "c", 1) == of(1, "a", "b")
    assert ask(asked, "x", 1, leave_out="ab") == of(1, "a", "b")
    assert list(asked.records) == [1]


def test_who_was_left_out_is_told_what_rules_now() -> None:
    asked = register(of(1, "a", "b", "c"), of(2, "a", "b"), of(3, "b"))
    assert ask(asked, "c", 1) == of(3, "b")
    assert ask(asked, "c", 2) == of(3, "b")
    assert ask(asked, "a", 3) == of(3, "b")
    assert list(asked.records) == [1, 2, 3]


def test_only_the_owner_takes_somebody_in() -> None:
    asked = register(of(1, "a", "b"))
    with pytest.raises(AssertionError):
        ask(asked, "b", 1, take_in="c")
    assert names(ask(asked, "a", 1, take_in="c")) == (2, "a", "abc")


def test_where_members_are_reached_stays_known() -> None:
    asked = register()
    claim(asked, Record(1, "a", ("a",)), take_in={"a": "a's", "b": "b's", "c": ""})
    assert asked.records[1].endpoints == {"a": "a's", "b": "b's"}
    claim(asked, Record(2, "a", ("a",)), frozenset("c"), take_in={"d": "d's"})
    assert asked.records[2].endpoints == {"a": "a's", "b": "b's", "d": "d's"}
    assert ask(asked, "b", 2, leave_out="a").endpoints == {"b": "b's", "d": "d's"}
    asked.end(3)
    claim(asked, Record(4, "x", ("x",)), take_in={"y": "y's"}, afresh=True)
    assert asked.records[4].endpoints == {"y": "y's"}


def move(asked: MemoryRegister, owner: str, expected: int, path: str) -> Record:
    claimant = Record(expected + 1, owner, (owner,))
    return claim(asked, claimant, moved={"disk": path})


def test_only_the_owner_moves_a_disk_and_it_stays_there() -> None:
    asked = register(of(1, "a", "b"))
    with pytest.raises(AssertionError):
        move(asked, "b", 1, "/new")
    assert move(asked, "a", 1, "/new").disks == {"disk": "/new"}
    assert ask(asked, "b", 2, leave_out="a").disks == {"disk": "/new"}
    assert move(asked, "b", 3, "/newer").disks == {"disk": "/newer"}
    assert ask(asked, "a", 1).disks == {"disk": "/newer"}


def test_who_takes_over_first_has_the_disk_where_it_was() -> None:
    asked = register(of(1, "a", "b"))
    assert names(ask(asked, "b", 1)) == (2, "b", "ab")
    assert move(asked, "a", 1, "/new") == asked.records[2]
    assert asked.records[2].disks == {}


def test_who_starts_afresh_has_its_disks_where_it_says() -> None:
    asked = register(of(1, "a"))
    move(asked, "a", 1, "/new")
    asked.end(2)
    assert start(asked, "x", 2).disks == {}
    assert asked.records[3].moved == {"disk": "/new"}


def test_where_a_disk_has_moved_is_known_however_often_its_guest_starts() -> None:
    asked = register(of(1, "a"))
    move(asked, "a", 1, "/new")
    for generation in (2, 3, 4):
        asked.end(generation)
        record = start(asked, "xyz"[generation - 2], generation, "m")
        assert (record.moved, record.disks) == ({"disk": "/new"}, {})
    assert ask(asked, "m", 5, leave_out="z").moved == {"disk": "/new"}
    assert move(asked, "m", 6, "/newer").moved == {"disk": "/newer"}
    asked.end(7)
    assert start(asked, "u", 7).moved == {"disk": "/newer"}


def test_nobody_leaves_itself_out() -> None:
    with pytest.raises(AssertionError):
        ask(register(of(1, "a", "b")), "b", 1, leave_out="b")


def test_a_fresh_start_comes_only_after_the_end() -> None:
    asked = register(of(1, "a", "b"))
    assert start(asked, "x", 1, "y") == of(1, "a", "b")
    asked.end(1)
    assert names(start(asked, "x", 1, "y")) == (2, "x", "xy")


def test_of_two_that_start_afresh_one_does() -> None:
    asked = register(of(1, "a"))
    asked.end(1)
    started = [names(start(asked, primary, 1, "z")) for primary in "xy"]
    assert started == [(2, "x", "xz")] * 2


def test_who_starts_afresh_may_be_alone() -> None:
    asked = register(of(1, "a"))
    asked.end(1)
    assert names(start(asked, "x", 1)) == (2, "x", "x")


def test_who_goes_on_starts_nothing_afresh() -> None:
    """Such as a secondary that was left out, and does not know that the guest has ended since."""
    asked = register(of(1, "a"))
    asked.end(1)
    assert ask(asked, "b", 1) == of(1, "a")


# What is an answer


def test_of_two_members_one_wins() -> None:
    asked = register(of(1, "a", "b", "c"))
    assert names(ask(asked, "b", 1, leave_out="a")) == (2, "b", "bc")
    assert names(ask(asked, "c", 1, leave_out="a")) == (2, "b", "bc")


def fails(operation: str, generation: int, how: str) -> Callable[[str, int], str]:
    return lambda *asked: how if asked == (operation, generation) else ""


FAILURES = [
    ("read", 1, "before"),
    ("read", 1, "stale"),
    ("read", 2, "before"),
    ("create", 2, "before"),
    ("create", 2, "after"),
    ("read", 3, "before"),
]


@pytest.mark.parametrize(("operation", "generation", "how"), FAILURES)
def test_what_fails_is_no_answer_and_asked_again_it_is(
    operation: str, generation: int, how: str
) -> None:
    """A claim recognises itself."""
    asked = register(of(1, "a", "b", "c"))
    if generation == 3:
        asked.records[2] = of(2, "b", "c")
    asked.fault = fails(operation, generation, how)
    with pytest.raises(ArbiterError):
        ask(asked, "b", 1, leave_out="a")
    asked.fault = no_failure
    assert names(ask(asked, "b", 1, leave_out="a")) == (2, "b", "bc")
    assert list(asked.records) == [1, 2]


def test_a_record_that_is_not_seen_is_not_there_to_be_made_either() -> None:
    asked = register(of(1, "a", "b"), of(2, "a"))
    asked.fault = fails("read", 2, "stale")
    with pytest.raises(ArbiterError, match="cannot be seen yet"):
        ask(asked, "b", 1)


def test_an_end_that_is_not_seen_permits_nothing() -> None:
    asked = register(of(1, "a"))
    asked.end(1)
    asked.fault = fails("ended", 1, "stale")
    assert ask(asked, "x", 1) == of(1, "a")
    asked.fault = fails("ended", 1, "before")
    with pytest.raises(ArbiterError):
        ask(asked, "x", 1)


def test_a_register_that_was_emptied_answers_nothing() -> None:
    with pytest.raises(ArbiterError, match="no record of generation 4"):
        ask(register(), "a", 4)


def test_who_won_and_lost_since_is_told_the_newest() -> None:
    asked = register(of(1, "a", "b", "c"))
    asked.fault = fails("create", 2, "after")
    with pytest.raises(ArbiterError):
        ask(asked, "b", 1, leave_out="a")
    asked.fault = no_failure
    assert names(ask(asked, "c", 2, leave_out="b")) == (3, "c", "c")
    assert names(ask(asked, "b", 1, leave_out="a")) == (3, "c", "c")


def test_a_member_does_not_go_on_with_a_guest_that_has_ended() -> None:
    """Such as one that did not hear that somebody ended it; who has claimed before may have."""
    shared = register(of(1, "a", "b", "c"))
    shared.end(1)
    assert ask(shared, "b", 1, "a") == replace(of(1, "a", "b", "c"), ended=True)
    assert sorted(shared.records) == [1]
    assert start(shared, "x", 1, "y").generation == 2
    assert ask(shared, "b", 1, "a").owner == "x"


# Many at once


class Claimer:
    """Claims the generation after the newest that it knows, and the same again until there is an
    answer; one operation at a time. It may be no member."""

    def __init__(self, me: str, shared: MemoryRegister, data: st.DataObject) -> None:
        self.me = me
        self.known = 1
        self.won: list[int] = []
        self._data = data
        self._shared = MemoryRegister(shared.records, shared.marks, self._operate, me)
        self._task: greenlet.greenlet | None = None
        self._wanted: tuple[str, str] | None = None
        self._hub = greenlet.getcurrent()

    @property
    def idle(self) -> bool:
        """It waits for no answer."""
        return self._task is None and self._wanted is None

    def step(self) -> None:
        """Begin a claim, or let its next operation happen."""
        if self._task is None:
            self._task = greenlet.greenlet(self._claim, self._hub)
        self._task.switch()

    def _operate(self, operation: str, generation: int) -> str:
        self._hub.switch()
        faults = ["", "", "", "before", "after", "stale"]
        return str(self._data.draw(st.sampled_from(faults), label=f"{self.me} {operation}"))

    def _claim(self) -> None:
        known = self._shared.records[self.known]
        if self._wanted is None:
            others = sorted(set(known.members) - {self.me})
            leave_out = self._data.draw(
                st.sets(st.sampled_from(others)) if others else st.just(set())
            )
            take_in = known.owner == self.me and self._data.draw(st.booleans())
            self._wanted = "".join(leave_out), "xyz"[self.known % 3] if take_in else ""
        try:
            found = ask(self._shared, self.me, self.known, *self._wanted)
        except ArbiterError:
            self._task = None
            return
        self._task = None
        if found.owner == self.me and found.generation == self.known + 1:
            assert self._shared.records[found.generation] == found
            self.won.append(found.generation)
        else:
            assert found.generation >= self.known
            rival = self._shared.records.get(self.known + 1)
            lost = rival is not None and rival.owner != self.me
            superseded = found.generation > self.known + 1
            assert lost or superseded or self.me not in known.members
        self.known, self._wanted = found.generation, None


@given(st.data())
def test_each_generation_has_one_owner_and_comes_from_a_member(data: st.DataObject) -> None:
    first = of(1, "a", "b", "c")
    shared = register(first)
    claimers = {name: Claimer(name, shared, data) for name in "abcxyz"}
    for _ in range(data.draw(st.integers(1, 60))):
        for newcomer in (claimers[name] for name in "xyz"):  # they learn of it by following
            newest = max(
                (g for g, r in shared.records.items() if newcomer.me in r.members), default=1
            )
            if newcomer.known == 1 and newcomer.idle:
                newcomer.known = newest
        data.draw(st.sampled_from(list(claimers.values())), label="turn").step()
    records = shared.records
    assert sorted(records) == list(range(1, len(records) + 1))
    winners = [generation for claimer in claimers.values() for generation in claimer.won]
    assert len(winners) == len(set(winners))
    for generation in range(2, len(records) + 1):
        before, record = records[generation - 1], records[generation]
        assert record.owner in before.members and record.owner in record.members
        more = set(record.members) - set(before.members)
        assert not more or record.owner == before.owner
