"""The machine: a guest as a function of its inputs, which all come from a `World`.

What a guest starts from

    image           Image, load, parse: a Solo5 hvt image, its manifest and segments
    symbols         Symbol, named: the names in an image, for people only
    bundled         open_image, names: the guests that come with vlockstep
    samples         Sample: what there is to know of each of them
    basis           Basis, basis, disagreement: what results depend on besides inputs
    config          GuestConfig, BlockConfig, NetConfig: equal on every replica
    cpumodels       MODELS, missing, check_limit: CPU models, and the limit of a host
    boot            boot, check_devices: the state a guest starts from

Its execution

    machine         Machine: runs a guest until it ends or stops, and goes on from there
    execution       Execution: what a machine's exits and stops do
    interface       GuestMachine, Probe: what others need of a machine
    state           MachineState, CpuState, PlainState: all that the rest of an execution depends on
    breakpoints     Breakpoints: what to do where
    world           World, Outcome, WorldChanged: the gate of all inputs and outputs
    position        Position: exits so far, and blocks since the last one
    engine          Engine, EngineLimit: what executes a guest's instructions
    engines         choose, make: which of the two a guest gets
    unicornengine   UnicornEngine: the CPU in Unicorn, everywhere
    erratahooks     ErrataHooks: stops before what Unicorn may get wrong
    kvm             the CPU on Linux' KVM, at the processor's own speed
    sites           Site: an instruction at which KVM cannot stop, and the trap in its place
    sitefinder      find, check: where an image has such instructions
    traps           Traps: what a trap does, as an exit
    unicorncpu      open_cpu, RegisterBatch: what of Unicorn is called through ctypes
    guard           guarded: a crash of Unicorn as a result of its call
    plainload       load_plain: registers of any engine, put into Unicorn
    unicornstate    at_reset, plain: registers that Unicorn knows, for other engines
    layout          find_layout, Layout: where Unicorn keeps what is none of its registers
    errata          instructions that Unicorn gets wrong, and what they really do
    delivery        Delivery: who takes exceptions and interrupts in a guest
    blockcounter    BlockCounter: counts blocks, in machine code where the host allows it
    hostclock       stop_clock: the host's clock, as Unicorn sees it
    nativecode      machine code for this host
    memory          Memory, BadPointer: guest RAM, as the engine and Python both see it
    dirty           DirtyPages, track: which of its pages were written since the last look
    ramcopy         RamCopy: a copy of RAM, most of which is made while the guest runs
    paging          build, translate, read: page tables
    registers       Registers: all that a guest can set, with a readable difference
    exceptions      deliver, Taken, TripleFault: exceptions and interrupts, through the guest's IDT
    randomness      RandomRead, decode: RDRAND and RDSEED
    hypercalls      Hypercalls: those of Solo5, and our own

What is told of it

    report          GuestError, disassemble: what went wrong in a guest
    coredump        write_core: a core file for gdb
"""
