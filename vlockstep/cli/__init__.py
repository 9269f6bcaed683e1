"""The command line, thin: parse, call, print.

Everything that costs time to import is imported by the command that needs it. Standard output
belongs to the guest's console where there is one; what vlockstep itself has to say goes to
standard error then.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from typing import NoReturn

from vlockstep import program

GUEST_THREAD = "guest"


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
    from vlockstep.cli.app import app

    if heeded:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    app(prog_name="vlockstep")
