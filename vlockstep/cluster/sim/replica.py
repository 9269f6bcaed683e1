"""A guest's replica on a simulated host, as far as the cluster's orchestration sees it.

It claims, renews and fences by the arbiter's own rule. Its guest makes outputs, which are numbers;
an owner releases one when every other member has it, within its lease and their promises. What
replicas really say to each other is another simulator's matter: here a heartbeat tells all that was
made so far.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING

from vlockstep.arbiter import ReignCause, rule
from vlockstep.arbiter.rule import ArbiterError, Record
from vlockstep.cluster.model import Role
from vlockstep.cluster.records import Begin, End, Life, Order, ReplicaReport
from vlockstep.cluster.sim import thread
from vlockstep.cluster.sim.host import Process, SimulatedHost

if TYPE_CHECKING:
    from vlockstep.cluster.sim.managed import ManagedCluster

MILLISECOND = 1_000_000
_BEATS = 20
"""Of an owner in the time of a lease. As long is the silence after which a replica counts as dead;
half as long, from when what it answers was said, a member emits nothing under a later
generation."""
_BOOT = 200 * MILLISECOND
_COPY = 500 * MILLISECOND
"""Of a guest's state."""
_PATIENCE = 5000 * MILLISECOND
"""Of one that joins, and of one that waits to end its guest in order."""
_WAITS = 60_000 * MILLISECOND
"""Of one that waits for a move."""
_LEAVES = 2000 * MILLISECOND

Moved = Callable[[str | None, str], None]
"""What came of a move if it is over, "" for a success; and how far it is."""


@dataclass(frozen=True)
class Hello:
    """Of one that joins."""

    endpoint: str


@dataclass(frozen=True)
class Come:
    """A move begins: join there."""

    owner: str


@dataclass(frozen=True)
class Beat:
    """Of an owner, with all that its guest has made."""

    record: Record
    life: int
    made: int
    released: int
    at: int
    switch: bool = False
    """Take over: the owner has stopped."""
    stays: bool = False
    """It follows then."""


@dataclass(frozen=True)
class Ack:
    endpoint: str
    made: int
    at: int


@dataclass(frozen=True)
class Over:
    """The guest has ended."""

    problem: str
    status: int
    guest_error: bool


@dataclass(frozen=True)
class Ask:
    """Of a member: end the guest, or let me leave."""

    endpoint: str
    reason: str
    leave: bool


Message = Hello | Come | Beat | Ack | Over | Ask


@dataclass
class _Peer:
    """Another member, or one that joins: `needed` if outputs wait for it."""

    heard: int
    needed: bool
    copied_at: int = 0
    made: int = -1
    promised: int = 0


class SimulatedReplica(Process):
    """Its `endpoint` is its name in the arbiter's records, too."""

    def __init__(
        self, host: SimulatedHost, world: ManagedCluster, order: Order, number: int
    ) -> None:
        super().__init__(host)
        self.guest = order.guest
        self.order = order
        self.endpoint = f"{host.name}/{number}"
        self.number = number
        self.state = ""
        self.role: Role | None = None
        self.record: Record | None = None
        self.life = 0
        """Which start of the guest it goes on with: the generation that began it."""
        self.problem = ""
        self.finished = False
        """It has ended by itself, and said why."""
        self.status = 0
        self.guest_error = False
        self.hold = order.hold
        """Its outputs wait while there is no other member."""
        self._world = world
        self._dead = world.fence
        self._beat_every = world.fence // _BEATS
        self._promise = world.fence // 2
        self._register = world.register(order, self._pause, host.name)
        self._made = 0
        self._released = 0
        self._peers: dict[str, _Peer] = {}
        self._heard = 0
        self._claiming = False
        """Then it answers nobody, since that would promise to be silent."""
        self._tokens = count(1)
        self._asked: tuple[int, int] = (0, 0)
        """The generation that was claimed last, and when it was first."""
        self._token = 0
        self._lease_until = 0
        self._due = 0
        self._join: str | None = order.join
        self._ending: str | None = None
        self._move: tuple[str, Moved] | None = None
        self._switching: int | None = None
        """Since when the guest stands still to go on elsewhere."""
        self._swaps = False
        """It follows whoever goes on with the guest, instead of leaving."""
        self._reigns = 0
        """How often it has begun to own the guest."""
        self._took_over = ""
        """Why it did last, if it was a secondary."""

    # As its host sees it

    def start(self) -> None:
        if self._life == 0:
            super().start()

    @property
    def owns(self) -> bool:
        return self.role is Role.PRIMARY

    def report(self) -> ReplicaReport:
        life = Life.RUNNING if self.state else Life.STARTING
        record = self.record
        return ReplicaReport(
            self.order.attempt,
            life if self.alive else Life.ENDED,
            pid=self.number,
            role=self.role,
            state=self.state,
            generation=record.generation if record is not None else 0,
            members=len(record.members) if record is not None else 0,
            endpoint=self.endpoint if self.state not in ("", "joining") else "",
            problem=self.problem,
            status=self.status,
            guest_error=self.guest_error,
            progress=self._made,
            traffic=self._made,
            hold=self.hold,
            holding=self.holding,
            cause=record.cause if record is not None and self.owns else "",
            took_over=self._took_over if self.owns else "",
        )

    def end(self, how: End, reason: str) -> None:
        """A signal, or a word to its control socket."""
        if how is End.KILL:
            self.problem = self.problem or "its process was ended by SIGKILL"
            self.kill()
        elif how is End.POWER_OFF:
            self.after(0, lambda: self._power_off(reason))
        else:
            self.after(0, self._leave)

    def move(self, endpoint: str, moved: Moved) -> None:
        self.after(0, lambda: self._begin_move(endpoint, moved))

    def swap(self, moved: Moved) -> None:
        """Let another member take over, and follow it."""
        self.after(0, lambda: self._begin_swap(moved))

    def call_off(self) -> None:
        self.after(0, lambda: self._end_move("the move was called off"))

    @property
    def ending(self) -> bool:
        """The guest has ended, or is to end."""
        return self._ending is not None

    @property
    def holding(self) -> bool:
        """They wait."""
        alone = self.owns and self.record is not None and len(self.record.members) == 1
        return self.hold and alone and not self.ending

    def received(self, message: Message) -> None:
        match message:
            case Hello(endpoint) if self.owns:
                self._newcomer(endpoint, _COPY)
            case Come(owner) if self.state == "waiting":
                self._join, self.state = owner, "joining"
                thread.begin(self, self._join_owner)
            case Beat():
                self._follow(message)
            case Ack(endpoint, made, at) if endpoint in self._peers:
                peer = self._peers[endpoint]
                peer.heard, peer.made = self.host.clock(), max(peer.made, made)
                peer.promised = max(peer.promised, at + self._promise)
                self._release()
            case Over(problem, status, guest_error):
                self.status, self.guest_error = status, guest_error
                self._finish(problem)
            case Ask(endpoint, reason, leave) if self.owns:
                if not leave:
                    self._power_off(reason)
                elif endpoint in self._peers:
                    self._peers[endpoint].heard = -self._dead * 2

    # Threads

    def started(self) -> None:
        self._heard = self.host.clock()
        self._begin = {
            Begin.BOOT: self._boot,
            Begin.RESUME: self._boot,
            Begin.JOIN: self._join_owner,
            Begin.RECEIVE: self._wait,
        }[self.order.begin]
        thread.begin(self, self._begin)

    def _boot(self) -> None:
        self._sleep(_BOOT)
        if problem := self._world.refused(self.guest):
            self._finish(problem)
        try:
            generation = self._claimable()
            self._claim(ReignCause.STARTED, generation, afresh=True)
        except ArbiterError as error:
            self._finish(str(error))
        if not self.owns:
            self._finish("another replica was faster")
        self._rule()

    def _claimable(self) -> int:
        """After which generation the guest may start afresh."""
        record = self._register.newest()
        if record is None or self._register.ended(record.generation):
            return record.generation if record is not None else 0
        record = rule.fence(self._register, record, self)
        if self._register.ended(record.generation) or rule.sealed(self._register, record):
            return record.generation
        self._finish(f"the guest runs already, owned by {record.owner}")
        raise AssertionError

    def now(self) -> int:
        return self.host.clock()

    def sleep(self, time: int) -> None:
        self._sleep(time)

    def _wait(self) -> None:
        self._sleep(_BOOT)
        self.state = "waiting"
        self._sleep(_WAITS)
        if self.state == "waiting":
            self._finish("nobody has moved here")

    def _join_owner(self) -> None:
        if self.order.begin is Begin.JOIN:
            self._sleep(_BOOT)
        self.state = "joining"
        began = self.host.clock()
        while self.state == "joining":
            if self.host.clock() - began > _PATIENCE:
                self._finish(f"the primary at {self._join} does not answer")
            self._send(self._join or "", Hello(self.endpoint))
            self._sleep(2 * self._beat_every)
        self._stand_by()

    def _stand_by(self) -> None:
        """As long as it follows."""
        reign = self._reigns
        while not self.owns and self._reigns == reign:
            self._look_for_owner()
            self._sleep(self._beat_every)

    def _look_for_owner(self) -> None:
        silent = self.host.clock() - self._heard
        if silent <= self._dead or self.owns:
            return
        assert self.record is not None
        if self.role is None:
            self._finish("the primary fell silent before this replica was taken in")
        owner = self.record.owner
        self._claiming = True
        try:
            self._claim(ReignCause.SILENCE, self.record.generation, leave_out=frozenset({owner}))
        except ArbiterError:
            return
        finally:
            self._claiming = False
        if self.owns:
            self._rule()

    def _rule(self) -> None:
        """As long as it owns the guest; then it follows."""
        reign = self._reigns
        thread.begin(self, lambda: self._renew(reign))
        while self.owns:
            with suppress(ArbiterError):  # the lease tells how long that may last
                self._look_after_members()
            if self.owns:
                self._make()
                self._beat()
                self._release()
            if self.owns and self._ending is not None and self._released == self._made:
                self._end_guest()
            self._sleep(self._beat_every)
        self._stand_by()

    def _renew(self, reign: int) -> None:
        while True:
            record = self.record
            assert record is not None
            self._sleep(record.lease // 4)
            if not self.owns or self._reigns != reign:
                return
            record, token, asked = self.record, next(self._tokens), self.host.clock()
            assert record is not None
            try:
                renewed = rule.renew(self._register, record, self._token, token)
            except ArbiterError:
                continue
            if record is self.record:
                if not renewed:
                    self._finish("its lease has run out, and the guest was started elsewhere")
                self._token, self._lease_until = token, asked + record.lease

    # Members

    def _look_after_members(self) -> None:
        now, record = self.host.clock(), self.record
        assert record is not None
        for endpoint, peer in list(self._peers.items()):
            if not peer.needed and now > max(peer.heard, peer.copied_at) + self._dead:
                del self._peers[endpoint]
        silent = frozenset(
            e for e, p in self._peers.items() if p.needed and now > p.heard + self._dead
        )
        target = self._move[0] if self._move is not None else None
        if silent:
            if target in silent:
                self._end_move(f"{target} does not answer")
            self._claim(ReignCause.WITHOUT, record.generation, leave_out=silent)
            return
        for endpoint, peer in list(self._peers.items()):
            if endpoint not in record.members and peer.made >= self._released:
                peer.needed = True
                self._claim(ReignCause.JOINED, record.generation, take_in={endpoint: endpoint})
                return
        if target in record.members and self.role is Role.PRIMARY and self._switching is None:
            self._switching = now

    def _claim(
        self,
        cause: ReignCause,
        generation: int,
        leave_out: frozenset[str] = frozenset(),
        take_in: dict[str, str] | None = None,
        afresh: bool = False,
    ) -> None:
        """Own the generation after this one, or follow who does; else it is over."""
        if self._asked[0] != generation + 1:
            self._asked = generation + 1, self.host.clock()
        token = f"{self.endpoint}:{next(self._tokens)}"
        claimant = Record(generation + 1, self.endpoint, (), self._world.fence, token, cause=cause)
        found = rule.claim(
            self._register, claimant, leave_out, take_in, afresh=afresh and self.record is None
        )
        if found.ended:
            self._finish("the guest has ended")
        if found.owner == self.endpoint:
            self._own(found)
        elif self._switching is not None and self._move is not None:
            self._moved_to(found)
        elif self.endpoint not in found.members or self.owns:
            self._finish(f"{found.owner} owns the guest")
        else:
            self.record, self._heard = found, self.host.clock()

    def _own(self, record: Record) -> None:
        if record is self.record:
            return
        first = not self.owns
        if first:
            self._took_over = record.cause if self.role is Role.SECONDARY else ""
        if self.record is None:
            self.life = record.generation
        self.record, self._token = record, 0
        self._lease_until = self._asked[1] + record.lease
        self.role = Role.PRIMARY
        self.state = "alone" if len(record.members) == 1 else "protected"
        now = self.host.clock()
        if first:
            self._reigns += 1
            self._peers = {}
            self._due = now
            self._world.witness.owns(self)
        others = set(record.members) - {self.endpoint}
        for endpoint in others - self._peers.keys():
            self._peers[endpoint] = _Peer(now, True)
        for endpoint, peer in list(self._peers.items()):
            if peer.needed and endpoint not in others:
                del self._peers[endpoint]

    def _newcomer(self, endpoint: str, copy: int) -> None:
        record = self.record
        assert record is not None
        joining = self._peers.keys() - set(record.members)
        if not joining and endpoint not in record.members and len(record.members) < 3:
            now = self.host.clock()
            self._peers[endpoint] = _Peer(now, False, copied_at=now + copy)
        elif endpoint in joining:
            self._peers[endpoint].heard = self.host.clock()

    # What the guest does

    def _make(self) -> None:
        now = self.host.clock()
        if self._switching is not None or self._ending is not None:
            return
        if self._world.hung(self):
            return
        if problem := self._world.failure(self):
            self.guest_error, self.status = problem != "ended", int(problem != "ended")
            self._ending = "" if problem == "ended" else problem
            return
        while now >= self._due:
            self._made += 1
            self._due += self._world.output_interval
            if now >= self._due + 10 * self._world.output_interval:
                self._due = now

    def _beat(self) -> None:
        record, now = self.record, self.host.clock()
        assert record is not None
        if self._switching is not None and now > self._switching + self._dead:
            self._switch_failed()
            return
        still = all(peer.made == self._made for peer in self._peers.values() if peer.needed)
        ready = self._switching is not None and self._released == self._made and still
        target = self._move[0] if self._move is not None else ""
        for endpoint, peer in self._peers.items():
            if peer.copied_at <= now:
                switch = ready and endpoint == target
                stays = switch and self._swaps
                beat = Beat(record, self.life, self._made, self._released, now, switch, stays)
                self._send(endpoint, beat)

    def _release(self) -> None:
        if not self.owns or self.record is None or self.holding:
            return
        while self._released < self._made:
            now = self.host.clock()
            waits = any(
                peer.made <= self._released or now >= peer.promised
                for peer in self._peers.values()
                if peer.needed
            )
            if waits or now >= self._lease_until:
                return
            self._released += 1
            self._world.witness.emitted(self, self._released)

    def _power_off(self, reason: str) -> None:
        if self.owns:
            if self._ending is None:
                self._ending, self.status = reason, 0
        elif self.role is Role.SECONDARY and self.record is not None:
            self._send(self.record.owner, Ask(self.endpoint, reason, False))
        else:
            self._finish(reason)

    def _end_guest(self) -> None:
        assert self.record is not None and self._ending is not None
        try:
            self._register.end(self.record.generation)
        except ArbiterError:
            return
        for endpoint in self._peers:
            self._send(endpoint, Over(self._ending, self.status, self.guest_error))
        self._finish(self._ending)

    # Following

    def _follow(self, beat: Beat) -> None:
        record, known = beat.record, self.record.generation if self.record is not None else 0
        if record.generation < known or record.owner == self.endpoint or self._claiming:
            return
        if self.owns:
            if record.generation > known:
                if self._switching is not None:
                    self._moved_to(record)
                else:
                    self._finish(f"{record.owner} owns the guest")
            return
        if self.state == "joining":
            self.state = "loading"
        elif self.record is None:
            return
        member = self.endpoint in record.members
        if self.role is Role.SECONDARY and not member:
            self._end_move("")
            self._finish("the primary goes on without this replica")
            return
        if self.role is not None and beat.made < self._made:
            self._finish("it has more than the new primary")
            return
        self.record, self.life, self._heard = record, beat.life, self.host.clock()
        self._made, self._released = beat.made, beat.released
        if member:
            self.role, self.state = Role.SECONDARY, "following"
        self._send(record.owner, Ack(self.endpoint, self._made, beat.at))
        if beat.switch:
            thread.begin(self, lambda: self._take_over(record, beat.stays))
        if self._move is not None and self._move[0] in record.members:
            self._send(record.owner, Ask(self.endpoint, "", True))

    def _take_over(self, record: Record, stays: bool) -> None:
        """`stays`: who owns the guest now does not leave."""
        try:
            if self.record is record and not self.owns:
                out = frozenset[str]() if stays else frozenset({record.owner})
                self._claim(ReignCause.SWITCHOVER, record.generation, leave_out=out)
        except ArbiterError:
            return
        if self.owns and self.record is not None and self.record is not record:
            now = self.host.clock()
            told = Beat(self.record, self.life, self._made, self._released, now)
            self._send(record.owner, told)
            self._rule()

    def _leave(self) -> None:
        if self.role is Role.SECONDARY and self.record is not None:
            self._send(self.record.owner, Ask(self.endpoint, "", True))
            self.after(_LEAVES, lambda: self._finish("it was asked to leave"))
        else:
            self._finish("it was asked to leave")

    # Moves

    def _begin_move(self, endpoint: str, moved: Moved) -> None:
        if self._move is not None or self.role is None or self.record is None:
            moved("it moves already" if self._move is not None else "it does not run", "")
            return
        self._move = endpoint, moved
        moved(None, "its state is copied")
        owner = self.record.owner
        self._send(endpoint, Come(owner))
        if self.owns:
            self._newcomer(endpoint, _COPY)
        self.after(_PATIENCE, lambda: self._move_late(endpoint))

    def _begin_swap(self, moved: Moved) -> None:
        others = [endpoint for endpoint, peer in self._peers.items() if peer.needed]
        if self._move is not None or self._ending is not None or not self.owns or not others:
            moved("it is not protected, or moves already, or ends", "")
            return
        self._move, self._swaps = (others[0], moved), True
        self._switching = self.host.clock()
        moved(None, "it hands over")

    def _move_late(self, endpoint: str) -> None:
        if self._move is not None and self._move[0] == endpoint and self._switching is None:
            self._end_move(f"{endpoint} did not come in time")

    def _end_move(self, problem: str) -> None:
        """`problem` is why nothing came of it, "" if it is done."""
        if self._move is None or (self._switching is not None and problem):
            return
        (endpoint, moved), self._move = self._move, None
        if problem and self.owns and endpoint in self._peers:
            self._peers[endpoint].heard = -self._dead * 2
        moved(problem, "")

    def _switch_failed(self) -> None:
        """Nobody has gone on with the guest, or one has, and cannot be heard."""
        record = self.record
        assert record is not None and self._move is not None
        endpoint, _ = self._move
        try:
            self._claim(ReignCause.WITHOUT, record.generation, leave_out=frozenset({endpoint}))
        except ArbiterError:
            return
        if not self.owns:
            return
        self._switching, self._swaps = None, False
        self._due = self.host.clock()
        self._end_move(f"{endpoint} did not take over")

    def _moved_to(self, record: Record) -> None:
        assert self._move is not None
        target, moved = self._move
        moved("" if record.owner == target else f"{record.owner} has taken over", "")
        if not self._swaps or self.endpoint not in record.members:
            self._finish(f"the guest has moved to {record.owner}")
        self._move, self._switching, self._swaps = None, None, False
        self.role, self.state = Role.SECONDARY, "following"
        self.record, self._heard, self._peers = record, self.host.clock(), {}
        ending, self._ending = self._ending, None
        if ending is not None:
            self._power_off(ending)

    # Inside

    def _send(self, endpoint: str, message: Message) -> None:
        self._world.between_replicas(self.host.name, endpoint, message)

    def _sleep(self, time: int) -> None:
        thread.sleep(self, time)

    def _pause(self) -> None:
        if delay := self._world.latency():
            thread.sleep(self, delay)

    def _finish(self, problem: str) -> None:
        self.problem, self.finished = problem, True
        self.kill()
        thread.leave()
