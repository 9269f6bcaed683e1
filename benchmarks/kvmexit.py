"""What an exit costs on this host's KVM, whatever is made of it: a loop of KVM_RUN, on a guest that
does nothing but OUT, at the level and with the tables that `KvmEngine` gives to its guests."""

from __future__ import annotations

import mmap
import os
import time
from collections.abc import Callable
from contextlib import ExitStack
from fcntl import ioctl

from vlockstep import GuestConfig, open_image
from vlockstep.machine.boot import boot
from vlockstep.machine.kvm import abi
from vlockstep.machine.kvm.device import call, open_device
from vlockstep.machine.kvm.shim import PLACE, SIZE, Shim
from vlockstep.machine.memory import Memory
from vlockstep.machine.unicornstate import at_reset

_OUT_FOREVER = b"\xe7\x40\xeb\xfc"
_CONTROL = ("cr0", "cr4", "efer")
_RIP, _RFLAGS = (abi.REGISTERS // 8 + abi.GENERAL.index(name) for name in ("rip", "rflags"))


def bare_exits(count: int, answered: bool, work: Callable[[], None] | None = None) -> float:
    """Microseconds of CPU time for one of so many, with the turn of a loop in Python; `answered`:
    registers are set for the guest after each; `work` is done after each."""
    with ExitStack() as opened:
        image = open_image("clock")
        config = GuestConfig(image.digest, memory=2 << 20)
        memory = Memory(config.memory)
        opened.callback(memory.close)
        start = boot(image, config, memory)
        memory.write(start.rip, _OUT_FOREVER)
        shim = Shim(memory, start.cr3)
        opened.callback(shim.close)
        device = open_device()
        machine = call(device, abi.CREATE_VM)
        opened.callback(os.close, machine)
        for slot, place, size, address in (
            (0, 0, memory.size, memory.address),
            (1, PLACE, SIZE, shim.address),
        ):
            region = abi.MemoryRegion(slot, 0, place, size, address)
            call(machine, abi.SET_USER_MEMORY_REGION, region)
        cpu = call(machine, abi.CREATE_VCPU)
        opened.callback(os.close, cpu)
        registers = abi.SystemRegisters()
        call(cpu, abi.GET_SREGS, registers)
        shim.install(registers)
        reset = at_reset(config.cpu)
        for name in _CONTROL:
            setattr(registers, name, reset[name])
        call(cpu, abi.SET_SREGS, registers)
        area = mmap.mmap(cpu, call(device, abi.GET_VCPU_MMAP_SIZE))
        opened.callback(area.close)
        words = opened.enter_context(opened.enter_context(memoryview(area)).cast("Q"))
        words[_RIP], words[_RFLAGS] = start.rip, 2 | 3 << 12
        area[abi.VALID_REGISTERS] = area[abi.DIRTY_REGISTERS] = abi.SYNC_REGISTERS

        begin = time.process_time()
        for _ in range(count):
            ioctl(cpu, abi.RUN, 0)
            if answered:
                area[abi.DIRTY_REGISTERS] = abi.SYNC_REGISTERS
            if work is not None:
                work()
        seconds = time.process_time() - begin
        reason = area[abi.EXIT_REASON]
        if reason != abi.EXIT_IO:
            raise RuntimeError(f"the guest ended with {abi.EXITS.get(reason, reason)}")
        return seconds / count * 1e6
