"""A replica as a process: sockets, clock, threads and files around the protocol objects.

One thread runs the guest. The thread that calls `Replica.run` does everything else: it carries
messages, timers and what the guest did to the role object, and carries out the actions that come
back. The role may change during the run; the guest's machine stays.
"""

from __future__ import annotations

import queue
import socket
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import zmq

from vlockstep.errors import HostError, UsageError, VlockstepError
from vlockstep.ft import messages
from vlockstep.ft.arbiter import Arbiter, ArbiterError
from vlockstep.ft.channel import Arrived, Channel, Connected, Disconnected, Event, Rejected
from vlockstep.ft.faults import Fault, Stage
from vlockstep.ft.handoff import Appended, Received
from vlockstep.ft.messages import Goodbye, Hello, Message, MessageError, Query, Switchover, SwitchoverDone
from vlockstep.ft.outputs import Output, OutputQueue, ProtectedWorld
from vlockstep.ft.primary import Primary
from vlockstep.ft.protocol import (
    NEVER,
    Action,
    Claim,
    Deliver,
    Done,
    Follow,
    Forget,
    GoLive,
    Hold,
    Release,
    Reply,
    Resume,
    Send,
    Start,
    State,
    Stop,
    Tell,
)
from vlockstep.ft.secondary import Secondary
from vlockstep.ft.timing import MILLISECOND, Timing
from vlockstep.machine.config import GuestConfig
from vlockstep.machine.image import Image
from vlockstep.machine.machine import Machine
from vlockstep.machine.report import GuestError
from vlockstep.machine.world import Outcome, World
from vlockstep.replay.attach import Devices
from vlockstep.replay.entry import Entry, Kind
from vlockstep.replay.live import Console, LiveWorld
from vlockstep.replay.logfile import LogWriter
from vlockstep.replay.recorder import Recorder
from vlockstep.replay.replayer import Divergence, Replayer

_FLUSH = MILLISECOND
"""Entries without an output wait so long for company."""
_MAX_POLL = 3_600_000
_STATUS_INTERVAL = 100 * MILLISECOND


@dataclass(frozen=True)
class Setting:
    """What a replica is made of. `observe` gets each event as a dict with the key `event`."""

    image: Image
    devices: Devices
    console: Console
    arbiter: Arbiter
    channel: Channel
    timing: Timing = Timing()
    log: Path | None = None
    core_directory: Path | None = None
    fault: Fault | None = None
    observe: Callable[[dict[str, Any]], None] = lambda event: None
    status: bool = False
    """Whether to observe the status ten times a second."""


class Replica:
    """Runs a guest in one role or the other until it ends or this replica must stop."""

    def __init__(self, setting: Setting) -> None:
        self._setting = setting
        self._instance = uuid.uuid4().hex
        self._local = {h: d for h, d in setting.devices.disks.items() if h in setting.devices.local}
        self._queue = OutputQueue(
            setting.console,
            setting.devices.disks,
            about_to_perform=self._about_to_perform,
            performed=lambda output: self._strike(Stage.RELEASE, output.sequence),
        )
        self._wake_receive, self._wake_send = socket.socketpair()
        self._wake_receive.setblocking(False)
        self._wake_send.setblocking(False)
        self._answers: queue.SimpleQueue[bool | None] = queue.SimpleQueue()
        self._role: Primary | Secondary
        self._machine: Machine | None = None
        self._config: GuestConfig | None = None
        self._appended = Appended(self._wake)
        self._received = Received(self._wake)
        self._replayer: Replayer | None = None
        self._live: LiveWorld | None = None
        self._log: LogWriter | None = None
        self._peer: bytes = b""
        self._operators: list[bytes] = []
        self._guest: threading.Thread | None = None
        self._outcome: Outcome | GuestError | None = None
        self._failure: BaseException | None = None
        self._going_live: GoLive | None = None
        self._drained = False
        self._flush_at = NEVER
        self._status_at = 0
        self._heard_at = time.monotonic_ns()
        self._result: Outcome | GuestError | VlockstepError | None = None

    # Starting

    def run_primary(self, config: GuestConfig, generation: int) -> Outcome:
        """Wait for a secondary, run the guest to its end. Raises `GuestError` if the guest ends by
        an error, and `VlockstepError` if this replica had to stop."""
        self._config = config
        self._role = Primary(
            self._setting.timing,
            generation,
            self._setting.image.digest,
            config.to_dict(),
            time.monotonic_ns(),
        )
        self._machine = self._make_machine(config)
        self._open_log(config)
        self._event("waiting", endpoint=self._setting.channel.endpoint)
        return self._loop()

    def run_secondary(self) -> Outcome:
        """Follow a primary; go live if it dies. As `run_primary`."""
        now = time.monotonic_ns()
        self._role = Secondary(
            self._setting.timing, self._instance, self._setting.image.digest, now
        )
        self._event("joining", endpoint=self._setting.channel.endpoint)
        return self._loop()

    def _make_machine(self, config: GuestConfig) -> Machine:
        fault = self._setting.fault
        position = fault.position if fault else None
        machine = Machine(
            self._setting.image, config, count_blocks=bool(position and position.blocks)
        )
        machine.core_directory = self._setting.core_directory
        if fault and position:
            machine.break_at(position, fault.strike)
        return machine

    def _keep(self, entries: list[Entry]) -> None:
        """Write to the log file. A full disk costs the file, not the guest's protection."""
        if self._log is None:
            return
        try:
            self._log.extend(entries)
        except HostError as error:
            self._log = None
            self._event("notice", text=f"{error}; the log file ends here")

    def _open_log(self, config: GuestConfig) -> None:
        if self._setting.log is not None:
            self._log = LogWriter(self._setting.log, config)

    # The loop

    def _loop(self) -> Outcome:
        poller = zmq.Poller()
        poller.register(self._wake_receive, zmq.POLLIN)
        for watched in self._setting.channel.sockets:
            poller.register(watched, zmq.POLLIN)
        try:
            while self._result is None:
                due = min(self._role.deadline(), self._flush_at)
                if self._setting.status:
                    due = min(due, self._status_at)
                left = max(0, due - time.monotonic_ns())
                poller.poll(min(-(-left // MILLISECOND), _MAX_POLL))
                self._turn()
        finally:
            self._close()
        if isinstance(self._result, VlockstepError):
            raise self._result
        return self._result

    def _turn(self) -> None:
        """One round: what arrived, what the guest did, what time demands."""
        self._drain_wake()
        for event in self._setting.channel.events():
            self._happened(event)
        while not self._answers.empty():
            self._act(self._role.arbiter_answered(time.monotonic_ns(), self._answers.get()))
        self._guest_progress()
        self._act(self._role.tick(time.monotonic_ns()))
        if isinstance(self._role, Primary):
            too_much = self._queue.bytes > self._setting.timing.max_log
            self._appended.slow(too_much or self._role.slowed(time.monotonic_ns()))
        self._observe_status()

    def _drain_wake(self) -> None:
        try:
            while self._wake_receive.recv(4096):
                pass
        except BlockingIOError:
            pass

    def _wake(self) -> None:
        """Make the loop turn. From any thread."""
        try:
            self._wake_send.send(b"!")
        except BlockingIOError:
            pass  # it is full of reasons to wake

    def _guest_progress(self) -> None:
        now = time.monotonic_ns()
        if self._failure is not None:
            self._guest_failed(now, self._failure)
        elif isinstance(self._role, Primary):
            self._take_entries(now)
        elif self._replayer is not None:
            executed = self._replayer.sequence
            if executed != self._role.executed:
                self._act(self._role.progressed(now, executed))
            if self._going_live is not None and (self._drained or self._outcome is not None):
                self._now_live(now, self._going_live)

    def _take_entries(self, now: int) -> None:
        assert isinstance(self._role, Primary)
        if now < self._flush_at and not self._appended.urgent and not self._appended.waiting:
            if self._flush_at == NEVER and self._appended.next > self._role.next:
                self._flush_at = now + _FLUSH
            return
        self._flush_at = NEVER
        held = self._appended.waiting
        entries = self._appended.take()
        if entries:
            self._keep(entries)
            self._act(self._role.append(now, entries))
            self._strike(Stage.SENT, self._role.next - 1)
        if held and self._role.state is State.HOLDING:
            self._act(self._role.held(now))

    def _guest_failed(self, now: int, failure: BaseException) -> None:
        if isinstance(failure, Divergence) and isinstance(self._role, Secondary):
            self._failure = None
            self._event("diverged", report=failure.report())
            self._act(self._role.diverged(now, str(failure)))
            self._result = failure
        elif isinstance(failure, VlockstepError):
            self._result = failure
        else:
            raise failure

    # What arrives

    def _happened(self, event: Event) -> None:
        now = time.monotonic_ns()
        match event:
            case Arrived(peer, data):
                try:
                    self._message(now, peer, messages.decode(data))
                except MessageError as error:
                    self._event("rejected", reason=str(error))
            case Connected():
                if isinstance(self._role, Secondary):
                    self._act(self._role.connected(now))
            case Disconnected():
                # On a listener it may have been another peer's: saying something to ours tells.
                if not self._setting.channel.listens:
                    self._act(self._role.disconnected(now))
                elif self._peer:
                    self._send(Query(now, 0, 0))
            case Rejected(reason):
                self._event("rejected", reason=reason)
                if isinstance(self._role, Secondary) and self._role.state is State.JOINING:
                    self._result = HostError(f"the primary rejects this replica: {reason}")

    def _message(self, now: int, peer: bytes, message: Message) -> None:
        if isinstance(message, Hello) and peer != self._peer:
            self._greeted(now, peer, message)
        elif isinstance(message, Switchover) and peer != self._peer:
            self._operators.append(peer)
            self._act(self._role.switchover(now))
        elif isinstance(message, SwitchoverDone):
            self._reply(message)
        elif peer == self._peer:
            self._heard_at = now
            self._act(self._role.received(now, message))

    def _greeted(self, now: int, peer: bytes, message: Hello) -> None:
        """Somebody new wants to follow; it becomes the peer unless it is refused."""
        if not isinstance(self._role, Primary):
            return
        actions = self._role.connected(now, message)
        refusals = [a for a in actions if isinstance(a, Send) and _refuses(a.message)]
        if refusals:
            self._setting.channel.send(messages.encode(refusals[0].message), peer)
            return
        self._peer = peer
        self._act(actions)

    # What is to be done

    def _act(self, actions: list[Action]) -> None:
        for action in actions:
            if self._result is not None:
                return
            self._carry_out(action)

    def _carry_out(self, action: Action) -> None:
        match action:
            case Send(message):
                self._send(message)
            case Release(end, until):
                self._release(end, until)
            case Deliver(entries):
                self._keep(entries)
                self._received.put(entries)
            case Forget(end):
                self._queue.forget(end)
            case Start(config):
                self._start(config)
            case Claim(expected):
                threading.Thread(target=self._claim, args=(expected,), daemon=True).start()
            case GoLive():
                self._go_live(action)
            case Follow(generation, next):
                self._follow(generation, next)
            case Hold():
                self._appended.hold(True)
                self._nudge()
            case Resume():
                self._appended.hold(False)
            case Reply(generation, reason):
                self._reply(SwitchoverDone(generation, reason))
            case Tell(text):
                self._event("notice", text=text)
            case Done():
                self._finish()
            case Stop(reason):
                self._event("stopped", reason=reason)
                self._result = HostError(f"this replica stopped: {reason}")

    def _send(self, message: Message) -> None:
        if not self._setting.channel.send(messages.encode(message), self._peer):
            self._act(self._role.disconnected(time.monotonic_ns()))

    def _release(self, end: int, until: int) -> None:
        assert isinstance(self._role, Primary)
        try:
            done = self._queue.release(end, lambda: time.monotonic_ns() < until)
        except HostError as error:
            self._event("stopped", reason=str(error))
            self._result = error
            return
        self._act(self._role.performed(time.monotonic_ns(), done))

    def _claim(self, expected: int) -> None:
        try:
            won: bool | None = self._setting.arbiter.claim(expected)
        except ArbiterError as error:
            self._event("notice", text=str(error))
            won = None
        self._answers.put(won)
        self._wake()

    def _reply(self, message: SwitchoverDone) -> None:
        """Tell the operators, or the peer at which they wait."""
        self._event("switchover", generation=message.generation, reason=message.reason)
        if not self._operators:
            self._send(message)
        for operator in self._operators:
            self._setting.channel.send(messages.encode(message), operator)
        self._operators.clear()

    def _nudge(self) -> None:
        """Make the guest notice that it is held, wherever it is."""
        if self._live is not None:
            self._live.wake()
        if self._machine is not None:
            self._machine.kick()

    def _finish(self) -> None:
        """The guest has ended and every output is where it belongs."""
        assert self._guest is not None
        self._guest.join()
        if self._failure is not None:
            self._guest_failed(time.monotonic_ns(), self._failure)
            return
        assert self._outcome is not None
        self._event("finished", status=self._status_of(self._outcome))
        self._result = self._outcome

    # The guest

    def _start(self, config: dict[str, Any]) -> None:
        if isinstance(self._role, Primary):
            world: World = self._primary_world(clock=(0, 0))
        else:
            try:
                self._config = GuestConfig.from_dict(config)
                self._check_disks(self._config)
                self._machine = self._make_machine(self._config)
            except VlockstepError as error:
                self._send(Goodbye(str(error)))
                self._result = error
                return
            self._open_log(self._config)
            world = self._secondary_world(0)
        if self._setting.fault is not None:
            self._setting.fault.start_clock()
        self._event("started")
        self._guest = threading.Thread(target=self._run_guest, args=(world,), daemon=True)
        self._guest.start()

    def _check_disks(self, config: GuestConfig) -> None:
        """The disks given to this replica must be those that the primary's guest has."""
        ours = self._setting.devices.blocks
        for name, theirs in config.blocks.items():
            if name not in ours:
                raise UsageError(f"the guest has the disk {name!r}: give it with --block {name}=PATH")
            if ours[name] != theirs:
                raise UsageError(
                    f"the disk {name!r} is not the primary's: {ours[name]} here, {theirs} there"
                )

    def _run_guest(self, world: World) -> None:
        assert self._machine is not None
        try:
            self._outcome = self._machine.run(world)
        except GuestError as error:
            self._outcome = error
        except BaseException as error:
            self._failure = error
        self._wake()

    def _primary_world(self, clock: tuple[int, int]) -> World:
        assert self._machine is not None
        devices = self._setting.devices
        appended = self._appended
        self._live = LiveWorld(
            self._setting.console, devices.disks, clock=clock, pause=appended.pause
        )
        world = ProtectedWorld(self._live, self._queue, appended, self._local)
        append = appended.append
        fault = self._setting.fault
        if fault is not None and fault.stage is Stage.ENTRY:

            def append(entry: Entry) -> None:
                appended.append(entry)
                fault.reached(Stage.ENTRY, appended.next - 1)

        return Recorder(world, self._machine, append, devices.local)

    def _secondary_world(self, next: int) -> World:
        assert self._machine is not None
        self._replayer = Replayer(
            self._received,
            self._machine,
            local=dict(self._local),
            suppressed=self._queue.add,
            sequence=next,
        )
        return self._replayer

    # Changing roles

    def _go_live(self, action: GoLive) -> None:
        """Let the guest execute what was received, and then meet this host."""
        self._going_live = action
        self._drained = False
        assert isinstance(self._role, Secondary)
        self._appended = Appended(self._wake, self._role.received_entries)
        self._received.finish(self._install_live)
        self._wake()

    def _install_live(self) -> None:
        """In the guest's thread, which has taken the last entry."""
        assert self._machine is not None and self._replayer is not None
        cycles, walltime = self._replayer.clock
        passed = time.monotonic_ns() - self._heard_at
        self._machine.replace_world(self._primary_world((cycles + passed, walltime)))
        self._drained = True
        self._wake()

    def _now_live(self, now: int, action: GoLive) -> None:
        secondary = self._role
        assert isinstance(secondary, Secondary) and self._config is not None
        self._going_live = None
        self._replayer = None
        self._role = Primary(
            self._setting.timing,
            action.generation,
            self._setting.image.digest,
            self._config.to_dict(),
            now,
            next=secondary.received_entries,
            state=State.PROTECTED if action.protected else State.ALONE,
            outputs=secondary.outputs,
            ended=secondary.ended,
        )
        self._event("live", generation=action.generation, protected=action.protected)
        self._act(self._role.begin(now))

    def _follow(self, generation: int, next: int) -> None:
        """The guest is held in a call of the primary's World; it goes on as a secondary's."""
        assert self._machine is not None and self._live is not None
        self._received = Received(self._wake)
        self._machine.replace_world(self._secondary_world(next))
        self._live.leave()
        self._live = None
        self._role = Secondary(
            self._setting.timing,
            self._instance,
            self._setting.image.digest,
            time.monotonic_ns(),
            generation=generation,
            next=next,
        )
        self._appended.leave()
        self._event("following", generation=generation)

    # Faults, events, the end

    def _about_to_perform(self, output: Output) -> None:
        fault = self._setting.fault
        if fault is None or fault.stage is not Stage.WRITE or output.sequence < fault.entry:
            return
        half = output.data[: len(output.data) // 2]
        if output.kind is Kind.CONSOLE:
            self._setting.console.write(output.offset, half)
        elif output.kind is Kind.BLOCK_WRITE:
            self._setting.devices.disks[output.handle].write(output.offset, half)
        fault.strike()

    def _strike(self, stage: Stage, entry: int) -> None:
        if self._setting.fault is not None:
            self._setting.fault.reached(stage, entry)

    def _event(self, name: str, **details: Any) -> None:
        self._setting.observe({"event": name, "time": time.time(), **details})

    def _observe_status(self) -> None:
        now = time.monotonic_ns()
        if self._setting.status and now >= self._status_at:
            self._status_at = now + _STATUS_INTERVAL
            self._event("status", **self.status(now))

    def status(self, now: int) -> dict[str, Any]:
        """What a person would like to know, in plain types."""
        role = self._role
        status: dict[str, Any] = {
            "role": "primary" if isinstance(role, Primary) else "secondary",
            "state": role.state.value,
            "generation": role.generation,
            "exits": self._machine.exits if self._machine is not None else 0,
            "log_bytes": self._log.written if self._log is not None else 0,
        }
        if isinstance(role, Primary):
            entries, lag = role.lag(now)
            status |= {"entries": role.next, "lag_entries": entries, "lag_ms": lag / 1e6}
        else:
            behind = role.received_entries - role.executed
            status |= {"entries": role.received_entries, "lag_entries": behind}
        return status

    @staticmethod
    def _status_of(outcome: Outcome | GuestError) -> int:
        return outcome.status if isinstance(outcome, Outcome) else outcome.exit_status

    def _close(self) -> None:
        if self._log is not None:
            self._log.close()
        self._setting.channel.close()


def _refuses(message: Message) -> bool:
    return isinstance(message, messages.Refuse)
