"""The CPU: the only module that talks to Unicorn.

Unicorn is driven through raw ctypes where the binding is slow or refuses: hooks of RDTSC and of
OUT, batches of registers, a block hook that is machine code. Facts that shape this module:

- `uc_emu_stop` within the hook of an exit takes effect at the end of the *block*, and until then
  other hooks are silently skipped (RDTSC would read the host's counter). So exits are served
  inside their hook, and only a guest that is to be abandoned is stopped from there.
- Unicorn keeps QEMU's record of the exception in flight and never clears it, since it delivers no
  exception itself: the second page fault would come as a double fault. The record, and the error
  code, are not among its registers; they are found in a saved context, at offsets that
  `_find_exception_record` determines by provoking known exceptions.
"""

from __future__ import annotations

import ctypes
import gc
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, NamedTuple

import unicorn
from unicorn import unicorn_const as uc_const
from unicorn import x86_const as x86
from unicorn.unicorn_py3.unicorn import uclib

from vlockstep.errors import HostError, UsageError
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
from vlockstep.machine.hostclock import stop_clock
from vlockstep.machine.memory import Memory
from vlockstep.machine.registers import Registers
from vlockstep.machine.state import UNSAVED_MSRS, CpuState

CPU_MODELS = {
    "qemu64": x86.UC_CPU_X86_QEMU64,
    "core2duo": x86.UC_CPU_X86_CORE2DUO,
    "nehalem": x86.UC_CPU_X86_NEHALEM,
    "westmere": x86.UC_CPU_X86_WESTMERE,
    "sandybridge": x86.UC_CPU_X86_SANDYBRIDGE,
    "phenom": x86.UC_CPU_X86_PHENOM,
    "opteron_g3": x86.UC_CPU_X86_OPTERON_G3,
}
"""The models offered: those without RDRAND and RDSEED."""

OK = uc_const.UC_ERR_OK
INVALID_INSTRUCTION = uc_const.UC_ERR_INSN_INVALID

_OUT = ctypes.CFUNCTYPE(
    None, ctypes.c_void_p, ctypes.c_uint32, ctypes.c_int, ctypes.c_uint32, ctypes.c_void_p
)
_IN = ctypes.CFUNCTYPE(
    ctypes.c_uint32, ctypes.c_void_p, ctypes.c_uint32, ctypes.c_int, ctypes.c_void_p
)
_COUNTER = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)
_SYSCALL = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p)
_EXCEPTION = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_uint32, ctypes.c_void_p)

_CR0 = 1 << 31 | 1 << 16 | 1 << 5 | 1  # PG, WP, NE, PE
_CR4 = 1 << 10 | 1 << 9 | 1 << 5  # OSXMMEXCPT, OSFXSR, PAE
_NO_TABLES = 0xFF_FFFF_F000
"""A CR3 behind any RAM, where all that the CPU reads is zero."""
_EFER = 0xC0000080
_EFER_BOOT = 1 << 11 | 1 << 10 | 1 << 8  # NXE, LMA, LME
_TSC_AUX = 0xC0000103
# Of the hidden flags.
_PRIVILEGE, _INHIBIT_INTERRUPTS = 3, 1 << 3
_CODE32, _STACK32, _ADD_SEGMENTS, _CODE64 = 1 << 4, 1 << 5, 1 << 6, 1 << 15
_BIG, _IN_PAGES = 1 << 22, 1 << 55  # of a segment: D/B, G
_MXCSR_BOOT, _FPCW_BOOT, _FPTAG_BOOT = 0x1F80, 0x37F, 0xFFFF

_MSRS = {
    "efer": _EFER, "star": 0xC0000081, "lstar": 0xC0000082, "cstar": 0xC0000083,
    "fmask": 0xC0000084, "fs_base": 0xC0000100, "gs_base": 0xC0000101,
    "kernel_gs_base": 0xC0000102, "tsc_aux": _TSC_AUX, "sysenter_cs": 0x174,
    "sysenter_esp": 0x175, "sysenter_eip": 0x176, "apic_base": 0x1B, "pat": 0x277,
    "misc_enable": 0x1A0, "mcg_status": 0x17A, "mcg_ctl": 0x17B, "mtrr_default": 0x2FF,
    **{f"mtrr_{i:x}": i for i in (*range(0x200, 0x210), 0x250, 0x258, 0x259, *range(0x268, 0x270))},
}  # fmt: skip
_WORDS = (
    "rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rsp", "r8", "r9", "r10", "r11", "r12",
    "r13", "r14", "r15", "rip", "rflags", "cs", "ds", "es", "fs", "gs", "ss", "cr0", "cr2",
    "cr3", "cr4", "cr8", "dr0", "dr1", "dr2", "dr3", "dr6", "dr7", "mxcsr", "fpcw", "fpsw",
    "fptag", "fip", "fcs", "fdp", "fds", "fop",
)  # fmt: skip
_WIDE = (*(f"xmm{i}" for i in range(16)), *(f"fp{i}" for i in range(8)))
_TABLES = ("gdtr", "idtr", "ldtr", "tr")


class Exits(NamedTuple):
    """What the engine calls when the guest leaves it. Each is called inside `Engine.run`."""

    out: Callable[[int, int, int], None]
    """port, width in bytes, value of EAX"""
    into: Callable[[int], None]
    """port"""
    counter: Callable[[bool], None]
    """RDTSC (false) or RDTSCP (true): answer with `Engine.give_counter`"""
    exception: Callable[[int], None]
    """vector"""
    system_call: Callable[[], None]
    boundary: Callable[[], bool]
    """The block counter has reached its target, at the start of a block: whether to stop there"""


class _Table(ctypes.Structure):
    _fields_ = [
        ("selector", ctypes.c_uint16),
        ("base", ctypes.c_uint64),
        ("limit", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
    ]


class _Segment(ctypes.Structure):
    """A segment register with its hidden parts; `flags` are the upper half of the descriptor."""

    _fields_ = [
        ("selector", ctypes.c_uint32),
        ("base", ctypes.c_uint64),
        ("limit", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
    ]

    def load(self, selector: int, descriptor: int) -> None:
        self.selector, self.flags = selector, descriptor >> 32
        self.base = descriptor >> 16 & 0xFFFFFF | descriptor >> 56 << 24
        self.limit = descriptor & 0xFFFF | descriptor >> 32 & 0xF0000
        if descriptor & _IN_PAGES:
            self.limit = self.limit << 12 | 0xFFF


class _Msr(ctypes.Structure):
    _fields_ = [("number", ctypes.c_uint32), ("value", ctypes.c_uint64)]


def _register(name: str) -> int:
    return int(getattr(x86, f"UC_X86_REG_{name.upper()}"))


def _check(status: int, what: str) -> None:
    if status != OK:
        raise HostError(f"Unicorn refused to {what}: {uclib.uc_strerror(status).decode()}")


# Three times as fast as the binding's: it takes arguments as they are, and keeps the GIL.
_write_batch = ctypes.PyDLL(uclib._name, handle=uclib._handle).uc_reg_write_batch


class _RegisterBatch:
    """Buffers to read every register in one call."""

    def __init__(self) -> None:
        self.words = {n: ctypes.c_uint64() for n in _WORDS}
        self.wide = {n: (ctypes.c_uint64 * 2)() for n in _WIDE}
        self.tables = {n: _Table() for n in _TABLES}
        self.msrs = {n: _Msr(number) for n, number in _MSRS.items()}
        numbers = [_register(n) for n in (*_WORDS, *_WIDE, *_TABLES)]
        numbers += [x86.UC_X86_REG_MSR] * len(_MSRS)
        values: list[Any] = [
            *self.words.values(), *self.wide.values(), *self.tables.values(), *self.msrs.values(),
        ]  # fmt: skip
        self._numbers = (ctypes.c_int * len(numbers))(*numbers)
        self._values = (ctypes.c_void_p * len(values))(*(ctypes.addressof(v) for v in values))

    def read(self, handle: Any) -> Registers:
        _check(
            uclib.uc_reg_read_batch(handle, self._numbers, self._values, len(self._numbers)),
            "read registers",
        )
        result = {n: v.value for n, v in self.words.items()}
        for name, table in self.tables.items():
            result[f"{name}_base"] = table.base
            result[f"{name}_limit"] = table.limit
            if name in ("ldtr", "tr"):
                result[name] = table.selector
        result.update((n, m.value) for n, m in self.msrs.items())
        result.update((n, v[0] | v[1] << 64) for n, v in self.wide.items())
        return Registers(result)


class Engine:
    """One CPU on a `Memory`, from `BootState` on."""

    def __init__(
        self, memory: Memory, model: str, start: BootState, exits: Exits, native: bool = True
    ) -> None:
        if model not in CPU_MODELS:
            raise UsageError(f"no CPU model {model!r}; there are {', '.join(CPU_MODELS)}")
        self._layout = _find_layout()
        self._uc, self._handle = _open(model)
        self._memory = memory
        self._boot_tables = start.cr3
        _check(
            uclib.uc_mem_map_ptr(
                self._handle, 0, ctypes.c_uint64(memory.size), uc_const.UC_PROT_ALL, memory.address
            ),
            "map guest memory",
        )
        self._buffers = _RegisterBatch()
        self._context_pointer = ctypes.c_void_p()
        self.counter = BlockCounter(exits.boundary, uclib.uc_emu_stop, native)
        self.words = self.counter.words
        self._low, self._high = ctypes.c_uint64(), ctypes.c_uint64()
        self._low_high = (ctypes.c_int * 2)(_register("rax"), _register("rdx"))
        self._low_high_values = (ctypes.c_void_p * 2)(
            ctypes.addressof(self._low), ctypes.addressof(self._high)
        )
        self._block_hook: ctypes.c_size_t | None = None
        self._callbacks: list[Any] = []
        self._left: tuple[CpuState, int] | None = None
        self._exits = exits
        self._install()
        self._boot(start)

    def close(self) -> None:
        """Free the CPU. Memory may be closed after."""
        self._exits = None  # type: ignore[assignment]
        self._callbacks.clear()
        self.counter.close()
        if self._context_pointer:
            uclib.uc_context_free(self._context_pointer)
            self._context_pointer = ctypes.c_void_p()
        self._uc = None

    # Running

    def run(self) -> int:
        """Execute from RIP until a stop, a HLT or an error; Unicorn's error code."""
        self.counter.stopped = False
        status = int(uclib.uc_emu_start(self._handle, self["rip"], 0, 0, 0))
        if self._left is not None:
            state, self.words[COUNT] = self._left
            self._left = None
            self.load(state)
        return status

    @property
    def at_block_boundary(self) -> bool:
        """Whether the last `run` ended because `Exits.boundary` asked for it."""
        return self.counter.stopped

    def abandon(self) -> None:
        """Stop soon, and never run again: the rest of the block may execute without its hooks."""
        uclib.uc_emu_stop(self._handle)

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
            _check(uclib.uc_hook_del(self._handle, self._block_hook), "remove a hook")
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

    # State

    def __getitem__(self, register: str) -> int:
        value = ctypes.c_uint64()
        uclib.uc_reg_read(self._handle, _register(register), ctypes.byref(value))
        return value.value

    def __setitem__(self, register: str, value: int) -> None:
        _check(
            uclib.uc_reg_write(
                self._handle, _register(register), ctypes.byref(ctypes.c_uint64(value))
            ),
            f"set {register}",
        )

    def write(self, address: int, content: bytes) -> None:
        """Store what a device gives. Unicorn does not notice that, and would go on to execute the
        code that was there. On the tables of boot no code is writable; on others it may be."""
        self._memory.write(address, content)
        if self["cr3"] != self._boot_tables:
            self._uc.ctl_flush_tb()

    def give_counter(self, cycles: int, with_aux: bool) -> None:
        """Put the time-stamp counter, and for RDTSCP also IA32_TSC_AUX, where the guest gets it."""
        self._low.value = cycles & 0xFFFFFFFF
        self._high.value = cycles >> 32
        if with_aux:
            self["rcx"] = self.msr(_TSC_AUX) & 0xFFFFFFFF
        _write_batch(self._handle, self._low_high, self._low_high_values, 2)

    def msr(self, number: int) -> int:
        value = _Msr(number)
        uclib.uc_reg_read(self._handle, x86.UC_X86_REG_MSR, ctypes.byref(value))
        return int(value.value)

    def table(self, name: str) -> tuple[int, int]:
        """Base and limit of `idtr`, `gdtr` or `tr`."""
        value = _Table()
        uclib.uc_reg_read(self._handle, _register(name), ctypes.byref(value))
        return value.base, value.limit

    def registers(self) -> Registers:
        return self._buffers.read(self._handle)

    def save(self) -> CpuState:
        """The CPU's state: within the hook of an exit, with RIP at its instruction."""
        context = ctypes.string_at(self._save_context(), uclib.uc_context_size(self._handle))
        msrs = tuple(self.msr(number) for number in UNSAVED_MSRS)
        return CpuState(context, self["rip"], self["rflags"], msrs)

    def load(self, state: CpuState) -> None:
        """Not within a hook. Empties the TLB, which restoring a context does not."""
        ctypes.memmove(self._save_context(), state.context, len(state.context))
        _check(uclib.uc_context_restore(self._handle, self._context_pointer), "restore its context")
        for number, value in zip(UNSAVED_MSRS, state.msrs, strict=True):
            if self.msr(number) != value:
                msr = _Msr(number, value)
                uclib.uc_reg_write(self._handle, x86.UC_X86_REG_MSR, ctypes.byref(msr))
        self["rflags"], self["rip"] = state.rflags, state.rip
        self._uc.ctl(uc_const.UC_CTL_TLB_FLUSH, uc_const.UC_CTL_IO_WRITE)

    def take_exception(self) -> tuple[int, bool]:
        """`(error code, raised by an INT instruction)` of the exception in flight, and clear it."""
        base = self._save_context()
        code = ctypes.c_uint32.from_address(base + self._layout.error_code).value
        software = ctypes.c_uint32.from_address(base + self._layout.is_int).value
        ctypes.c_int32.from_address(base + self._layout.in_flight).value = -1
        _check(uclib.uc_context_restore(self._handle, self._context_pointer), "restore its context")
        return code, bool(software)

    def enter_code(self, selector: int, descriptor: int, null_stack: bool) -> None:
        """Load CS with a 64-bit code segment at the privilege level of its selector, for a handler,
        and if asked for a null SS. Unicorn's own writes to CS leave CPL as it was."""
        context, privilege = self._save_context(), selector & 3
        stack = _Segment.from_address(context + self._layout.stack)
        if null_stack:
            stack.load(privilege, privilege << 45)
        _Segment.from_address(context + self._layout.code).load(selector, descriptor)
        flags = ctypes.c_uint32.from_address(context + self._layout.hidden_flags)
        flags.value &= ~(_PRIVILEGE | _STACK32 | _ADD_SEGMENTS)
        flags.value |= privilege | _CODE32 | _CODE64 | (_STACK32 if stack.flags & _BIG else 0)
        _check(uclib.uc_context_restore(self._handle, self._context_pointer), "enter a handler")

    def in_shadow(self) -> bool:
        """Whether the instruction before RIP was one that delays interrupts by an instruction."""
        flags = ctypes.c_uint32.from_address(self._save_context() + self._layout.hidden_flags)
        return bool(flags.value & _INHIBIT_INTERRUPTS)

    def _save_context(self) -> int:
        """The address of a copy of the CPU's state."""
        if not self._context_pointer:
            _check(
                uclib.uc_context_alloc(self._handle, ctypes.byref(self._context_pointer)),
                "allocate a context",
            )
        _check(uclib.uc_context_save(self._handle, self._context_pointer), "save its context")
        return self._context_pointer.value or 0

    # Set-up

    def _boot(self, start: BootState) -> None:
        table = _Table(0, GDT, GDT_LIMIT, 0)
        uclib.uc_reg_write(self._handle, x86.UC_X86_REG_GDTR, ctypes.byref(table))
        # Segments first: Unicorn crashes if a descriptor it loads is behind an unmapped page.
        self["cs"] = CODE_SELECTOR
        for segment in ("ds", "es", "ss", "fs", "gs"):
            self[segment] = DATA_SELECTOR
        self["cr3"] = start.cr3
        self["cr4"] = _CR4
        efer = _Msr(_EFER, _EFER_BOOT)
        uclib.uc_reg_write(self._handle, x86.UC_X86_REG_MSR, ctypes.byref(efer))
        self["cr0"] = _CR0
        self["rflags"] = 2
        self["mxcsr"], self["fpcw"], self["fptag"] = _MXCSR_BOOT, _FPCW_BOOT, _FPTAG_BOOT
        self["rip"], self["rsp"], self["rdi"] = start.rip, start.rsp, start.rdi

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
        _check(
            uclib.uc_hook_add(
                self._handle,
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
        out, into, counter, exception, system_call, _ = self._exits

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
        handler = _EXCEPTION(on_exception)
        self._callbacks.append(handler)
        self._hook(uc_const.UC_HOOK_INTR, handler)


def _open(model: str) -> tuple[Any, Any]:
    stop_clock(uclib)
    uc = unicorn.Uc(uc_const.UC_ARCH_X86, uc_const.UC_MODE_64)
    uc.ctl_set_cpu_model(CPU_MODELS[model])
    uc.ctl_exits_enabled(True)  # with no exit addresses: jumping to 0 is a fault, not a stop
    return uc, uc._uch


class _Layout(NamedTuple):
    """Offsets within a saved context."""

    error_code: int
    is_int: int
    in_flight: int
    hidden_flags: int
    code: int
    stack: int


@cache
def _find_layout() -> _Layout:
    """Bring the CPU into states that are known and look where they are kept."""
    bad_selector = 0xABC8
    load_it = b"\x66\xb8" + bad_selector.to_bytes(2, "little") + b"\x8e\xd8"
    general_protection = _provoke(load_it, uc_const.UC_HOOK_INTR)
    divide_error = _provoke(b"\x31\xc9\xf7\xf1", uc_const.UC_HOOK_INTR)
    interrupt = _provoke(b"\xcd\x80", uc_const.UC_HOOK_INTR)
    behind_sti = _provoke(b"\xfb\xeb\x00\xeb\x00", uc_const.UC_HOOK_BLOCK, 2)
    one_later = _provoke(b"\xfb\xeb\x00\xeb\x00", uc_const.UC_HOOK_BLOCK, 3)
    loaded, code_segment, stack_segment = _load_segments()
    candidates = [
        _Layout(
            code, code + 4, flight, hidden, loaded.find(code_segment), loaded.find(stack_segment)
        )
        for code, flight in _offsets(
            (general_protection, bad_selector, 13), (divide_error, 0, 0), (interrupt, 0, -1)
        )
        for hidden in range(0, len(behind_sti) - 4, 4)
        if _word(interrupt, code + 4) == 1
        and _word(divide_error, code + 4) == 0
        and _word(behind_sti, hidden) == _word(one_later, hidden) | _INHIBIT_INTERRUPTS
        and not _word(one_later, hidden) & _INHIBIT_INTERRUPTS
        and loaded.count(code_segment) == loaded.count(stack_segment) == 1
    ]
    if len(candidates) != 1:
        raise HostError(
            f"this version of Unicorn ({unicorn.__version__}) is not known to vlockstep; "
            "install one that its pyproject.toml names"
        )
    return candidates[0]


_CODE_AT = 0x1000


def _word(context: bytes, offset: int) -> int:
    return int.from_bytes(context[offset : offset + 4], "little")


def _offsets(*samples: tuple[bytes, int, int]) -> Iterator[tuple[int, int]]:
    """Pairs of offsets whose words are (error code, exception in flight) in every sample."""
    words = range(0, len(samples[0][0]) - 4, 4)

    def matching(index: int, signed: str) -> list[int]:
        return [
            o
            for o in words
            if all(struct.unpack_from(signed, s[0], o)[0] == s[index] for s in samples)
        ]

    for code in matching(1, "<I"):
        for flight in matching(2, "<i"):
            yield code, flight


def _provoke(code: bytes, hook: int, times: int = 1) -> bytes:
    """The context a flat CPU saves when the hook is called for the n-th time in `code`."""
    try:
        return _context_in(code, hook, times)
    finally:
        gc.collect(1)  # an engine and its hooks refer to each other; it reserves a GiB


def _context_in(code: bytes, hook: int, times: int) -> bytes:
    uc, _ = _open("qemu64")
    uc.mem_map(_CODE_AT, 0x1000)
    uc.mem_write(_CODE_AT, code)
    saved: list[bytes] = []

    def save(engine: Any, *_details: Any) -> None:
        with _context(engine) as content:
            saved.append(content)
        if len(saved) == times:
            engine.emu_stop()

    uc.hook_add(hook, save)
    uc.emu_start(_CODE_AT, 0)
    return saved[times - 1]


def _load_segments() -> tuple[bytes, bytes, bytes]:
    """The context of a CPU that has loaded CS and SS, and what it must hold of each."""
    # lgdt [rip + 28]; mov eax, DATA_SELECTOR; mov ss, eax; mov esp, 0x2000; push CODE_SELECTOR;
    # lea rax, [rip + 3]; push rax; retfq; jmp $ + 2
    load_them = bytes.fromhex("0f01151c000000 b810000000 8ed0 bc00200000 6a08")
    load_them += bytes.fromhex("488d0503000000 50 48cb eb00 0000")
    table = struct.pack("<HQ", GDT_LIMIT, _CODE_AT + len(load_them) + 10)
    table += struct.pack("<QQQ", 0, CODE_DESCRIPTOR, DATA_DESCRIPTOR)
    code, stack = _Segment(), _Segment()
    code.load(CODE_SELECTOR, CODE_DESCRIPTOR)
    stack.load(DATA_SELECTOR, DATA_DESCRIPTOR)
    return _provoke(load_them + table, uc_const.UC_HOOK_BLOCK, 4), bytes(code), bytes(stack)


@contextmanager
def _context(engine: Any) -> Iterator[bytes]:
    pointer = ctypes.c_void_p()
    _check(uclib.uc_context_alloc(engine._uch, ctypes.byref(pointer)), "allocate a context")
    try:
        _check(uclib.uc_context_save(engine._uch, pointer), "save its context")
        yield ctypes.string_at(pointer, uclib.uc_context_size(engine._uch))
    finally:
        uclib.uc_context_free(pointer)
