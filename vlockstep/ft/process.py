"""A replica as a process: its channel, clock, arbiter and threads."""

from __future__ import annotations

import contextlib
import queue
import select
import socket
import sys
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

from vlockstep.arbiter.causes import ReignCause
from vlockstep.arbiter.rule import Arbiter, ArbiterError
from vlockstep.errors import HostError, VlockstepError
from vlockstep.ft import events
from vlockstep.ft.channels import Channels, Numbered
from vlockstep.ft.handoff import Condition
from vlockstep.ft.outputs import Inputs
from vlockstep.ft.rejections import Rejections
from vlockstep.ft.replica import Replica
from vlockstep.ft.resumelog import History, ResumeFile
from vlockstep.ft.runtime import Setting
from vlockstep.ft.stop import look_around
from vlockstep.host.background import Background, BackgroundThread
from vlockstep.host.live import BlockDevice, Console, Continuation, LiveWorld, NetDevice
from vlockstep.host.room import expect_room
from vlockstep.machine.config import GuestConfig
from vlockstep.machine.image import Image
from vlockstep.machine.interface import Probe
from vlockstep.machine.machine import Machine
from vlockstep.machine.world import Outcome
from vlockstep.protocol.actions import NEVER, Claim, Renew
from vlockstep.protocol.primary import Primary
from vlockstep.protocol.states import State
from vlockstep.protocol.timing import MILLISECOND, SECOND
from vlockstep.wire.channel import (
    Arrived,
    Connected,
    Disconnected,
    Event,
    Forbidden,
    Rejected,
)

_MAX_POLL = 3_600_000
_COLLECT = 5 * MILLISECOND
"""Frames for a secondary wait so long for company."""
_STATUS_INTERVAL = 100 * MILLISECOND
_END_TIMEOUT = 5.0
"""Seconds that the arbiter has to take note of the guest's end."""
_Answer = TypeVar("_Answer")
_LOOK_AT_NETWORK = 500 * MILLISECOND
"""A replica that nothing wakes looks so often whether its NICs have a network."""


class Process:
    """The `Runtime` of a replica that has this process to itself.

    `observe` gets events, and the status ten times a second if `status` is set; of many rejections
    it gets some, each with the `total` up to then, which the status tells as well. Where the guest
    is to stop, standard input says what to show of it and when it goes on: see `stop`. The arbiter
    knows the replica by its `instance`, which is unlike that of any other.
    """

    def __init__(
        self,
        setting: Setting,
        channels: Channels,
        arbiter: Arbiter,
        observe: Callable[[events.Event], None],
        status: bool = False,
        instance: str = "",
    ) -> None:
        self._channel = channels.first
        self._channels = channels
        self._arbiter = arbiter
        self._observe = observe
        self._rejections = Rejections()
        self._arbiter_problem = ""
        self._status_at: int | None = 0 if status else None
        self._console: Console = setting.console
        self._disks: Mapping[int, BlockDevice] = setting.disks
        self._disk_counters = setting.disk_counters
        self._descriptors = [fd for nic in setting.nics.values() for fd in nic.descriptors()]
        self._fault = setting.fault
        self._calls: queue.SimpleQueue[Callable[[Replica], None]] = queue.SimpleQueue()
        self._channel_bytes = 0
        self._unreachable: list[bytes] = []
        """Peers that have gone, and may have said something before that is still to be heard."""
        self._wake_receive, self._wake_send = socket.socketpair()
        self._wake_receive.setblocking(False)
        self._wake_send.setblocking(False)
        self._turning = threading.Lock()
        """For what the host's thread and a guest that hurries both do."""
        self._due = 0
        """Until when the host's thread sleeps."""
        self._closed = False
        self._stopping: str | None = None
        self._leaving = False
        self._instance = instance or uuid.uuid4().hex
        self._replica = Replica(setting, self, self._instance)

    def run_primary(
        self, config: GuestConfig, generation: int, secondaries: int = 1, printed: int = 0
    ) -> Outcome:
        """Wait for so many secondaries, if any, claim the generation after `generation`, run the
        guest to its end. So many bytes are `printed` on its console before. Raises `GuestError` if
        the guest ends by an error, and another `VlockstepError` if this replica had to stop."""
        try:
            self._replica.start_primary(config, generation, secondaries, printed)
        except VlockstepError:
            self._channels.close()
            raise
        self.observe(events.Waiting(self._channel.endpoint))
        return self._run()

    def run_resuming(
        self, config: GuestConfig, generation: int, file: ResumeFile, history: History
    ) -> Outcome:
        """Claim the generation after `generation`, and go on with the guest where `history` ends,
        all of which `file` holds. As `run_primary`."""
        self._replica.start_resuming(config, generation, file, history)
        return self._run()

    def run_secondary(self) -> Outcome:
        """Follow a primary, go live if it dies. Who has no primary to connect to awaits one. As
        `run_primary`."""
        awaits = self._channel.listens
        self._replica.start_secondary(awaits)
        told = events.Waiting if awaits else events.Joining
        self.observe(told(self._channel.endpoint))
        return self._run()

    def adopt(
        self, config: GuestConfig, generation: int, machine: Machine, world: LiveWorld
    ) -> None:
        """Rule, alone, the guest of `machine`, which another thread runs in `world`: own the
        generation after `generation`. Raises `HostError` if another one does."""
        itself = {self._instance: self.endpoint}
        record = self._arbiter.claim(
            self._instance, generation, frozenset(), itself, afresh=True, cause=ReignCause.ADOPTED
        )
        if record.owner != self._instance:
            raise HostError("the arbiter let another replica rule")
        self._replica.start_alone(config, record, machine, world)

    def run_adopted(self) -> Outcome:
        """After `adopt`: to the guest's end. As `run_primary`."""
        return self._run()

    def sleep(self, time: int) -> None:
        """Before it runs, for so many nanoseconds at the most. Raises `HostError` when it is to
        stop."""
        self._wake_receive.settimeout(time / SECOND)
        with contextlib.suppress(TimeoutError):
            self._wake_receive.recv(4096)
        self._wake_receive.setblocking(False)
        if self._stopping is not None:
            raise HostError(self._stopping)

    def stop(self, reason: str) -> bool:
        """Let it leave for this reason, and end with `Left` or a `HostError`. From any thread or a
        signal handler. False if it was asked to before, and has not come to it."""
        first, self._stopping = self._stopping is None, reason
        self.wake()
        return first

    def call(self, what: Callable[[Replica], None]) -> None:
        """Let it happen in a turn of the replica's, soon. From any thread."""
        self._calls.put(what)
        self.wake()

    def status(self) -> events.Status:
        """In a turn."""
        return replace(
            self._replica.status(),
            rejected=self._rejections.total,
            channel_bytes=self._channel_bytes,
            disks={name: replace(counters) for name, counters in self._disk_counters.items()},
            endpoint=self.endpoint.partition(" ")[2],
        )

    def end_guest(self, reason: str) -> None:
        """In a turn: let the guest end for this reason, on all its replicas."""
        self._replica.end_guest(reason)

    # The loop

    def _run(self) -> Outcome:
        poller = select.poll()
        poller.register(self._wake_receive.fileno(), select.POLLIN)
        self._channels.watch(poller)
        replica = self._replica
        network = _Network(poller, self._descriptors)
        try:
            while replica.result is None:
                network.watch(replica.collecting)
                wait = self._wait(replica, network)
                ready = poller.poll(0 if replica.urgent else wait)
                with self._turning:
                    self._turn(replica, network, {descriptor for descriptor, _ in ready})
        finally:
            with self._turning:
                self._closed = True
                replica.fall_silent()
                self._channels.close()  # so that others know at once
            role, ended = replica.role, False
            if (
                isinstance(role, Primary)
                and role.owns
                and (role.state is State.FINISHED or role.idle)
            ):
                ended = self._end(role.generation, replica.settle())
            replica.close(ended)  # its log may take a while: peer and arbiter do not wait for that
        result = replica.result
        if isinstance(result, VlockstepError):
            raise result
        return result

    def _end(self, generation: int, settled: bool) -> bool:
        """Whether the arbiter knows that the guest has ended: without that it has all the same. It
        may know only when what this replica writes is `settled`: another guest may start then."""
        answer: queue.SimpleQueue[str] = queue.SimpleQueue()

        def tell() -> None:
            try:
                self._arbiter.end(generation)
                answer.put("")
            except ArbiterError as error:
                answer.put(str(error))

        problem = "an output of the guest is still on its way"
        if settled:
            threading.Thread(target=tell, name="arbiter", daemon=True).start()
            try:
                problem = answer.get(timeout=_END_TIMEOUT)
            except queue.Empty:
                problem = "the arbiter does not answer"
        if problem:
            text = f"{problem}; the next start of this guest will be refused"
            self.observe(events.Notice(text))
        return not problem

    def _wait(self, replica: Replica, network: _Network) -> int:
        """Until when to sleep, in milliseconds from now."""
        with self._turning:
            self._due = min(replica.deadline(), network.collect_at)
            if self._status_at is not None:
                self._due = min(self._due, self._status_at)
            if self._descriptors:
                self._due = min(self._due, self.now() + _LOOK_AT_NETWORK)
            if self._unreachable or self._channels.pending():
                return 0
        left = max(0, self._due - self.now())
        return min(-(-left // MILLISECOND), _MAX_POLL)

    def _turn(self, replica: Replica, network: _Network, ready: set[int]) -> None:
        if self._stopping is not None and not self._leaving:
            self._leaving = True
            replica.leave(self._stopping)
        if self._wake_receive.fileno() in ready:
            with contextlib.suppress(BlockingIOError):
                while len(self._wake_receive.recv(4096)) == 4096:
                    pass
        gone, self._unreachable = self._unreachable, []
        for channel, event in self._channels.events():
            self._happened(replica, channel, event)
        for peer in gone:
            replica.disconnected(peer)
        while not self._calls.empty():
            self._calls.get()(replica)
        if network.due(ready, self.now()):
            replica.collect()
        replica.turn()
        if self._status_at is not None and self.now() >= self._status_at:
            self._status_at = self.now() + _STATUS_INTERVAL
            self.observe(self.status())

    def _happened(self, replica: Replica, channel: Numbered, event: Event) -> None:
        match event:
            case Arrived(peer, data):
                self._channel_bytes += len(data)
                replica.arrived(channel.peer(peer), data)
            case Forbidden(party, what):
                reason = f"the {party} may not say: {what}"
                self.observe(events.Rejected(reason, party.value))
            case Connected() if not channel.listens:
                replica.connected(channel.peer())
            case Disconnected() if channel.listens:
                replica.probe()
            case Disconnected():
                replica.disconnected(channel.peer())
            case Rejected(reason) if replica.role.state is State.JOINING and not channel.listens:
                where = self._channel.endpoint
                replica.result = HostError(f"cannot follow the primary at {where}: {reason}")
            case Rejected(reason):
                self.observe(events.Rejected(reason))

    # What the replica asks for

    def now(self) -> int:
        return time.monotonic_ns()

    @property
    def endpoint(self) -> str:
        return self._channels.endpoint

    def dial(self, endpoint: str) -> bytes | None:
        try:
            return self._channels.dial(endpoint)
        except VlockstepError as error:
            self.observe(events.Notice(f"another replica cannot be reached: {error}"))
            return None

    def hang_up(self, peer: bytes) -> None:
        self._channels.hang_up(peer)

    def send(self, data: bytes, peer: bytes) -> bool:
        """True also if the peer has gone: that is told when all is heard that it said before."""
        self._channel_bytes += len(data)
        if not self._channels.send(data, peer) and self._channels.accepted(peer):
            self._unreachable.append(peer)  # of others a `Disconnected` tells
        return True

    def claim(self, claim: Claim) -> None:
        self._ask(
            lambda: self._arbiter.claim(
                self._instance,
                claim.expected,
                claim.leave_out,
                claim.take_in,
                claim.moved,
                claim.afresh,
                claim.cause,
            ),
            lambda replica, record: replica.arbiter_answered(record),
        )

    def renew(self, asked: Renew) -> None:
        self._ask(
            lambda: self._arbiter.renew(asked.record, asked.token, asked.next),
            lambda replica, renewed: replica.lease_answered(asked, renewed),
        )

    def _ask(
        self, question: Callable[[], _Answer], take: Callable[[Replica, _Answer | None], None]
    ) -> None:
        """Ask the arbiter; `take` gets what it answers, in a turn."""

        def ask() -> None:
            answer: _Answer | None = None
            problem = ""
            try:
                answer = question()
            except ArbiterError as error:
                problem = str(error)
            except Exception as error:  # whatever it is, it must be asked again
                problem = f"the arbiter failed: {type(error).__name__}: {error}"
            if problem not in ("", self._arbiter_problem):
                self.observe(events.Notice(problem))
            self._arbiter_problem = problem
            self.call(lambda replica: take(replica, answer))

        threading.Thread(target=ask, name="arbiter", daemon=True).start()

    def inputs(
        self,
        nics: Mapping[int, NetDevice],
        pause: Callable[[], None],
        start: Continuation,
    ) -> Inputs:
        return LiveWorld(self._console, self._disks, nics, pause=pause, start=start)

    def launch(self, run: Callable[[], None]) -> None:
        if self._fault is not None and self._fault.place.seconds is not None:
            timer = threading.Timer(self._fault.place.seconds, self._fault.inject)
            timer.daemon = True
            timer.start()
        threading.Thread(target=run, name="guest", daemon=True).start()

    def background(self, name: str) -> Background:
        return BackgroundThread(name)

    def machine(
        self, image: Image, config: GuestConfig, count_blocks: bool, engine: str
    ) -> Machine:
        expect_room(config.memory)
        return Machine(image, config, count_blocks=count_blocks, engine=engine)

    def condition(self) -> Condition:
        return threading.Condition()

    def wake(self) -> None:
        with contextlib.suppress(BlockingIOError):  # then it is full of reasons to wake
            self._wake_send.send(b"!")

    def hurry(self) -> None:
        if not self._turning.acquire(blocking=False):
            return  # whose turn it is looks whether it is urgent before it sleeps
        try:
            if self._closed:
                return
            self._replica.send_off()
            missed = (
                bool(self._unreachable)
                or self._channels.pending()
                or self._replica.result is not None
                or self._replica.deadline() < self._due
            )
        finally:
            self._turning.release()
        if missed:
            self.wake()

    def look_around(self, place: str, machine: Probe) -> None:
        look_around(place, machine, sys.stdin.buffer, self.observe)

    def observe(self, event: events.Event) -> None:
        if isinstance(event, events.Rejected):  # by the thread whose turn it is
            if not self._rejections.count(self.now()):
                return
            event = replace(event, total=self._rejections.total)
        self._observe(event)


class _Network:
    """When a secondary looks after its NICs: soon after a frame has come, but not for each."""

    def __init__(self, poller: select.poll, descriptors: Sequence[int]) -> None:
        self._poller = poller
        self._descriptors = descriptors
        self._watching = False
        self.collect_at = NEVER

    def watch(self, collecting: bool) -> None:
        """Let the poller watch the NICs if they are to be collected from and no frame has come."""
        wanted = collecting and self.collect_at == NEVER
        if wanted != self._watching:
            self._watching = wanted
            for descriptor in self._descriptors:
                if wanted:
                    self._poller.register(descriptor, select.POLLIN)
                else:
                    self._poller.unregister(descriptor)

    def due(self, ready: set[int], now: int) -> bool:
        if now >= self.collect_at:
            self.collect_at = NEVER
            return True
        if self._watching and not ready.isdisjoint(self._descriptors):
            self.collect_at = now + _COLLECT
        return False
