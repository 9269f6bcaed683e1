"""The primary's side of the protocol; see the package for the theory.

All that it decides stands here, event by event, beside its rows of the table; what it knows of its
secondaries and its outputs is in `followers` and `outputs`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from vlockstep.arbiter.rule import Record
from vlockstep.machine.position import Position
from vlockstep.protocol.actions import (
    NEVER,
    Action,
    Announce,
    Done,
    Follow,
    Hold,
    Notice,
    Release,
    Reply,
    Resume,
    Send,
    Start,
    Stop,
)
from vlockstep.protocol.admission import Admission
from vlockstep.protocol.follower import Follower
from vlockstep.protocol.followers import Followers
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
    Message,
    Query,
    Refuse,
    Ruling,
    Welcome,
)
from vlockstep.protocol.messages import Batch as BatchMessage
from vlockstep.protocol.outputs import Outputs
from vlockstep.protocol.role import Role, on
from vlockstep.protocol.states import Event, State
from vlockstep.protocol.timing import SECOND, Timing
from vlockstep.replay.entry import Entry
from vlockstep.wire.codec import MessageError

HOLD_LIMIT = 2 * SECOND
"""A guest that makes no exit for so long cannot be switched over, nor can one whose outputs take
longer."""


TAKEOVER_LIMIT = 30 * SECOND
"""A secondary that was handed the guest has so long to catch up, and the arbiter to answer it."""


class Primary(Role):
    """Decides what is sent, what is released, and when to go on without somebody.

    It waits for `secondaries`, and begins to rule after `generation`. `image` is the digest of the
    guest's, `config` the guest's configuration, for them, and `guest` the arbiter's name for it.
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
    ) -> None:
        super().__init__(me, timing, State.WAITING, generation)
        self.next = 0
        """Entries so far: the sequence number of the next one."""
        self.followers = Followers(timing)
        self._former: set[str] = set()
        """Who was a member, and may not know that it is none any more."""
        self._admission = Admission(image, guest, secondaries)
        self._config = config
        self._endpoint = endpoint
        self.journal = Journal()
        """What not every member has."""
        self._outputs = Outputs(timing)
        self.owns = False
        """It owns `generation`."""
        self._running = False
        self._announced = False
        self._held: Position | None = None
        self._target = ""
        """Who is to take over, once the guest has stopped."""
        self._handed_over = False
        self._hold_until = NEVER
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
    ) -> Primary:
        """A secondary that has gone live, from entry `next` on. The other `members`, by where they
        are reached, all have the entries before `stable`; `journal` has the rest. It has to release
        `outputs` first; the guest has already ended with the entry `ended`."""
        primary = cls(me, timing, generation, image, config, now, guest=guest, endpoint=endpoint)
        primary.state = State.PROTECTED if members else State.ALONE
        primary.next = next
        primary.owns = primary._running = True
        primary._outputs.go_on(outputs, next, ended)
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
    def known(self) -> Collection[str]:
        """Whose words matter."""
        return self.followers.keys()

    @property
    def parted(self) -> bool:
        """The connection to a member is lost."""
        return self.followers.parted

    @property
    def stable(self) -> int:
        """Every member has the entries before this one."""
        return self.followers.received(self.next)

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
        full = self.journal.bytes > self.timing.max_log
        return bool(self.followers) and (full or self.followers.slow(now))

    def deadline(self) -> int:
        """When to call `tick` at the latest."""
        followers = self.followers.values()
        times = self.followers.beats()
        match self.state:
            case State.WAITING:
                times = [f.hearing.next_look(self.timing.starting) for f in followers]
                times.append(self._started + self.timing.patience)
            case State.CLAIMING:
                times.append(self._retry)
            case State.PROTECTED | State.HOLDING:
                times.append(self._hold_until)
                times += [self._look_at(follower) for follower in followers]
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
        if follower.following and self._outputs.wait_before(self.stable):
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
        if self.state is State.ALONE:
            return self._release(now)
        actions: list[Action] = []
        for batch in batches:
            self.journal.add(batch)
        for member, follower in self.followers.items():
            follower.made(now, self.next)
            if follower.following:
                follower.sent(now, batches)
                actions += self._send(now, member, batches)
        return actions

    @on(Event.PERFORMED)
    def performed(self, now: int, end: int) -> list[Action]:
        """Every output of an entry before `end` has been made; what comes of a `Release`, later."""
        self._outputs.performed(end)
        return self._settle(now)

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
            case EndGuest(reason) if follower is not None:
                return self.end(now, reason)
        return []

    @on(Event.HELLO)
    def _hello(self, now: int, sender: str, message: Hello) -> list[Action]:
        refusal = self._admission.objection(
            message,
            known=sender in self.followers,
            alone=self.state in (State.ALONE, State.FINISHED),
            room=self.state is State.WAITING and len(self.followers) < self._admission.secondaries,
        )
        if refusal:
            return [*self._tell_who_rules(sender, 0), Send(Refuse(refusal), sender)]
        if self.state is State.WAITING and sender not in self.followers:
            self.followers[sender] = Follower(self.timing, 0, now)
        if sender not in self.followers or sender in self._claimed.leave_out:
            return []  # if this replica dies before it owns the generation, that one may
        follower = self.followers[sender]
        if message.next < follower.received:
            # It was said before what has come since.
            return [Send(Welcome(self.generation, message.next, self._config), sender)]
        same = self.journal.origin(message.next) == message.origin
        kept = self.journal.reaches_back_to(message.next) and message.next <= self.next
        if not (same and kept):
            return self._cannot_follow(now, sender)
        follower.following, follower.parted = True, None
        follower.endpoint = message.endpoint
        follower.received = max(follower.received, message.next)
        generation = self.generation if self.owns else 0
        actions: list[Action] = [Send(Welcome(generation, message.next, self._config), sender)]
        if self.owns:
            actions += self._rule()
            actions += self._send_again(now, sender, message.next)
        if self.state in (State.FINISHING, State.ENDING):
            actions.append(Send(self._last_word(now), sender))
        return actions

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
        self.journal.trim(self.stable)
        if self.state is State.FINISHING:
            follower.finished = follower.finished or answer.echo >= self._finished_at
            return self._last_words(now)
        start = self._start_protected(now)
        again = self._send_again(now, sender, answer.received) if lost else []
        return [*start, *again, *self._release(now)]

    @on(Event.RULING)
    def _ruling(self, now: int, message: Ruling) -> list[Action]:
        generation, owner, members = message.generation, message.owner, message.members
        if generation <= self.generation:
            return []
        if self.state is State.FINISHING:
            self._to(State.FINISHED)  # it did not know that nothing was left to do
            return [Done()]
        if self.me in members and (self.state is State.HANDED_OVER or self._handed_over):
            return self._swapped(generation, owner)
        return self._stop(f"another replica is live as generation {generation}")

    @on(Event.GOODBYE)
    def _goodbye(self, now: int, sender: str, reason: str) -> list[Action]:
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
        follower = self.followers.get(sender)
        return [Send(self.ruling(), sender)] if follower and self.owns else []

    @on(Event.LOST)
    def disconnected(self, now: int, sender: str) -> list[Action]:
        """The connection dropped: an early suspicion."""
        follower = self.followers.get(sender)
        if follower is None or follower.parted is not None:
            return []
        if self.state is State.WAITING:
            return self._without(sender, "the connection to the secondary was lost")
        follower.following, follower.parted = False, now
        if self.state not in (State.PROTECTED, State.HOLDING):
            return []
        actions: list[Action] = []
        if self.state is State.HOLDING:
            actions = self._call_off("the connection was lost")
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
        self.generation, self.owns = record.generation, True
        self._handed_over = False
        self.journal.mark(self.next, self.generation)
        self._former |= self.followers.keys()
        self.followers.rule(now, record.members)
        if left := self.followers.left:  # while this replica waited for the arbiter
            notices = [Notice(f"the secondary has left: {reason}") for reason in left.values()]
            return [*notices, *self._claim(frozenset(left))]
        if self.followers:
            return self._go_on_protected(now)
        self._to(State.ALONE)
        self.journal.trim(self.next)
        if self._leaving or self._ending:
            return self._end_guest(self._ending or self._leaving)
        return [*self._start(), *self._announce(now), Resume(), *self._release(now)]

    def _swapped(self, generation: int, owner: str) -> list[Action]:
        """Whoever has taken over counts on this one; its guest stands still where it was handed
        over."""
        self._to(State.SWAPPED)
        return [Follow(generation, owner, self.next), Reply(generation, "")]

    def _go_on_protected(self, now: int) -> list[Action]:
        self._to(State.PROTECTED)
        actions: list[Action] = [*self._rule()]
        for member, follower in self.followers.items():
            actions += [Send(self._query(now, follower), member)] if follower.following else []
        if self._running:
            actions.append(Resume())
        if self._ending:
            return [*actions, *self._end(now)]
        if self._leaving:
            return [*actions, *self._leave(now)]
        return [*actions, *self._release(now)]

    @on(Event.SWITCHOVER)
    def switchover(self, now: int) -> list[Action]:
        """An operator asks to swap roles. Who asks while they are swapped joins who did before."""
        if self.state in (State.HOLDING, State.HANDED_OVER):
            return []
        if self.state is not State.PROTECTED or not self._running:
            return self._no_switchover()
        reason = "no switchover while the connection to the secondary is lost"
        return self._swap(now) or [Reply(0, reason)]

    @on(Event.LEAVE)
    def leave(self, now: int, reason: str) -> list[Action]:
        """This replica is to leave; called again when it has a new role."""
        self._leaving = reason
        return self._leave(now)

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
                return self._end_guest(reason)
        return []

    @on(Event.END)
    def end(self, now: int, reason: str) -> list[Action]:
        """The guest is to be ended, on all its replicas."""
        self._ending = self._ending or reason
        return self._end(now)

    def _end(self, now: int) -> list[Action]:
        reason = self._ending
        match self.state:
            case State.ALONE:
                return self._end_guest(reason)
            case State.WAITING:
                return [*self._say_all(Goodbye(reason)), *self._stop(reason, orderly=True)]
            case State.PROTECTED | State.HOLDING:
                actions = self._call_off(reason)
                self._to(State.ENDING)
                self._finished_at = now
                for follower in self.followers.values():
                    follower.asked = now
                return [*actions, *self._say_all(Ended(now, reason))]
        return []

    def _end_guest(self, reason: str) -> list[Action]:
        """As asked; nobody else has it."""
        self._to(State.FINISHED)
        orderly = bool(self._ending)
        return [Stop(f"{reason}; the guest ends here, no other replica has it", orderly)]

    # Time

    @on(Event.TICK)
    def tick(self, now: int) -> list[Action]:
        """Time has passed."""
        match self.state:
            case State.WAITING:
                return self._wait(now)
            case State.PROTECTED | State.HOLDING:
                return self._look(now)
            case State.HANDED_OVER:
                target = self.followers[self._target]
                if target.hearing.silent(now, self._dead) or now >= self._hold_until:
                    return self._lost(now, {self._target}, "the secondary did not take over")
                beats = self._heartbeats(now)
                return [*beats, *self._hand_over()] if beats else []
            case State.FINISHING | State.ENDING:
                return self._last_words(now)
            case State.CLAIMING:
                return [*self._heartbeats(now), *self._retry_claim(now)]
        return []

    def _wait(self, now: int) -> list[Action]:
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
        lost = silent | self.followers.gone(now, self._patience)
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
            if len(self.followers) > 1 and self.owns:
                beats.append(Send(self.ruling(), member))  # the others are to find each other
            beats.append(Send(self._query(now, follower), member))
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
        members = {member: follower.endpoint for member, follower in self.followers.items()}
        return Ruling(self.generation, self.me, {self.me: self._endpoint, **members})

    def _rule(self) -> list[Action]:
        return self._say_all(self.ruling())

    def _say_all(self, message: Message) -> list[Action]:
        return [Send(message, member) for member in self.followers]

    def _without(self, member: str, reason: str) -> list[Action]:
        """A secondary that came has gone before the guest began."""
        del self.followers[member]
        return [Notice(reason)]

    def _begin_to_rule(self) -> list[Action]:
        """Once all are there that it waits for."""
        if len(self.followers.able) < self._admission.secondaries:
            return []
        return self._claim(take_in=frozenset(self.followers))

    def _start_protected(self, now: int) -> list[Action]:
        """Once every member would take over."""
        if self.state is not State.PROTECTED or now >= self.followers.leased_until:
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
        if self._announced or not (self.state is State.ALONE or now < self.followers.leased_until):
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
        if self.state is State.HANDED_OVER and self._target not in members:
            return []
        if self.state is State.HANDED_OVER:
            self._held, self._handed_over, self._hold_until = None, True, NEVER
            actions: list[Action] = [Reply(0, reason)]
        else:
            actions = self._call_off(reason)
        return [Notice(reason), *actions, *self._claim(frozenset(members))]

    # Sending

    def _query(self, now: int, follower: Follower) -> Query:
        follower.asked = now
        lease = follower.lease(self._outputs.allowance) if self.owns else 0
        return Query(self.generation, now, lease, self.released, self.stable)

    def _send(self, now: int, member: str, batches: list[Batch]) -> list[Action]:
        lease = self.followers[member].lease(self._outputs.allowance)
        head = (self.generation, now, lease, self.released, self.stable)
        return [Send(BatchMessage(*head, b.origin, b.content), member) for b in batches]

    def _send_again(self, now: int, member: str, received: int) -> list[Action]:
        """What was sent after entry `received`."""
        batches = self.journal.since(received)
        self.followers[member].sent_again(now, batches)
        return self._send(now, member, batches)

    # Releasing

    def _release(self, now: int) -> list[Action]:
        """Release what the output rule and the leases permit."""
        if self.state not in (State.ALONE, State.PROTECTED, State.HOLDING):
            return []
        end = self.stable
        if not self._outputs.wait_before(end):
            return self._settle(now)
        renewals: list[Action] = [
            Send(self._query(now, follower), member)
            for member, follower in self.followers.following.items()
            if now >= follower.renewal(self._outputs.allowance)
        ]
        until = self.followers.leased_until
        return [*renewals, *([Release(end, until)] if now < until else [])]

    def _settle(self, now: int) -> list[Action]:
        """Once every output is released: end with the guest, or let the secondary take over if the
        guest is held."""
        if self._outputs:
            return []
        if not self._outputs.complete:
            able = self.followers.able
            if self.state is not State.HOLDING or self._held is None or not able:
                return []
            self._target = able[-1]
            self._to(State.HANDED_OVER)
            self._hold_until = now + max(TAKEOVER_LIMIT, 4 * self.timing.dead)
            return [*self._hand_over()]
        if self.state is State.ALONE:
            self._to(State.FINISHED)
            return [Done()]
        if self.state not in (State.PROTECTED, State.HOLDING):
            return []
        actions = self._call_off("the guest has ended")
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

    # Switchovers

    def _swap(self, now: int) -> list[Action]:
        """Begin a switchover; nothing if the connections to all are lost."""
        if all(follower.parted is not None for follower in self.followers.values()):
            return []
        self._to(State.HOLDING)
        self._target = ""
        self._hold_until = now + HOLD_LIMIT
        return [Hold()]

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
