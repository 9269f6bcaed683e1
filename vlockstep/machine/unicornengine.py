"""The CPU on Unicorn, which it alone runs; what it knows of Unicorn stands in `unicorncpu` and
`layout`.

Unicorn is driven through raw ctypes where the binding is slow or refuses: hooks of RDTSC and of
OUT, batches of registers, a block hook that is machine code. Facts that shape this module:

- `uc_emu_stop` within the hook of an exit takes effect at the end of the *block*, and until then
  other hooks are silently skipped (RDTSC would read the host's counter). So exits are served
  inside their hook. A guest that stops there for good is abandoned; one that is to go on is left
  and what the rest of the block did is undone, see `UnicornEngine.leave`.
- A stop within the hook of an instruction takes effect before that instruction; see `erratahooks`.
- Unicorn keeps QEMU's record of the exception in flight and never clears it, since it delivers no
  exception itself: the second page fault would come as a double fault. The record, and the error
  code, are not among its registers; they are found in a saved context.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from unicorn import unicorn_const as uc_const
from unicorn import x86_const as x86
from unicorn.unicorn_py3.unicorn import uclib

from vlockstep.machine.blockcounter import COUNT, HOOK, NEVER, TARGET, BlockCounter
from vlockstep.machine.boot import (
    CODE_DESCRIPTOR,
    CODE_SELECTOR,
    DATA_DESCRIPTOR,
    DATA_SELECTOR,
    GDT,
    GDT_LIMIT,
    BootState,
)
from vlockstep.machine.cpumodels import check_model
from vlockstep.machine.engine import Exits, Words
from vlockstep.machine.errata.division import survive
from vlockstep.machine.errata.vectors import ARITHMETIC_FLAGS
from vlockstep.machine.erratahooks import ErrataHooks
from vlockstep.machine.guard import guarded
from vlockstep.machine.layout import INHIBIT_INTERRUPTS, find_layout
from vlockstep.machine.memory import Memory
from vlockstep.machine.paging import read
from vlockstep.machine.plainload import load_plain
from vlockstep.machine.randomness import RandomRead
from vlockstep.machine.registers import EFER, TSC_AUX, Registers
from vlockstep.machine.state import UNSAVED_MSRS, CpuState, PlainState
from vlockstep.machine.unicorncpu import (
    FEATURES,
    Msr,
    MsrBatch,
    RegisterBatch,
    Segment,
    Table,
    announcements,
    check,
    cpuid,
    keep_open,
    open_cpu,
    register_number,
    write_batch,
)

_OUT = ctypes.CFUNCTYPE(
    None, ctypes.c_void_p, ctypes.c_uint32, ctypes.c_int, ctypes.c_uint32, ctypes.c_void_p
)
_IN = ctypes.CFUNCTYPE(
    ctypes.c_uint32, ctypes.c_void_p, ctypes.c_uint32, ctypes.c_int, ctypes.c_void_p
)
_COUNTER = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)
_SYSCALL = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p)
_EXCEPTION = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_uint32, ctypes.c_void_p)


_ACCESS = ctypes.CFUNCTYPE(
    None,
    ctypes.c_void_p,
    ctypes.c_int,
    ctypes.c_uint64,
    ctypes.c_int,
    ctypes.c_int64,
    ctypes.c_void_p,
)
_WIDEST_ACCESS = 8

READS, WRITES = uc_const.UC_HOOK_MEM_READ, uc_const.UC_HOOK_MEM_WRITE
CodeAction = Callable[[int, int], None]
AccessAction = Callable[[int, int, int | None], None]


class Watch(NamedTuple):
    """What calls somebody, until it is let be."""

    hook: ctypes.c_size_t
    callback: object


_Wide = ctypes.c_uint64 * 2
_WORD = (1 << 64) - 1


_CR0 = 1 << 31 | 1 << 16 | 1 << 5 | 1  # PG, WP, NE, PE
_CR4 = 1 << 10 | 1 << 9 | 1 << 5  # OSXMMEXCPT, OSFXSR, PAE
_PAGING = 1 << 31  # in CR0
_NO_TABLES = 0xFF_FFFF_F000
"""A CR3 behind any RAM, where all that the CPU reads is zero."""
_NO_EXECUTE = 1 << 11  # in EFER
_EFER_BOOT = _NO_EXECUTE | 1 << 10 | 1 << 8  # NXE, LMA, LME
# Of the hidden flags.
_PRIVILEGE = 3
_CODE32, _STACK32, _ADD_SEGMENTS, _CODE64 = 1 << 4, 1 << 5, 1 << 6, 1 << 15
_BIG = 1 << 22  # of a segment: D/B
_CARRY = 1  # of RFLAGS
_LONGEST_BLOCK = 4096
_MXCSR_BOOT, _FPCW_BOOT, _FPTAG_BOOT = 0x1F80, 0x37F, 0xFFFF


class UnicornEngine:
    """One CPU on a `Memory`, from `BootState` on."""

    def __init__(
        self, memory: Memory, model: str, start: BootState, exits: Exits, native: bool = True
    ) -> None:
        check_model(model)
        self._layout = find_layout()
        self._uc, self.handle = open_cpu(model)
        self._memory = memory
        self._boot_tables = start.cr3
        self._writable_code = start.writable_code
        check(
            uclib.uc_mem_map_ptr(
                self.handle, 0, ctypes.c_uint64(memory.size), uc_const.UC_PROT_ALL, memory.address
            ),
            "map guest memory",
        )
        self._buffers, self._unsaved = RegisterBatch(), MsrBatch(UNSAVED_MSRS)
        self._context_pointer = ctypes.c_void_p()
        self.counter = BlockCounter(exits.boundary, uclib.uc_emu_stop, native)
        self.words: Words = self.counter.words
        self._low, self._high = ctypes.c_uint64(), ctypes.c_uint64()
        self._low_high = (ctypes.c_int * 2)(register_number("rax"), register_number("rdx"))
        self._low_high_values = (ctypes.c_void_p * 2)(
            ctypes.addressof(self._low), ctypes.addressof(self._high)
        )
        self._block_hook: ctypes.c_size_t | None = None
        self._callbacks: list[Any] = []
        self._start = guarded(uclib.uc_emu_start)
        survive(uclib._name)  # behind that: a division that goes on is no crash
        self._left: tuple[CpuState, int] | None = None
        self._ran = self._stopping = False
        self._exits = exits
        self._model, self._announcements = model, announcements(model)
        self._errata = ErrataHooks(self._uc, self._hook, self._read, exits.erratum)
        self._install()
        self._boot(start)

    def close(self) -> None:
        """Free the CPU. Memory may be closed after."""
        self._exits = None  # type: ignore[assignment]
        del self._errata
        self._callbacks.clear()
        self.counter.close()
        if self._context_pointer:
            uclib.uc_context_free(self._context_pointer)
            self._context_pointer = ctypes.c_void_p()
        self._uc = None

    # Running

    def run(self) -> int:
        """Execute from RIP until a stop, a HLT or an error; Unicorn's error code, or minus the
        signal by which it crashed. Then all there is to do is to look at registers."""
        self.counter.stopped = False
        if not self._ran:
            self._ran = True
            self._errata.begin(self["rip"], self._read(self["rip"], _LONGEST_BLOCK))
        status = self._go()
        while status >= 0 and self._errata.found and not self._stopping:
            status = self._go()
        if status < 0:
            keep_open(self._uc)
        if self._left is not None:
            state, self.words[COUNT] = self._left
            self._left = None
            self.load(state)
        return status

    def _go(self) -> int:
        self._errata.go_on()
        self._stopping = False
        return self._start(self.handle, self["rip"], 0, 0, 0)

    @property
    def at_block_boundary(self) -> bool:
        """Whether the last `run` ended because `Exits.boundary` asked for it."""
        return self.counter.stopped

    @property
    def block(self) -> tuple[int, int]:
        return self.counter.block

    def kick(self) -> None:
        """Without counting it waits for the next exit."""
        self.words[TARGET] = 0

    @property
    def long_mode(self) -> bool:
        """A guest leaves it by switching paging off."""
        return bool(self["cr0"] & _PAGING)

    def abandon(self) -> None:
        """Stop soon, and never run again: the rest of the block may execute without its hooks."""
        self._stopping = True
        uclib.uc_emu_stop(self.handle)

    def leave(self) -> None:
        """Within the hook of an exit: let `run` return with the CPU as it is now, RIP at the exit's
        instruction. The rest of the block is executed, without its hooks, and undone: with no page
        mapped it changes nothing but registers."""
        self._left = self.save(), self.words[COUNT]
        self["cr0"] |= _CR0
        self["cr3"] = _NO_TABLES
        self.abandon()

    stop_after_block = abandon
    """The same call where the rest of the block is known to hold no exit."""

    @property
    def counting(self) -> bool:
        return self._block_hook is not None

    @counting.setter
    def counting(self, wanted: bool) -> None:
        """Only outside `run`."""
        if wanted and self._block_hook is None:
            self._block_hook = self._hook(
                uc_const.UC_HOOK_BLOCK, self.counter.function, self.counter.argument
            )
        elif not wanted and self._block_hook is not None:
            check(uclib.uc_hook_del(self.handle, self._block_hook), "remove a hook")
            self._block_hook = None
            self.words[TARGET] = NEVER
        self._uc.ctl_flush_tb()

    def watch_block(self, address: int, action: Callable[[int], None]) -> None:
        """Call `action` with `address` whenever a block that begins there is about to execute.
        Other blocks pay nothing."""

        def on_block(_engine: int, at: int, _size: int, _data: int) -> None:
            action(at)

        callback = HOOK(on_block)
        self._callbacks.append(callback)
        self._hook(uc_const.UC_HOOK_BLOCK, callback, first=address, last=address)

    def watch_code(self, action: CodeAction, first: int = 0, last: int = _WORD) -> Watch:
        """Call `action` with address and size of each instruction from `first` to `last` before it
        is executed. Not while the guest runs, as all that watches and lets be."""

        def on_code(_engine: int, at: int, size: int, _data: int) -> None:
            action(at, size)

        callback = HOOK(on_code)
        hook = self._hook(uc_const.UC_HOOK_CODE, callback, first=first, last=last)
        self._errata.forget()  # whose hooks, which stop, are to come behind
        return Watch(hook, callback)

    def watch_memory(self, action: AccessAction, start: int, end: int, kinds: int) -> Watch:
        """Call `action` with address, size and the value to come, or None, before an access to
        bytes from `start` up to `end`, which are virtual addresses; it may be to those before, too.
        `kinds` are `READS`, `WRITES` or both. All accesses take several times as long meanwhile."""

        def on_access(_engine: int, kind: int, at: int, size: int, value: int, _data: int) -> None:
            action(at, size, value if kind == uc_const.UC_MEM_WRITE else None)

        callback = _ACCESS(on_access)
        # an access that begins before and reaches in
        first = max(0, start - _WIDEST_ACCESS + 1)
        hook = self._hook(kinds, callback, first=first, last=end - 1)
        self._errata.forget()
        return Watch(hook, callback)

    def let_be(self, watch: Watch) -> None:
        check(uclib.uc_hook_del(self.handle, watch.hook), "remove a hook")
        self._errata.forget()

    def forget_code(self) -> None:
        """What is translated may not be what stands in RAM now."""
        self._uc.ctl_flush_tb()

    def _read(self, address: int, size: int) -> bytes:
        """Fewer bytes where the mapping ends. The tables of boot map all to itself."""
        tables = self["cr3"]
        if tables == self._boot_tables:
            return bytes(self._memory.ram[address : address + size])
        return read(self._memory, tables, address, size)

    # State

    def __getitem__(self, register: str) -> int:
        value = _Wide()
        uclib.uc_reg_read(self.handle, register_number(register), ctypes.byref(value))
        return value[0] | value[1] << 64

    def __setitem__(self, register: str, value: int) -> None:
        check(
            uclib.uc_reg_write(
                self.handle,
                register_number(register),
                ctypes.byref(_Wide(value & _WORD, value >> 64)),
            ),
            f"set {register}",
        )

    def write(self, address: int, content: bytes) -> None:
        """Store what a device gives. Unicorn does not notice that, and would go on to execute the
        code that was there. On the tables of boot no code is writable, unless the heap is
        executable; on others it may be."""
        self._memory.write(address, content)
        if self._writable_code or self["cr3"] != self._boot_tables:
            self._uc.ctl_flush_tb()

    def give_counter(self, cycles: int, with_aux: bool) -> None:
        """Put the time-stamp counter, and for RDTSCP also IA32_TSC_AUX, where the guest gets it."""
        self._low.value = cycles & 0xFFFFFFFF
        self._high.value = cycles >> 32
        if with_aux:
            self["rcx"] = self.msr(TSC_AUX) & 0xFFFFFFFF
        write_batch(self.handle, self._low_high, self._low_high_values, 2)

    def give_random(self, read: RandomRead, value: int) -> None:
        self[read.register] = read.merge(self[read.register], value)
        self["rflags"] = self["rflags"] & ~ARITHMETIC_FLAGS | _CARRY

    def msr(self, number: int) -> int:
        value = Msr(number)
        uclib.uc_reg_read(self.handle, x86.UC_X86_REG_MSR, ctypes.byref(value))
        return int(value.value)

    def table(self, name: str) -> tuple[int, int]:
        """Base and limit of `idtr`, `gdtr` or `tr`."""
        value = Table()
        uclib.uc_reg_read(self.handle, register_number(name), ctypes.byref(value))
        return value.base, value.limit

    def registers(self) -> Registers:
        return self._buffers.read(self.handle)

    def save(self) -> CpuState:
        """The CPU's state: within the hook of an exit, with RIP at its instruction."""
        context = ctypes.string_at(self._save_context(), uclib.uc_context_size(self.handle))
        return CpuState(context, self["rip"], self["rflags"], self._unsaved.read(self.handle))

    def load(self, state: CpuState | PlainState) -> None:
        """Not within a hook. Empties the TLB, which restoring a context does not."""
        if isinstance(state, PlainState):
            load_plain(self, state.registers)
            return
        ctypes.memmove(self._save_context(), state.context, len(state.context))
        check(uclib.uc_context_restore(self.handle, self._context_pointer), "restore its context")
        present = self._unsaved.read(self.handle)
        for number, value, was in zip(UNSAVED_MSRS, state.msrs, present, strict=True):
            if was != value:
                msr = Msr(number, value)
                uclib.uc_reg_write(self.handle, x86.UC_X86_REG_MSR, ctypes.byref(msr))
        self["rflags"], self["rip"] = state.rflags, state.rip
        self._uc.ctl(uc_const.UC_CTL_TLB_FLUSH, uc_const.UC_CTL_IO_WRITE)

    def load_segments(self, selectors: Mapping[str, int]) -> None:
        """By name. Where one changes, the segment is flat, but for its base."""
        context = self._save_context()
        first = context + self._layout.code - ctypes.sizeof(Segment)
        for place, (name, selector) in enumerate(selectors.items()):
            segment = Segment.from_address(first + place * ctypes.sizeof(Segment))
            if segment.selector != selector:
                base = segment.base
                segment.load(selector, CODE_DESCRIPTOR if name == "cs" else DATA_DESCRIPTOR)
                segment.base = base
        check(uclib.uc_context_restore(self.handle, self._context_pointer), "load segments")

    def take_exception(self) -> tuple[int, bool]:
        """`(error code, raised by an INT instruction)` of the exception in flight, and clear it."""
        base = self._save_context()
        code = ctypes.c_uint32.from_address(base + self._layout.error_code).value
        software = ctypes.c_uint32.from_address(base + self._layout.is_int).value
        ctypes.c_int32.from_address(base + self._layout.in_flight).value = -1
        check(uclib.uc_context_restore(self.handle, self._context_pointer), "restore its context")
        return code, bool(software)

    def enter_code(self, selector: int, descriptor: int, null_stack: bool) -> None:
        """Load CS with a 64-bit code segment at the privilege level of its selector, for a handler,
        and if asked for a null SS. Unicorn's own writes to CS leave CPL as it was."""
        context, privilege = self._save_context(), selector & 3
        stack = Segment.from_address(context + self._layout.stack)
        if null_stack:
            stack.load(privilege, privilege << 45)
        Segment.from_address(context + self._layout.code).load(selector, descriptor)
        flags = ctypes.c_uint32.from_address(context + self._layout.hidden_flags)
        flags.value &= ~(_PRIVILEGE | _STACK32 | _ADD_SEGMENTS)
        flags.value |= privilege | _CODE32 | _CODE64 | (_STACK32 if stack.flags & _BIG else 0)
        check(uclib.uc_context_restore(self.handle, self._context_pointer), "enter a handler")

    def in_shadow(self) -> bool:
        """Whether the instruction before RIP was one that delays interrupts by an instruction."""
        flags = ctypes.c_uint32.from_address(self._save_context() + self._layout.hidden_flags)
        return bool(flags.value & INHIBIT_INTERRUPTS)

    @property
    def in_long_code(self) -> bool:
        """Whether the code at RIP is 64-bit code."""
        flags = ctypes.c_uint32.from_address(self._save_context() + self._layout.hidden_flags)
        return bool(flags.value & _CODE64)

    def lives_on_its_tlb(self) -> bool:
        """Whether EFER.NXE was turned off on the tables of boot. On them all data has NX, so that
        only what the TLB still holds of it can be reached: neither WRMSR empties that nor, in this
        version of Unicorn, can it be hooked."""
        return (
            self["cr3"] == self._boot_tables
            and bool(self["cr0"] & _PAGING)
            and not self.msr(EFER) & _NO_EXECUTE
        )

    def _save_context(self) -> int:
        """The address of a copy of the CPU's state."""
        if not self._context_pointer:
            check(
                uclib.uc_context_alloc(self.handle, ctypes.byref(self._context_pointer)),
                "allocate a context",
            )
        check(uclib.uc_context_save(self.handle, self._context_pointer), "save its context")
        return self._context_pointer.value or 0

    # Set-up

    def _boot(self, start: BootState) -> None:
        table = Table(0, GDT, GDT_LIMIT, 0)
        uclib.uc_reg_write(self.handle, x86.UC_X86_REG_GDTR, ctypes.byref(table))
        # Segments first: Unicorn crashes if a descriptor it loads is behind an unmapped page.
        self["cs"] = CODE_SELECTOR
        for segment in ("ds", "es", "ss", "fs", "gs"):
            self[segment] = DATA_SELECTOR
        self["cr3"] = start.cr3
        self["cr4"] = _CR4
        efer = Msr(EFER, _EFER_BOOT)
        uclib.uc_reg_write(self.handle, x86.UC_X86_REG_MSR, ctypes.byref(efer))
        self["cr0"] = _CR0
        self["rflags"] = 2
        self["mxcsr"], self["fpcw"], self["fptag"] = _MXCSR_BOOT, _FPCW_BOOT, _FPTAG_BOOT
        self["rip"], self["rsp"], self["rdi"] = start.rip, start.rsp, start.rdi

    def _tell_features(self) -> bool:
        """Within CPUID, answer if Unicorn is not to."""
        leaf, subleaf = (self[name] & 0xFFFFFFFF for name in ("rax", "rcx"))
        if leaf not in self._announcements or (leaf != FEATURES and subleaf):
            return False
        for register, value in cpuid(self._model, leaf, subleaf, self["cr4"]).items():
            self[register] = value
        return True

    def _hook(
        self,
        kind: int,
        function: Any,
        argument: int = 0,
        *extra: Any,
        first: int = 1,
        last: int = 0,
    ) -> ctypes.c_size_t:
        """`first` after `last` means everywhere."""
        hook = ctypes.c_size_t()
        check(
            uclib.uc_hook_add(
                self.handle,
                ctypes.byref(hook),
                kind,
                ctypes.cast(function, ctypes.c_void_p),
                ctypes.c_void_p(argument),
                ctypes.c_uint64(first),
                ctypes.c_uint64(last),
                *extra,
            ),
            "install a hook",
        )
        return hook

    def _install(self) -> None:
        out, into, counter, exception, system_call, *_ = self._exits

        def on_out(_engine: int, port: int, width: int, value: int, _data: int) -> None:
            out(port, width, value)

        def on_in(_engine: int, port: int, _width: int, _data: int) -> int:
            into(port)
            return 0

        def on_rdtsc(_engine: int, _data: int) -> int:
            counter(False)
            return 1

        def on_rdtscp(_engine: int, _data: int) -> int:
            counter(True)
            return 1

        def on_exception(_engine: int, vector: int, _data: int) -> None:
            exception(vector)

        def on_system_call(_engine: int, _data: int) -> None:
            system_call()

        for callback, instruction in (
            (_OUT(on_out), x86.UC_X86_INS_OUT),
            (_IN(on_in), x86.UC_X86_INS_IN),
            (_COUNTER(on_rdtsc), x86.UC_X86_INS_RDTSC),
            (_COUNTER(on_rdtscp), x86.UC_X86_INS_RDTSCP),
            (_SYSCALL(on_system_call), x86.UC_X86_INS_SYSCALL),
            (_SYSCALL(on_system_call), x86.UC_X86_INS_SYSENTER),
        ):
            self._callbacks.append(callback)
            self._hook(uc_const.UC_HOOK_INSN, callback, 0, ctypes.c_int(instruction))
        if self._announcements:
            tell = _COUNTER(lambda _engine, _data: self._tell_features())
            self._callbacks.append(tell)
            self._hook(uc_const.UC_HOOK_INSN, tell, 0, ctypes.c_int(x86.UC_X86_INS_CPUID))
        handler = _EXCEPTION(on_exception)
        self._callbacks.append(handler)
        self._hook(uc_const.UC_HOOK_INTR, handler)
