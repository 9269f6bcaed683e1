"""The guest's side of a replica: its machine, the World that it runs in, and its thread.

What a `Guest` does in the guest's thread says so; everything else happens in a turn of the
replica.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

from vlockstep.errors import LogError, StateError
from vlockstep.ft.events import Notice
from vlockstep.ft.gueststate import GuestState
from vlockstep.ft.handoff import Behind, EntryOutbox, Received, Telling, Visiting
from vlockstep.ft.lead import ClockLead
from vlockstep.ft.outputs import Inputs, OutputQueue, ProtectedWorld
from vlockstep.ft.ownreads import NotedDisk, OwnReads
from vlockstep.ft.places import Fault, Place, Stage
from vlockstep.ft.resumelog import History
from vlockstep.ft.runtime import Runtime, Setting
from vlockstep.ft.standby import StandbyNics
from vlockstep.host.live import Continuation, LiveWorld
from vlockstep.machine.config import GuestConfig
from vlockstep.machine.interface import GuestMachine, GuestMemory
from vlockstep.machine.memory import WRITE_FLOOR
from vlockstep.machine.position import Position
from vlockstep.machine.report import GuestError
from vlockstep.machine.world import Outcome, World, WorldChanged
from vlockstep.replay.entry import Entry, Kind
from vlockstep.replay.keyframe import Keyframe
from vlockstep.replay.keyframes import fill, state_before, state_here
from vlockstep.replay.recorder import Cadence, Recorder
from vlockstep.replay.replayer import Replayer, Source


class Guest:
    """Runs `config`'s guest as a primary's or a secondary's, and changes from one to the other.

    Its outputs go to `queue`. `generation` tells which primary rules.
    """

    def __init__(
        self,
        setting: Setting,
        host: Runtime,
        config: GuestConfig,
        queue: OutputQueue,
        nics: StandbyNics,
        generation: Callable[[], int],
        machine: GuestMachine | None = None,
    ) -> None:
        """`machine` is the one that runs already, if one does."""
        self.outcome: Outcome | GuestError | None = None
        """How it ended."""
        self.core: str | None = None
        """Once it has ended: what became of the core file, for people; "" without any."""
        self.failure: BaseException | None = None
        """Why it could not go on."""
        self.live = False
        """It has executed all that was received, and meets this host."""
        self.taken: Callable[[Entry, int], None] | None = None
        """Told, in its thread, of each entry that it is about to execute while it follows, with
        its number. Before it runs."""
        self.making: Callable[[Entry, int], None] | None = None
        """Told, in its thread, of each entry that it is about to make, with its number. Before it
        runs."""
        self.reads: OwnReads | None = None
        """Who is told what it reads from disks of its replica's own, if anybody."""
        self._setting = setting
        self._host = host
        self._queue = queue
        self._nics = nics
        self._generation = generation
        self.outbox = EntryOutbox(host.wake, host.hurry, host.condition())
        self._replayer: Replayer | None = None
        self._watched: Replayer | None = None
        """That of which is told since a `watch`."""
        self._inputs: Inputs | None = None
        self._lead = ClockLead()
        self._idle_since = 0
        self._visits: list[Fault] = []
        """What to do at places where it follows, too."""
        self.machine = machine or self._make_machine(config)
        self._received = self._none_received()

    @property
    def unreached(self) -> list[Place]:
        """Where something was to be done, and it has not come to."""
        return [fault.place for fault in self._faults() if not fault.injected]

    # As a primary's

    def run_live(self) -> None:
        """From boot, as a primary's."""
        world = self._live_world(Continuation(generation=self._generation))
        self._host.launch(lambda: self._run(world))

    def adopt(self, world: LiveWorld) -> None:
        """It runs in this world, in another thread, and goes on as a primary's, soon."""

        def change() -> None:
            start = Continuation(world.clock(), waited=world.polls, generation=self._generation)
            self._queue.go_on(world.console_offset, ())
            self.machine.replace_world(self._live_world(start))
            world.leave()
            self._nudge()  # who was to be held before then
            raise WorldChanged

        self.machine.visit(change)
        world.wake()

    @property
    def adopted(self) -> bool:
        """It runs, or ran, in the world of a primary's."""
        return self._inputs is not None

    def hold(self) -> None:
        """Stop it, wherever it is; `outbox.waiting` tells when it stands."""
        self.outbox.hold(True)
        self._nudge()

    def slow(self, slowed: bool, soon: bool) -> None:
        """Let it wait, or not: behind its next exit, or `soon`, wherever it is."""
        changed = self.outbox.slow(slowed)
        if changed and slowed and soon:
            self._nudge()

    def visit(self, visitor: Callable[[], bool] | None, stay: bool = False) -> None:
        """As `EntryOutbox.visit`, soon, wherever it is."""
        self.outbox.visit(visitor, stay)
        if visitor is not None:
            self._nudge()

    def _nudge(self) -> None:
        """Let it come to a place where it can be stopped."""
        if self._inputs is not None:
            self._inputs.wake()
            if self.machine.stops_anywhere:
                self.machine.visit(self.outbox.pause)
                return
        self.machine.kick()

    def capture(self) -> GuestState:
        """Its state, but for the RAM. In its thread, by a visitor. Raises `StateError` where it
        cannot be taken."""
        assert self._inputs is not None
        machine = self.machine.save()
        clock, printed = self._inputs.clock(), self._queue.printed
        return GuestState(self.outbox.next, machine, clock, printed, self._queue.waiting())

    def live_keyframe(self, entry: Entry, sequence: int) -> Keyframe | None:
        """As `state_before`, where it is about to make that entry. In its thread."""
        assert self._inputs is not None
        clock, printed = self._inputs.clock(), self._queue.printed
        return state_before(entry, self.machine, sequence, Cadence(), clock, printed)

    def keyframe_here(self) -> Keyframe | None:
        """As `state_here`; none before it is adopted. In its thread, by who visits its machine."""
        if self._inputs is not None:
            sequence, clock = self.outbox.next, self._inputs.clock()
        elif self._replayer is not None:
            sequence, clock = self._replayer.sequence, self._replayer.clock
        else:
            return None
        return state_here(self.machine, sequence, clock, self._queue.printed)

    def follow(self, next: int) -> None:
        """It is held in a call of the primary's World, and goes on as a secondary's."""
        assert self._inputs is not None
        self.live = False
        self._received = self._none_received()
        clock = self._inputs.clock()
        self._lead = ClockLead(assumed=clock[0] - self._host.now())
        self.machine.replace_world(self._following_world(next, clock))
        self._inputs.leave()
        self._inputs = None
        self._nics.stand_by()
        self.outbox.leave()

    # As a secondary's

    def run_following(self) -> None:
        """From boot, as a secondary's."""
        self._follow_from(0, (0, 0))

    def run_again(self, history: History) -> None:
        """From its keyframe or from boot, as a secondary's that was told all of `history`."""
        self._queue.forget(history.released)
        keyframe = history.keyframe
        if keyframe is None:
            self._queue.go_on(history.printed, ())
            self._follow_from(0, (0, 0), history.entries())
            return
        self._queue.go_on(keyframe.console, ())
        restore = partial(self._restore, keyframe)
        self._follow_from(keyframe.sequence, keyframe.clock, history.entries(), restore)

    def run_on(self, state: GuestState) -> Position:
        """From this state, with the RAM that is there, as a secondary's; the position where it is.
        Raises `StateError` if it is not one of this guest."""
        self._become(state.machine)
        position = self.machine.position
        self._queue.go_on(state.console, state.outputs)
        self._lead = ClockLead(assumed=state.clock[0] - self._host.now())
        self._follow_from(state.next, state.clock)
        return position

    def _follow_from(
        self,
        next: int,
        clock: tuple[int, int],
        first: Iterator[Entry] | None = None,
        prepare: Callable[[], None] = lambda: None,
    ) -> None:
        """As a secondary's, from entry `next` on; some may come `first`, before what is fed. Its
        thread has to `prepare` it."""
        world = self._following_world(next, clock, first)
        self._nics.stand_by()
        self._host.launch(lambda: self._run(world, prepare))

    def watch(
        self, taken: Callable[[Entry, int], None], making: Callable[[Entry, int], None]
    ) -> None:
        """Let these be told, soon, as `taken` and `making`, though it follows already."""
        self.taken, self.making = taken, making
        if self._watched is self._replayer:
            return
        replayer = self._watched = self._replayer
        assert replayer is not None

        def tell(entry: Entry, _next: int) -> None:
            if self.taken is not None:
                self.taken(entry, replayer.sequence)

        def change() -> None:
            replayer.read_through(lambda source: Telling(source, 0, tell))

        self.machine.visit(change)
        self.wake()

    @property
    def executed(self) -> int | None:
        """How many entries it has executed; None if it does not follow."""
        return None if self._replayer is None else self._replayer.sequence

    def note_reads(self, limit: int) -> OwnReads:
        """From now on, of disks of its replica's own, up to so many bytes that wait."""
        self.reads = OwnReads(lambda: self.executed if self.follows else None, limit)
        return self.reads

    @property
    def follows(self) -> bool:
        """It executes what a primary's does."""
        return self._replayer is not None and not self.live

    def wake(self) -> None:
        """Let in who is to visit it, see `Machine.visit`, though it waits for entries, or for what
        a poll waits for. From any thread."""
        self._received.wake()
        inputs = self._inputs
        if inputs is not None:
            inputs.wake()

    def capture_following(self) -> tuple[GuestState, int]:
        """As `capture`, for who visits it while it follows; and for how many ns it has waited for
        an entry. Its clocks stand where it has read them last or, if it waits, where they may stand
        by now."""
        assert self._replayer is not None
        machine, waited, clock = self.machine.save(), 0, self._replayer.clock
        if self._received.dry:
            waited, clock = self._host.now() - self._idle_since, self._clock_by_now()
        outputs = self._queue.waiting()
        state = GuestState(self._replayer.sequence, machine, clock, self._queue.printed, outputs)
        return state, waited

    def keyframe_before(self, entry: Entry, sequence: int, cadence: Cadence) -> Keyframe | None:
        """As `state_before`, where it is about to execute that entry. In its thread."""
        assert self._replayer is not None
        clock, printed = self._replayer.clock, self._queue.printed
        return state_before(entry, self.machine, sequence, cadence, clock, printed)

    def feed(self, entries: list[Entry]) -> None:
        """Let it execute these, too."""
        self._compare_clocks(entries)
        self._nics.logged(self._host.now(), entries)
        self._received.put(entries)

    def go_live(self, next: int, not_before: Position) -> None:
        """Let it execute what was received, up to entry `next`, and then meet this host.

        It gets no interrupt before a position; `live` tells when it is done."""
        self._nics.go_live(self._host.now())
        self.outbox = EntryOutbox(self._host.wake, self._host.hurry, self._host.condition(), next)
        self._received.finish(lambda: self._install_live(not_before))

    def _compare_clocks(self, entries: Sequence[Entry]) -> None:
        """Learn where the guest's time-stamp counter stands, to let it go on without a jump."""
        for kind, _, _, value, _ in reversed(entries):
            if kind == Kind.CYCLES:
                assert isinstance(value, int)
                self._lead.note(self._host.now(), value)
                return

    # In the guest's thread

    def _run(self, world: World, prepare: Callable[[], None] = lambda: None) -> None:
        try:
            prepare()
            end = self.machine.run(world)
            self.outcome = end if isinstance(end, Outcome) else None
        except GuestError as error:
            self.outcome = error
        except BaseException as error:
            self.failure = error
        self.core = self._dump_core()
        self._host.wake()

    def _dump_core(self) -> str:
        """If it has aborted; of a guest error there is one already. Nobody waits for it but who
        leaves then."""
        end = self.outcome
        if not isinstance(end, Outcome) or not end.aborted:
            return ""
        self._host.wake()
        try:
            path, problem = self.machine.dump_core(end.registers)
        except BaseException as error:  # who leaves waits for its end, however that is
            return f"cannot write a core file: {error!r}"
        return f"core written to {path}" if path else problem

    def _restore(self, keyframe: Keyframe) -> None:
        self.machine.memory.clear()
        fill(keyframe, self.machine.memory)
        try:
            self._become(keyframe.machine)
        except StateError as error:
            raise LogError(
                f"malformed keyframe before entry {keyframe.sequence} ({error})"
            ) from error

    def _become(self, state: bytes) -> None:
        self.machine.become(state)
        if self.machine.fallback:
            self._host.observe(Notice(f"Unicorn executes the guest: {self.machine.fallback}"))

    def _ran_dry(self) -> None:
        """It has executed all there is. The host looks at its progress from time to time."""
        self._idle_since = self._host.now()

    def _install_live(self, not_before: Position) -> None:
        """It has taken the last entry."""
        waited = (self.machine.exits, self._idle_since)
        start = Continuation(self._clock_by_now(), not_before, waited, self._generation)
        self.machine.replace_world(self._live_world(start))
        self.live = True
        self._host.wake()

    def _clock_by_now(self) -> tuple[int, int]:
        """Where its clocks stand if it has executed all that the primary's has."""
        assert self._replayer is not None
        cycles, walltime = self._replayer.clock
        if self._lead.value is not None:
            cycles = max(cycles, self._host.now() + self._lead.value)
        return cycles, walltime

    def _visit(self, entry: int) -> None:
        """It is about to make or take `entry`: do what is to be done there."""
        for visit in self._visits:
            visit.reached(Stage.ENTRY, entry)

    # Machine and Worlds

    def _make_machine(self, config: GuestConfig) -> GuestMachine:
        setting = self._setting
        places = [*setting.stops, *([setting.diverge] if setting.diverge else [])]
        if setting.fault is not None:
            places.append(setting.fault.place)
        count_blocks = any(place.position and place.position.blocks for place in places)
        machine = self._host.machine(setting.image, config, count_blocks, setting.engine)
        machine.core_directory = setting.core_directory
        for stop in setting.stops:
            self._visits.append(Fault(stop, partial(self._host.look_around, stop.text, machine)))
        if setting.diverge is not None:
            self._visits.append(Fault(setting.diverge, partial(_flip, machine.memory)))
        for fault in self._faults():
            if fault.place.position is not None:
                machine.break_at(fault.place.position, fault.inject, exact=False)
        return machine

    def _faults(self) -> list[Fault]:
        fault = self._setting.fault
        return [*self._visits, *([fault] if fault is not None else [])]

    def _live_world(self, start: Continuation) -> World:
        outbox = self.outbox

        def pause() -> None:
            outbox.pause()
            self.machine.let_in()

        self._inputs = self._host.inputs(self._nics.by_handle, pause, start)
        local = self._local(lambda: outbox.next)
        world = ProtectedWorld(self._inputs, self._queue, outbox, local)
        append = outbox.append
        making = self.making
        if self._watches_entries():

            def append(entry: Entry) -> None:
                if making is not None:
                    making(entry, outbox.next)
                self._visit(outbox.next)
                if self._setting.fault is not None:
                    self._setting.fault.reached(Stage.ENTRY, outbox.next)
                outbox.append(entry)

        elif making is not None:

            def append(entry: Entry) -> None:
                making(entry, outbox.next)
                outbox.append(entry)

        return Recorder(world, self.machine, append, self._setting.local)

    def _following_world(
        self, next: int, clock: tuple[int, int], first: Iterator[Entry] | None = None
    ) -> World:
        source: Source = self._received if first is None else Behind(first, self._received)
        if self._watches_entries():
            source = Visiting(source, next, self._visit)
        if self.taken is not None:
            source = Telling(source, next, self.taken)
        replayer = self._replayer = Replayer(
            source,
            self.machine,
            local=self._local(lambda: replayer.sequence),
            suppressed=self._queue.add,
            sequence=next,
            clock=clock,
        )
        return replayer

    def _local(self, next: Callable[[], int]) -> dict[int, NotedDisk]:
        """The disks of which its replica has its own copy; `next` is the entry of a read."""

        def note(data: bytes) -> None:
            if self.reads is not None:
                self.reads.note(next(), data)

        disks = self._setting.disks
        return {handle: NotedDisk(disks[handle], note) for handle in self._setting.local}

    def _none_received(self) -> Received:
        return Received(self._ran_dry, self.machine.let_in, self._host.condition())

    def _watches_entries(self) -> bool:
        return any(fault.place.stage is Stage.ENTRY for fault in self._faults())


def _flip(memory: GuestMemory) -> None:
    """Flip a bit of RAM that no guest uses, so that only a digest tells."""
    address = WRITE_FLOOR - 1
    memory.write(address, bytes([memory.peek(address, 1)[0] ^ 1]))
