"""The secondary's side of the protocol; see the package for the theory.

All that it decides stands here, event by event, beside its rows of the table.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Mapping

from vlockstep.arbiter.causes import ReignCause
from vlockstep.arbiter.rule import Record
from vlockstep.errors import LogError
from vlockstep.machine.basis import NOWHERE, Basis
from vlockstep.machine.position import BOOT, Position
from vlockstep.protocol.actions import (
    NEVER,
    Action,
    Deliver,
    Dial,
    Done,
    Forget,
    GoLive,
    Load,
    Notice,
    OpenDisk,
    Send,
    Start,
    UseDisks,
)
from vlockstep.protocol.candidacy import Candidacy
from vlockstep.protocol.hearing import Hearing
from vlockstep.protocol.journal import Batch as Kept
from vlockstep.protocol.journal import Journal
from vlockstep.protocol.messages import (
    Answer,
    Batch,
    Ended,
    EndGuest,
    Finished,
    Goodbye,
    Handover,
    Have,
    Hello,
    Invite,
    Join,
    Later,
    Message,
    MoveDisk,
    Opened,
    Query,
    Refuse,
    Ruling,
    Switchover,
    Welcome,
)
from vlockstep.protocol.role import Role, on
from vlockstep.protocol.states import Event, State
from vlockstep.protocol.timing import MILLISECOND, Timing
from vlockstep.replay import codec
from vlockstep.replay.entry import OUTPUTS, Entry, Kind, position

_PROGRESS_INTERVAL = 5 * MILLISECOND
"""How often the primary is told of execution that went on without messages."""
_LOST = "the primary was lost before this replica could take over"


class Secondary(Role):
    """Decides what is acknowledged, and when to go live.

    `endpoint` is where other members reach this one; if it `awaits` a guest, a primary invites it
    there. With `next` it continues as the replica that was primary until that entry, whose guest
    `stands` somewhere behind it, and follows `owner`; every member has the entries before `stable`,
    `journal` has the rest; `disks` are the files of those that have moved.
    """

    NAME = "secondary"

    def __init__(
        self,
        me: str,
        timing: Timing,
        image: str,
        now: int,
        *,
        guest: str = "",
        endpoint: str = "",
        awaits: bool = False,
        generation: int = 0,
        owner: str = "",
        members: Mapping[str, str] | None = None,
        next: int = 0,
        stands: Position = BOOT,
        stable: int = 0,
        journal: Journal | None = None,
        disks: Mapping[str, str] | None = None,
        basis: Basis = NOWHERE,
    ) -> None:
        super().__init__(me, timing, State.PARTED if generation else State.JOINING, generation)
        self.owner = owner
        """Who is primary, as far as is known; while it is looked for, who is greeted."""
        self.members = dict(members or {})
        """All who may claim the next generation, by where they are reached, as told last."""
        self.greetings: dict[str, Hello] = {}
        """What members have said that are to follow this replica once it is primary."""
        self.left: dict[str, str] = {}
        """Members that have said Goodbye to this one, which could not heed it, and why."""
        self.former: frozenset[str] = frozenset()
        """All other members when this replica went live, who may not know of it."""
        self.received_entries = next
        """Entries received: the sequence number of the next one."""
        self.executed = next
        """Entries that the guest has taken, and verified."""
        self.released = next
        """The primary is known to have released every output of an entry before this one."""
        self.stable = stable
        """Every member is known to have received every entry before this one."""
        self.journal = journal or Journal()
        self.outputs: deque[int] = deque()
        """Entries with outputs that the primary is not known to have released."""
        self.disks = dict(disks or {})
        """The files of disks that have moved, as its owner or the arbiter told last."""
        self._move: MoveDisk | None = None
        """What was told last to open, until it is known what became of it."""
        self._mover = ""
        """By whom."""
        self._answer: Opened | None = None
        """What was answered."""
        self.ended: int | None = None
        """The entry with which the guest ends."""
        self.asked_to_swap = False
        """An operator wants a switchover when this replica is live, or follows."""
        self.asked_to_end = ""
        """Why the guest is to end when this replica is live."""
        self._image = image
        self.basis = basis
        self._arbitrated = guest
        self._endpoint = endpoint
        self._primary = ""
        """Who is primary, as told by whom this replica greeted while it looks for one."""
        self._awaits = awaits
        self._loaded = False
        """It got the state of a guest that runs."""
        self._hearing = Hearing(now, timing.interval)
        self._asked = now
        self._told = next
        self._told_at = now
        self._still_until = now + timing.dead if generation else 0
        self.parted = False
        """The connection to the primary is lost."""
        self._suspicion = ReignCause.SILENCE
        """Why the primary may be dead."""
        self.silent_since = now
        """When the primary said something last, before this replica claimed in its place."""
        self._candidacy = Candidacy(me, timing)
        self._doubted: int | None = None
        """Since when the arbiter is asked whether this replica was taken in."""
        self._stood = (next, stands)
        """Where its guest was held when another replica took over, or its state was taken."""
        self._not_before = BOOT
        self._started = now

    @classmethod
    def resuming(
        cls,
        me: str,
        timing: Timing,
        image: str,
        now: int,
        *,
        guest: str,
        endpoint: str,
        generation: int,
        next: int,
        released: int,
        outputs: Iterable[int],
        ended: int | None,
        basis: Basis = NOWHERE,
    ) -> Secondary:
        """A takeover by who is no member: nobody emits under `generation` any more, and a log that
        its owner has kept is here, with all entries before `next`. Those before `released` have no
        output that may not have been made, the others have `outputs`; the guest has already ended
        with the entry `ended`. To `resume` is next."""
        secondary = cls(me, timing, image, now, guest=guest, endpoint=endpoint, basis=basis)
        secondary.state, secondary.generation = State.CLAIMING, generation
        secondary.received_entries = secondary.stable = next
        secondary.released, secondary.ended = released, ended
        secondary.outputs.extend(outputs)
        secondary.journal.mark(0, generation)
        return secondary

    def resume(self, now: int) -> list[Action]:
        """Once, by who is to resume the guest."""
        self._now = now
        return self._claim(ReignCause.RESUMED, take_in={self.me: self._endpoint}, afresh=True)

    @property
    def known(self) -> Collection[str]:
        """Whose words matter."""
        return {*self.members, self.owner}

    @property
    def others(self) -> frozenset[str]:
        """The members besides this replica and the primary."""
        return frozenset(self.members) - {self.me, self.owner}

    def deadline(self) -> int:
        """When to call `tick` at the latest."""
        beat = self._asked + self._interval
        look = self._hearing.next_look(self._dead)
        match self.state:
            case State.PARTED:
                due = min(beat, self._still_until + self._deference)
            case State.CANDIDATE:
                return min(beat, self._turn)
            case State.CLAIMING:
                return self._retry
            case State.JOINING if self._awaits:
                return NEVER
            case State.JOINING:
                due = min(beat, self._started + self.timing.patience)
            case State.DRAINED:
                due = beat
            case State.READY | State.LOADING:
                due = min(beat, look)
            case State.FOLLOWING | State.TAKING_OVER:
                due = min(beat, max(look, self._still_until))
            case State.LIVE:
                return self.tenure.deadline()
            case _:
                return NEVER
        if self.executed != self._told:
            due = min(due, self._told_at + _PROGRESS_INTERVAL)
        return due

    @property
    def _interval(self) -> int:
        """Between two words to the primary."""
        ready = self.state in (State.READY, State.LOADING)  # the primary may wait for others
        return self.timing.starting_interval if ready else self.timing.interval

    @property
    def _dead(self) -> int:
        """The silence after which the primary counts as dead."""
        if self.state in (State.READY, State.LOADING):
            return self.timing.starting
        return self.timing.dead + self._deference

    # Messages

    def received(self, now: int, sender: str, message: Message) -> list[Action]:
        """A message from another replica."""
        match message:
            case Ruling() if sender == self.owner or sender in self.members:
                return self._ruling(now, sender, message)
            case Have() if sender in self.members:
                return self._have(now, sender, message)
            case Hello():
                if self.state is State.LIVE:
                    self.greetings[sender] = message
                return [Send(self.ruling(), sender)] if self.members else []
            case Query() | Batch() | Handover() if self.state is State.LIVE:
                return [Send(self.ruling(), sender)]
            case Invite() | Welcome() | Join() | Later() | Refuse() if self.state is State.JOINING:
                self.owner = sender
        if isinstance(message, Goodbye) and (
            sender != self.owner or self.state in (State.CLAIMING, State.LIVE)
        ):
            if sender in self.members:
                self.left[sender] = message.reason
            return []
        if sender != self.owner:
            outdated = isinstance(message, Query | Batch) and message.generation < self.generation
            return [Send(self.ruling(), sender)] if outdated else []
        self._hearing.heard(now)
        match message:
            case Welcome():
                return self._welcome(now, message)
            case Join():
                return self._join(now, message)
            case Later():
                return self._wait(now)
            case Invite():
                return self._invited(now, message.endpoint)
            case Refuse(reason):
                return self._refused(now, reason)
            case Batch():
                return self._batch(now, message)
            case Query():
                return self._query(now, message)
            case Handover():
                return self._handover(now, message)
            case MoveDisk():
                return self._move_disk(now, message)
            case Finished(sent):
                return self._finished(now, sent)
            case Ended(sent, reason):
                return self._ended_by_request(now, sent, reason)
            case Goodbye(reason):
                return self._goodbye(now, reason)
        return []

    @on(Event.WELCOME)
    def _welcome(self, now: int, message: Welcome) -> list[Action]:
        if message.next > self.received_entries:
            return []
        self.generation = max(self.generation, message.generation)
        if self.state is State.JOINING:
            self._hearing = Hearing(now, self.timing.starting_interval)
            self._to(State.READY)
            return [Start(message.config), self._tell(now, 0, 0)]
        if self.state in (State.PARTED, State.CANDIDATE):
            self._to(State.FOLLOWING)
        self.parted = False
        asked, self.asked_to_swap = self.asked_to_swap, False
        swap: list[Action] = [Send(Switchover(), self.owner)] if asked else []
        return [self._tell(now, 0, 0), *swap]

    @on(Event.JOIN)
    def _join(self, now: int, message: Join) -> list[Action]:
        self.generation = message.generation
        self._hearing = Hearing(now, self.timing.starting_interval)
        self.disks = dict(message.disks)
        self._to(State.LOADING)
        return [Load(message.config, self.disks), self._tell(now, 0, 0)]

    @on(Event.LATER)
    def _wait(self, now: int) -> list[Action]:
        """Another one joins first."""
        self._started = now
        return []

    @on(Event.INVITE)
    def _invited(self, now: int, endpoint: str) -> list[Action]:
        """A primary wants this replica, which waited for one."""
        self._awaits, self._started = False, now
        return [Dial("", endpoint)] if endpoint else [self._hello(now)]

    @on(Event.LOADED)
    def loaded(
        self, now: int, next: int, stands: Position, origin: int, outputs: Iterable[int]
    ) -> list[Action]:
        """The guest is in the state before entry `next`, where it `stands`. That entry follows one
        made under the generation `origin`; the primary may not have released these `outputs` of
        entries before."""
        self.received_entries = self.executed = self.stable = self._told = next
        self._stood = (next, stands)
        self.outputs.extend(outputs)
        self.released = self.outputs[0] if self.outputs else next
        if next:
            self.journal.mark(next - 1, origin)
        self._loaded = True
        self._to(State.READY)
        return [self._tell(now, 0, 0)]

    @on(Event.REFUSE)
    def _refused(self, now: int, reason: str) -> list[Action]:
        return self._stop(f"the primary refuses this replica: {reason}")

    @on(Event.RULING)
    def _ruling(self, now: int, sender: str, message: Ruling) -> list[Action]:
        generation, owner, members = message.generation, message.owner, message.members
        if self.state is State.JOINING:
            return self._sent_on(now, owner, members)
        if generation < self.generation or owner == self.me:
            return []  # what this replica rules it knows, or waits for the arbiter to answer it
        if generation == self.generation or owner == self.owner:
            if owner != self.owner:
                return []
            if self.me not in members:
                return self._left_out(generation)
            if generation > self.generation and self.state in (State.CANDIDATE, State.CLAIMING):
                return self._follow(now, generation, owner, members)
            self.generation, self.members = generation, dict(members)
            if self.state is State.PARTED and sender == owner:
                self._still_until = max(self._still_until, now + self.timing.dead)
            disks = self._learn_disks(message.disks) if sender == owner else []
            return [*disks, *self._dial_others()]
        if self.state is State.LIVE or self.me not in members:
            return self._left_out(generation)
        return self._follow(now, generation, owner, members)

    def _sent_on(self, now: int, owner: str, members: Mapping[str, str]) -> list[Action]:
        """Whom this replica greeted is no primary, and says who is. If that one does not answer,
        the other will know of its heir."""
        if owner == self.owner:
            return []  # it is about to be, and has noted who greets it
        where = members.get(owner, "")
        if not where:
            return self._stop(
                "the replica there is no primary, and does not know where its primary is reached; "
                "join that one"
            )
        self._primary = owner
        return [Dial(owner, where), self._hello_to(now, owner)]

    def _left_out(self, generation: int) -> list[Action]:
        return self._stop(f"generation {generation} belongs to others")

    def _follow(
        self, now: int, generation: int, owner: str, members: Mapping[str, str]
    ) -> list[Action]:
        """Another owner rules: follow it, unless that takes too long."""
        known = {member: self.members.get(member, "") for member in members}
        self.generation, self.owner = generation, owner
        self.members = {member: where or known[member] for member, where in members.items()}
        self._hearing = Hearing(now, self.timing.interval)
        self._still_until = max(self._still_until, now + self.timing.dead)
        self.parted = False
        if self.state is not State.PARTED:
            self._to(State.PARTED)
        return [*self._dial(owner), self._hello(now)]

    @on(Event.HAVE)
    def _have(self, now: int, sender: str, message: Have) -> list[Action]:
        if message.generation != self.generation or self.state is State.LIVE:
            outdated = message.generation < self.generation
            return [Send(self.ruling(), sender)] if outdated else []
        actions: list[Action] = [Send(self._own_have(now), sender)] if message.asks else []
        if self.state is State.CANDIDATE and sender in self.others:
            self._candidacy.heard(sender, message)
            actions += self._campaign(now)
        return actions

    @on(Event.BATCH)
    def _batch(self, now: int, message: Batch) -> list[Action]:
        self._obey(now, message.generation, message.lease)
        try:
            first, entries = codec.decode(message.entries)
        except LogError as error:
            return self._diverge(str(error))
        if first > self.received_entries:
            # Something before it got lost; this answer tells.
            return [self._tell(now, message.sent, message.lease)]
        fresh = entries[self.received_entries - first :]
        if self._has_passed(fresh):
            return self._diverge("its guest has passed the place where the new primary's went on")
        content = message.entries if len(fresh) == len(entries) else b""
        deliver = self._take(fresh, message.origin, content)
        answer = self._tell(now, message.sent, message.lease)
        return [answer, *deliver, *self._learn(message.released, message.stable)]

    @on(Event.QUERY)
    def _query(self, now: int, message: Query) -> list[Action]:
        self._obey(now, message.generation, message.lease)
        learned = self._learn(message.released, message.stable)
        # Who has no guest yet echoes nothing, so that nobody takes it for one that has no entries.
        sent = 0 if self.state is State.LOADING else message.sent
        return [*learned, self._tell(now, sent, message.lease)]

    @on(Event.HANDOVER)
    def _handover(self, now: int, message: Handover) -> list[Action]:
        if self.state is not State.FOLLOWING or message.next != self.received_entries:
            return []  # something before it got lost, and will be sent again
        self._not_before = Position(message.exits, message.blocks)
        self._to(State.TAKING_OVER)
        return [*self._learn(message.next, 0), *self._take_over()]  # it has released everything

    @on(Event.MOVE_DISK)
    def _move_disk(self, now: int, message: MoveDisk) -> list[Action]:
        """A disk that all share may move soon; the arbiter's record, of which the owner's ruling
        tells, or the answer to a claim, says whether it does."""
        if message == self._move and self._mover == self.owner:
            return [Send(self._answer, self.owner)] if self._answer is not None else []
        before = self._use_disks(message.disks)
        if not message.path:
            return before
        self._move, self._mover, self._answer = message, self.owner, None
        return [*before, OpenDisk(message.sent, message.disk, message.path, message.token)]

    def opened(self, sent: int, problem: str) -> list[Action]:
        """The file of the `OpenDisk` that was `sent` then is open, or cannot be."""
        if self._move is None or self._move.sent != sent:
            return []
        self._answer = Opened(sent, problem)
        return [Send(self._answer, self._mover)]

    def _learn_disks(self, disks: Mapping[str, str]) -> list[Action]:
        """From the owner. It may still move a disk that it has told to open; nobody else's move
        will come about any more."""
        may_come = self._move is None or self._mover == self.owner
        return [] if may_come and disks == self.disks else self._use_disks(disks)

    def _use_disks(self, disks: Mapping[str, str]) -> list[Action]:
        """The move that was told last has come about, or never will."""
        if disks == self.disks and self._move is None:
            return []
        self.disks, self._move = dict(disks), None
        return [UseDisks(self.disks)]

    @on(Event.FINISHED)
    def _finished(self, now: int, sent: int) -> list[Action]:
        if self.state is State.DRAINED:
            return [self._tell(now, sent, 0)]
        if self.ended is None:
            return []
        actions = [*self._learn(self.received_entries, 0), self._tell(now, sent, 0)]
        self._to(State.DRAINED)
        return actions + self._done()

    @on(Event.ENDED)
    def _ended_by_request(self, now: int, sent: int, reason: str) -> list[Action]:
        return [self._tell(now, sent, 0), *self._stop(reason, orderly=True)]

    @on(Event.GOODBYE)
    def _goodbye(self, now: int, reason: str) -> list[Action]:
        if self.state in (State.READY, State.LOADING):
            return self._stop(f"the primary has left: {reason}")
        if self.state is State.CANDIDATE:
            return []
        return [Notice(f"the primary has left: {reason}"), *self._suspect(now, ReignCause.LEFT)]

    # Connections, the arbiter, people

    @on(Event.CONNECTED)
    def connected(self, now: int, sender: str, made: bool = True) -> list[Action]:
        """There is a connection to `sender`, the first one or a new one, `made` by this replica or
        not: who is made out for its primary before it has one is whom it connects to."""
        if self.state is State.LIVE:
            return [Send(self.ruling(), sender)]
        if self.state is State.JOINING and made and sender != self._primary:
            self.owner = sender
        if sender in (self.owner, self._primary):
            return [self._hello_to(now, sender)]
        asks = self.state is State.CANDIDATE and sender in self.others
        return [Send(self._own_have(now, asks=True), sender)] if asks else []

    @on(Event.LOST)
    def disconnected(self, now: int, sender: str) -> list[Action]:
        """The connection dropped: an early suspicion. What was promised is kept all the same."""
        if sender != self.owner:
            return []
        if self.state in (State.READY, State.LOADING):
            return self._lose(ReignCause.LOST)
        if self.state is not State.FOLLOWING:
            return []
        self._to(State.PARTED)
        self.parted = True
        self._still_until = max(self._still_until, now + self.timing.interval)
        return [Notice("the connection to the primary was lost")]

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
            if self.me not in record.members:
                if record.generation <= self.generation and not self._claimed.afresh:
                    return self._not_taken_in(now)
                return self._superseded(max(record.generation, self.generation + 1))
            if record.generation < self.generation:  # its owner has said more since
                return self._follow(now, self.generation, self.owner, self.members)
            return self._follow(now, record.generation, record.owner, self._reached(record))
        self._to(State.LIVE)
        self.former = frozenset(self.members) - {self.me}
        self._own(record)
        self.owner = self.me
        self.members = self._reached(record)
        disks = self._use_disks(record.disks)
        live = GoLive(self.generation, self.others, self._not_before, self.disks)
        rulings = (Send(self.ruling(), member) for member in sorted(self.others))
        return [*disks, *rulings, live]

    def _reached(self, record: Record) -> dict[str, str]:
        """Its members, by where they are reached: of one that was taken in just before its primary
        died the arbiter may know more than this replica was told."""
        return {m: self.members.get(m) or record.endpoints.get(m, "") for m in record.members}

    def _not_taken_in(self, now: int) -> list[Action]:
        """No generation takes this replica in yet, as far as can be seen, but one was asked for.
        What the primary asked may still have its effect, or has, and shows late."""
        first = self._doubted is None
        if self._doubted is None:
            self._doubted = now
        if now - self._doubted >= self.timing.patience:
            return self._stop("the primary was lost before it had taken this replica in")
        self._retry = now + self.timing.interval
        text = "the arbiter does not say yet whether this replica was taken in"
        return [Notice(text)] if first else []

    @on(Event.SWITCHOVER)
    def switchover(self, now: int) -> list[Action]:
        """An operator asks to swap roles: pass it on."""
        if self.state is State.LIVE:
            self.asked_to_swap = True
            return []
        if self.state is State.PARTED and not self.parted:
            self.asked_to_swap = True
            return []
        if self.state is not State.FOLLOWING:
            return self._no_switchover()
        return [Send(Switchover(), self.owner)]

    @on(Event.END)
    def end(self, now: int, reason: str) -> list[Action]:
        """The guest is to be ended, on all its replicas: the primary does that."""
        self.asked_to_end = reason
        if self.state in (State.JOINING, State.LOADING, State.READY):
            return self._stop(reason, orderly=True)
        if self.state in (State.FOLLOWING, State.PARTED):
            return [Send(EndGuest(reason), self.owner)]
        return []

    @on(Event.LEAVE)
    def leave(self, now: int, reason: str) -> list[Action]:
        """This replica is to leave. If it may be live already, or the guest ends anyway, that has
        to show first."""
        self._leaving = reason
        if self.state in (State.CLAIMING, State.LIVE, State.DRAINED):
            return []
        if self.state is State.JOINING:
            return self._stop(reason)
        lost = self.parted or self.state in (State.CANDIDATE, State.READY, State.LOADING)
        known = not lost  # the primary has the guest
        return [*self._say_goodbye(reason), *self._stop(reason, orderly=known)]

    # The guest and time

    @on(Event.PROGRESS)
    def progressed(self, now: int, executed: int) -> list[Action]:
        """The guest has taken so many entries, and they were as logged."""
        assert self.executed <= executed <= self.received_entries
        self.executed = executed
        if self.state is State.TAKING_OVER:
            return self._take_over()
        if self.state is State.DRAINED:
            return self._done()
        return []

    @on(Event.DIVERGE)
    def diverged(self, now: int, reason: str) -> list[Action]:
        """The guest is not in the state that the log says: never go live."""
        return self._diverge(reason)

    def _diverge(self, reason: str) -> list[Action]:
        return [*self._say_goodbye(reason), *self._stop(reason)]

    def _say_goodbye(self, reason: str) -> list[Action]:
        """To all who may count on this replica."""
        others = {self.owner, *self.members} - {self.me, ""}
        return [Send(Goodbye(reason), member) for member in sorted(others)]

    @on(Event.TICK)
    def tick(self, now: int) -> list[Action]:
        """Time has passed."""
        silent = self._hearing.silent(now, self._dead)
        match self.state:
            case State.JOINING if self._awaits:
                return []
            case State.JOINING:
                if now - self._started >= self.timing.patience:
                    return self._stop("no primary answered; is one listening there?")
                return self._hello_again(now)
            case State.READY | State.LOADING if silent:
                return self._lose(ReignCause.SILENCE)
            case State.FOLLOWING | State.TAKING_OVER if silent and now >= self._still_until:
                notice = Notice("the primary does not answer")
                return [notice, *self._suspect(now, ReignCause.SILENCE)]
            case State.READY | State.LOADING | State.FOLLOWING | State.TAKING_OVER | State.DRAINED:
                return self._heartbeat(now) + self._progress(now)
            case State.PARTED:
                if now >= self._still_until + self._deference:
                    return self._suspect(
                        now, ReignCause.LOST if self.parted else ReignCause.SILENCE
                    )
                return self._hello_again(now) + self._progress(now)
            case State.CANDIDATE:
                return self._campaign(now)
            case State.CLAIMING:
                return self._retry_claim(now)
            case State.LIVE:
                return self.tenure.look(now)
        return []

    # Claiming

    def _suspect(self, now: int, cause: ReignCause) -> list[Action]:
        """The primary may be dead: claim, but let who has received more claim first."""
        self._suspicion = cause
        if self.state is State.TAKING_OVER or not self.others:
            return self._claim_alone()
        self._to(State.CANDIDATE)
        self._asked = now
        self._candidacy.begin(now)
        return [*self._dial_others(), *self._ask_others(now)]

    def _claim_alone(self) -> list[Action]:
        """Without the primary, which is suspected."""
        self.silent_since = self._hearing.last
        return self._claim(self._suspicion, frozenset({self.owner}))

    def _lose(self, cause: ReignCause) -> list[Action]:
        """The primary is lost before it has asked this replica for the first time. A guest that
        runs may have been joined by then, as the arbiter knows."""
        if self.state is State.READY and self._loaded:
            self._suspicion = cause
            return [Notice("the primary was lost"), *self._claim_alone()]
        return self._stop(_LOST)

    def _campaign(self, now: int) -> list[Action]:
        if now >= self._turn:
            return self._claim_alone()
        return self._ask_others(now) if now - self._asked >= self.timing.interval else []

    @property
    def _turn(self) -> int:
        """When to claim."""
        return self._candidacy.turn(self.received_entries, self.others)

    def _ask_others(self, now: int) -> list[Action]:
        self._asked = now
        return [Send(self._own_have(now, asks=True), member) for member in sorted(self.others)]

    def _own_have(self, now: int, asks: bool = False) -> Have:
        hears = self.state in (State.FOLLOWING, State.TAKING_OVER, State.DRAINED)
        return Have(self.generation, self.received_entries, hears, asks)

    def ruling(self) -> Ruling:
        """Who rules, as far as is known."""
        return Ruling(self.generation, self.owner, self.members, self.disks)

    def _dial(self, member: str) -> list[Action]:
        where = self.members.get(member, "")
        return [Dial(member, where)] if where else []

    def _dial_others(self) -> list[Action]:
        """One of two connects to the other, if both can be reached."""
        others = [m for m in sorted(self.others) if m < self.me or not self._endpoint]
        return [dial for member in others for dial in self._dial(member)]

    # Following

    def _obey(self, now: int, generation: int, lease: int) -> None:
        """A word of the primary, as the owner of `generation`."""
        self.generation = max(self.generation, generation)
        # Without a lease it only looks who is there: it may have given this replica up.
        if self.state is State.READY and lease:
            self._hearing = Hearing(now, self.timing.interval)
            self._to(State.FOLLOWING)
        elif self.state is State.CANDIDATE:
            self.parted = False
            self._to(State.FOLLOWING)

    def _hello(self, now: int) -> Action:
        return self._hello_to(now, self.owner)

    def _hello_to(self, now: int, primary: str) -> Action:
        self._asked = now
        next, origin = self.received_entries, self.journal.origin(self.received_entries)
        hello = Hello(self._image, next, origin, self._arbitrated, self._endpoint, dict(self.basis))
        return Send(hello, primary)

    def _hello_again(self, now: int) -> list[Action]:
        due = now - self._asked >= self.timing.interval
        return [self._hello(now)] if due else []

    def _heartbeat(self, now: int) -> list[Action]:
        if now - self._asked < self._interval:
            return []
        self._asked = now
        end = [Send(EndGuest(self.asked_to_end), self.owner)] if self.asked_to_end else []
        return [Send(Query(self.generation, now, 0, 0, 0), self.owner), *end]

    def _tell(self, now: int, sent: int, lease: int) -> Action:
        """Answer, which promises not to go live for the lease."""
        if self.state in (State.FOLLOWING, State.TAKING_OVER):
            lease = min(lease, self.timing.max_lease)
            if lease:
                self._still_until = max(self._still_until, now + self.timing.promise(lease))
        else:
            lease = 0
        self._told, self._told_at = self.executed, now
        return Send(Answer(sent, lease, self.received_entries, self.executed), self.owner)

    def _progress(self, now: int) -> list[Action]:
        if self.executed == self._told or now - self._told_at < _PROGRESS_INTERVAL:
            return []
        self._told, self._told_at = self.executed, now
        return [Send(Answer(0, 0, self.received_entries, self.executed), self.owner)]

    def _has_passed(self, fresh: list[Entry]) -> bool:
        """Whether the new primary's guest was interrupted before the position where this one
        stands: it went live without having been told of that."""
        next, stands = self._stood
        if not fresh or self.received_entries != next:
            return False
        return fresh[0][0] == Kind.INTERRUPT and position(fresh[0]) < stands

    def _take(self, fresh: list[Entry], origin: int, content: bytes) -> list[Action]:
        """Entries that were not here before; `content` is how they came, if nothing else did."""
        if not fresh:
            return []
        first = self.received_entries
        content = content or codec.encode(first, fresh)
        for sequence, entry in enumerate(fresh, first):
            if entry[0] in OUTPUTS:
                self.outputs.append(sequence)
                if entry[0] == Kind.END:
                    self.ended = sequence
        self.received_entries += len(fresh)
        self.journal.add(Kept(first, self.received_entries, origin, content))
        return [Deliver(first, fresh, content)]

    def _learn(self, released: int, stable: int) -> list[Action]:
        """How far the primary has released, and what every member has."""
        self.stable = max(self.stable, min(stable, self.received_entries))
        self.journal.trim(self.stable)
        released = min(released, self.received_entries)
        if released <= self.released:
            return []
        self.released = released
        while self.outputs and self.outputs[0] < released:
            self.outputs.popleft()
        return [Forget(released)]

    def _take_over(self) -> list[Action]:
        """Claim once everything is executed; the primary has stopped and releases nothing."""
        return [] if self.executed < self.received_entries else self._claim(ReignCause.SWITCHOVER)

    def _done(self) -> list[Action]:
        if self.ended is None or self.executed <= self.ended:
            return []
        self._to(State.FINISHED)
        return [Done()]
