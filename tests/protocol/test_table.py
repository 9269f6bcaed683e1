"""The table of states, and roles that hear whatever may come: they keep to it, and to the rules."""

from __future__ import annotations

from collections import defaultdict
from contextlib import suppress

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from protocol.roles import (
    CLOCK,
    END,
    LEASE,
    LINE,
    START,
    append,
    following,
    joining,
    protected,
    waiting,
)

from vlockstep.arbiter.rule import Record
from vlockstep.machine.position import Position
from vlockstep.protocol import messages
from vlockstep.protocol.actions import (
    Action,
    Claim,
    Deliver,
    Done,
    Follow,
    Hold,
    KeepDisk,
    Release,
    Resume,
    Send,
    Start,
    Stop,
)
from vlockstep.protocol.messages import Answer, Goodbye, Handover, Hello, Message, Ruling
from vlockstep.protocol.primary import Primary
from vlockstep.protocol.secondary import Secondary
from vlockstep.protocol.states import TABLE, Event, State
from vlockstep.protocol.timing import MILLISECOND as MS
from vlockstep.replay import codec
from vlockstep.replay.entry import Entry
from vlockstep.wire.codec import MessageError

BEGINNINGS = {
    "primary": {State.WAITING, State.PROTECTED, State.ALONE},
    "secondary": {State.JOINING, State.PARTED},
}
OVER = {State.SWAPPED, State.FINISHED, State.STOPPED}


@pytest.mark.parametrize("role", TABLE)
def test_every_state_can_be_reached_and_is_in_the_table(role: str) -> None:
    reached, todo = set[State](), list(BEGINNINGS[role])
    while todo:
        state = todo.pop()
        if state not in reached:
            reached.add(state)
            todo += [after for to in TABLE[role][state].values() for after in to]
    assert reached == set(TABLE[role])


@pytest.mark.parametrize("role", TABLE)
def test_nothing_happens_to_who_is_over(role: str) -> None:
    for state, row in TABLE[role].items():
        assert bool(row) is (state not in OVER)


@pytest.mark.parametrize("role", TABLE)
def test_whatever_people_and_time_do_has_a_place_everywhere(role: str) -> None:
    always = {Event.CONNECTED, Event.LOST, Event.TICK, Event.SWITCHOVER, Event.LEAVE, Event.END}
    for state, row in TABLE[role].items():
        assert state in OVER or always <= set(row), state


def test_a_step_outside_the_table_is_a_bug() -> None:
    primary = protected()
    primary.tick(START)
    with pytest.raises(AssertionError):
        primary._to(State.WAITING)


def test_so_is_an_event_that_cannot_be() -> None:
    with pytest.raises(AssertionError):
        append(waiting(), START, CLOCK)


replicas = st.sampled_from("abcd")
generations = st.integers(0, 5)
numbers = st.integers(0, 12)
times = st.sampled_from([0, 1, 5, 20, 60, 300, 2500]).map(lambda ms: ms * MS)
rulings = st.builds(
    lambda generation, owner, members: Ruling(
        generation, owner, dict.fromkeys(sorted({owner, *members}), "")
    ),
    generations,
    replicas,
    st.sets(replicas),
)
words: st.SearchStrategy[Message] = st.one_of(
    st.builds(messages.Welcome, generations, numbers, st.just({})),
    st.builds(messages.Refuse, st.just("why")),
    rulings,
    st.builds(messages.Have, generations, numbers, st.booleans(), st.booleans()),
    st.builds(Handover, numbers, numbers, numbers),
    st.builds(messages.Finished, numbers),
    st.builds(messages.Ended, numbers, st.just("why")),
    st.builds(Goodbye, st.just("why")),
    st.builds(messages.EndGuest, st.just("why")),
    st.builds(
        messages.MoveDisk,
        numbers,
        st.just("disk"),
        st.sampled_from(["", "x", "y"]),
        numbers,
        st.just({}),
    ),
)


class AnyRole(RuleBasedStateMachine):
    """Time, connections, people and the arbiter, for either role. The arbiter's records are right:
    a claim of a member's wins, or somebody else's has."""

    me: str
    role: Primary | Secondary

    over: bool

    @initialize(met=st.booleans(), secondaries=st.sampled_from(["b", "bc"]))
    def first(self, met: bool, secondaries: str) -> None:
        self.begin(met, secondaries)

    @precondition(lambda self: self.over)
    @rule(met=st.booleans(), secondaries=st.sampled_from(["b", "bc"]))
    def another(self, met: bool, secondaries: str) -> None:
        self.begin(met, secondaries)

    def begin(self, met: bool, secondaries: str) -> None:
        """Before the guest runs, or with members that have met."""
        self.now = START
        self.claims: list[Claim] = []
        """Those that have no answer yet."""
        self.records = {1: Record(1, "a", ("a", *secondaries))} if met else {}
        self.over = False

    def heed(self, actions: list[Action]) -> None:
        for action in actions:
            match action:
                case Claim():
                    self.claims.append(action)
                case Stop() | Done() | Follow():
                    self.over = True
                case _:
                    self.see(action)

    def see(self, action: Action) -> None:
        raise NotImplementedError

    @precondition(lambda self: not self.over)
    @rule(passed=times)
    def time_passes(self, passed: int) -> None:
        self.now += passed
        self.heed(self.role.tick(self.now))
        assert self.over or self.role.deadline() >= 0

    @precondition(lambda self: not self.over)
    @rule()
    def its_timer_goes_off(self) -> None:
        due = self.role.deadline()
        if due < 1 << 62:
            self.now = max(self.now, due)
            self.heed(self.role.tick(self.now))

    @precondition(lambda self: not self.over)
    @rule(sender=replicas, stands=st.booleans())
    def a_connection_comes_or_goes(self, sender: str, stands: bool) -> None:
        event = self.role.connected if stands else self.role.disconnected
        self.heed(event(self.now, sender))

    @precondition(lambda self: not self.over)
    @rule(sender=replicas, message=words)
    def something_is_said(self, sender: str, message: Message) -> None:
        self.hear(sender, message)

    def hear(self, sender: str, message: Message) -> None:
        self.heed(self.role.received(self.now, sender, message))

    @precondition(lambda self: not self.over)
    @rule(wish=st.sampled_from(["swap", "swap", "swap", "leave", "end"]))
    def somebody_wishes(self, wish: str) -> None:
        match wish:
            case "swap":
                self.heed(self.role.switchover(self.now))
            case "leave":
                self.heed(self.role.leave(self.now, "why"))
            case "end":
                self.heed(self.role.end(self.now, "why"))

    @precondition(lambda self: not self.over and bool(self.claims))
    @rule(winner=st.sampled_from(["me", "me", "me", "b", "c", "d", ""]), kept=st.booleans())
    def the_arbiter_answers(self, winner: str, kept: bool) -> None:
        """`winner` claims first, or nobody hears the answer; whether it keeps this replica."""
        claim = self.claims.pop(0)
        generation = claim.expected + 1
        before = self.records.get(claim.expected)
        members = {self.me} if before is None else {*before.members}
        if generation not in self.records and winner:
            if winner in ("me", self.me) and self.me in members:
                owner, members = self.me, members - claim.leave_out | claim.take_in.keys()
            else:
                owner = "c" if winner == "me" else winner
                members -= set() if kept else {self.me}
            disks = {} if before is None else {**before.disks}
            disks |= claim.moved if owner == self.me else {}
            names = (*sorted({owner, *members}),)
            self.records[generation] = Record(generation, owner, names, disks=disks)
        newest = self.records[max(self.records)] if winner else None
        self.heed(self.role.arbiter_answered(self.now, newest))


class AnyPrimary(AnyRole):
    """Its guest makes entries while it is not held, and its outputs are made once released."""

    role: Primary

    me = "a"

    def begin(self, met: bool, secondaries: str) -> None:
        super().begin(met, secondaries)
        self.role = protected(*secondaries) if met else waiting(len(secondaries))
        self.running, self.holding, self.held, self.ended = met, False, False, False
        self.released = 0
        self.has: dict[str, int] = defaultdict(int)
        """What each has said that it has received."""
        self.lease: dict[str, int] = defaultdict(int)
        """Until when it has promised to keep still."""
        self.lease |= dict.fromkeys(secondaries if met else "", START + 1)
        self.opened: set[str] = set()
        """Who has the file to which a disk is to move."""

    def heed(self, actions: list[Action]) -> None:
        for action in actions:
            if isinstance(action, Claim) and action.moved:
                others = {*self.records[action.expected].members} - {"a"}
                assert others <= self.opened
                assert not any(isinstance(a, KeepDisk) for a in actions)
        super().heed(actions)

    def see(self, action: Action) -> None:
        match action:
            case Start():
                self.running = True
            case Hold():
                self.holding = True
            case Resume():
                self.holding = self.held = False
            case Release(end, until):
                others = {*self.records[self.role.generation].members} - {"a"}
                assert self.now < until
                for member in others:
                    assert end <= self.has[member] and until <= self.lease[member]
                self.released = max(self.released, min(end, self.role.next))

    @precondition(lambda self: not self.over)
    @rule(sender=replicas, next=numbers, origin=generations, proper=st.booleans())
    def somebody_says_hello(self, sender: str, next: int, origin: int, proper: bool) -> None:
        if proper:
            next = min(self.role.next, self.has[sender])
            origin = self.role.journal.origin(next)
        self.has[sender] = max(self.has[sender], next)
        self.heed(
            self.role.received(self.now, sender, Hello("image", next, origin, "", "tcp://there"))
        )

    @precondition(lambda self: not self.over)
    @rule(sender=replicas, ago=times, lease=times, lacks=st.integers(0, 2), behind=numbers)
    def somebody_answers(self, sender: str, ago: int, lease: int, lacks: int, behind: int) -> None:
        received = max(0, self.role.next - lacks)
        given = Answer(self.now - ago, lease, received, max(0, received - behind))
        self.has[sender] = max(self.has[sender], received)
        self.lease[sender] = max(self.lease[sender], self.now - ago + lease)
        self.heed(self.role.received(self.now, sender, given))

    @precondition(lambda self: not self.over)
    @rule(sender=replicas, received=numbers, executed=numbers)
    def somebody_answers_nonsense(self, sender: str, received: int, executed: int) -> None:
        if received > self.role.next or executed > received:
            with suppress(MessageError):
                given = Answer(0, 0, received, executed)
                assert self.role.received(self.now, sender, given) == []

    @precondition(lambda self: not self.over and self.running and not self.held and not self.ended)
    @rule(
        entries=st.lists(st.sampled_from([CLOCK, CLOCK, LINE, LINE, END]), min_size=1, max_size=3)
    )
    def the_guest_makes_entries(self, entries: list[Entry]) -> None:
        if END in entries:
            entries = [*entries[: entries.index(END)], END]
            self.ended = True
        self.heed(append(self.role, self.now, *entries))

    @precondition(lambda self: not self.over and self.holding and not self.ended)
    @rule()
    def the_guest_stands(self) -> None:
        if self.role.state is State.HOLDING:
            self.held = True
            self.heed(self.role.held(self.now, Position(self.role.next)))

    @precondition(lambda self: not self.over and self.role.moving is None)
    @rule()
    def a_disk_is_to_move(self) -> None:
        self.opened.clear()
        self.heed(self.role.move_disk(self.now, "disk", "there", 1))

    @precondition(lambda self: not self.over and self.role.moving is not None)
    @rule(what=st.sampled_from(["decide", "decide", "keep"]))
    def who_moves_it_goes_on(self, what: str) -> None:
        moving = self.role.moving
        assert moving is not None
        if self.role.disks.get("disk") == "there" and moving.claimed:
            self.role.disk_moved({})
        elif what == "keep":
            self.heed(self.role.keep_disk("why"))
        else:
            self.heed(self.role.decide_disk(self.now))

    @precondition(lambda self: not self.over and self.role.moving is not None)
    @rule(sender=replicas, problem=st.sampled_from(["", "", "", "why"]), late=st.booleans())
    def somebody_has_opened_it(self, sender: str, problem: str, late: bool) -> None:
        assert self.role.moving is not None
        sent = self.role.moving.request({}).sent
        if not problem and not late:
            self.opened.add(sender)
        answer = messages.Opened(sent - late, problem)
        self.heed(self.role.received(self.now, sender, answer))

    @precondition(lambda self: not self.over and self.released > self.role.released)
    @rule()
    def outputs_are_made(self) -> None:
        self.heed(self.role.performed(self.now, self.released))


class AnySecondary(AnyRole):
    """Its guest takes what is delivered."""

    role: Secondary
    me = "b"

    def begin(self, met: bool, secondaries: str) -> None:
        super().begin(met, secondaries)
        self.role = following(*secondaries) if met else joining()
        self.delivered = 0
        self.still_until = START + LEASE if met else 0
        """What it has promised."""
        self.freed = False
        """The primary has said that it stopped."""

    def heed(self, actions: list[Action]) -> None:
        claims = any(isinstance(action, Claim) and action.leave_out for action in actions)
        assert not claims or self.now >= self.still_until or self.freed
        super().heed(actions)

    def see(self, action: Action) -> None:
        match action:
            case Send(Answer(_, lease, received, _), _):
                assert received <= self.role.received_entries
                if lease:
                    self.freed = False
                    self.still_until = max(self.still_until, self.now + lease)
            case Deliver(first, entries, content):
                assert first == self.delivered
                assert codec.decode(content) == (first, entries)
                self.delivered += len(entries)

    def hear(self, sender: str, message: Message) -> None:
        if isinstance(message, Goodbye) and sender == self.role.owner:
            self.freed = True
        super().hear(sender, message)

    @precondition(lambda self: not self.over)
    @rule(message=words)
    def its_primary_says_something(self, message: Message) -> None:
        self.hear(self.role.owner or "a", message)

    @precondition(lambda self: not self.over)
    @rule(
        kind=st.sampled_from(["welcome", "query", "query", "handover", "have", "finished"]),
        lease=times,
        released=numbers,
    )
    def its_primary_goes_on(self, kind: str, lease: int, released: int) -> None:
        role, owner = self.role, self.role.owner or "a"
        next = role.received_entries
        match kind:
            case "welcome":
                self.hear(owner, messages.Welcome(role.generation, next, {}))
            case "query":
                self.hear(owner, messages.Query(role.generation, 1, lease, released, released))
            case "handover":
                self.hear(owner, Handover(next, next, 0))
            case "finished":
                self.hear(owner, messages.Finished(released))
            case "have":
                for other in role.others:
                    self.hear(other, messages.Have(role.generation, released, False, True))

    @precondition(lambda self: not self.over)
    @rule(
        lacks=st.sampled_from([0, 0, 0, 1, -1]),
        lease=times,
        entries=st.lists(st.sampled_from([CLOCK, CLOCK, LINE, END]), min_size=1, max_size=3),
        origin=generations,
        sender=st.sampled_from(["", "", "c"]),
    )
    def entries_come(
        self, lacks: int, lease: int, entries: list[Entry], origin: int, sender: str
    ) -> None:
        role = self.role
        content = codec.encode(max(0, role.received_entries - lacks), entries)
        word = messages.Batch(role.generation, 1, lease, 0, 0, origin, content)
        self.hear(sender or role.owner or "a", word)

    @precondition(lambda self: not self.over)
    @rule(sent=numbers, problem=st.sampled_from(["", "why"]))
    def a_file_is_open(self, sent: int, problem: str) -> None:
        self.heed(self.role.opened(sent, problem))

    @precondition(lambda self: not self.over and self.role.executed < self.role.received_entries)
    @rule()
    def the_guest_takes_entries(self) -> None:
        self.heed(self.role.progressed(self.now, self.role.received_entries))

    @precondition(lambda self: not self.over and self.role.received_entries > 0)
    @rule(really=st.sampled_from([False] * 9 + [True]))
    def the_guest_diverges(self, really: bool) -> None:
        if really:
            self.heed(self.role.diverged(self.now, "why"))


EXAMPLES = settings(max_examples=150, stateful_step_count=40)
TestAnyPrimary = AnyPrimary.TestCase
TestAnySecondary = AnySecondary.TestCase
TestAnyPrimary.settings = TestAnySecondary.settings = EXAMPLES
