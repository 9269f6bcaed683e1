"""The primary's side of the protocol; see the package for the theory.

All that it decides stands here, event by event, beside its rows of the table; what it knows of its
secondaries and its outputs is in `followers` and `outputs`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from typing import Any

from vlockstep.arbiter.causes import ReignCause
from vlockstep.arbiter.rule import Record
from vlockstep.machine.basis import NOWHERE, PROCESSOR, Basis, processor_of
from vlockstep.machine.position import Position
from vlockstep.protocol.actions import (
    NEVER,
    Action,
    Agreed,
    Announce,
    Claim,
    Done,
    Follow,
    Hold,
    KeepDisk,
    Notice,
    Release,
    Reply,
    Resume,
    Send,
    Start,
    Stop,
    StopTransfer,
    Transfer,
    UseDisks,
)
from vlockstep.protocol.admission import MOST, Admission
from vlockstep.protocol.diskmove import OPEN_LIMIT, DiskMove
from vlockstep.protocol.follower import Follower
from vlockstep.protocol.followers import Followers
from vlockstep.protocol.joiner import Joiner
from vlockstep.protocol.journal import Batch, Journal
from vlockstep.protocol.messages import (
    Answer,
    Ended,
    EndGuest,
    Finished,
    Goodbye,
    Handover,
    Have,
    Hello,
    Join,
    Later,
    Message,
    Opened,
    Query,
    Refuse,
    Ruling,
    Welcome,
)
from vlockstep.protocol.messages import Batch as BatchMessage
from vlockstep.protocol.outputs import Outputs
from vlockstep.protocol.role import Role, on
from vlockstep.protocol.states import TABLE, Event, State
from vlockstep.protocol.tenure import NO_TENURE, Tenure
from vlockstep.protocol.timing import SECOND, Timing
from vlockstep.replay.entry import Entry
from vlockstep.wire.codec import MessageError

HOLD_LIMIT = 2 * SECOND
"""A guest that makes no exit for so long cannot be switched over, nor can one whose outputs take
longer."""


TAKEOVER_LIMIT = 30 * SECOND
"""A secondary that was handed the guest has so long to catch up, and the arbiter to answer it."""
_RELEASING = frozenset({State.ALONE, State.PROTECTED, State.HOLDING, State.TAKING_IN})


class Primary(Role):
    """Decides what is sent, what is released, and when to go on without somebody.

    It waits for so many `secondaries`, if any, and begins to rule after `generation`. `image` is
    the digest of the guest's, `config` the guest's configuration, for them, and `guest` the
    arbiter's name for it. If a log is kept from which the guest can be resumed, that is a member
    which cannot execute: it has the entries before `kept`.
    """

    NAME = "primary"

    def __init__(
        self,
        me: str,
        timing: Timing,
        generation: int,
        image: str,
        config: dict[str, Any],
        now: int,
        *,
        guest: str = "",
        secondaries: int = 1,
        endpoint: str = "",
        kept: int | None = None,
        basis: Basis = NOWHERE,
    ) -> None:
        super().__init__(me, timing, State.WAITING, generation)
        self.next = 0
        """Entries so far: the sequence number of the next one."""
        self._kept = kept
        """Entries before this one are in the log from which the guest can be resumed; None if there
        is no such log."""
        self.followers = Followers(timing)
        self.joiner: Joiner | None = None
        """Who joins the guest that runs; among the followers, too, once it is waited for."""
        self.moving: DiskMove | None = None
        """Of a disk that all share, until who asked for it has done it, or it is called off."""
        self.disks: dict[str, str] = {}
        """The files of disks that have moved."""
        self.crowded = False
        """The guest waits for the newcomer's disks."""
        self.hold = False
        """While there is no other member, outputs wait until there is one."""
        self._former: set[str] = set()
        """Who was a member, and may not know that it is none any more."""
        self._admission = Admission(image, guest, secondaries, basis)
        self._config = config
        self._endpoint = endpoint
        self.journal = Journal()
        """What not every member has."""
        self._outputs = Outputs(timing)
        self._permitted = 0
        """Outputs of entries before this one may have been made."""
        self.owns = False
        """It owns `generation`."""
        self._running = False
        self._announced = False
        self._held: Position | None = None
        self._target = ""
        """Who is to take over, once the guest has stopped."""
        self._wanted = ""
        """Who has to be the one, if not anybody may."""
        self._handed_over = False
        self._hold_until = NEVER
        self._stands_until = NEVER
        self._finished_at = NEVER
        self._ending = ""
        """Why the guest is to be ended, if it is."""
        self._started = now

    @classmethod
    def live(
        cls,
        me: str,
        timing: Timing,
        generation: int,
        image: str,
        config: dict[str, Any],
        now: int,
        *,
        guest: str,
        endpoint: str,
        members: Mapping[str, str],
        former: Collection[str] = (),
        left: Mapping[str, str] | None = None,
        next: int,
        stable: int,
        journal: Journal,
        outputs: Iterable[int],
        ended: int | None,
        disks: Mapping[str, str] | None = None,
        tenure: Tenure = NO_TENURE,
        kept: int | None = None,
        basis: Basis = NOWHERE,
    ) -> Primary:
        """A secondary that has gone live, from entry `next` on. The other `members`, by where they
        are reached, all have the entries before `stable`; `journal` has the rest. It has to release
        `outputs` first; the guest has already ended with the entry `ended`. `disks` are the files
        of those that have moved, `tenure` is that of its generation."""
        primary = cls(
            me, timing, generation, image, config, now, guest=guest, endpoint=endpoint, kept=kept,
            basis=basis,
        )  # fmt: skip
        primary.state = State.PROTECTED if members else State.ALONE
        primary.next = next
        primary.disks = dict(disks or {})
        primary.owns = primary._running = True
        primary.tenure = tenure
        primary._outputs.go_on(outputs, next, ended)
        primary._permitted = primary.released
        primary.journal = journal
        primary._former.update(former)
        journal.mark(next, generation)
        for member, where in members.items():
            follower = primary.followers[member] = Follower(timing, stable, now)
            follower.endpoint = where
            follower.left = (left or {}).get(member, "")
            follower.rule(now)
        return primary

    # What the runtime may look at

    @property
    def idle(self) -> bool:
        """Its guest has never run."""
        return not self._running

    @property
    def released(self) -> int:
        """Every output of an entry before this one has been released."""
        return self._outputs.released

    @property
    def waits_from(self) -> int:
        """The entry of the first output that was not released, or else the next entry."""
        return self._outputs.first(self.next)

    @property
    def known(self) -> Collection[str]:
        """Whose words matter."""
        return {*self.followers, *self._joining}

    @property
    def parted(self) -> bool:
        """The connection to a member is lost."""
        return self.followers.parted

    @property
    def stable(self) -> int:
        """Every member has the entries before this one."""
        return self.followers.received(self.next)

    @property
    def holding(self) -> bool:
        """Outputs wait for another member, but for those of a guest that has ended: nobody can join
        that any more, and it has no state that could be lost."""
        return self.hold and self._running and not self._outputs.ended and not self._others

    @property
    def _others(self) -> set[str]:
        """The other members, as far as is known."""
        return self.followers.keys() - self._joining

    @property
    def _held_by_all(self) -> int:
        """Every member, and the log if one is kept, has the entries before this one."""
        return self.stable if self._kept is None else min(self.stable, self._kept)

    @property
    def lease(self) -> int:
        """The longest that a member is asked for."""
        leases = (f.lease(self._outputs.allowance) for f in self.followers.values())
        return max(leases, default=self.timing.min_lease)

    def lag(self, now: int) -> tuple[int, int]:
        """By how many entries and nanoseconds a secondary's execution is behind, at the most."""
        return self.next - self.followers.executed(self.next), self.followers.lag(now)

    def slowed(self, now: int) -> bool:
        """Whether the guest has to wait for a secondary."""
        full = self.logs and self._full
        if self.joiner is not None:
            mine = full and self.joiner.captured
            return self.joiner.slows(now, mine) or (full and not mine) or self.followers.slow(now)
        return full or self.followers.slow(now)

    @property
    def _full(self) -> bool:
        return self.journal.bytes > self.timing.max_log

    @property
    def logs(self) -> bool:
        """Whether entries are kept for somebody."""
        return bool(self.followers) or (self.joiner is not None and self.joiner.captured)

    @property
    def stands(self) -> bool:
        """The guest stands where its state was taken, until a newcomer takes it over."""
        return self._stands_until != NEVER

    def deadline(self) -> int:
        """When to call `tick` at the latest."""
        followers = self.followers.values()
        times = [*self.followers.beats(), self._stands_until, self.tenure.deadline()]
        if self.joiner is not None and not self.joiner.asked:
            times.append(self.joiner.next_look())
        match self.state:
            case State.WAITING:
                if not self._admission.secondaries:
                    return self._started
                times = [f.hearing.next_look(self.timing.starting) for f in followers]
                times.append(self._started + self.timing.patience)
            case State.CLAIMING:
                times.append(self._retry)
            case State.PROTECTED | State.HOLDING | State.BINDING | State.TAKING_IN:
                times += [self._hold_until, self._retry, self._move_deadline]
                times += [self._look_at(follower) for follower in followers]
            case State.ALONE:
                return min([*times, self._move_deadline])
            case State.HANDED_OVER:
                times.append(self.followers[self._target].hearing.next_look(self._dead))
                times.append(self._hold_until)
            case State.FINISHING | State.ENDING:
                left = self.followers.unfinished.values()
                times += [follower.hearing.next_look(self._dead) for follower in left]
            case _:
                return NEVER
        return min(times)

    def _look_at(self, follower: Follower) -> int:
        """When to look after it, besides its heartbeats."""
        due = follower.hearing.next_look(self._dead)
        if follower.parted is not None:
            due = min(due, follower.parted + self._patience)
        if follower.following and self._outputs.wait_before(self._held_by_all) and self._releases:
            due = min(due, follower.renewal(self._outputs.allowance))
        return due

    # The guest

    def begin(self, now: int) -> list[Action]:
        """Once, by who has gone live, after all that the guest was sent has been executed."""
        more = self._release(now) if self._outputs else self.performed(now, self.next)
        return [*self._rule(), *self._announce(now), *more]

    @on(Event.APPEND)
    def append(self, now: int, entries: list[Entry], batches: list[Batch]) -> list[Action]:
        """The guest made these exits, which `batches` hold, encoded; none while there is nobody to
        send them to."""
        first, self.next = self.next, self.next + len(entries)
        self._outputs.note(first, entries)
        if not self.logs:
            return self._release(now)
        actions: list[Action] = []
        for batch in batches:
            self.journal.add(batch)
        for member, follower in self._listeners.items():
            follower.made(now, self.next)
            if follower.following:
                follower.sent(now, batches)
                actions += self._send(now, member, follower, batches)
        return [*actions, *(self._release(now) if self.state is State.ALONE else [])]

    @property
    def _listeners(self) -> Mapping[str, Follower]:
        """All who are to have the entries that the guest makes."""
        joiner = self.joiner
        if joiner is None or not joiner.captured:
            return self.followers
        return {joiner.name: joiner.follower, **self.followers}

    @on(Event.PERFORMED)
    def performed(self, now: int, end: int) -> list[Action]:
        """Every output of an entry before `end` has been made; what comes of a `Release`, later."""
        self._outputs.performed(end)
        return self._settle(now)

    @on(Event.KEPT)
    def kept(self, now: int, end: int | None) -> list[Action]:
        """The log has the entries before `end`, and will have whatever befalls this host. None: it
        has gone, for good, and nobody can resume the guest from it."""
        self._kept = end
        return self._release(now) if self._outputs.wait_before(self._held_by_all) else []

    def expired(self) -> None:
        """An output came too late for its lease: ask for longer ones, until all are made."""
        self._outputs.expired()

    @on(Event.HELD)
    def held(self, now: int, position: Position) -> list[Action]:
        """The guest is held at `position`, and all its entries were appended."""
        if self.state is not State.HOLDING:
            return []
        self._held = position
        return self._settle(now)

    # Messages

    def received(self, now: int, sender: str, message: Message) -> list[Action]:
        """A message from another replica. Raises `MessageError` if it cannot be one."""
        follower = self.followers.get(sender)
        if follower is not None:
            follower.hearing.heard(now)
        elif (joiner := self._joins(sender)) is not None:
            joiner.follower.hearing.heard(now)
        match message:
            case Hello():
                return self._hello(now, sender, message)
            case Answer():
                return self._answer(now, sender, message)
            case Ruling() if follower is not None:
                return self._ruling(now, message)
            case Goodbye(reason):
                return self._goodbye(now, sender, reason)
            case Query(generation, sent):
                return self._query_answered(now, sender, generation, sent)
            case Have() if follower is not None:
                return self._asked(now, sender)
            case BatchMessage(generation):
                return self._outdated(now, sender, generation)
            case Handover():
                return self._handed(now, sender)
            case Opened() if follower is not None:
                return self._opened(now, sender, message)
            case EndGuest(reason) if follower is not None:
                return self.end(now, reason)
        return []

    @on(Event.HELLO)
    def _hello(self, now: int, sender: str, message: Hello) -> list[Action]:
        known = sender in self.followers or self._joins(sender) is not None
        room = len(self.followers) < MOST
        others = [f.basis for name, f in self.followers.items() if name != sender]
        refusal = self._admission.objection(
            message,
            others,
            known=known,
            room=room,
            many=len(self.followers) + (not known) > 1,
        )
        if refusal:
            return [*self._tell_who_rules(sender, 0), Send(Refuse(refusal), sender)]
        processor = processor_of(self._admission.basis, *others)
        offer = self._config | ({PROCESSOR: processor} if processor else {})
        enough = len(self.followers) >= self._admission.secondaries
        if sender not in self.followers and (enough or self.state is not State.WAITING):
            return self._asks_to_join(now, sender, message, offer)
        if self.state is State.WAITING and sender not in self.followers:
            self.followers[sender] = Follower(self.timing, 0, now)
        if sender not in self.followers or sender in self._claimed.leave_out:
            return []  # if this replica dies before it owns the generation, that one may
        follower = self.followers[sender]
        if message.next < follower.received:
            # It was said before what has come since.
            return [Send(Welcome(self.generation, message.next, offer), sender)]
        same = self.journal.origin(message.next) == message.origin
        kept = self.journal.reaches_back_to(message.next) and message.next <= self.next
        if not (same and kept):
            return self._cannot_follow(now, sender)
        follower.following, follower.parted = True, None
        follower.endpoint, follower.basis = message.endpoint, message.basis
        follower.received = max(follower.received, message.next)
        generation = self.generation if self.owns else 0
        actions: list[Action] = [Send(Welcome(generation, message.next, offer), sender)]
        if self.owns:
            actions += self._rule()
            actions += self._send_again(now, sender, message.next)
        if self.state in (State.FINISHING, State.ENDING):
            actions.append(Send(self._last_word(now), sender))
        return actions

    def _asks_to_join(
        self, now: int, sender: str, hello: Hello, offer: dict[str, Any]
    ) -> list[Action]:
        """Somebody who is not needed. Who has entries already must not be fed other ones."""
        if sender in self._former or hello.next:
            reason = "it was left out; start it anew"
            return [*self._tell_who_rules(sender, 0), Send(Refuse(reason), sender)]
        join = Send(Join(self.generation, offer, self.disks), sender)
        if self._joins(sender):
            return [join]  # if it gets that twice, it heeds the first
        able = self._running and self.state in (State.ALONE, State.PROTECTED)
        if not able or self.joiner is not None or self.moving is not None or self._leaving:
            return [Send(Later(), sender)]
        self.joiner = Joiner(sender, hello.endpoint, self.timing, now)
        self.joiner.follower.basis = hello.basis
        return [join]

    def _cannot_follow(self, now: int, sender: str) -> list[Action]:
        """A member has received what this replica has not, or lacks what is not kept. It may claim
        as long as it is one, so that is told only by the next generation."""
        if self.state is State.ENDING:
            return [Send(self._last_word(now), sender)]
        if self.state not in (State.PROTECTED, State.HOLDING):
            return []
        return self._leave_out(now, {sender}, "a secondary has other entries, and cannot follow")

    @on(Event.ANSWER)
    def _answer(self, now: int, sender: str, answer: Answer) -> list[Action]:
        if not answer.executed <= answer.received <= self.next or answer.echo > now:
            raise MessageError("an answer to what was never asked")
        joiner = self._joins(sender)
        if joiner is not None and self.state in (State.ALONE, State.PROTECTED, State.BINDING):
            return self._newcomer_answered(now, joiner, answer)
        follower = self.followers.get(sender)
        if follower is not None and self.state is State.ENDING:
            follower.finished = follower.finished or answer.echo >= self._finished_at
            return self._last_words(now)
        if follower is None or not follower.following:
            return []
        follower.ready = True
        if self.state is State.WAITING:
            return self._begin_to_rule()
        lost = follower.answered(now, answer)
        self._trim()
        if self.state is State.FINISHING:
            follower.finished = follower.finished or answer.echo >= self._finished_at
            return self._last_words(now)
        start = self._start_protected(now)
        again = self._send_again(now, sender, answer.received) if lost else []
        return [*start, *again, *self._release(now)]

    @on(Event.RULING)
    def _ruling(self, now: int, message: Ruling) -> list[Action]:
        generation, owner, members = message.generation, message.owner, message.members
        if generation <= self.generation or owner == self.me:
            return []  # what this replica rules it knows, or waits for the arbiter to answer it
        if self.state is State.FINISHING:
            self._to(State.FINISHED)  # it did not know that nothing was left to do
            return [Done()]
        if self.me in members and (self.state is State.HANDED_OVER or self._handed_over):
            return self._swapped(generation, owner)
        return self._stop(f"another replica is live as generation {generation}")

    @on(Event.GOODBYE)
    def _goodbye(self, now: int, sender: str, reason: str) -> list[Action]:
        joiner = self._joins(sender)
        if joiner is not None and not joiner.asked:
            return self._give_up(now, reason)
        follower = self.followers.get(sender)
        if follower is None:
            return []
        if self.state is State.WAITING:
            return self._without(sender, f"the secondary cannot follow: {reason}")
        follower.following, follower.parted, follower.left = False, now, reason or "for good"
        if self.state in (State.FINISHING, State.ENDING):
            follower.finished = True
            return self._last_words(now)
        if self.state is State.CLAIMING:
            return []
        return self._leave_out(now, {sender}, f"the secondary has left: {reason}")

    @on(Event.QUERY)
    def _query_answered(self, now: int, sender: str, generation: int, sent: int) -> list[Action]:
        follower = self.followers.get(sender)
        if follower is not None and follower.following:
            return [Send(Answer(sent, 0, 0, 0), sender)]
        return self._tell_who_rules(sender, generation)

    @on(Event.BATCH)
    def _outdated(self, now: int, sender: str, generation: int) -> list[Action]:
        return self._tell_who_rules(sender, generation)

    @on(Event.HAVE)
    def _asked(self, now: int, sender: str) -> list[Action]:
        return self._tell_who_rules(sender, 0)

    @on(Event.HANDOVER)
    def _handed(self, now: int, sender: str) -> list[Action]:
        return self._tell_who_rules(sender, 0)

    def _tell_who_rules(self, sender: str, generation: int) -> list[Action]:
        outdated = self.owns and generation < self.generation
        known = sender in self.followers or sender in self._former
        return [Send(self.ruling(), sender)] if outdated and known else []

    # Connections, the arbiter, people

    @on(Event.CONNECTED)
    def connected(self, now: int, sender: str, made: bool = True) -> list[Action]:
        """There is a connection to `sender`, the first one or a new one."""
        if self.state is State.HANDED_OVER and sender == self._target:
            return [*self._hand_over()]
        told = self.owns and sender in self.followers and sender not in self._joining
        return [Send(self.ruling(), sender)] if told else []

    @on(Event.LOST)
    def disconnected(self, now: int, sender: str) -> list[Action]:
        """The connection dropped: an early suspicion."""
        joiner = self._joins(sender)
        if joiner is not None and not joiner.asked:
            return self._give_up(now, "the connection was lost")
        follower = self.followers.get(sender)
        if follower is None or follower.parted is not None:
            return []
        if self.state is State.WAITING:
            return self._without(sender, "the connection to the secondary was lost")
        follower.following, follower.parted = False, now
        bound = self.state is State.BINDING
        self._unbind()
        actions = self._release(now) if bound else []
        if self.state not in (State.PROTECTED, State.HOLDING):
            return actions
        if self.state is State.HOLDING:
            actions += self._call_off("the connection was lost")
            self._to(State.PROTECTED)
        if self._leaving:
            return [*actions, *self._stop(self._leaving)]
        return [*actions, Notice("the connection to the secondary was lost")]

    @on(Event.VERDICT)
    def arbiter_answered(self, now: int, record: Record | None) -> list[Action]:
        """The record that is the newest, if the arbiter answered a `Claim`."""
        if record is None:
            return self._unreachable(now)
        if record.ended:
            return self._stop("the guest has ended", orderly=True)
        if self._answers_earlier(record):
            return []
        if not self._won(record):
            if self._handed_over and self.me in record.members:
                return self._swapped(record.generation, record.owner)
            return self._superseded(max(record.generation, self.generation + 1))
        self._own(record)
        self.owns = True
        self._handed_over, self._held = False, None
        settled = self._settle_move(record)
        self.journal.mark(self.next, self.generation)
        self._former |= self.followers.keys() - self._unasked
        self.followers.rule(now, record.members)
        gone = []
        if self.joiner is not None and self.joiner.name in record.members:
            self.joiner = None
        elif self.joiner is not None and self.joiner.asked:
            gone = self._give_up(now, "it was lost")
        if left := self.followers.left:  # while this replica waited for the arbiter
            notices = [Notice(f"the secondary has left: {reason}") for reason in left.values()]
            on = self._go_on(now, "another replica was lost")
            return [*settled, *gone, *notices, *on, *self._claim_without(now, left)]
        if self.followers:
            return [*settled, *gone, *self._go_on_protected(now)]
        self._to(State.ALONE)
        self._trim()
        if self._leaving or self._ending:
            return [*settled, *gone, *self._end_guest(now, self._ending or self._leaving)]
        started = [*self._start(), *self._announce(now)]
        return [*settled, *gone, *started, *self._resume(), *self._release(now)]

    def _swapped(self, generation: int, owner: str) -> list[Action]:
        """Whoever has taken over counts on this one; its guest stands still where it was handed
        over."""
        assert self._held is not None
        self._to(State.SWAPPED)
        return [Follow(generation, owner, self.next, self._held), Reply(generation, "")]

    def _go_on_protected(self, now: int) -> list[Action]:
        self._to(State.PROTECTED)
        actions: list[Action] = [*self._rule()]
        for member, follower in self.followers.items():
            actions += [Send(self._query(now, follower), member)] if follower.following else []
        if self._running:
            actions += self._resume()
        if self._ending:
            return [*actions, *self._end(now)]
        if self._leaving:
            return [*actions, *self._leave(now)]
        return [*actions, *self._release(now)]

    @on(Event.SWITCHOVER)
    def switchover(self, now: int, wanted: str = "") -> list[Action]:
        """An operator asks to swap roles, with whoever can, or is `wanted`. Who asks while they are
        swapped joins who did before."""
        if self.state in (State.HOLDING, State.HANDED_OVER) and not wanted:
            return []
        if self.state is not State.PROTECTED or not self._running:
            return self._no_switchover()
        reason = "no switchover while the connection to the secondary is lost"
        return self._swap(now, wanted) or [Reply(0, reason)]

    def drop(self, now: int, member: str, reason: str) -> list[Action]:
        """Go on without this one, who may be well; once the arbiter has answered, if it was asked
        for something else."""
        if self.state in (State.PROTECTED, State.ALONE, State.BINDING):
            return self._drop(now, member, reason)
        if self.state in (State.TAKING_IN, State.CLAIMING) and member in self.followers:
            self.followers[member].left = reason
            return self._go_on(now, reason)
        return []

    @on(Event.DROP)
    def _drop(self, now: int, member: str, reason: str) -> list[Action]:
        if self._joins(member) is not None:
            return self._give_up(now, reason)
        return self._leave_out(now, {member}, reason) if member in self.followers else []

    @on(Event.LEAVE)
    def leave(self, now: int, reason: str) -> list[Action]:
        """This replica is to leave; called again when it has a new role."""
        self._leaving = reason
        given_up = self._give_up(now, reason) if self.state is State.BINDING else []
        return [*given_up, *self._leave(now)]

    def _leave(self, now: int) -> list[Action]:
        reason = self._leaving
        match self.state:
            case State.WAITING:
                return [*self._say_all(Goodbye(reason)), *self._stop(reason)]
            case State.PROTECTED if not self._running:
                return [*self._say_all(Goodbye(reason)), *self._stop(reason)]
            case State.PROTECTED:
                return self._swap(now) or self._stop(reason)
            case State.ALONE:
                return self._end_guest(now, reason)
        return []

    @on(Event.END)
    def end(self, now: int, reason: str) -> list[Action]:
        """The guest is to be ended, on all its replicas."""
        self._ending = self._ending or reason
        given_up = self._give_up(now, reason) if self.state is State.BINDING else []
        return [*given_up, *self._end(now)]

    def _end(self, now: int) -> list[Action]:
        reason = self._ending
        match self.state:
            case State.ALONE:
                return self._end_guest(now, reason)
            case State.WAITING:
                return [*self._say_all(Goodbye(reason)), *self._stop(reason, orderly=True)]
            case State.PROTECTED | State.HOLDING:
                actions = [
                    *self._call_off(reason), *self._give_up(now, reason), *self._keep_disk(reason)
                ]  # fmt: skip
                actions += self._go_on(now, reason)
                self._to(State.ENDING)
                self._finished_at = now
                for follower in self.followers.values():
                    follower.asked = now
                return [*actions, *self._say_all(Ended(now, reason))]
        return []

    def _end_guest(self, now: int, reason: str) -> list[Action]:
        """As asked; nobody else has it."""
        actions = [*self._give_up(now, reason), *self._keep_disk(reason)]
        self._to(State.FINISHED)
        orderly = bool(self._ending)
        return [*actions, Stop(f"{reason}; the guest ends here, no other replica has it", orderly)]

    # Time

    @on(Event.TICK)
    def tick(self, now: int) -> list[Action]:
        """Time has passed."""
        return [*self.tenure.look(now), *self._look_around(now)]

    def _look_around(self, now: int) -> list[Action]:
        if now >= self._stands_until:
            return self._go_on(now, "the guest has stood for too long")
        match self.state:
            case State.WAITING:
                return self._wait(now)
            case State.PROTECTED | State.HOLDING | State.BINDING:
                looks = [*self._look_after_newcomer(now), *self._look(now)]
                return [*looks, *self._go_on_moving(now)]
            case State.TAKING_IN:
                return [*self._look(now), *self._retry_claim(now)]
            case State.ALONE:
                return [*self._look_after_newcomer(now), *self._go_on_moving(now)]
            case State.HANDED_OVER:
                target = self.followers[self._target]
                if target.hearing.silent(now, self._dead) or now >= self._hold_until:
                    return self._lost(now, {self._target}, "the secondary did not take over")
                beats = self._heartbeats(now)
                return [*beats, *self._hand_over()] if beats else []
            case State.FINISHING | State.ENDING:
                return self._last_words(now)
            case State.CLAIMING:
                beats = [*self._look_after_newcomer(now), *self._heartbeats(now)]
                return [*beats, *self._retry_claim(now)]
        return []

    def _wait(self, now: int) -> list[Action]:
        if not self._admission.secondaries:
            return self._begin_to_rule()
        if now - self._started >= self.timing.patience:
            came, wanted = len(self.followers), self._admission.secondaries
            if wanted == 1:
                return self._stop("no secondary came; start one, or run the guest unprotected")
            return self._stop(f"only {came} of {wanted} secondaries came")
        silent = self.followers.silent(now, self.timing.starting)
        actions: list[Action] = []
        for member in sorted(silent):
            actions += self._without(member, "the secondary does not answer")
        return actions

    def _look(self, now: int) -> list[Action]:
        """After the members, and whether a switchover comes about."""
        if left := self.followers.left:
            reason = "; ".join(sorted(set(left.values())))
            return self._leave_out(now, left.keys(), f"the secondary has left: {reason}")
        silent = self.followers.silent(now, self._dead)
        lost = (silent | self.followers.gone(now, self._patience)) - self._unasked
        if self._unasked & silent:
            return self._give_up(now, "it does not answer")
        if lost:
            reason = "the secondary does not answer" if silent else "the secondary is gone"
            return self._lost(now, lost, reason)
        if now < self._hold_until:
            return self._heartbeats(now) + self._release(now)
        what = "no secondary followed" if not self._outputs else "the outputs were not released"
        if self._held is None:
            what = "the guest made no exit"
        actions = self._call_off(f"{what} within {HOLD_LIMIT // SECOND} s")
        if self._leaving:
            return [*actions, *self._stop(self._leaving)]
        self._to(State.PROTECTED)
        return actions

    def _heartbeats(self, now: int) -> list[Action]:
        """The queries that are due."""
        beats: list[Action] = []
        for member, follower in self.followers.due(now).items():
            if len(self.followers) > 1 and self.owns and member not in self._joining:
                beats.append(Send(self.ruling(), member))  # the others are to find each other
            beats.append(Send(self._query(now, follower), member))
            beats += self._request_disk([member])
        return beats

    @property
    def _dead(self) -> int:
        return self.timing.dead + self._deference

    @property
    def _patience(self) -> int:
        """Who loses its connection is left out so much later."""
        return self.timing.interval // 2 + self._deference

    # Ruling

    def ruling(self) -> Ruling:
        members = {m: f.endpoint for m, f in self.followers.items() if m not in self._joining}
        return Ruling(self.generation, self.me, {self.me: self._endpoint, **members}, self.disks)

    def _rule(self) -> list[Action]:
        return self._say_all(self.ruling())

    def _say_all(self, message: Message) -> list[Action]:
        return [Send(message, member) for member in self.followers if member not in self._joining]

    def _without(self, member: str, reason: str) -> list[Action]:
        """A secondary that came has gone before the guest began."""
        del self.followers[member]
        return [Notice(reason)]

    def _begin_to_rule(self) -> list[Action]:
        """Once all are there that it waits for."""
        if len(self.followers.able) < self._admission.secondaries:
            return []
        return self._claim(ReignCause.STARTED, take_in=self.ruling().members, afresh=True)

    def _start_protected(self, now: int) -> list[Action]:
        """Once every member would take over."""
        if self._running and self._announced:
            return []
        if self.state is not State.PROTECTED or now >= self._emits_until:
            return []
        return [*self._start(), *self._announce(now)]

    def _start(self) -> list[Action]:
        """Let the guest run, if it does not yet."""
        if self._running:
            return []
        self._running = True
        return [Start(self._config)]

    def _announce(self, now: int) -> list[Action]:
        """Once, when it is sure that no other replica is live."""
        if self._announced or now >= self._emits_until:
            return []
        self._announced = True
        return [Announce()]

    def _lost(self, now: int, members: Collection[str], reason: str) -> list[Action]:
        """They may be dead, or may not."""
        if self._leaving:
            return [*self._call_off(reason), *self._stop(self._leaving)]
        return self._leave_out(now, members, reason)

    def _leave_out(self, now: int, members: Collection[str], reason: str) -> list[Action]:
        """Go on without them, if the arbiter permits."""
        self._unbind()
        actions: list[Action] = []
        if self.state is State.HANDED_OVER and self._target not in members:
            return []
        if self.state is State.HANDED_OVER:
            self._handed_over, self._hold_until = True, NEVER
            actions.append(Reply(0, reason))
        else:
            actions += [*self._call_off(reason), *self._go_on(now, "another replica was lost")]
        return [Notice(reason), *actions, *self._claim_without(now, members)]

    def _claim_without(self, now: int, members: Collection[str]) -> list[Action]:
        """The record that leaves them out may stand before the arbiter says so."""
        halt = [self._halt(now)] if self.hold and self._others <= {*members} else []
        return [*halt, *self._claim(ReignCause.WITHOUT, frozenset(members))]

    # Sending

    def _query(self, now: int, follower: Follower) -> Query:
        follower.asked = now
        lease = self._lease(follower)
        return Query(self.generation, now, lease, self.released, self.stable)

    def _lease(self, follower: Follower) -> int:
        """Who cannot be a member yet is asked for none."""
        joiner = self.joiner
        none = joiner is not None and follower is joiner.follower and not joiner.asked
        return 0 if none or not self.owns else follower.lease(self._outputs.allowance)

    def _send(
        self, now: int, member: str, follower: Follower, batches: list[Batch]
    ) -> list[Action]:
        lease = self._lease(follower)
        head = (self.generation, now, lease, self.released, self.stable)
        return [Send(BatchMessage(*head, b.origin, b.content), member) for b in batches]

    def _send_again(self, now: int, member: str, received: int) -> list[Action]:
        """What was sent after entry `received`."""
        batches = self.journal.since(received)
        follower = self._listeners[member]
        follower.sent_again(now, batches)
        return self._send(now, member, follower, batches)

    # Releasing

    @property
    def _releases(self) -> bool:
        return self.state in _RELEASING and not self.holding

    def set_hold(self, now: int, hold: bool) -> list[Action]:
        """Change `hold`; what is permitted is permitted anew."""
        self.hold = hold
        halt = [self._halt(now)] if hold else []
        return [*halt, *(self._release(now) if self._outputs else [])]

    def _halt(self, now: int) -> Action:
        """What was permitted, and is not made, is not to be made before it is permitted again."""
        return Release(self._permitted, now)

    @property
    def _emits_until(self) -> int:
        """Until when no other replica does."""
        return min(self.followers.leased_until, self.tenure.until)

    def _prolonged(self, now: int) -> list[Action]:
        if not self._releases:
            return []
        announced = self._announce(now) if self._running else []
        waits = self._outputs.wait_before(self._held_by_all)
        return [*announced, *(self._release(now) if waits else [])]

    def _release(self, now: int) -> list[Action]:
        """Release what the output rule and the leases permit."""
        if not self._releases:
            return []
        end = self._held_by_all
        if not self._outputs.wait_before(end):
            return self._settle(now)
        renewals: list[Action] = [
            Send(self._query(now, follower), member)
            for member, follower in self.followers.items()
            if follower.following and now >= follower.renewal(self._outputs.allowance)
        ]
        until = self._emits_until
        if now >= until:
            return renewals
        self._permitted = max(self._permitted, end)
        return [*renewals, Release(end, until)]

    def _settle(self, now: int) -> list[Action]:
        """Once every output is released: end with the guest, or let the secondary take over if the
        guest is held."""
        if self._outputs:
            return []
        if not self._outputs.complete:
            able = [name for name in self.followers.able if self._wanted in ("", name)]
            if self.state is not State.HOLDING or self._held is None or not able:
                return []
            if self.moving is not None:
                return []  # it may still use the old file, and the other one does not
            self._target = able[-1]
            self._to(State.HANDED_OVER)
            self._hold_until = now + max(TAKEOVER_LIMIT, 4 * self.timing.dead)
            return [*self._hand_over()]
        reason = "the guest has ended"
        if self.state is State.ALONE:
            actions = [*self._give_up(now, reason), *self._keep_disk(reason)]
            self._to(State.FINISHED)
            return [*actions, Done()]
        if self.state not in (State.PROTECTED, State.HOLDING):
            return []
        actions = [
            *self._call_off(reason), *self._give_up(now, reason), *self._keep_disk(reason)
        ]  # fmt: skip
        self._to(State.FINISHING)
        self._finished_at = now
        for follower in self.followers.values():
            follower.asked = now
        return [*actions, *self._say_all(Finished(now))]

    def _last_word(self, now: int) -> Message:
        return Ended(now, self._ending) if self.state is State.ENDING else Finished(now)

    def _last_words(self, now: int) -> list[Action]:
        """Until every member knows that the guest has ended, or is silent."""
        self.followers.finish(now, self._dead)
        if not self.followers.unfinished:
            ended = self.state is State.ENDING
            self._to(State.FINISHED)
            return [Stop(self._ending, orderly=True) if ended else Done()]
        actions: list[Action] = []
        for member, follower in self.followers.due(now).items():
            if not follower.finished:
                follower.asked = now
                actions.append(Send(self._last_word(now), member))
        return actions

    # Joins

    def _joins(self, sender: str) -> Joiner | None:
        """The newcomer, if it is the one who says something."""
        return self.joiner if self.joiner is not None and self.joiner.name == sender else None

    @property
    def _joining(self) -> set[str]:
        """Who is no member, as far as is known."""
        return {self.joiner.name} if self.joiner is not None else set()

    @property
    def _unasked(self) -> set[str]:
        """Who can be no member."""
        return {self.joiner.name} if self.joiner is not None and not self.joiner.asked else set()

    @on(Event.CAPTURED)
    def captured(self, now: int, next: int, stands: int = 0) -> list[Action]:
        """The state of the guest before entry `next` was taken for the newcomer; all entries before
        it were appended, and none behind it. The guest `stands` there for so many nanoseconds at
        the most; it runs on if that is 0."""
        assert self.joiner is not None and next == self.next
        self.joiner.capture(now, next, stands > 0)
        self._stands_until = now + stands if stands else NEVER
        return []

    def uncaptured(self, now: int, reason: str) -> list[Action]:
        """The state of the guest cannot be taken."""
        joiner = self.joiner
        return self._give_up(now, reason) if joiner is not None and not joiner.captured else []

    def transferred(self, now: int) -> None:
        """The newcomer has taken some more of the state."""
        if self.joiner is not None:
            self.joiner.moved(now)

    def _newcomer_answered(self, now: int, joiner: Joiner, answer: Answer) -> list[Action]:
        """It can take the state; with entries, it has loaded it and replays."""
        follower = joiner.follower
        if not joiner.there:
            joiner.there = True
            joiner.moved(now)
            return [Transfer(joiner.name)]
        if not joiner.captured or answer.received < follower.received:
            return []
        if not (answer.received or answer.echo):
            return []  # it may be loading the state before the first entry
        first, follower.following, follower.ready = not follower.following, True, True
        more = answer.executed > follower.executed
        lost = follower.answered(now, answer)
        if more:
            joiner.replayed(now)
        self._trim()
        again = self._send_again(now, joiner.name, answer.received) if first or lost else []
        return [*again, *self._bind(now, joiner)]

    def _bind(self, now: int, joiner: Joiner) -> list[Action]:
        """Once its execution is close enough, outputs wait for it; once it has all that may have
        been released, the arbiter is asked to take it in. What it cannot send to other members
        they must have."""
        if self.state is not State.BINDING:
            ready = joiner.caught_up(now, self.stable)
            if not ready or self._leaving or self._ending or self._outputs.complete:
                return []
            self.followers[joiner.name] = joiner.follower
            joiner.follower.rule(now)
            joiner.bound = now
            self._to(State.BINDING)
            return [Send(self._query(now, joiner.follower), joiner.name)]
        if joiner.follower.received < self._permitted:
            return []
        self._to(State.TAKING_IN)
        joiner.asked = True
        taken_in = {joiner.name: joiner.follower.endpoint}
        claim = self._ask(Claim(self.generation, take_in=taken_in, cause=ReignCause.JOINED))
        # What may still be made was permitted without a promise of it.
        query = Send(self._query(now, joiner.follower), joiner.name)
        return [self._halt(now), query, *claim]

    def _unbind(self) -> None:
        """Nobody waits for the newcomer, which goes on catching up."""
        if self.state is State.BINDING:
            assert self.joiner is not None
            del self.followers[self.joiner.name]
            self.joiner.bound = None
            self._to(State.PROTECTED if self.followers else State.ALONE)

    def _look_after_newcomer(self, now: int) -> list[Action]:
        joiner = self.joiner
        if joiner is None or joiner.asked:
            return []
        if failure := joiner.failure(now, self._full and joiner.captured, self.crowded):
            return self._give_up(now, failure)
        follower = joiner.follower
        if now - follower.asked < self.timing.interval:
            return []
        return [Send(self._query(now, follower), joiner.name)]

    def _give_up(self, now: int, reason: str) -> list[Action]:
        """The newcomer does not become a member; the guest goes on as before."""
        joiner = self.joiner
        if joiner is None:
            return []
        bound = self.state is State.BINDING
        self._unbind()
        self.joiner = None
        self._trim()
        refusal = Send(Refuse(f"the join was given up: {reason}"), joiner.name)
        released = self._release(now) if bound else []
        return [StopTransfer(reason), refusal, *self._go_on(now, reason), *released]

    def _resume(self) -> list[Action]:
        """Let the guest go on, unless it stands for a newcomer."""
        return [] if self.stands else [Resume()]

    def _go_on(self, now: int, reason: str) -> list[Action]:
        """Let the guest go on if it stands for a newcomer, which will not take it over there. Who
        may not have all of its state yet gets no more of it: that changes now."""
        joiner, stood = self.joiner, self.stands
        if stood and joiner is not None and not joiner.asked:
            return self._give_up(now, reason)
        self._stands_until = NEVER
        return [Resume()] if stood else []

    def _trim(self) -> None:
        """Drop what nobody lacks."""
        waiting = [follower.received for follower in self._listeners.values()]
        self.journal.trim(min(waiting, default=self.next))

    # Disks that move; see `diskmove`

    def move_disk(self, now: int, disk: str, path: str, token: int) -> list[Action]:
        """Let a disk that all share, of which `path` is a copy, move there: each write is made to
        both from now on. What comes of it is `Agreed` or `KeepDisk`, at once or later; until then,
        and until `disk_moved`, nobody joins."""
        assert self.moving is None
        if not self._running:
            return [KeepDisk("the guest does not run yet")]
        if self._leaving or self._ending or not self._may_move:
            return [KeepDisk(f"the primary is: {self.state.value}")]
        return self._move_disk(now, disk, path, token)

    @property
    def _may_move(self) -> bool:
        return Event.MOVE in TABLE[self.NAME][self.state]

    @on(Event.MOVE)
    def _move_disk(self, now: int, disk: str, path: str, token: int) -> list[Action]:
        self.moving = DiskMove(disk, path, token, now)
        return self._go_on_moving(now)

    def decide_disk(self, now: int) -> list[Action]:
        """After `Agreed`: each write is made to both files, or fails."""
        return self._decide(now) if self.moving is not None and self.moving.agreed else []

    @on(Event.DECIDE)
    def _decide(self, now: int) -> list[Action]:
        assert self.moving is not None
        self.moving.wanted = True
        return self._go_on_moving(now)

    def keep_disk(self, reason: str) -> list[Action]:
        """The disk is not to move any more, unless the arbiter is asked already."""
        return self._keep_disk(reason)

    def disk_moved(self, config: dict[str, Any]) -> None:
        """The file that the arbiter's record names is the only one that is used here;
        newcomers get this configuration."""
        self.moving, self._config = None, config

    @on(Event.OPENED)
    def _opened(self, now: int, sender: str, answer: Opened) -> list[Action]:
        if self.moving is None:
            return []
        self.moving.answered(sender, answer)
        return [] if self.moving.agreed else self._go_on_moving(now)

    def _go_on_moving(self, now: int) -> list[Action]:
        """Ask the others, let it be decided, or ask the arbiter: whatever is next, unless
        something else is to come to its end first."""
        move = self.moving
        if move is None or self.joiner is not None or self.stands or move.claimed:
            return []
        if self.state not in (State.ALONE, State.PROTECTED):
            return []
        if move.refusal:
            return self._keep_disk(move.refusal)
        if move.wanted:
            move.claimed = True
            return self._claim(ReignCause.DISK_MOVED, moved={move.disk: move.path})
        if move.agreed:
            return []
        if not move.lacking(self.followers):
            move.agreed, move.until = True, NEVER
            return [Agreed()]
        if move.until == NEVER:
            move.until = now + OPEN_LIMIT
            return self._request_disk(self.followers)
        if now >= move.until:
            return self._keep_disk(f"no answer from a replica within {OPEN_LIMIT // SECOND} s")
        return []

    @property
    def _move_deadline(self) -> int:
        move = self.moving
        if move is None or move.claimed or self.joiner is not None or self.stands:
            return NEVER
        waits = move.agreed or move.lacking(self.followers)
        return 0 if move.refusal or move.wanted or not waits else move.until

    def _request_disk(self, members: Iterable[str]) -> list[Action]:
        """Those of them that have not opened it are asked to."""
        move = self.moving
        if move is None or move.until == NEVER:
            return []
        request = move.request(self.disks)
        return [Send(request, member) for member in sorted(move.lacking([*members]))]

    def _keep_disk(self, reason: str) -> list[Action]:
        move = self.moving
        if move is None or move.claimed:
            return []
        self.moving = None
        kept = replace(move.request(self.disks), path="")
        return [KeepDisk(reason), *self._say_all(kept)]

    def _settle_move(self, record: Record) -> list[Action]:
        """Where the disks are under the generation that this replica owns."""
        before, self.disks = self.disks, dict(record.disks)
        return [UseDisks(self.disks)] if self.disks != before else []

    # Switchovers

    def _swap(self, now: int, wanted: str = "") -> list[Action]:
        """Begin a switchover; nothing if the connections to all who may be the target are lost."""
        targets = [f for name, f in self.followers.items() if wanted in ("", name)]
        if all(follower.parted is not None for follower in targets):
            return []
        self._wanted = wanted
        reason = "another replica takes over"
        actions = [*self._give_up(now, reason), *self._keep_disk(reason)]
        self._to(State.HOLDING)
        self._target, self._stands_until = "", NEVER
        self._hold_until = now + HOLD_LIMIT
        return [*actions, Hold()]

    def _hand_over(self) -> list[Send]:
        """What is said when the guest is held and every output is released."""
        assert self._held is not None
        return [Send(Handover(self.next, *self._held), self._target)]

    def _call_off(self, reason: str) -> list[Action]:
        """Give up a switchover that has not been handed over."""
        if self.state is not State.HOLDING:
            return []
        self._held = None
        self._hold_until = NEVER
        return [Resume(), Reply(0, reason)]
