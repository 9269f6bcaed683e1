"""The command line, thin: parse, call, print.

Everything that costs time to import is imported by the command that needs it. Standard output
belongs to the guest's console where there is one; what vlockstep itself has to say goes to
standard error then.

    app             app: all commands; application: those that a command line needs
    run             run: to run a guest unprotected
    record          record: to keep every input of it
    replay          replay: to execute it again
    log             log: what is in a log
    logdiff         diff: where two of them part
    debug           debug: gdb in a recording, forwards and backwards
    trace           trace: what a recorded guest does
    guests          guests: what comes with vlockstep
    disk            disk: disks in files, of all formats
    image           image: what is in a guest's image
    cpu             cpu: the CPU models of guests
    engines         engines: what executes guests on this host
    running         ps, status, events, stop: guests that run on this host
    snapshot        snapshot, suspend, resume: guests that go on from a file
    top             top: all of them, live
    metrics         metrics: a guest's, for Prometheus
    dashboard       dashboard: the management view, a page in a browser
    pair            primary, secondary, switchover: the replicas of a protected guest
    protect         protect: a guest that runs gets replicas
    migrate         migrate, receive: a guest that moves to another host
    arbiter         arbiter: who rules
    cluster         cluster: a cluster as a whole, its rules, tasks and events
    host            host: the agent of a host, and the hosts of a cluster
    guest           guest: the guests of a cluster
    switch          switch: the virtual switch
    keys            keys: what replicas need to trust each other
    demo            demo: the demonstration of a pair
    figure1         figure1: that of a cluster

What they share

    command         Command, TenderCommand, Group: what our commands do beyond Typer's
    tender          translated, split: the command line of solo5-hvt
    clusteroptions  operator, do: those of who speaks to a cluster
    clusterview     watch: a cluster in a table that changes
    devices         disks, nics: the options of a guest's devices
    hints           add_hint: which option mends what is wrong
    options         replica_spec: options, and the specification that they make
    pairoptions     those of the replicas of a pair, and of who speaks to one
    output          emit, note: results for people, and for programs
    execution       execute, Ending: runs a guest to its end
    guestthread     GUEST_THREAD: how a command's end knows the guest's thread
    signals         signals_to: what asks a command to end
    playback        follow: what a replay needs
    storypage       story_page: the page of a demonstration
    narration       narrate: a replay that is told entry by entry
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from typing import NoReturn

from vlockstep import program
from vlockstep.cli.guestthread import GUEST_THREAD
from vlockstep.errors import VlockstepError


def main() -> NoReturn:
    """Run the command of `sys.argv` and exit with its status."""
    status = program.run(_command)
    if any(thread.name == GUEST_THREAD for thread in threading.enumerate()):
        # Python must not tear itself down under a thread that is inside the CPU engine.
        os._exit(status if isinstance(status, int) else 1)
    sys.exit(status)


def _command() -> None:
    heeded = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if heeded:  # nobody wants to see which import Ctrl-C met
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from vlockstep.cli.app import application

    if heeded:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        application(sys.argv[1:])(prog_name="vlockstep")
    except VlockstepError as error:
        from vlockstep.cli.hints import add_hint

        add_hint(error)
        raise
