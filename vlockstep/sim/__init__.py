"""Protected guests in virtual time, on hosts that crash, stall, drift and lose each other.

What one execution is made of

    schedule    Schedule, Fault: a guest, a seed for everything that varies, and faults
    programs    image, arguments: a schedule's guest
    simulation  Simulation, Conditions: hosts, and the world around them
    host        SimulatedHost: what a simulated replica runs on
    world       NetworkedWorld: its guest's inputs
    network     Network: the connections between the hosts
    arbiter     SimulatedArbiter: slow, out of reach, failing halfway, or stale
    background  SimulatedBackground: what a host does in the background
    sinks       SharedConsole, SharedDisk, SimulatedNic: what all replicas reach
    resumelogs  SimulatedLogs: from which the outsider resumes a guest, and which may be torn
    moving      SimulatedMove: a disk that all share, on its way to another file
    client      start_clients: send numbered requests to the guests `tally` and `kv`
    coroutine   make, current: calls that can be left in their midst
    task        GuestTask: a guest's thread, which runs only when it is told to
    scripted    ScriptedMachine: guests without a CPU, a hundred times as fast
    faults      plan: carries out a schedule's faults

What comes of it

    execution   execute, Result: one execution, and what was wrong with it
    check       violations: what must hold, seen from outside
    ledger      check_ledger, inspect_ledger: whether all that the guest `ledger` wrote is there
    linear      check_history, inspect_history: whether what clients of `kv` saw has an order
    explore     explore, shrink, crash_everywhere: looks for executions that go wrong
    sides       Side, Direction: the two replicas by their first roles, and the ways between
"""
