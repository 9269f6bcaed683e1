"""A replica: a guest's machine, a role that may change, and what lies between them.

It carries out the actions of its role object and tells it what the guest does. What differs
between a process with sockets and threads, and a test in virtual time, it leaves to its `Runtime`:
so both run the same code. What the guest's thread does is in `guest`; everything here happens in
one thread at a time: the host's, or the guest's when it hurries. It is long since each event and
each action has its place here; what can be told apart from them has modules of its own.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from vlockstep.arbiter.causes import FAILOVERS
from vlockstep.arbiter.rule import Record
from vlockstep.errors import HostError, Left, LogError, UsageError, VlockstepError
from vlockstep.ft import events
from vlockstep.ft.diskcopies import DiskCopies, DiskLoading
from vlockstep.ft.diskpaths import SharedDisks
from vlockstep.ft.guest import Guest
from vlockstep.ft.keptlog import LIMIT, KeptLog
from vlockstep.ft.keyframing import Keyframing
from vlockstep.ft.lastminutes import LastMinutes, has_failed
from vlockstep.ft.links import Links
from vlockstep.ft.loading import Loading
from vlockstep.ft.migration import Migration, Report
from vlockstep.ft.outputs import Output, OutputQueue
from vlockstep.ft.places import Stage
from vlockstep.ft.resumelog import History, ResumeFile, ResumeLog
from vlockstep.ft.resumepoint import ResumePoints
from vlockstep.ft.roles import Role, Roles, printed_before
from vlockstep.ft.rounds import Precopy
from vlockstep.ft.runtime import DiskMover, Runtime, Setting
from vlockstep.ft.standby import StandbyNics
from vlockstep.ft.transfer import Transfer
from vlockstep.ft.watch import NetworkWatch, ProtectionWatch
from vlockstep.ft.writesample import WriteSample
from vlockstep.host.background import Background
from vlockstep.host.live import LiveWorld
from vlockstep.machine.basis import PROCESSOR, emulated
from vlockstep.machine.config import GuestConfig
from vlockstep.machine.interface import GuestMachine
from vlockstep.machine.report import GuestError
from vlockstep.machine.world import Outcome
from vlockstep.protocol import actions, messages
from vlockstep.protocol.actions import NEVER, Action
from vlockstep.protocol.journal import Batch
from vlockstep.protocol.messages import Message, SwitchoverDone
from vlockstep.protocol.primary import Primary
from vlockstep.protocol.secondary import Secondary
from vlockstep.protocol.states import State
from vlockstep.protocol.timing import MILLISECOND, SECOND
from vlockstep.replay import codec
from vlockstep.replay.entry import Entry, Kind
from vlockstep.replay.replayer import Divergence
from vlockstep.wire.codec import MessageError

_Disks = TypeVar("_Disks")
_GONE_ON = "; the guest goes on with another replica"
_FLUSH = 4 * MILLISECOND
"""Entries without an output wait so long for company."""
_END: Entry = (Kind.END, 0, 0, b"", b"")
"""Of a guest that made no other entry."""
_LEAVE_LIMIT = 5 * SECOND
_OF_THE_LOG = (Divergence, LogError)
"""What befalls a guest that is resumed whenever it is."""
_MOST_UNKEPT = 16 << 20
"""The guest waits when so many bytes wait for the log from which it can be resumed."""
_SETTLE_SECONDS = 1.0
_ROOM = SECOND // 2
"""How often outputs try again whether there is room for them."""
_LOOK = 4 * MILLISECOND
"""How soon the host looks what a secondary's guest has executed."""


class Replica:
    """Runs a guest in one role or the other until `result` is set: how the guest ended, or why
    this replica had to stop."""

    def __init__(
        self,
        setting: Setting,
        host: Runtime,
        instance: str,
        kept: Callable[[list[Entry]], None] = lambda entries: None,
    ) -> None:
        """`instance` is unlike that of any other replica. `kept` is told all entries that the guest
        makes or is fed."""
        self.result: Outcome | VlockstepError | None = None
        self.role: Role
        self._setting = setting
        self._host = host
        self._kept = kept
        self._roles = Roles(setting, host, instance)
        self._protection = ProtectionWatch(host.observe)
        self._network = NetworkWatch(host.observe)
        self._nics = StandbyNics(setting.nics)
        self._queue = OutputQueue(
            setting.console,
            setting.disks,
            self._nics.by_handle,
            now=host.now,
            background=host.background("outputs"),
            progressed=host.wake,
            about_to_make=None if setting.fault is None else setting.tear,
            made=None if setting.fault is None else self._made,
        )
        self._config: GuestConfig | None = None
        self._guest: Guest | None = None
        self._log: KeptLog | None = None
        self._keyframing: Keyframing | None = None
        self._last: LastMinutes | None = None
        self._resumable: ResumeLog | None = None
        self._points: ResumePoints | None = None
        self._kept_to: int | None = None
        """How far the log is kept from which the guest can be resumed, as the primary was told."""
        self._history: History | None = None
        """Of a guest that is resumed, until it is live."""
        self.transfer: Transfer | None = None
        """Of the guest's state, to a replica that joins."""
        self._migration: Migration | None = None
        self._destination: bytes | None = None
        """The peer to which the guest migrates, or was to migrate last."""
        self._loading: Loading | None = None
        self._sample: WriteSample | None = None
        self._disk_work: Background | None = None
        """Where disks are opened, and read or filled for a join."""
        self._shared = SharedDisks(
            setting.shared_disks, setting.open_copy, self._disk_background, host.wake
        )
        self._mover: DiskMover | None = None
        """Who moves one of them, and waits to be told something."""
        self._links = Links(instance, host, lambda: self.role.known)
        self._due: deque[Callable[[], list[Action]]] = deque()
        """Events of the role, each to be told when the actions of those before are carried out."""
        self._acting = False
        self._operators: list[bytes] = []
        self._going_live: actions.GoLive | None = None
        self._took_over = ""
        """Why this replica went live, as long as it rules."""
        self._silent_ms: float | None = None
        """For how long the primary had been silent that it took over from."""
        self._finishing = False
        self._flush_at = NEVER
        self._tick_at = 0
        """When the role has to be told of the time, as it has said last."""
        self._look_at = NEVER
        self._full: int | None = None
        """The first entry whose output waits for room on storage, or did until now."""
        self._room_at = NEVER
        self._network_at = 0
        self._leaving = self._ending = ""
        self._leave_by = NEVER
        self._closed = False

    @property
    def machine(self) -> GuestMachine | None:
        return None if self._guest is None else self._guest.machine

    @property
    def made(self) -> int:
        """Entries that the guest has made as a primary's, also those that were not sent yet."""
        return 0 if self._guest is None else self._guest.outbox.next

    @property
    def moved(self) -> Mapping[str, str]:
        """The files of those shared disks that have moved, as they are in use here."""
        return self._shared.at

    @property
    def emitting(self) -> int | None:
        """The entry of the output that is being made."""
        return self._queue.making

    @property
    def executed(self) -> int | None:
        """How many entries a secondary's guest has executed."""
        return None if self._guest is None else self._guest.executed

    @property
    def last_minutes(self) -> LastMinutes | None:
        """The log of them, while one is kept."""
        return self._last

    def begin_last_minutes(self, path: Path) -> None:
        """Keep one from now on, of a guest that follows. Raises `UsageError` if it does not, or
        if its log has keyframes, so that another copy of its RAM were one too many."""
        guest, role = self.following, self.role
        if guest is None or not isinstance(role, Secondary):
            raise UsageError(f"the guest does not follow here: {role.state.value}")
        if self._keyframing is not None:
            raise UsageError("its log has keyframes: what it does is in that")
        next = role.received_entries
        made = self._keep_last(path, guest, next, boot=not next)
        guest.watch(made.taken, made.made)
        made.begin(self._host.now())

    def leave_last_minutes(self) -> LastMinutes | None:
        """Keep it no more; who is told ends it, elsewhere."""
        last, self._last = self._last, None
        if self._guest is not None:
            self._guest.reads = None
        return last

    @property
    def following(self) -> Guest | None:
        """The guest, while it executes what a primary's does."""
        guest = self._guest
        follows = guest is not None and guest.follows and isinstance(self.role, Secondary)
        return guest if follows else None

    @property
    def behind(self) -> int:
        """Entries received that a secondary's guest has yet to take."""
        executed = self.executed
        if executed is None or not isinstance(self.role, Secondary):
            return 0
        return self.role.received_entries - executed

    @property
    def urgent(self) -> bool:
        """The guest's thread wants to be seen, and cannot see to it itself."""
        guest = self._guest
        return guest is not None and isinstance(self.role, Primary) and guest.outbox.urgent

    @property
    def collecting(self) -> bool:
        """Whether the host's thread looks after the NICs: it does for a secondary."""
        return self._nics.collecting

    # What the host calls

    def start_primary(
        self, config: GuestConfig, generation: int, secondaries: int = 1, printed: int = 0
    ) -> None:
        """Wait for so many secondaries, if any, then run the guest, if this replica may own the
        generation after `generation`. So many bytes are `printed` on its console before."""
        self._make_guest(config)
        self.role = self._roles.waiting(config, generation, secondaries, printed)
        self._queue.go_on(printed, ())

    def start_resuming(
        self, config: GuestConfig, generation: int, file: ResumeFile, history: History
    ) -> None:
        """Let the guest execute what its last owner's log says, all of which `file` holds, and go
        on here, if this replica may own the generation after `generation`."""
        self._make_guest(config, engine=history.engine)
        secondary = self.role = self._roles.resuming(generation, history)
        self._history = history
        self._begin_last(history.next, boot=not history.next)
        self._keep_to_resume(file, history.next)
        keyframe = history.keyframe
        begin = 0 if keyframe is None else keyframe.sequence
        self._host.observe(events.Resuming(history.next, begin))
        self._do(lambda: secondary.resume(self._host.now()))

    def start_alone(
        self, config: GuestConfig, record: Record, machine: GuestMachine, world: LiveWorld
    ) -> None:
        """Own the `record` as the primary, without others, of a guest that runs already: of
        `machine`, in `world`, in another thread. Who runs it there tells of its end."""
        self._make_guest(config, machine)
        primary = self.role = self._roles.alone(config, record)
        self._begin_log()
        self._begin_last(boot=False)
        self._host.observe(events.Started())
        self._running.adopt(world)
        self._do(lambda: primary.begin(self._host.now()))

    def guest_ended(self, end: Outcome | GuestError) -> None:
        """Of a guest that another thread runs. It may not have come to where it is adopted."""
        guest, primary = self._running, self.role
        guest.outcome, guest.core = end, ""
        if not guest.adopted and isinstance(primary, Primary):
            self._do(lambda: primary.append(self._host.now(), [_END], []))
        self._host.wake()

    def start_secondary(self, awaits: bool = False) -> None:
        """Follow a primary, whose guest this one's becomes; if it `awaits` one, who invites it."""
        self.role = self._roles.joining(awaits)

    def deadline(self) -> int:
        """When to call `turn` at the latest."""
        self._tick_at = self.role.deadline()
        times = [self._tick_at, self._flush_at, self._look_at, self._room_at, self._leave_by]
        if self._migration is not None:
            times.append(self._migration.deadline())
        if self.transfer is not None:
            times.append(self.transfer.deadline())
        if self._log is not None:
            times.append(self._log.deadline())
        if self._keyframing is not None:
            times.append(self._keyframing.deadline())
        if self._last is not None:
            times.append(self._last.deadline())
        if self._resumable is not None:
            times.append(self._resumable.deadline())
        if self._points is not None:
            times.append(self._points.deadline())
        return min(times)

    def arrived(self, peer: bytes, data: bytes) -> None:
        """Bytes from a peer."""
        if self.result is not None:
            return
        try:
            self._message(self._host.now(), peer, messages.decode(data))
        except MessageError as error:
            self._host.observe(events.Rejected(str(error)))

    def connected(self, peer: bytes) -> None:
        """A connection that this replica makes stands."""
        if self.result is None:
            self._links.introduce(peer)

    def disconnected(self, peer: bytes) -> None:
        """The connection to `peer` dropped."""
        if self.result is None:
            replica = self._links.lost(peer)
            if replica is not None:
                self._lost(replica)

    def probe(self) -> None:
        """Some connection dropped; saying something tells whose it was."""
        if self.result is None:
            query = messages.Query(self.role.generation, self._host.now(), 0, 0, 0)
            for replica in self._links.replicas:
                self._send(query, replica)

    def arbiter_answered(self, record: Record | None) -> None:
        """The newest record; None if the arbiter could not be reached."""
        self._do(lambda: self.role.arbiter_answered(self._host.now(), record))

    def lease_answered(self, asked: actions.Renew, renewed: bool | None) -> None:
        """As for a role."""
        self._do(lambda: self.role.lease_answered(self._host.now(), asked, renewed))

    def switch_over(self, wanted: str = "") -> None:
        """An operator asks, on this side, to swap roles: a primary's with who is `wanted`."""

        def swap() -> list[Action]:
            role, now = self.role, self._host.now()
            return (
                role.switchover(now, wanted) if isinstance(role, Primary) else role.switchover(now)
            )

        self._do(swap)

    def drop(self, member: str, reason: str) -> None:
        """Go on without another replica, or let it not join; if that is possible now."""
        role = self.role
        if isinstance(role, Primary):
            self._do(lambda: role.drop(self._host.now(), member, reason))

    def migrate(
        self,
        endpoint: str,
        answer: Callable[[str, Report], None],
        precopy: Precopy | None = None,
    ) -> None:
        """Move this replica to the one that waits at `endpoint`, and the guest with it if it is the
        primary, with a log of what it does meanwhile or by `precopy`; `answer` gets why that
        failed, or "", once."""
        now, refusal, role = self._host.now(), "", self.role
        idle = role.idle if isinstance(role, Primary) else role.state is not State.FOLLOWING
        if idle:
            refusal = f"no migration while the replica is: {role.state.value}"
        elif isinstance(role, Secondary) and not role.members.get(role.owner):
            refusal = "the primary does not say where others reach it: let it listen at an address"
        elif isinstance(role, Secondary) and precopy is not None:
            refusal = (
                "this replica is a secondary, and its guest stays where the primary is; move it by "
                "the method log, or ask the primary to move"
            )
        elif self._migration is not None:
            refusal = f"the guest migrates already, to {self._migration.endpoint}"
        else:
            self._destination = self._links.dial(endpoint)
            if self._destination is None:
                refusal = f"{endpoint} cannot be reached"
        if refusal:
            answer(refusal, Report())
            return
        self._migration = Migration(self, endpoint, now, self._host.observe, answer, precopy)
        known = None if self._destination is None else self._links.at(self._destination)
        if known is not None:
            self._reached_destination(known)

    def cancel_migration(self, reason: str) -> bool:
        """Let the guest stay here; false if it migrates no more, or can stay no longer."""
        return self._migration is not None and self._migration.cancel(reason)

    def move_disk(self, since: Role, disk: str, path: str, token: int, mover: DiskMover) -> None:
        """Let a shared disk move to the file `path`, which is equal to it and is written as it is,
        since before this replica had any role but `since`. `mover` is told what comes of it."""
        role = self.role
        if not isinstance(role, Primary) or role is not since or self.result is not None:
            mover.kept("this replica is not the primary any more")
            return
        self._mover = mover
        self._do(lambda: role.move_disk(self._host.now(), disk, path, token))

    def decide_disk(self) -> None:
        """After `DiskMover.agreed`: what is written is in both files from now on."""
        role = self.role
        if isinstance(role, Primary):
            self._do(lambda: role.decide_disk(self._host.now()))

    def keep_disk(self, reason: str) -> None:
        """The disk is to stay where it is, unless that is being decided."""
        role = self.role
        if isinstance(role, Primary):
            self._do(lambda: role.keep_disk(reason))

    def disk_moved(self) -> None:
        """After `DiskMover.moved`: the old file is not used here any more."""
        if isinstance(self.role, Primary) and self._config is not None:
            self.role.disk_moved(self._roles.offer(self._config))

    def set_hold(self, hold: bool) -> None:
        """Whether outputs are to wait while this replica is primary and there is no other member,
        now and whenever it is. Raises `UsageError` if they may be too many to be held."""
        if hold:
            self._setting.timing.check_hold()
        self._roles.hold, role = hold, self.role
        if isinstance(role, Primary):
            self._do(lambda: role.set_hold(self._host.now(), hold))

    def sample_writes(self, answer: Callable[[int | None], None]) -> None:
        """As a `WriteSample` tells, and None, too, where there is no guest or its RAM is copied."""
        copied = self._loading or self.transfer or (self._points and self._points.busy)
        if self._guest is None or copied or (self._sample and not self._sample.over):
            answer(None)
        else:
            self._sample = WriteSample(self._guest.machine.track, answer)

    def _stop_sample(self) -> None:
        if self._sample is not None:
            self._sample.stop()

    def leave(self, reason: str) -> None:
        """Let another replica have the guest, or end it if there is none, and leave; without either
        if that takes too long."""
        if self.result is None:
            self._leaving, self._leave_by = reason, self._host.now() + _LEAVE_LIMIT
            self._do(lambda: self.role.leave(self._host.now(), reason))

    def end_guest(self, reason: str) -> None:
        """End the guest, here and with all other replicas."""
        self._ending = reason
        self._do(lambda: self.role.end(self._host.now(), reason))

    def collect(self) -> None:
        """Take the frames that NICs have received while `collecting`."""
        if self.collecting:
            self._nics.collect(self._host.now())

    def send_off(self) -> None:
        """See what the guest did, and nothing else that a turn looks at."""
        if self.result is None and self._guest is not None:
            self._see_guest(self._guest)

    def turn(self, tick: bool = False) -> None:
        """See what the guest did, and what time demands. The role is told of the time when it has
        to be by the last `deadline`, or if it is to `tick`."""
        if self.result is not None:
            return
        if self._guest is not None:
            self._see_guest(self._guest)
        now = self._host.now()
        if now >= self._room_at:
            self._room_at = NEVER
            self._queue.retry()
        if self.result is None:
            self._see_outputs()
        if self.result is None:
            self._look_at_network()
            if tick or now >= self._tick_at:
                self._do(lambda: self.role.tick(self._host.now()))
        if self.result is None and now >= self._leave_by:
            self._stop(self._leaving, orderly=False)
        self._see_kept()
        self._hang_up()
        self._see_opened()
        self._go_on_sending()
        self._go_on_loading()
        if self._log is not None:
            self._log.turn(self._host.now())
        if self._keyframing is not None:
            self._keyframing.turn(self._host.now())
        if self._last is not None:
            self._last.turn(self._host.now())
        if self._migration is not None:
            self._migration.look(self._host.now())
            if self._migration.over:
                self._migration = None
        if isinstance(self.role, Primary) and self._guest is not None:
            too_much = self._queue.bytes > self._setting.timing.max_log
            self.role.crowded = self.transfer is not None and self.transfer.crowded
            throttled = self.transfer is not None and self.transfer.throttled
            too_much |= self._resumable is not None and self._resumable.waiting > _MOST_UNKEPT
            behind = too_much or self.role.crowded or self.role.slowed(self._host.now())
            self._guest.slow(throttled or behind, soon=throttled)

    def _hang_up(self) -> None:
        """On those that were dialed and are members no more. Who looks for its primary knows of no
        members yet."""
        if self._links.dialed and self.role.state is not State.JOINING:
            self._links.hang_up(self.role.ruling().members.values(), self._destination)

    def _look_at_network(self) -> None:
        now = self._host.now()
        if now >= self._network_at:
            self._network_at = now + self._setting.timing.interval // 2
            self.role.isolated = self._nics.isolated
            self._network.look(self.role.isolated)

    def status(self) -> events.Status:
        """What a person would like to know."""
        role = self.role
        lag_ms = None
        if isinstance(role, Primary):
            name, entries = "primary", role.next
            behind, lag = role.lag(self._host.now())
            lag_ms = lag / 1e6
        else:
            name, entries = "secondary", role.received_entries
            behind = entries - role.executed
        return events.Status(
            role=name,
            state=role.state,
            generation=role.generation,
            exits=self.machine.exits if self.machine is not None else 0,
            entries=entries,
            lag_entries=behind,
            lag_ms=lag_ms,
            log_bytes=self._log.written if self._log is not None else 0,
            outputs_held=len(self._queue),
            hold=self._roles.hold,
            holding=isinstance(role, Primary) and role.holding,
            members=len(role.ruling().members),
            network=not role.isolated if self._setting.nics else None,
            moves=() if self._migration is None else (f"the replica {self._migration}",),
            cause=role.tenure.record.cause,
            took_over=self._took_over,
            silent_ms=self._silent_ms,
            nics={
                device.name: replace(self._setting.nics[device.handle].counters)
                for device in self._setting.image.devices
                if device.handle in self._setting.nics
            },
        )

    def close(self, ended: bool = False) -> None:
        """If the arbiter knows that the guest has `ended`, nobody resumes it any more; else who
        starts it again finds in its log that it has."""
        if self.result is not None and self._guest is not None and not self._closed:
            self._closed = True
            for place in self._guest.unreached:
                self._notice(f"this replica never came to {place.text}")
        self._stop_sample()
        if self._keyframing is not None:
            self._keyframing.stop()
        if self._log is not None:
            self._log.close()
        if self._last is not None:
            guest = self._running
            diverged = isinstance(guest.failure, Divergence)
            self._last.end(diverged or has_failed(guest.outcome))
            self._last = None
        if self._points is not None:
            self._points.close()
        if self._resumable is not None:
            useless = self._history is not None and isinstance(self._running.failure, _OF_THE_LOG)
            self._resumable.close(remove=useless or ended)
        self._end_transfer()
        if self._mover is not None and isinstance(self.role, Primary):
            asked = self.role.moving is not None and self.role.moving.claimed
            told = self._mover.undecided if asked else self._mover.kept
            told("this replica has ended")
            self._mover = None

    def fall_silent(self) -> None:
        """Begin no other output."""
        self._queue.close()

    def settle(self) -> bool:
        """After that: wait a little for the output that was begun; whether the world gets nothing
        from here any more."""
        return self._queue.settle(_SETTLE_SECONDS)

    # What arrives

    def _message(self, now: int, peer: bytes, message: Message) -> None:
        if isinstance(message, messages.Switchover):
            self._asked_to_swap(now, peer)
            return
        sender = self._links.heard(peer, message)
        if sender is None:
            return
        if isinstance(message, messages.Goodbye) and self._migration is not None:
            self._migration.refused(sender, f"the destination says: {message.reason}")
        match message:
            case messages.Iam():
                made = self._links.made(peer)
                if peer == self._destination:
                    self._reached_destination(sender)
                self._do(lambda: self.role.connected(now, sender, made))
            case SwitchoverDone():
                self._reply(message)
            case messages.Took() | messages.Pages() | messages.Blocks() | messages.Rest():
                self._do(lambda: self.role.received(now, sender, message))
                self._state_on_its_way(now, sender, message)
            case _:
                self._see_progress(now)  # so that an answer tells of it
                self._do(lambda: self.role.received(now, sender, message))

    def _state_on_its_way(
        self,
        now: int,
        sender: str,
        message: messages.Took | messages.Pages | messages.Blocks | messages.Rest,
    ) -> None:
        """Part of a guest's state, or word of it: if it is awaited from there."""
        role, transfer, loading = self.role, self.transfer, self._loading
        if isinstance(message, messages.Took):
            if isinstance(role, Primary) and transfer is not None and transfer.to == sender:
                if transfer.took(message.count):
                    role.transferred(now)
                self._go_on_sending()
        elif isinstance(role, Secondary) and loading is not None and role.owner == sender:
            try:
                if isinstance(message, messages.Rest):
                    self._loaded(now, role, loading, message)
                else:
                    loading.take(message)
            except VlockstepError as error:
                self._cannot_load(error)

    def _go_on_loading(self) -> None:
        if self._loading is not None:
            try:
                self._loading.look()
            except VlockstepError as error:
                self._cannot_load(error)

    def _cannot_load(self, error: VlockstepError) -> None:
        self._loading = None
        self._fail(HostError(f"the guest's state cannot be loaded: {error}"))

    def _loaded(
        self, now: int, secondary: Secondary, loading: Loading, rest: messages.Rest
    ) -> None:
        """All of a guest's state is here: let it run on."""
        state = loading.complete(rest)
        self._loading = None
        self._begin_last(state.next, boot=False)
        stands = self._running.run_on(state)
        self._know_basis()
        secondary.basis = self._roles.basis
        outputs = [output.sequence for output in state.outputs]
        self._host.observe(events.Started())
        self._do(lambda: secondary.loaded(now, rest.next, stands, rest.origin, outputs))

    def _lost(self, replica: str) -> None:
        self.role.isolated = self._nics.isolated
        self._do(lambda: self.role.disconnected(self._host.now(), replica))

    def _asked_to_swap(self, now: int, operator: bytes) -> None:
        """By an operator, or by another replica for some. Who is refused at once is told alone."""

        def ask() -> list[Action]:
            asked = self.role.switchover(now)
            match asked:
                case [actions.Reply(generation, reason)]:
                    self._links.say(SwitchoverDone(generation, reason), operator)
                    return []
            if operator not in self._operators:
                self._operators.append(operator)
            return asked

        self._do(ask)

    # What the guest did

    def _see_guest(self, guest: Guest) -> None:
        now = self._host.now()
        if now >= self._look_at:
            self._look_at = NEVER
        if guest.failure is not None:
            self._guest_failed(now, guest.failure)
        elif self._finishing:
            self._finish()
        elif isinstance(self.role, Secondary) and guest.executed is not None:
            self._see_progress(now)
            if self.behind:
                self._look_at = min(self._look_at, now + _LOOK)
            if self._going_live is not None and (guest.live or guest.outcome is not None):
                self._now_live(now, self._going_live, self.role)
        if isinstance(self.role, Primary):
            self._take_entries(now, self.role, guest)

    def _see_progress(self, now: int) -> None:
        """What a secondary's guest has executed."""
        role, executed = self.role, self.executed
        if isinstance(role, Secondary) and executed is not None and executed != role.executed:
            self._do(lambda: role.progressed(now, executed))

    def _take_entries(self, now: int, primary: Primary, guest: Guest) -> None:
        outbox = guest.outbox
        held, visited = outbox.waiting, outbox.visited  # what came before is there to be taken
        soon = outbox.urgent or held or visited
        if now < self._flush_at and not soon:
            if self._flush_at == NEVER and outbox.next > primary.next:
                self._flush_at = now + _FLUSH
            return
        entries = outbox.take()
        self._flush_at = now + _FLUSH if entries else NEVER
        if entries:
            batches = self._encode(primary, entries)
            self._keep(entries, batches)
            self._do(lambda: primary.append(now, entries, batches))
            self._inject(Stage.SENT, primary.next - 1)
        if visited and outbox.visited:
            self._captured(now, primary, guest)
        if held and primary.state is State.HOLDING:
            self._do(lambda: primary.held(now, guest.machine.position))

    def _captured(self, now: int, primary: Primary, guest: Guest) -> None:
        """The guest's state was taken for a newcomer; all before it is told."""
        transfer = self.transfer
        if transfer is not None:
            assert transfer.state is not None and transfer.state.next == primary.next
            stands = 0 if transfer.precopy is None else transfer.precopy.limit
            self._do(lambda: primary.captured(now, primary.next, stands))
        guest.outbox.unseal()
        self._host.wake()

    def _encode(self, primary: Primary, entries: list[Entry]) -> list[Batch]:
        """For other members and the log, if there are any."""
        resumable = self._resumable is not None and not self._resumable.given_up
        kept = self._log is not None or self._last is not None
        if not (primary.logs or kept or resumable):
            return []
        return [
            Batch(first, end, primary.generation, content)
            for first, end, content in codec.batches(primary.next, entries)
        ]

    def _guest_failed(self, now: int, failure: BaseException) -> None:
        if isinstance(failure, Divergence) and isinstance(self.role, Secondary):
            self._host.observe(events.Diverged(failure.report()))
            role = self.role
            self._do(lambda: role.diverged(now, str(failure)))
            self.result = failure
        elif isinstance(failure, VlockstepError):
            self.result = failure
        else:
            raise failure

    # What is to be done

    def _do(self, event: Callable[[], list[Action]]) -> None:
        """Tell the role of an event and carry out what it asks for, after all that is due before;
        what becomes of an action may be another event."""
        if self.result is not None or self._finishing:
            return
        self._due.append(event)
        if self._acting:
            return
        self._acting = True
        try:
            while self._due and self.result is None and not self._finishing:
                asked = self._due.popleft()()
                if self._setting.fault is not None:
                    self._setting.fault.entered(self.role.state)
                self._see_joined()
                self._protection.look(self.role)
                for action in asked:
                    if self.result is None:
                        self._carry_out(action)
        finally:
            self._acting = False

    def _carry_out(self, action: Action) -> None:
        match action:
            case actions.Send(message, to):
                self._send(message, to)
            case actions.Dial(member, endpoint):
                if member not in self._links:
                    self._links.dial(endpoint)
            case actions.Release(end, until):
                self._release(end, until)
            case actions.Deliver(first, entries, content):
                self._keep(entries, [Batch(first, first + len(entries), 0, content)])
                self._running.feed(entries)
            case actions.Forget(end):
                self._queue.forget(end)
            case actions.Start(config):
                self._start(config)
            case actions.Transfer(to):
                self._begin_transfer(to)
            case actions.StopTransfer(reason):
                self._give_up_transfer(reason)
            case actions.Load(config, disks):
                self._load(config, disks)
            case actions.OpenDisk():
                self._shared.open(action)
            case actions.UseDisks(disks):
                self._use_disks(disks)
            case actions.Agreed() if self._mover is not None:
                self._mover.agreed()
            case actions.KeepDisk(reason):
                self._keep_disk(reason)
            case actions.Announce():
                self._nics.announce()
            case actions.Claim():
                self._host.claim(action)
            case actions.Renew():
                self._host.renew(action)
            case actions.GoLive():
                self._go_live(action)
            case actions.Follow():
                self._follow(action)
            case actions.Hold():
                self._running.hold()
            case actions.Resume():
                self._resume()
            case actions.Reply(generation, reason):
                self._reply(SwitchoverDone(generation, reason))
            case actions.Notice(text):
                self._notice(text)
            case actions.Done():
                self._finishing = True
                self._finish()
            case actions.Stop(reason, orderly):
                self._stop(reason, orderly)

    def _resume(self) -> None:
        """Let the guest go on, but never while its state is sent from where it stands."""
        role, transfer = self.role, self.transfer
        assert isinstance(role, Primary)
        if transfer is not None and role.joiner is not None and role.joiner.captured:
            assert transfer.precopy is None or transfer.sent
        self._running.outbox.hold(False)

    def _stop(self, reason: str, orderly: bool) -> None:
        self._host.observe((events.Left if orderly else events.Stopped)(reason))
        if orderly:
            self.result = Left(f"{reason}{_GONE_ON}" if self._leaving else reason)
        else:
            self.result = HostError(reason if self._leaving else f"this replica stopped: {reason}")

    def _send(self, message: Message, to: str) -> None:
        if isinstance(message, messages.Refuse):
            self._host.observe(events.Rejected(f"a secondary: {message.reason}"))
            if self._migration is not None:
                self._migration.refused(to, message.reason)
        if to in self._links and not self._links.send(message, to):
            self._lost(to)

    def _release(self, end: int, until: int) -> None:
        if self._guest is not None:
            self._guest.outbox.acknowledged = end
        self._queue.permit(end, until)
        self._see_outputs()

    def _see_outputs(self) -> None:
        """Which of a primary's outputs are made."""
        failure, done = self._queue.failure, self._queue.done
        if isinstance(failure, VlockstepError):
            self._host.observe(events.Stopped(str(failure)))
            self.result = failure
        elif failure is not None:
            raise failure
        elif isinstance(self.role, Primary):
            if self._queue.expired:
                self._queue.expired = False
                self.role.expired()
            self._see_room(done)
            if done > self.role.released:
                role = self.role
                self._do(lambda: role.performed(self._host.now(), done))

    def _see_room(self, done: int) -> None:
        """Whether outputs, the first of the entry `done`, wait for storage that is full."""
        why = self._queue.no_room
        if why is not None and self._room_at == NEVER:
            self._room_at = self._host.now() + _ROOM
            if self._full != done:
                self._full = done
                self._notice(f"{why}: outputs wait there; delete something, and they are made")
        elif self._full is not None and done > self._full:
            self._full = None
            self._notice("there is room for outputs again")

    def _reply(self, message: SwitchoverDone) -> None:
        """Tell those who asked: operators, or the peer on behalf of some."""
        self._host.observe(events.SwitchoverAnswered(message.generation, message.reason))
        for operator in self._operators:
            self._links.say(message, operator)
        self._operators.clear()
        if self._migration is not None:
            self._migration.answered(message.generation, message.reason)

    def _finish(self) -> None:
        """The guest has ended, and every output is where it belongs."""
        ending, core = self._running.outcome, self._running.core
        if ending is None or core is None:
            return  # its thread has not come to its end yet, and will wake us
        if core:
            self._notice(core)
        outcome = ending if isinstance(ending, Outcome) else ending.outcome
        self._host.observe(
            events.Finished(
                outcome.status,
                outcome.reason,
                outcome.position,
                outcome.registers,
                outcome.memory_digest,
            )
        )
        self.result = ending

    # The guest

    @property
    def _running(self) -> Guest:
        """The guest, where the protocol knows that there is one."""
        assert self._guest is not None
        return self._guest

    def _make_guest(
        self,
        config: GuestConfig,
        machine: GuestMachine | None = None,
        engine: str | None = None,
    ) -> None:
        self._config = config
        setting = replace(self._setting, engine=engine) if engine else self._setting
        self._guest = Guest(
            setting, self._host, config, self._queue, self._nics, self._generation, machine
        )
        self._know_basis()

    def _know_basis(self) -> None:
        """What the guest's results depend on, now that something executes it."""
        native, basis = self._running.machine.stops_anywhere, self._setting.basis
        self._roles.basis = basis if native else emulated(basis)

    def _start(self, data: dict[str, Any]) -> None:
        primary = isinstance(self.role, Primary)
        try:
            if primary:
                self._setting.begin()
            else:
                self._make_offered(data)
                self._queue.go_on(printed_before(data), ())
        except VlockstepError as error:
            self._fail(error)
            return
        self._begin_log()
        self._begin_last()
        self._host.observe(events.Started())  # while there is certainly somebody to tell it
        if primary:
            self._begin_resumable()
            self._running.run_live()
        else:
            self._running.run_following()

    def _make_offered(
        self,
        data: dict[str, Any],
        runs: bool = False,
        moved: Mapping[str, str] | None = None,
    ) -> None:
        """The primary's guest, if the devices of this replica are those that it has."""
        config = GuestConfig.from_dict(data)
        self._setting.check(config, runs)
        for doubt in self._setting.verify_shared(data.get("tokens"), moved):
            self._notice(doubt)
        engine = self._setting.engine_beside(data.get(PROCESSOR))
        if engine != self._setting.engine:
            self._notice(
                "Unicorn executes the guest: another replica runs it on a processor "
                f"{data[PROCESSOR]}, which is unlike this host's"
            )
        self._make_guest(config, engine=engine)
        assert isinstance(self.role, Secondary)
        self.role.basis = self._roles.basis

    def _fail(self, error: VlockstepError) -> None:
        """This replica cannot follow."""
        for replica in self._links.replicas:
            self._send(messages.Goodbye(str(error)), replica)
        self.result = error

    # Joins

    def _begin_transfer(self, to: str) -> None:
        primary = self.role
        assert isinstance(primary, Primary)
        self._stop_sample()
        origin = primary.journal.origin
        disks = self._disk_copies(DiskCopies)
        try:
            self.transfer = Transfer(
                self._running,
                to,
                lambda message: self._send(message, to),
                origin,
                self._host.now,
                self._setting.transfer,
                disks,
                self._migration.precopy_of(to) if self._migration is not None else None,
            )
        except VlockstepError as error:
            if disks is not None:
                disks.close()
            self._uncaptured(primary, error)

    def _disk_background(self) -> Background:
        if self._disk_work is None:
            self._disk_work = self._host.background("disks")
        return self._disk_work

    def _disk_copies(self, kind: Callable[..., _Disks]) -> _Disks | None:
        """Of the disks that are copies of each replica's own, if there are any."""
        copies = self._setting.copies
        if not copies:
            return None
        return kind(copies, self._disk_background(), self._host.wake)

    def _go_on_sending(self) -> None:
        role, transfer = self.role, self.transfer
        if transfer is not None and isinstance(role, Primary):
            try:
                transfer.pump()
            except VlockstepError as error:
                self._uncaptured(role, error)

    def _uncaptured(self, primary: Primary, error: VlockstepError) -> None:
        reason = str(error)
        self._do(lambda: primary.uncaptured(self._host.now(), reason))

    def _see_joined(self) -> None:
        """Whether who got the guest's state is a member now."""
        role, transfer = self.role, self.transfer
        if transfer is None or not isinstance(role, Primary) or role.joiner is not None:
            return
        if transfer.to in role.followers:
            self._end_transfer()
            self._host.observe(
                events.Joined(
                    role.generation,
                    len(role.ruling().members),
                    transfer.bytes,
                    transfer.rounds,
                    transfer.pause / MILLISECOND,
                )
            )

    def _give_up_transfer(self, reason: str) -> None:
        self._notice(f"a replica could not join: {reason}")
        self._end_transfer()

    def _reached_destination(self, replica: str) -> None:
        if self._migration is not None:
            self._migration.reached(replica)
            if self._migration.over:
                return
            role = self.role
            where = role.members[role.owner] if isinstance(role, Secondary) else ""
            self._send(messages.Invite(where), replica)

    def _end_transfer(self) -> None:
        if self.transfer is not None:
            self.transfer.close()
            self.transfer = None

    # Disks that move

    def _see_opened(self) -> None:
        """Whether a file is open that may be a shared disk's soon."""
        role, opened = self.role, self._shared.look()
        if opened is not None and isinstance(role, Secondary):
            sent, problem = opened
            self._do(lambda: role.opened(sent, problem))

    def _use_disks(self, disks: Mapping[str, str]) -> None:
        """The arbiter says where those are that have moved."""
        if isinstance(self.role, Primary):
            assert self._mover is not None, "nobody but its primary moves a disk"
            self._shared.at = dict(disks)
            self._mover.moved()
            self._mover = None
            return
        try:
            for name, path, before in self._shared.use(disks):
                self._host.observe(events.DiskMoved(name, path, before))
        except VlockstepError as error:
            self._host.observe(events.Stopped(str(error)))
            self._fail(error)

    def _keep_disk(self, reason: str) -> None:
        if self._mover is not None:
            self._mover.kept(reason)
            self._mover = None

    # Loading

    def _load(self, data: dict[str, Any], disks: Mapping[str, str]) -> None:
        assert isinstance(self.role, Secondary)
        try:
            self._make_offered(data, runs=True, moved=disks)
        except VlockstepError as error:
            self._fail(error)
            return
        self._shared.at = dict(disks)
        self._host.observe(events.Loading())
        if self._setting.log is not None:
            self._notice(
                "no log is kept by a replica that has joined a guest in the midst of its execution"
            )
        memory = self._running.machine.memory
        memory.clear()
        owner = self.role.owner
        self._loading = Loading(
            memory, lambda message: self._send(message, owner), self._disk_copies(DiskLoading)
        )

    def _begin_log(self) -> None:
        if self._setting.log is not None:
            assert self._config is not None
            self._log = KeptLog(
                self._setting.log,
                self._config,
                self._host.background("log"),
                self._notice,
                self._setting.image.path,
                self._roles.basis,
            )
            if self._setting.keyframes is not None:
                self._begin_keyframes(self._log, self._setting.keyframes)

    def _begin_last(self, next: int = 0, boot: bool = True) -> None:
        """From that entry on, which is the first since `boot` or not. Before the guest runs."""
        path, guest = self._setting.last, self._running
        if path is not None:
            made = self._keep_last(path, guest, next, boot)
            guest.taken, guest.making = made.taken, made.made
            made.begin(self._host.now())

    def _keep_last(self, path: Path, guest: Guest, next: int, boot: bool) -> LastMinutes:
        background, basis = self._host.background, self._roles.basis
        reads = guest.note_reads(LIMIT) if self._setting.local else None
        self._last = LastMinutes(
            path, guest, background, self._notice, basis, next=next, boot=boot, reads=reads
        )
        return self._last

    def _begin_resumable(self) -> None:
        """Of a guest that boots."""
        store, config, printed = self._setting.resume, self._config, self._queue.printed
        if store is not None:
            assert config is not None
            self._keep_to_resume(lambda: store.begin(config, printed), 0)
            self._forget_others()

    def _forget_others(self) -> None:
        """The logs of those who owned the guest before: this replica does now."""
        if self._setting.resume is not None and self._resumable is not None:
            self._resumable.tidy(self._setting.resume.forget_others)

    def _keep_to_resume(self, file: ResumeFile | Callable[[], ResumeFile], next: int) -> None:
        self._resumable = ResumeLog(
            file,
            self._host.background,
            next=next,
            limit=self._setting.resume_limit,
            settle=self._setting.settle,
            wake=self._host.wake,
            tell=self._notice,
        )
        self._kept_to = next
        self._points = ResumePoints(
            self._running,
            self._resumable,
            self._host.background("points"),
            growth=self._setting.resume_growth,
            interval=self._setting.resume_interval,
            wake=self._host.wake,
            tell=self._notice,
        )
        self._running.making = _both(self._running.making, self._points.made)

    def _see_kept(self) -> None:
        """How far the log is kept, from which the guest can be resumed."""
        log, role, now = self._resumable, self.role, self._host.now()
        if log is None:
            return
        released = role.waits_from if isinstance(role, Primary) else 0
        log.turn(now, released, bool(self._queue))
        if self._points is not None and isinstance(role, Primary):
            self._points.turn(now)
            if self._points.busy:
                self._stop_sample()
        if log.kept != self._kept_to and isinstance(role, Primary):
            self._kept_to = log.kept
            self._do(lambda: role.kept(now, log.kept))

    def _begin_keyframes(self, log: KeptLog, interval: int) -> None:
        background = self._host.background("keyframes")
        made = Keyframing(self._running, log, background, interval, self._notice)
        self._running.taken = made.taken
        if isinstance(self.role, Secondary):
            made.follow(self._host.now())
        self._keyframing = made

    def _generation(self) -> int:
        return (self._going_live or self.role).generation

    # Changing roles

    def _go_live(self, action: actions.GoLive) -> None:
        """Let the guest execute what was received, and then meet this host."""
        assert isinstance(self.role, Secondary)
        self._going_live = action
        if self._keyframing is not None:
            self._keyframing.stop()
        if self._history is not None:
            self._running.run_again(self._history)
        self._running.go_live(self.role.received_entries, action.not_before)
        self._host.wake()

    def _now_live(self, now: int, action: actions.GoLive, secondary: Secondary) -> None:
        assert self._config is not None
        self._going_live = None
        if self._history is not None:
            self._history = None
            self._forget_others()
        kept = self._kept_to = None if self._resumable is None else self._resumable.kept
        self._know_basis()
        primary = self.role = self._roles.live(action, secondary, self._config, kept)
        cause = self._took_over = secondary.tenure.record.cause
        silent = (now - secondary.silent_since) / MILLISECOND
        self._silent_ms = silent if cause in FAILOVERS else None
        live = events.Live(action.generation, bool(action.members), cause, self._silent_ms)
        self._host.observe(live)
        self._do(lambda: primary.begin(now))
        for member, hello in secondary.greetings.items():
            self._do(partial(primary.received, now, member, hello))
        self._ask_again()
        if secondary.asked_to_swap and not self._leaving:
            self.switch_over()

    def _follow(self, action: actions.Follow) -> None:
        """The guest is held, and goes on as a secondary's."""
        assert isinstance(self.role, Primary)
        self._flush_at = NEVER
        self._keep_disk("another replica takes over")
        if self._resumable is not None:
            self._resumable.give_up("the guest goes on elsewhere, where no log is kept")
        if self._points is not None:
            self._points.stop()
        self.role = self._roles.following(action, self.role)
        self._took_over, self._silent_ms = "", None
        if self._keyframing is not None:
            self._keyframing.follow(self._host.now())
        self._running.follow(action.next)
        self._host.observe(events.Following(action.generation))
        self._do(lambda: self.role.connected(self._host.now(), action.owner))
        self._ask_again()

    def _ask_again(self) -> None:
        """The new role for what the old one was asked."""
        if self._ending:
            self._do(lambda: self.role.end(self._host.now(), self._ending))
        if self._leaving:
            self._do(lambda: self.role.leave(self._host.now(), self._leaving))

    # Log, faults, events

    def _keep(self, entries: list[Entry], batches: list[Batch]) -> None:
        self._kept(entries)
        for log in (self._log, self._last):
            if log is not None:
                log.keep(self._host.now(), batches)
        if self._resumable is not None:
            self._resumable.keep(self._host.now(), batches)

    def _made(self, output: Output) -> None:
        self._inject(Stage.RELEASE, output.sequence)

    def _inject(self, stage: Stage, entry: int) -> None:
        if self._setting.fault is not None:
            self._setting.fault.reached(stage, entry)

    def _notice(self, text: str) -> None:
        self._host.observe(events.Notice(text))


_Told = Callable[[Entry, int], None]


def _both(first: _Told | None, second: _Told) -> _Told:
    if first is None:
        return second

    def tell(entry: Entry, sequence: int) -> None:
        first(entry, sequence)
        second(entry, sequence)

    return tell
