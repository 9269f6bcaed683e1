"""The execution of a guest, as a function of its inputs.

It knows nothing of clocks, sockets, files, roles or failures. Whatever the guest cannot compute
by itself comes through its `World`, and each such exit is served inside the engine's hook, where
registers and memory are exact. The engine itself stops only

- at a block boundary, to deliver an interrupt: whether there is one is asked within the engine's
  hook, too, when the block counter reaches its target;
- at an exception, an invalid instruction or a HLT;
- before an instruction that Unicorn gets wrong, which is then done here;
- in or behind an exit, if `Machine.run` is to return there: the exit's instruction is then executed
  again when the guest goes on, without being served twice;
- for good.

Counting costs a tenth of the speed, so it is on only while the guest has a timer armed or
somebody asks for positions between exits. It is switched at a stop, which the exit that arms the
timer requests for the end of its block; if that block holds another exit first, that one does.

It is long since exits, stops and their order make one state machine, of which no part is true
alone.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from itertools import islice
from pathlib import Path
from signal import Signals
from typing import Any

from vlockstep.errors import HostError, UsageError
from vlockstep.machine import engines, exceptions, paging, sitefinder
from vlockstep.machine.blockcounter import COUNT, NEVER, TARGET
from vlockstep.machine.boot import boot
from vlockstep.machine.breakpoints import Breakpoints
from vlockstep.machine.config import GuestConfig
from vlockstep.machine.coredump import write_core
from vlockstep.machine.cpumodels import MODELS
from vlockstep.machine.delivery import Delivery
from vlockstep.machine.engine import INVALID_INSTRUCTION, OK, Exits
from vlockstep.machine.errata.repair import Repair, Repairs
from vlockstep.machine.hypercalls import Hypercalls
from vlockstep.machine.image import Image
from vlockstep.machine.memory import BadPointer, Memory
from vlockstep.machine.position import BOOT, Position
from vlockstep.machine.randomness import RandomRead, decode
from vlockstep.machine.registers import Registers
from vlockstep.machine.report import (
    LONGEST_INSTRUCTION,
    GuestError,
    block_ends_without_exit,
    cut_short,
    disassemble,
    instruction_length,
    length_of_block,
)
from vlockstep.machine.state import Where
from vlockstep.machine.traps import Traps
from vlockstep.machine.world import Cause, NoAnswer, Outcome, Stop, World, WorldChanged

GUEST_ERROR_STATUS = 1

NO_WORLD: Any = None
"""That of a machine which has not run yet."""
_WORD = (1 << 64) - 1
_INTERRUPT_FLAG = 1 << 9
_SYSCALL_ENABLE = 1
_SELF_LOOP = re.compile(rb"\xeb\xfe|\xf3\x90\xeb\xfc")
"""`jmp .`, and `pause` with a jump back to it: without interrupts, nothing follows them."""
_MAX_SELF_LOOPS = 256
"""In one segment. Each of them costs memory, and time when blocks are translated."""


class Execution:
    """A guest on an engine, from stop to stop. `by_port` serves hypercalls."""

    def __init__(
        self,
        image: Image,
        config: GuestConfig,
        memory: Memory,
        count_blocks: bool,
        native: bool,
        engine: str,
    ) -> None:
        self.image = image
        self.config = config
        self.memory = memory
        self._start = boot(image, config, memory)
        self._native = native
        if engine == engines.KVM:
            sitefinder.check_whole(image, config)
        self._put_on(engine)
        self._random: dict[int, RandomRead] = {}
        self._by_port = Hypercalls(self, image, config).by_port
        if config.sites is not None:
            traps = Traps(self, image, config)
            self._by_port |= traps.by_port
            self._random = traps.random
        self.core_directory: Path | None = None
        self.on_touch: Callable[[Position], None] | None = None
        """Called whenever something else than the CPU may have written to RAM, with the boundary of
        the block in which, or before which, that was."""
        self.on_exception: Callable[[Position, exceptions.Taken], None] | None = None
        """Called on Unicorn when a handler of the guest's is to take an exception, with the
        boundary of the block in which it was raised."""
        self._always_count = count_blocks
        self._prepare()

    def _prepare(self) -> None:
        """At boot, or before a state is loaded: nothing has been executed."""
        self.world: World = NO_WORLD
        self.exits = 0
        self.outcome: Outcome | None = None
        self._error: BaseException | None = None
        self._untold: GuestError | None = None
        self._over = False
        self._where: Where | None = Where.BOUNDARY
        """None while the guest is where its state cannot be taken."""
        self._stop: Cause | None = None
        self._repeats: Where | None = None
        self._detour = False
        """An exit that comes is not simply to be served: there is none any more, or it is one that
        is repeated."""
        self._blocks = 0
        self._timer: tuple[int, int] = (0, 0)
        self._stopping = False
        self._timed = self._aimed = False
        self._count_wanted = self._counts = False
        """Blocks are to be counted though there is no timer: from the next exit on, and from the
        last one on. Anywhere else the count would be that of another place."""
        self._invalid_at: int | None = None
        self._raised: int | None = None
        self._repair: Repair | None = None
        self._pending: int | None = None
        self._breakpoints = Breakpoints()
        self._visitors: deque[Callable[[], None]] = deque()
        self._attentive = self._always_count
        self.switched_behind: int | None = None
        """The last exit that has switched the timer on or off. The engine stops behind it, and
        where that is depends on who watches instructions of that block."""
        self._boundary_wanted = False
        self._interrupted_at: Position | None = None
        self._begun = self._touched = BOOT

    def _put_on(self, engine: str) -> None:
        """Make that its engine, with a CPU that has just booted."""
        self.engine_name = engine
        exits = Exits(
            self._out,
            self._in,
            self._counter,
            self._exception,
            self._system_call,
            self._boundary,
            self._erratum,
        )
        model = self.config.cpu
        self.engine = engines.make(engine, self.memory, model, self._start, exits, self._native)
        for segment in self.image.segments:
            if segment.executable:
                for match in islice(_SELF_LOOP.finditer(segment.data), _MAX_SELF_LOOPS):
                    self.engine.watch_block(segment.address + match.start(), self._spinning)
        self._delivery = Delivery(self.engine, self.memory, self._taken)
        self._repairs = Repairs(self.engine, MODELS[model], self._read_as_guest)

    # State

    @property
    def position(self) -> Position:
        """Where the guest is. Exact inside an exit and at a stop; `blocks` is 0 if not counted."""
        return Position(self.exits, self.engine.words[COUNT] if self.engine.counting else 0)

    @property
    def at_boundary(self) -> bool:
        """Whether the guest is between two blocks, where it has stopped or in a breakpoint."""
        return self._where is Where.BOUNDARY

    @property
    def begun(self) -> Position:
        """The boundary at which the block began that is executed now. Within the engine's hooks,
        while blocks are counted."""
        count = self.engine.words[COUNT]
        return Position(self.exits, count - 1) if count else self._begun

    @property
    def timed(self) -> bool:
        """Blocks are counted for a timer, or for breakpoints: its exact states lie between them."""
        return self._timed or self._always_count

    @property
    def stops_anywhere(self) -> bool:
        """A visit does not wait for an exit."""
        return self.engine_name == engines.KVM

    @property
    def _end_position(self) -> Position:
        """Where the guest ends: the same whether or not blocks are counted for breakpoints."""
        return Position(self.exits, self.engine.words[COUNT] if self._timed else 0)

    def registers(self) -> Registers:
        """Behind an exit, RIP is that of the next instruction."""
        registers = self.engine.registers()
        if self.config.sites is not None and registers.kin is None:
            registers = Registers(registers, kin="")
        if self._where is not Where.BEHIND:
            return registers
        rip = registers["rip"] + instruction_length(registers["rip"], self.read_virtual)
        return Registers({**registers, "rip": rip}, registers.kin)

    def read_virtual(self, address: int, length: int) -> bytes:
        return paging.read(self.memory, self.engine["cr3"], address & _WORD, length)

    def _read_as_guest(self, address: int, length: int) -> bytes:
        """Less where the guest may not read at its privilege."""
        user = self.engine["cs"] & 3 == 3
        return paging.read(self.memory, self.engine["cr3"], address, length, user)

    def break_at(
        self, position: Position, action: Callable[[], None], *, exact: bool = True
    ) -> None:
        """Call `action` when the guest is exactly at `position`, before it runs on. It may be
        `stop`.

        If there is no such position, because that exit has fewer blocks, it is an error, or if not
        `exact` the next boundary does.
        """
        if position.blocks and not self._always_count:
            raise UsageError(f"{position} lies between exits: count blocks from the start")
        if position < Position(self.exits, 0):
            raise UsageError(f"{position} has passed; the guest is at {self.position}")
        self._breakpoints.add(position, action, exact)
        self._attentive, self._aimed = True, False

    def dump_core(self, registers: Registers) -> tuple[Path | None, str]:
        """Write a core file, if one is asked for: its path, or why there is none."""
        if self.core_directory is None:
            return None, ""
        try:
            return write_core(self.core_directory, self.image, self.memory, registers), ""
        except HostError as error:
            return None, str(error)

    # Control

    def run(self, world: World) -> Outcome | Stop:
        """Run the guest to its end, or until it is to stop; then `run` may be called again. Raises
        `GuestError` if the guest ends by an error of its own."""
        if self._over:
            raise UsageError("this machine has ended; make a new one")
        self._stop, self._aimed = None, False
        if world is not self.world:
            self.replace_world(world)
        if self._where is Where.BOUNDARY:
            self._guarded(self._check_breakpoints)
        while not self._over and self._stop is None:
            match self._where:
                case None:
                    self._guarded(self._tell_failure)
                case Where.HALTED:
                    self._guarded(self._wait_interrupt)
                case Where.BOUNDARY:
                    self._run_on()
                case Where.EXIT | Where.BEHIND as where:
                    self._repeat(where)
        if self._error is not None:
            raise self._error
        if self._stop is not None:
            return Stop(self.position, self._stop)
        assert self.outcome is not None
        return self.outcome

    def stop(self) -> None:
        """Let `run` return before the guest goes on. In the guest's thread: from a breakpoint's
        action or a call of its World.

        If Unicorn may be about to execute an instruction again that has overwritten its own block,
        `run` returns a block later: a stop there would change how blocks are counted.
        """
        self._stop, self._attentive = Cause.REQUEST, True

    def stop_at_boundary(self) -> None:
        """Let `run` return at the next block boundary, which may be where the guest is, but not
        behind an interrupt that came there. While blocks are counted; from any thread."""
        self._boundary_wanted = self._attentive = True
        self.kick()

    def uncount_block(self) -> None:
        """At a boundary: what comes is the rest of the block before, of which behind an exit none
        has begun."""
        self.engine.words[COUNT] = max(0, self.engine.words[COUNT] - 1)

    def visit(self, action: Callable[[], None]) -> None:
        """Call `action` in the guest's thread, where its state can be taken: soon if it
        `stops_anywhere`, at the next block boundary if it counts blocks, behind the next exit
        otherwise, or in a call of its World that waits and lets it in. Of several, each is called
        in its turn, and one that waits already not twice. Who waits no more is to `call_off`. From
        any thread."""
        if action not in tuple(self._visitors):
            self._visitors.append(action)
        self._attentive = True
        self.kick()

    def call_off(self, action: Callable[[], None]) -> None:
        """Call `action` no more, if it still waits for a `visit`. From any thread."""
        with suppress(ValueError):
            self._visitors.remove(action)

    def let_in(self) -> None:
        """Call what is to be called in the guest's thread, if anything is. By its World."""
        for _ in range(len(self._visitors)):
            try:
                visitor = self._visitors.popleft()
            except IndexError:  # it was called off just now
                return
            visitor()

    def replace_world(self, world: World) -> None:
        """From the next exit on, or from the one that now waits, ask `world`.

        The caller sees to it that the guest is in a call of the old world, which then raises
        `WorldChanged`.
        """
        self.world = world
        if self._timer[0]:
            world.timer(self.exits, *self._timer, self.kick)

    def count(self, wanted: bool) -> None:
        """Count blocks from the next exit on, or not any more, so that a visit need not wait for an
        exit; nothing else depends on it. From any thread."""
        if not self.stops_anywhere:
            self._count_wanted, self._attentive = wanted, True

    def kick(self) -> None:
        """Stop at the next block boundary if blocks are counted; soon if it `stops_anywhere`. From
        any thread."""
        self.engine.kick()

    # What hypercalls ask for

    def halt(self, status: int, trap: bytes) -> None:
        self._end(Outcome(status, "", self._end_position, *self._state(), trap))

    def arm_timer(self, period: int, vector: int) -> None:
        self._timer = (period, vector)
        self._attentive = True
        self.world.timer(self.exits, period, vector, self.kick)

    # Running

    def _run_on(self) -> None:
        """From a boundary to where the engine stops."""
        timed, counting = self._timed, self.engine.counting
        self._timed = self._timer[0] > 0
        counted = self._always_count or self._timed or self._counts
        if counted != counting:
            self.engine.counting = counted
        if (self._timed, counted) != (timed, counting):
            self._aimed = False
        if counted and not self._aimed:
            self._guarded(self._aim)
            if self._over or self._stop is not None:
                return
        self._execute()

    def _repeat(self, where: Where) -> None:
        """Execute an exit's instruction again, on the way from there to where the engine stops.

        Its block begins anew, but is not to be counted again; nor can the guest stop before it.
        """
        words = self.engine.words
        self._blocks, words[COUNT], words[TARGET] = words[COUNT], 0, NEVER
        self._repeats, self._detour = where, True
        self._execute()

    def _execute(self) -> None:
        self._stopping = False
        self._where = Where.EXIT
        status = self.engine.run()
        if status < 0 and not self._over:
            self._fail(f"the CPU engine crashed ({Signals(-status).name})", exact=False)
            return
        if self._over or (self._stop is not None and self._pending is None):
            return
        self._aimed = self._repeats is None
        if self._repeats is not None:  # an exit at which the engine stops
            self.engine.words[COUNT] = self._blocks
        self._repeats, self._detour = None, False
        self._where = Where.BOUNDARY
        self._guarded(self._stopped, status)
        if self.on_touch is not None:
            self.on_touch(self._touched)

    def _leave(self, where: Where) -> None:
        """The guest is to stop in or behind an exit: within its hook."""
        self._where, self._detour = where, True
        self.engine.leave()

    def _on_detour(self) -> bool:
        """Whether the exit is to be served though it is none as the others are."""
        where, self._repeats = self._repeats, None
        if where is None:
            return False
        self._detour = False
        self.engine.words[COUNT] = self._blocks
        if where is Where.BEHIND:
            self._pass_exit()
        return where is Where.EXIT

    # Exits

    def _out(self, port: int, width: int, value: int) -> None:
        if self._detour and not self._on_detour():
            return
        at = self.exits
        while True:
            try:
                handler = self._by_port[port]
                if width != 4:
                    raise BadPointer(f"OUT of {width} bytes to port {port:#x}; hypercalls take 4")
                handler(at, value)
                break
            except WorldChanged:
                continue
            except NoAnswer:
                self._stop = self._stop or Cause.NO_ANSWER
                self._leave(Where.EXIT)
                return
            except KeyError:
                self._fail(f"OUT to port {port:#x}, which is no hypercall")
                return
            except BadPointer as error:
                self._fail(f"hypercall on port {port:#x}: {error}")
                return
            except BaseException as error:
                self._abandon(error)
                return
        self.exits = at + 1
        if self._attentive:
            self._pass_exit()

    def _counter(self, with_aux: bool) -> None:
        if self._detour and not self._on_detour():
            return
        at = self.exits
        while True:
            try:
                cycles = self.world.cycles(at)
                break
            except WorldChanged:
                continue
            except NoAnswer:
                self._stop = self._stop or Cause.NO_ANSWER
                self._leave(Where.EXIT)
                return
            except BaseException as error:
                self._abandon(error)
                return
        self.engine.give_counter(cycles, with_aux)
        self.exits = at + 1
        if self._attentive:
            self._pass_exit()

    def _in(self, port: int) -> None:
        if not self._detour or self._on_detour():
            self._fail(f"IN from port {port:#x}, which is no device")

    def _exception(self, vector: int) -> None:
        """It is delivered at the stop that follows at once: RIP set within this hook would not be
        exact in the exits after it."""
        if self.left_alone:
            return
        self._raised = vector
        self.engine.stop_after_block()

    def _spinning(self, address: int) -> None:
        if self.left_alone:
            return
        if not self._timer[0] or not self.engine["rflags"] & _INTERRUPT_FLAG:
            self.engine["rip"] = address
            self._fail("endless loop that no interrupt can end")

    def _system_call(self) -> None:
        if self.left_alone:
            return
        self._invalid_at = self.engine["rip"]
        self.engine.stop_after_block()

    def _erratum(self, address: int, first: bool) -> None:
        """It is repaired at the stop that follows at once, before it executes."""
        if not self.left_alone:
            self._guarded(self._find_repair, address, first)

    def _find_repair(self, address: int, first: bool) -> None:
        code = self.read_virtual(address, LONGEST_INSTRUCTION)
        self._repair = self._repairs.find(address, code, first)
        if self._repair is not None:
            self.engine.stop_after_block()

    @property
    def passing(self) -> bool:
        """Within the engine's hook of an instruction: it is not executed now, but behind a stop, or
        not at all."""
        return self.left_alone or self._stopping

    @property
    def left_alone(self) -> bool:
        """Within the engine's hooks: what the engine still executes is of no account."""
        return self._detour and self._repeats is None

    def _pass_exit(self) -> None:
        """What an exit costs more while blocks are counted or somebody watches."""
        if self._over:
            return
        self._where = Where.BEHIND
        self._guarded(self._after_exit)
        if self._stop is not None:
            self._leave(Where.BEHIND)
        elif not self._over:
            self._where = Where.EXIT

    def _after_exit(self) -> None:
        counting = self.engine.counting
        if self.engine.words[COUNT]:
            self._begun = Position(self.exits - 1, self.engine.words[COUNT] - 1)
        self.engine.words[COUNT] = 0
        if self.on_touch is not None:
            self.on_touch(self._begun)
        self._check_breakpoints()
        if self._stop is not None:
            return
        if counting:
            self._aim()
        timed = self._timer[0] > 0
        switches, self._counts = self._timed != timed, self._count_wanted
        if switches or counting != (self._always_count or timed or self._counts):
            rip = self.engine["rip"]
            if not self._stopping and block_ends_without_exit(rip, self.read_virtual):
                self._stopping = True
                self.switched_behind = self.exits if switches else self.switched_behind
                self.engine.stop_after_block()
        elif not counting and not self._breakpoints:
            self._attentive = False
            if self._visitors or self._count_wanted:  # who came meanwhile
                self._attentive = True

    # Stops

    def _stopped(self, status: int) -> None:
        """The engine returned: find out why, and make it fit to go on."""
        self._touched = self.begun
        if self._invalid_at is not None:
            rip, self._invalid_at = self._invalid_at, None
            self.engine["rip"] = rip
            if self.engine.registers()["efer"] & _SYSCALL_ENABLE:
                self._fail("SYSCALL, which this machine does not have")
                return
            self._deliver(exceptions.INVALID_OPCODE)
        elif (
            self._raised == exceptions.INVALID_OPCODE
            and (read := self._trapped_random()) is not None
            and not self.engine.take_exception()[1]  # by an INT before it
        ):
            self._read_random(read)
            self._raised = None
        elif self._raised is not None:
            vector, self._raised = self._raised, None
            self._fail_if(self._delivery.deliver_exception(vector))
        elif self._repair is not None:
            repair, self._repair = self._repair, None
            raised = repair()
            if raised is not None:
                self._deliver(raised)
        elif status == INVALID_INSTRUCTION:
            self._unknown_instruction()
        elif status != OK:
            self._fail("access to physical memory that does not exist")
        elif self.engine.at_block_boundary:
            self._aimed, self._touched = False, self.position
            self._take_interrupt()
        elif not self._stopping:
            self._aimed = False
            self._halted()

    def _unknown_instruction(self) -> None:
        """#UD, unless the guest's CPU has the instruction though Unicorn's does not: then it is an
        exit, served at a stop, behind which there is a boundary."""
        code = self.read_virtual(self.engine["rip"], LONGEST_INSTRUCTION)
        read = self._trapped_random()
        if read is None and self.engine.in_long_code:
            read = decode(code)
        if read is None or read.feature not in MODELS[self.config.cpu]:
            self._deliver(exceptions.INVALID_OPCODE)
        else:
            self._read_random(read)

    def _trapped_random(self) -> RandomRead | None:
        """What stood in the place of the trap at RIP, by whatever mapping the guest has come to it;
        None if there is none."""
        rip, cr3 = self.engine["rip"], self.engine["cr3"]
        try:
            first, second = (paging.translate(self.memory, cr3, rip + at & _WORD) for at in (0, 1))
        except paging.PageFault:
            return None
        return self._random.get(first) if second == first + 1 else None

    def _read_random(self, read: RandomRead) -> None:
        self._where = Where.EXIT
        self.engine.give_random(read, self.world.random(self.exits))
        self.engine["rip"] += read.length
        self._where = Where.BOUNDARY
        self.exits += 1
        self.engine.words[COUNT], self._aimed = 0, False
        self._guarded(self._check_breakpoints)

    def _boundary(self) -> bool:
        """The block counter has reached its target. Only an interrupt is a reason to stop, since
        it comes at the same position in every execution, or that the guest is to stop there."""
        if self._repeats is not None:  # kicked before the exit
            self.engine.words[TARGET] = NEVER
            return False
        if self._detour:
            return True
        self._where = Where.BOUNDARY
        self._guarded(self._at_boundary)
        if self._over or self._pending is not None or self._stop is not None:
            return True
        self._where = Where.EXIT
        return False

    def _at_boundary(self) -> None:
        self._check_breakpoints()
        if self._boundary_wanted and self.position != self._interrupted_at:
            self._boundary_wanted = False
            self.stop()
        self.engine.words[TARGET] = NEVER
        if self._stop is not None:
            size = self.engine.block[1]
            if not cut_short(self.engine.registers(), size, self.read_virtual):
                return
            self._stop = None
            following = Position(self.exits, self.engine.words[COUNT] + 1)
            self._breakpoints.add(following, self.stop, exact=False)
        if self._timed and self._pending is None:
            self._pending = self.world.interrupt(self.position, self._interruptible())
        if self._pending is None:
            self._aim()

    def _take_interrupt(self) -> None:
        vector, self._pending = self._pending, None
        assert vector is not None
        self._interrupted_at = self.position
        self._deliver(vector)

    def _halted(self) -> None:
        """HLT: an exit that ends with the next interrupt."""
        if not self._timer[0] or not self.engine["rflags"] & _INTERRUPT_FLAG:
            self._fail("HLT with no interrupt that could end it")
            return
        self.exits += 1
        self._where = Where.HALTED
        self.engine.words[COUNT] = 0

    def _wait_interrupt(self) -> None:
        self._check_breakpoints()
        if self._stop is None:
            vector = self.world.wait_interrupt(Position(self.exits, 0))
            self._where = Where.BOUNDARY
            self._deliver(vector)
            if self.on_touch is not None:
                self.on_touch(self._touched)

    def _aim(self) -> None:
        """Set the block counter's target, which stands until an exit or an interrupt, and is 0 if
        somebody wants to be let in."""
        stop = self.world.stop_at(self.position) if self._timed else None
        blocks = self._breakpoints.blocks_behind(self.exits)
        if blocks is not None:
            stop = min(NEVER if stop is None else stop, blocks)
        if stop is not None:
            self.engine.words[TARGET] = stop
        if self._visitors or self._boundary_wanted:
            self.kick()

    def _interruptible(self) -> bool:
        """Whether IF is set and the last instruction was no STI or MOV SS, which delay interrupts
        by one instruction."""
        return bool(self.engine["rflags"] & _INTERRUPT_FLAG) and not self.engine.in_shadow()

    def _check_breakpoints(self) -> None:
        if self._visitors and not (self.engine.counting and self._where is Where.BEHIND):
            self.let_in()
        if self._breakpoints:
            self._breakpoints.reach(self.position)

    # Ends

    def _deliver(self, vector: int) -> None:
        self._fail_if(self._delivery.deliver(vector))

    def _taken(self, taken: exceptions.Taken) -> None:
        if self.on_exception is not None:
            self.on_exception(self.begun, taken)

    def _fail_if(self, reason: str) -> None:
        if reason:
            self._fail(reason)

    def _state(self) -> tuple[Registers, bytes]:
        return self.registers(), self.memory.digest()

    def _end(self, outcome: Outcome) -> None:
        self.world.end(outcome)
        self.outcome = outcome
        self._finish()

    def _finish(self) -> None:
        self._over = self._detour = True
        self.engine.abandon()

    def _fail(self, reason: str, exact: bool = True) -> None:
        """End the guest by an error. What is known of it is kept though the world may change
        while it is told; `exact` as in `Outcome`."""
        self._where, self._detour = None, True
        self.engine.abandon()
        try:
            self._untold = self._failure(reason, exact)
        except BaseException as trouble:
            self._abandon(trouble)
        else:
            self._guarded(self._tell_failure)

    def _failure(self, reason: str, exact: bool) -> GuestError:
        registers, digest = self._state()
        outcome = Outcome(
            GUEST_ERROR_STATUS, reason, self._end_position, registers, digest, exact=exact
        )
        rip, read, long_mode = registers["rip"], self.read_virtual, self.engine.long_mode
        shown = {} if exact else {"after": length_of_block(rip, read, long_mode=long_mode)}
        code = disassemble(rip, read, self.image.symbol, **shown, long_mode=long_mode)
        return GuestError(outcome, code, *self.dump_core(registers))

    def _tell_failure(self) -> None:
        assert self._untold is not None
        self.world.end(self._untold.outcome)
        self._abandon(self._untold)

    def _abandon(self, error: BaseException) -> None:
        if self._error is None:
            self._error = error
        self._finish()

    def _guarded(self, function: Callable[..., None], *arguments: object) -> None:
        """Call something that may ask the world. No exception leaves a hook; a changed world is
        asked again."""
        while True:
            try:
                return function(*arguments)
            except WorldChanged:
                continue
            except NoAnswer:
                self._stop = self._stop or Cause.NO_ANSWER
                return None
            except BaseException as error:
                return self._abandon(error)
