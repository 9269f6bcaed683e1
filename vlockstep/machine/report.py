"""What went wrong in a guest, for people: registers, and the code around RIP."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from vlockstep.errors import VlockstepError
from vlockstep.machine.paging import PAGE
from vlockstep.machine.registers import Registers
from vlockstep.machine.world import Outcome

if TYPE_CHECKING:
    import capstone

LONGEST_INSTRUCTION = 15
_WORD = 8
_BEFORE, _AFTER = 6, 6
_MAX_BACK = 4096
_LONGEST_BLOCK = 512
"""Instructions, in Unicorn."""

Symbol = Callable[[int], tuple[int, str] | None]
Read = Callable[[int, int], bytes]


class GuestError(VlockstepError):
    """The guest did something that ends it: not the host's fault, and no traceback."""

    def __init__(
        self, outcome: Outcome, code: str, core: Path | None = None, core_problem: str = ""
    ) -> None:
        super().__init__(f"guest error: {outcome.reason}")
        self.outcome = outcome
        self.reason = outcome.reason
        self.position = outcome.position
        self.registers = outcome.registers
        self.code = code
        self.core = core
        self.core_problem = core_problem

    def report(self) -> str:
        """The message, registers and disassembly, on several lines."""
        core = f"core written to {self.core}" if self.core else self.core_problem
        head = f"{self} at {self.position}"
        return "\n\n".join(filter(None, (head, str(self.registers), self.code, core)))


def disassemble(
    rip: int, read: Read, symbol: Symbol, after: int = _AFTER, *, long_mode: bool = True
) -> str:
    """A few instructions around `rip`, which is marked, and so many from there on; earlier ones
    where a symbol tells where instructions begin."""
    engine = _disassembler(long_mode)
    found = symbol(rip)
    rows: list[tuple[int, str]] = []
    if found is not None and rip - found[0] <= _MAX_BACK:
        code = read(found[0], rip - found[0])
        rows = [(i.address, _text(i)) for i in engine.disasm(code, found[0])][-_BEFORE:]
    following = read(rip, LONGEST_INSTRUCTION * after)
    rows += [(i.address, _text(i)) for i in engine.disasm(following, rip, after)]
    if not any(address == rip for address, _ in rows):
        what = f"(bytes {following[:8].hex(' ')})" if following else "(not mapped)"
        rows.append((rip, what))
    head = f"{found[1]}+{rip - found[0]:#x}:\n" if found else ""
    return head + "\n".join(
        f"{'=>' if address == rip else '  '} {address:#x}  {text}" for address, text in rows
    )


def _text(instruction: capstone.CsInsn) -> str:
    return f"{instruction.mnemonic} {instruction.op_str}".strip()


_ENDS_BLOCK = frozenset({"jump", "branch_relative", "call", "ret", "iret", "int"})
"""Capstone's names of groups of instructions. LOOP is a `branch_relative`, and no `jump`."""
_STORING = ("movs", "stos", "ins")
_EXITS = frozenset({"in", "out", "rdtsc", "rdtscp", "hlt", "syscall", "sysenter"})


def length_of_block(rip: int, read: Read, *, long_mode: bool = True) -> int:
    """Instructions from `rip` to one that ends a block, at most as many as make one."""
    engine = _disassembler(long_mode)
    engine.detail = True
    length = 0
    for instruction in engine.disasm(read(rip, _MAX_BACK), rip, _LONGEST_BLOCK):
        length += 1
        if _ENDS_BLOCK.intersection(map(instruction.group_name, instruction.groups)):
            break
    return max(length, 1)


def instruction_length(rip: int, read: Read) -> int:
    """0 if there is no instruction at `rip`."""
    engine = _disassembler()
    return next((size for _, size, _, _ in engine.disasm_lite(read(rip, 15), rip, 1)), 0)


def block_ends_without_exit(rip: int, read: Read) -> bool:
    """Whether, after the exit at `rip`, execution reaches the end of its block without another."""
    engine = _disassembler()
    engine.detail = True
    for instruction in engine.disasm(read(rip, _MAX_BACK), rip):
        if instruction.address == rip:
            continue
        if instruction.mnemonic in _EXITS:
            return False
        if _ENDS_BLOCK.intersection(map(instruction.group_name, instruction.groups)):
            return True
    return False


def cut_short(registers: Registers, size: int, read: Read) -> bool:
    """Whether the block of `size` bytes at RIP may be an instruction that Unicorn executes again,
    alone, since it has overwritten its own block. Else it is a block as any other."""
    engine, rip = _disassembler(), registers["rip"]
    engine.detail = True
    for instruction in engine.disasm(read(rip, LONGEST_INSTRUCTION), rip, 1):
        if instruction.size != size:
            return False
        groups = set(map(instruction.group_name, instruction.groups))
        prefix, _, operation = instruction.mnemonic.rpartition(" ")
        repeated = prefix.startswith("rep")
        if _ENDS_BLOCK.isdisjoint(groups) and not repeated:
            return True
        # It is alone anyhow; but does it overwrite itself? Pages may be mapped twice. What stores
        # nothing, such as a jump, may be all that a guest executes: it must not pass for another.
        if repeated and operation.startswith(_STORING):
            stored = registers["rdi"]
        elif "call" in groups:
            stored = registers["rsp"] - _WORD
        else:
            return False
        return (stored - rip + _WORD) % PAGE < _WORD + size
    return False


def _disassembler(long_mode: bool = True) -> capstone.Cs:
    """Most guests never need one, and it takes 6 MB."""
    import capstone

    mode = capstone.CS_MODE_64 if long_mode else capstone.CS_MODE_32
    return capstone.Cs(capstone.CS_ARCH_X86, mode)
