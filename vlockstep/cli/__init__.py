"""The command line, thin: parse, call, print.

Everything that costs time to import is imported by the command that needs it. Standard output
belongs to the guest's console where there is one; what vlockstep itself has to say goes to
standard error then.
"""

from __future__ import annotations

import os
import sys
import threading
import traceback
from typing import NoReturn

from vlockstep.errors import VlockstepError

GUEST_THREAD = "guest"


def main() -> NoReturn:
    """Run the command of `sys.argv` and exit with its status."""
    _open_missing_streams()
    from vlockstep.cli.app import app

    status: int | str | None = 0
    try:
        app(prog_name="vlockstep")
    except SystemExit as end:
        status = end.code
    except VlockstepError as error:
        print(f"vlockstep: {error}", file=sys.stderr)
        status = error.exit_status
    except OSError as error:
        status = _lost_output(error)
    except Exception:  # a bug; what follows must not tear down a running guest all the same
        traceback.print_exc()
        status = 1
    try:
        sys.stdout.flush()
    except OSError as error:
        status = _lost_output(error)
    if any(thread.name == GUEST_THREAD for thread in threading.enumerate()):
        # Python must not tear itself down under a thread that is inside the CPU engine.
        sys.stderr.flush()
        os._exit(status if isinstance(status, int) else 1)
    sys.exit(status)


def _open_missing_streams() -> None:
    """Where the shell closed a standard stream, no disk or log may get its number."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    sys.stdout = sys.stdout or open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = sys.stderr or open(2, "w", closefd=False)  # noqa: SIM115


def _lost_output(error: OSError) -> int:
    """Our own output could not be written: be quiet if nobody reads it."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    if not isinstance(error, BrokenPipeError):
        print(f"vlockstep: cannot write the output: {error.strerror}", file=sys.stderr)
    return 1
