"""The engine on Linux' KVM: the guest's instructions are executed by the processor itself.

    abi         numbers and structs of linux/kvm.h
    device      open_device, why_not: /dev/kvm, and what it offers
    shim        Shim: what catches exceptions, in memory that the guest does not see
    cpuid       cpuid_table: what a processor answers itself
    fpu         the x87 and SSE, as KVM keeps them
    privileged  Privileged: instructions that only an operating system may execute
    engine      KvmEngine

The guest runs at privilege level 3, and believes that it runs at 0. Whatever is privileged, and
every exception, enters the shim at level 0, which is an interrupt table of 256 HLTs; each HLT is an
exit to Python, which does what the instruction is to do, or reports the exception to the machine.
"""
