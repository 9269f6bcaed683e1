"""The CPU on KVM. Facts that shape this module:

- It stops at the exits that the guest makes, and where somebody kicks it: there are no positions
  between exits, and so no timer.
- Whether RIP is behind an OUT already when KVM tells of it differs between kernels; the first OUT
  of a process shows it.
- A kick is a signal that is blocked but within KVM_RUN: it has no handler, and cannot be missed.
  It may find the CPU in the shim, on its way from the guest or to it; and where a KVM in software
  has seen INT3 and moved RIP behind it, but has not gone to the handler. That would only be known
  to that KVM, which tells just the vector of its last exception.
"""

from __future__ import annotations

import mmap
import os
import re
import signal
import struct
import threading
from collections.abc import Callable
from contextlib import ExitStack, suppress
from fcntl import ioctl

from vlockstep.errors import HostError, StateError
from vlockstep.machine import paging
from vlockstep.machine.blockcounter import NEVER
from vlockstep.machine.boot import BootState
from vlockstep.machine.cpumodels import check_model
from vlockstep.machine.engine import OK, EngineLimit, Exits, Words
from vlockstep.machine.errata.vectors import ARITHMETIC_FLAGS
from vlockstep.machine.kvm import abi, fpu
from vlockstep.machine.kvm.cpuid import cpuid_table
from vlockstep.machine.kvm.device import call, in_software, missing, open_device, processor
from vlockstep.machine.kvm.privileged import WITHOUT, Privileged, Raised
from vlockstep.machine.kvm.shim import PLACE, SIZE, USER_DATA, Shim, user_data
from vlockstep.machine.memory import Memory
from vlockstep.machine.randomness import RandomRead
from vlockstep.machine.registers import NAMES, RESUME, Registers
from vlockstep.machine.report import LONGEST_INSTRUCTION
from vlockstep.machine.state import CpuState, PlainState

_KICK = signal.SIGURG
"""Which nobody else uses, and does nothing if it comes too late."""
_INDEX = {name: place for place, name in enumerate(abi.GENERAL)}
_RAX, _RCX, _RDX, _RIP, _RSP, _RFLAGS = (
    _INDEX[name] for name in ("rax", "rcx", "rdx", "rip", "rsp", "rflags")
)
_WORD = (1 << 64) - 1
_NOT_CANONICAL = 1 << 47
"""The first address that is not."""
_CARRY, _INTERRUPT = 1, 1 << 9
_CR0_BOTH = 1 << 4 | 1 << 1  # ET, MP
_TSD, _UMIP = 1 << 2, 1 << 11  # in CR4
_BREAKPOINT, _OVERFLOW, _INVALID_OPCODE = 3, 4, 6
_TRAPS = (_BREAKPOINT, _OVERFLOW)
"""Of INT3 and INTO, behind which RIP is then."""
_NOT_PRESENT, _GENERAL_PROTECTION, _PAGE_FAULT = 11, 13, 14
_WITH_CODE = frozenset({8, 10, 11, 12, 13, 14, 17})
_OF_SEGMENTS = (_NOT_PRESENT, _GENERAL_PROTECTION)
_OF_IDT = 2
_INT, _INT_LENGTH = 0xCD, 2
_LOOK_S = 0.25
"""How often it is looked whether the guest has come to an endless loop."""
_BACK_TO_PAUSE, _PAUSE_LENGTH = b"\xeb\xfc", 2
_STRING = re.compile(rb"[\x26\x2e\x36\x3e\x40-\x4f\x64-\x67\xf2\xf3]*[\x6c-\x6f]")
_SHORT_PORTS, _OUT_BYTE, _OUT = 0x100, 0xE6, 0xE7
"""OUT to a port of one byte."""
_ALL_ONES = {size: (1 << 8 * size) - 1 for size in (1, 2, 4)}
_USER, _PRESENT = 4, 1
_DATA_SEGMENTS = ("ds", "es", "fs", "gs")
"""But SS, which no guest loads without an exit."""
_BASES = ("fs_base", "gs_base")
_LOADED = {*_DATA_SEGMENTS, *_BASES}
_FXSR = frozenset({"fpcw", "fpsw", "fptag", "fop", "fip", "fdp", "mxcsr"})
_FPU = _FXSR | {f"fp{i}" for i in range(8)} | {f"xmm{i}" for i in range(16)}
_SYSTEM = tuple(name for name in NAMES if name not in _INDEX and name not in _FPU)


class KvmEngine:
    """One CPU on a `Memory`, from `BootState` on. Its guest has traps, see `sites`."""

    def __init__(self, memory: Memory, model: str, start: BootState, exits: Exits) -> None:
        """Raises `HostError` if this host cannot."""
        check_model(model)
        device = open_device()
        if lacking := missing(model):
            raise HostError(
                f"this processor lacks {', '.join(lacking)} of the CPU model {model}: "
                "take another model, or the engine unicorn",
                key=("engine",),
            )
        self._memory, self._exits, self._model = memory, exits, model
        self.words: Words = [0, NEVER]
        self.block = (0, 0)
        self.at_block_boundary = False
        self.long_mode = self.in_long_code = True
        self._spins: dict[int, Callable[[int], None]] = {}
        self._stop = False
        self._in_shim = False
        """The CPU is at a HLT of the shim, though its registers are the guest's."""
        self._ahead = 0
        """How far RIP is behind the OUT that is served."""
        self._lengths: dict[int, int] = {}
        self._left_at: int | None = None
        self._raised = (0, False)
        self._traps_wait = in_software()
        """KVM may keep one that is to be delivered yet."""
        self._events = bytearray(abi.EVENTS)
        self._lock = threading.Lock()
        self._thread: int | None = None
        """Who is to be kicked."""
        self._kicked = False
        """While nobody ran."""
        self._watch: threading.Thread | None = None
        self._closing = threading.Event()
        self._processor = self._kin = processor()
        self._system: dict[str, int] = {}
        """What the guest believes of registers that the shim keeps for itself."""
        self._shim = Shim(memory, start.cr3)
        self._privileged = Privileged(self, memory)
        with ExitStack() as opened:
            opened.callback(self._shim.close)
            try:
                self._open(device, opened)
                self._boot(start)
            except OSError as error:
                raise HostError(f"KVM cannot make a machine ({error.strerror})") from error
            self._opened = opened.pop_all()

    def _open(self, device: int, opened: ExitStack) -> None:
        self._vm = call(device, abi.CREATE_VM, 0)
        opened.callback(os.close, self._vm)
        self._map_memory(0, 0, self._memory.size, self._memory.address)
        self._map_memory(1, PLACE, SIZE, self._shim.address)
        self._cpu = call(self._vm, abi.CREATE_VCPU, 0)
        opened.callback(os.close, self._cpu)
        call(self._cpu, abi.SET_CPUID2, cpuid_table(self._model))
        mapping = mmap.mmap(self._cpu, call(device, abi.GET_VCPU_MMAP_SIZE))
        opened.callback(mapping.close)
        self._area = opened.enter_context(memoryview(mapping))

        def words(at: int, count: int, kind: str) -> memoryview:
            whole = self._area[at : at + count * struct.calcsize(kind)]
            return opened.enter_context(opened.enter_context(whole).cast(kind))  # type: ignore[call-overload]

        self._general = words(abi.REGISTERS, len(abi.GENERAL), "Q")
        self._dirty = words(abi.DIRTY_REGISTERS, 1, "Q")
        self._reason = words(abi.EXIT_REASON, 1, "I")
        self._port = words(abi.EXIT_DATA + 2, 1, "H")
        self._area[abi.VALID_REGISTERS] = abi.SYNC_REGISTERS

    def close(self) -> None:
        self._closing.set()
        self._exits = None  # type: ignore[assignment]
        self._opened.close()

    # Running

    def run(self) -> int:
        self._stop = self.at_block_boundary = False
        self._left_at = None
        if self._spins and self._watch is None:
            self._watch = threading.Thread(target=self._look, name="endless loops", daemon=True)
            self._watch.start()
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {_KICK})
        self._mask(before - {_KICK})
        with self._lock:
            self._thread = threading.get_ident()
            if self._kicked:
                signal.pthread_kill(self._thread, _KICK)
            self._kicked = False
        try:
            return self._run()
        finally:
            with self._lock:
                self._thread = None
                self._kicked |= signal.sigtimedwait({_KICK}, 0) is not None
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def _run(self) -> int:
        cpu, run, enter = self._cpu, abi.RUN, ioctl
        area, general, reason, port = self._area, self._general, self._reason, self._port
        out, into = self._exits.out, self._exits.into
        outgoing, width = abi.EXIT_DATA, abi.EXIT_DATA + 1
        while not self._stop:
            if self._in_shim and not self._leave_shim():
                continue
            try:
                enter(cpu, run, 0)
            except InterruptedError:
                self._interrupted()
                continue
            except OSError as error:
                raise HostError(f"KVM cannot go on with the guest ({error.strerror})") from error
            what = reason[0]
            if what == abi.EXIT_IO:
                if area[outgoing]:
                    size, at = area[width], port[0]
                    self._ahead = self._passed(at, size)
                    out(at, size, general[_RAX] & _ALL_ONES[size])
                else:
                    self._refuse_string(general[_RIP])
                    into(port[0])
                if self._stop:
                    self._complete()
                self._ahead = 0
            elif what == abi.EXIT_HLT:
                self._taken()
            else:
                self._trouble(what)
        return OK

    def _interrupted(self) -> None:
        signal.sigtimedwait({_KICK}, 0)
        general = self._general
        if self._shim.holds(general[_RIP]):
            place = self._shim.returning(general[_RIP])
            if place is None:
                self._taken()
                signal.pthread_kill(threading.get_ident(), _KICK)
                return
            general[_RIP], general[_RFLAGS], general[_RSP] = place
            self._in_shim = True
        elif self._traps_wait and self._take_over_trap():
            signal.pthread_kill(threading.get_ident(), _KICK)
            return
        loop = self._loop_at(general[_RIP])
        if loop in self._spins:
            self._spins[loop](loop)
        if not self._stop and self._exits.boundary():
            self._stop = self.at_block_boundary = True

    def _take_over_trap(self) -> bool:
        """Report what KVM has still to deliver, in its place; whether there was one."""
        call(self._cpu, abi.GET_EVENTS, self._events)
        vector = self._events[abi.EVENT_VECTOR]
        if vector not in _TRAPS:
            return False
        self._forget_events()
        self._report(vector, 0, software=True)
        return True

    def _forget_events(self) -> None:
        call(self._cpu, abi.SET_EVENTS, bytes(abi.EVENTS))

    def _loop_at(self, rip: int) -> int:
        """Where it begins, if there is one: before a PAUSE if the jump is behind it."""
        code = paging.read(self._memory, self["cr3"], rip, len(_BACK_TO_PAUSE))
        return rip - _PAUSE_LENGTH if code == _BACK_TO_PAUSE else rip

    def _passed(self, port: int, size: int) -> int:
        """By how much RIP is behind the OUT of which KVM tells."""
        if _advances is None:
            return self._calibrate(port, size)
        rip = self._general[_RIP]
        if rip not in self._lengths:
            self._lengths[rip] = self._length_of_out(rip, port, size)
        return self._lengths[rip]

    def _length_of_out(self, rip: int, port: int, size: int) -> int:
        """Of that before RIP, or 0 if it is at RIP. Raises `EngineLimit` for an OUTS."""
        self._refuse_string(rip)  # while it repeats
        if not _advances:
            return 0
        code = paging.read(self._memory, self["cr3"], rip - 2, 2)
        short = port < _SHORT_PORTS
        immediate = short and code in (bytes((_OUT, port)), bytes((_OUT_BYTE, port)))
        if not immediate:
            self._refuse_string(rip - 1)
        return 1 + immediate + (size == 2)

    def _refuse_string(self, rip: int) -> None:
        """INS or OUTS: KVM does not tell what they move, or how often."""
        code = paging.read(self._memory, self["cr3"], rip, LONGEST_INSTRUCTION)
        if _STRING.match(code):
            raise EngineLimit(f"the guest uses INS or OUTS, which {WITHOUT}")

    def _calibrate(self, port: int, size: int) -> int:
        """See whether RIP is behind an OUT when KVM tells of it; this one it is behind now."""
        global _advances
        before = self._general[_RIP]
        told = bytes(self._area[: abi.EXIT_DATA + 16])
        self._finish_exit()
        self._area[: len(told)] = told
        _advances = self._general[_RIP] == before
        behind = self._general[_RIP]
        return self._length_of_out(before, port, size) + behind - before

    def _complete(self) -> None:
        """The exit was the last: let KVM be done with it, and RIP be where it belongs."""
        self._finish_exit()
        self._ahead = 0
        if self._left_at is not None:
            self["rip"] = self._left_at

    def _finish_exit(self) -> None:
        self._area[abi.IMMEDIATE_EXIT] = 1
        with suppress(InterruptedError):
            ioctl(self._cpu, abi.RUN, 0)
        self._area[abi.IMMEDIATE_EXIT] = 0

    def _trouble(self, reason: int) -> None:
        text = abi.EXITS.get(reason, f"exit {reason}")
        (detail,) = struct.unpack_from("<I", self._area, abi.EXIT_DATA)
        if reason in (abi.EXIT_INTERNAL_ERROR, abi.EXIT_FAIL_ENTRY):
            text += f" {detail}"
        raise EngineLimit(
            f"KVM cannot go on with the guest at {self._general[_RIP]:#x} ({text}): "
            "start it on the engine unicorn"
        )

    def abandon(self) -> None:
        self._stop = True

    stop_after_block = abandon

    def leave(self) -> None:
        self._left_at = self["rip"]
        self._stop = True

    @property
    def counting(self) -> bool:
        return False

    @counting.setter
    def counting(self, wanted: bool) -> None:
        if wanted:
            raise EngineLimit(
                "the engine kvm has no positions between exits, and so no timer: "
                "start the guest on the engine unicorn"
            )

    def watch_block(self, address: int, action: Callable[[int], None]) -> None:
        self._spins[address] = action

    def forget_code(self) -> None:
        """The processor notices itself."""

    def kick(self) -> None:
        with self._lock:
            if self._thread is not None:
                signal.pthread_kill(self._thread, _KICK)
            else:
                self._kicked = True

    def _look(self) -> None:
        while not self._closing.wait(_LOOK_S):
            self.kick()

    # Exceptions

    def _taken(self) -> None:
        """The shim has taken an exception: do what is privileged, report the rest."""
        vector, code, rip, rflags, rsp = self._shim.taken(self._general[_RIP])
        if self._traps_wait and vector in _TRAPS:
            self._forget_events()  # so that its vector tells of another one from now on
        general = self._general
        general[_RIP], general[_RSP], general[_RFLAGS] = rip, rsp, rflags & ~RESUME
        self._in_shim = True
        try:
            if vector in _OF_SEGMENTS and self._privileged.execute():
                return
        except Raised as raised:
            vector, code = raised.vector, raised.code
            self._report(vector, code, software=False)
            return
        if vector == _PAGE_FAULT:
            address = self._system_registers().cr2
            self._system["cr2"] = address
            code = self._seen_from_level_0(address, code)
        interrupt = self._interrupt_of(vector, code, rip)
        if interrupt is not None:
            general[_RIP] += _INT_LENGTH
            self._report(interrupt, 0, software=True)
            return
        self._report(vector, code, software=vector in _TRAPS)

    def _interrupt_of(self, vector: int, code: int, rip: int) -> int | None:
        """The vector of an INT, which level 3 may not execute; a KVM in software may say #UD."""
        if vector == _GENERAL_PROTECTION and code & 7 == _OF_IDT:
            return code >> 3
        if vector == _INVALID_OPCODE:
            text = paging.read(self._memory, self["cr3"], rip, _INT_LENGTH)
            if len(text) == _INT_LENGTH and text[0] == _INT:
                return text[1]
        return None

    def _report(self, vector: int, code: int, software: bool) -> None:
        self._raised = (code if vector in _WITH_CODE else 0, software)
        self._exits.exception(vector)

    def _seen_from_level_0(self, address: int, code: int) -> int:
        """The error code of a page fault, if the guest were where it believes to be."""
        try:
            paging.translate(self._memory, self["cr3"], address)
        except paging.PageFault as fault:
            return code & ~(_USER | _PRESENT) | fault.code & _PRESENT
        return code & ~_USER

    def _leave_shim(self) -> bool:
        """Whether the guest can go on at RIP; if not, it has raised an exception."""
        general = self._general
        if general[_RIP] + _NOT_CANONICAL & _WORD >= 2 * _NOT_CANONICAL:
            self._report(_GENERAL_PROTECTION, 0, software=False)
            return False
        rflags = general[_RFLAGS] & ~RESUME | 2
        general[_RIP], general[_RSP] = self._shim.leave(general[_RIP], rflags, general[_RSP])
        general[_RFLAGS] = 2
        self._dirty[0] = abi.SYNC_REGISTERS
        self._in_shim = False
        return True

    # State

    def __getitem__(self, register: str) -> int:
        place = _INDEX.get(register)
        if place is None:
            known = register in self._system and register not in _LOADED
            return self._system[register] if known else self.registers()[register]
        return self._general[place] - (self._ahead if place == _RIP else 0)

    def __setitem__(self, register: str, value: int) -> None:
        place = _INDEX.get(register)
        if place is not None:
            self._general[place] = value & _WORD
            self._dirty[0] = abi.SYNC_REGISTERS
        elif register in _FPU:
            self._put_fpu({**self._fpu(), register: value})
        else:
            self._system[register] = value
            if register in _LOADED:
                self._put_segments(register[:2])

    def write(self, address: int, content: bytes) -> None:
        self._memory.write(address, content)

    def give_counter(self, cycles: int, with_aux: bool) -> None:
        general = self._general
        general[_RAX], general[_RDX] = cycles & 0xFFFFFFFF, cycles >> 32
        if with_aux:
            general[_RCX] = self._system["tsc_aux"] & 0xFFFFFFFF
        self._dirty[0] = abi.SYNC_REGISTERS

    def give_random(self, read: RandomRead, value: int) -> None:
        self[read.register] = read.merge(self[read.register], value)
        self["rflags"] = self["rflags"] & ~ARITHMETIC_FLAGS | _CARRY

    def table(self, name: str) -> tuple[int, int]:
        return self._system[f"{name}_base"], self._system[f"{name}_limit"]

    def set_table(self, name: str, base: int, limit: int, selector: int | None = None) -> None:
        self._system[f"{name}_base"], self._system[f"{name}_limit"] = base, limit
        if selector is not None:
            self._system[name] = selector

    def registers(self) -> Registers:
        values = {name: self[name] for name in abi.GENERAL} | self._system | self._fpu()
        values |= self._loaded()
        values["rflags"] &= ~RESUME
        return Registers({name: values[name] for name in NAMES}, self._kin)

    def _loaded(self) -> dict[str, int]:
        """What the guest may have loaded without an exit."""
        registers = self._system_registers()
        selectors = {name: int(getattr(registers, name).selector) for name in _DATA_SEGMENTS}
        loaded = {name: value for name, value in selectors.items() if value != USER_DATA}
        return loaded | {base: int(getattr(registers, base[:2]).base) for base in _BASES}

    def save(self) -> PlainState:
        return PlainState(self.registers())

    def load(self, state: CpuState | PlainState) -> None:
        if isinstance(state, CpuState):
            from vlockstep.machine.unicornstate import plain

            state = plain(state, self._model)
        registers = state.registers
        for name in ("cr0", "cr3", "cr4", "efer"):
            if registers[name] != self._system[name]:
                raise StateError(
                    f"the guest has set {name.upper()}, which the engine kvm does not have: "
                    "go on with the engine unicorn"
                )
        if registers["cs"] & 3:
            raise StateError("the guest is not at level 0: go on with the engine unicorn")
        if registers["rflags"] & _INTERRUPT:
            raise StateError("the guest has interrupts enabled: go on with the engine unicorn")
        if registers["ldtr"] & ~3:
            raise StateError("the guest has an LDT: go on with the engine unicorn")
        for name in abi.GENERAL:
            self[name] = registers[name]
        self._system = {name: registers[name] for name in self._system}
        try:
            self._put_segments(*_DATA_SEGMENTS)
            self._put_fpu(registers)
        except OSError as error:
            raise StateError(f"KVM refuses the state's registers ({error.strerror})") from error
        self._kin = self._processor if registers.kin == self._processor else ""

    def take_exception(self) -> tuple[int, bool]:
        return self._raised

    def enter_code(self, selector: int, descriptor: int, null_stack: bool) -> None:
        if selector & 3 or null_stack:
            raise EngineLimit("the guest's handlers change the privilege level: use unicorn")
        self._system["cs"] = selector

    def in_shadow(self) -> bool:
        return False

    def lives_on_its_tlb(self) -> bool:
        return False

    # With KVM

    def _map_memory(self, slot: int, place: int, size: int, address: int) -> None:
        region = abi.MemoryRegion(slot, 0, place, size, address)
        call(self._vm, abi.SET_USER_MEMORY_REGION, region)

    def _mask(self, signals: set[signal.Signals] | set[int]) -> None:
        """Those that are blocked within KVM_RUN."""
        mask = abi.SignalMask(size=8)
        for number in signals:
            mask.signals[(number - 1) // 8] |= 1 << (number - 1) % 8
        call(self._cpu, abi.SET_SIGNAL_MASK, mask)

    def _system_registers(self) -> abi.SystemRegisters:
        registers = abi.SystemRegisters()
        call(self._cpu, abi.GET_SREGS, registers)
        return registers

    def _put_segments(self, *names: str) -> None:
        """Flat ones, whatever the guest believes to have loaded, and the bases that it set."""
        registers = self._system_registers()
        for name in names:
            segment = user_data()
            segment.base = self._system.get(f"{name}_base", 0)
            if not self._system[name] & ~3:
                segment.selector = 0
            setattr(registers, name, segment)
        call(self._cpu, abi.SET_SREGS, registers)

    def _fpu(self) -> dict[str, int]:
        area = bytearray(fpu.SIZE)
        call(self._cpu, abi.GET_XSAVE, area)
        return fpu.unpack(bytes(area))

    def _put_fpu(self, registers: Registers | dict[str, int]) -> None:
        area = bytearray(fpu.SIZE)
        call(self._cpu, abi.GET_XSAVE, area)
        fpu.pack(area, registers)
        call(self._cpu, abi.SET_XSAVE, area)

    def _boot(self, start: BootState) -> None:
        from vlockstep.machine.unicornstate import at_reset

        reset = {**at_reset(self._model), "cr3": start.cr3}
        self._system = {name: reset[name] for name in _SYSTEM}
        registers = self._system_registers()
        self._shim.install(registers)
        registers.cr0 = reset["cr0"] | _CR0_BOTH
        registers.cr4 = reset["cr4"] | _TSD | _UMIP
        registers.efer = reset["efer"]
        call(self._cpu, abi.SET_SREGS, registers)
        self._put_fpu(Registers(reset))
        for name in abi.GENERAL:
            self[name] = reset[name]
        self["rip"], self["rsp"], self["rdi"] = start.rip, start.rsp, start.rdi


_advances: bool | None = None
"""Whether RIP is behind an OUT when KVM tells of it; None until it is known."""
