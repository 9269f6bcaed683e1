"""The machine: a guest as a function of its inputs, and of nothing else."""

from __future__ import annotations

from typing import Self

from vlockstep.errors import StateError, UsageError
from vlockstep.machine import dirty, engines
from vlockstep.machine.blockcounter import COUNT
from vlockstep.machine.boot import GDT, GDT_LIMIT, write_gdt
from vlockstep.machine.config import GuestConfig
from vlockstep.machine.dirty import DirtyPages
from vlockstep.machine.engine import EngineLimit
from vlockstep.machine.execution import NO_WORLD, Execution
from vlockstep.machine.image import Image
from vlockstep.machine.memory import Memory
from vlockstep.machine.report import LONGEST_INSTRUCTION, cut_short
from vlockstep.machine.state import MachineState, Where, guest_digest

_BREAKPOINTS_ENABLED = 0xFF
"""In DR7."""


class Machine(Execution):
    """One guest, from boot, or from any state of it, to its end.

    `count_blocks` keeps counting on from the start, for breakpoints between exits. `native=False`
    counts in Python instead of machine code, ten times slower and just as exact. `engine` is one of
    `engines.CHOICES`; who counts blocks has Unicorn. If it is `auto`, a state that needs Unicorn
    gets that, whatever the guest had: `fallback` then says why. `memory` is that it boots in, if
    not its own.
    """

    def __init__(
        self,
        image: Image,
        config: GuestConfig,
        *,
        count_blocks: bool = False,
        native: bool = True,
        engine: str = engines.AUTO,
        memory: Memory | None = None,
    ) -> None:
        if config.image_digest != image.digest:
            raise UsageError(
                f"{image.name} is not the image the configuration names "
                f"({image.digest[:12]}, expected {config.image_digest[:12]})"
            )
        self._guest = guest_digest(config)
        chosen = engines.choose(engine, config, count_blocks)
        self._adapts = engine == engines.AUTO
        self.fallback = ""
        memory = memory or Memory(config.memory)
        try:
            super().__init__(image, config, memory, count_blocks, native, chosen)
        except BaseException:
            memory.close()
            raise

    def close(self) -> None:
        self.engine.close()
        self.memory.close()

    def capture(self, memory: bool = True) -> MachineState:
        """The guest's state, at a stop, or in its thread: from a breakpoint's action or a call of
        its World. Raises `StateError` where it cannot be taken.

        Without `memory`, for `load`: the RAM as it is now is to come by another way.
        """
        if self._where is None or self._over:
            raise StateError("the guest is at its end: there is no state to take")
        cpu = self.engine.save()
        if self.engine["dr7"] & _BREAKPOINTS_ENABLED:
            raise StateError(
                "the guest uses its CPU's breakpoints (DR7); its state cannot be taken meanwhile"
            )
        if self.engine.lives_on_its_tlb():
            raise StateError(
                "the guest has turned EFER.NXE off on page tables that have NX: what it reaches is "
                "what its TLB happens to hold, which is no part of a state"
            )
        if self._where is Where.BOUNDARY and self._rewrites_itself():
            raise StateError(
                "the guest is overwriting the code that it executes; try it at another block"
            )
        return MachineState(
            self._guest,
            self._where,
            self.position,
            self._timed,
            self._timer,
            self._delivery.handler,
            self._delivery.unreached,
            cpu.portable(),
            tuple(self.memory.chunks()) if memory else (),
        )

    def _rewrites_itself(self) -> bool:
        """Whether the block to come may be one that is cut short: another CPU would not know that.
        It may if its code cannot be read, say without paging."""
        address, size = self.engine.block
        registers = self.engine.registers()
        if registers["rip"] != address or self.engine.in_shadow():
            return False
        unknown = not self.read_virtual(address, 1) and size <= LONGEST_INSTRUCTION
        return unknown or cut_short(registers, size, self.read_virtual)

    def track(self) -> DirtyPages:
        return dirty.track(self.memory)

    def save(self) -> bytes:
        return self.capture(memory=False).pack()

    def become(self, state: bytes) -> None:
        self.load(MachineState.unpack(state))

    @classmethod
    def restore(
        cls,
        image: Image,
        config: GuestConfig,
        state: MachineState,
        *,
        count_blocks: bool = False,
        native: bool = True,
        engine: str = engines.AUTO,
    ) -> Self:
        """A machine in `state`, of a guest with this image and configuration.

        Raises `StateError` if the state is not one of it.
        """
        if not state.memory:
            raise StateError("the state was taken without memory: fill a machine's, and load it")
        machine = cls(image, config, count_blocks=count_blocks, native=native, engine=engine)
        try:
            machine.load(state)
            address, content = state.memory[-1]
            if address + len(content) > machine.memory.size:
                raise StateError("a machine's state is malformed (more memory than the guest has)")
            machine.memory.replace(state.memory)
        except BaseException:
            machine.close()
            raise
        return machine

    def rewind(self, state: MachineState) -> None:
        """As `load`, whatever the guest has executed, and however it ended; only a machine whose
        engine crashed has to be made anew. Code that is translated already must be in RAM as it was
        then, or be forgotten (`engine.forget_code`)."""
        self._prepare()
        self.load(state)

    def load(self, state: MachineState) -> None:
        """Before its first run, make the guest one in `state`, but for its RAM, which is left as it
        is. Raises `StateError` if the state is not one of this guest."""
        assert self.world is NO_WORLD, "a guest that has run goes on as itself"
        if state.guest != self._guest:
            raise StateError(
                f"the state is one of another guest than {self.image.name} as configured"
            )
        try:
            self._take(state)
        except (StateError, EngineLimit) as error:
            if not self._adapts or self.engine_name == engines.UNICORN:
                raise
            self.fallback = str(error)
            self._fall_back()
            self._take(state)

    def _take(self, state: MachineState) -> None:
        self.engine.load(state.cpu)
        self._where = state.where
        self.exits, self.engine.words[COUNT] = state.position
        self._timed, self._timer = state.timed, state.timer
        self._delivery.handler, self._delivery.unreached = state.handler, state.unreached
        self._attentive = True
        refused = (
            self._timer[0] > 0 and self.stops_anywhere
        )  # a timer that it is about to count for
        self.engine.counting = self._always_count or self._timed or refused

    def _fall_back(self) -> None:
        """To Unicorn, which boots by the GDT that is in RAM."""
        self.engine.close()
        kept = self.memory.peek(GDT, GDT_LIMIT + 1)
        write_gdt(self.memory)
        self._put_on(engines.UNICORN)
        self.memory.write(GDT, kept)
