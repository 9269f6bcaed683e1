"""What is around each of our programs: standard streams, exit status, a line about a failure."""

from __future__ import annotations

import errno
import os
import sys
import traceback
from collections.abc import Callable

from vlockstep import streams
from vlockstep.errors import VlockstepError

INTERRUPTED = 130
"""The exit status after Ctrl-C."""
_OF_WRITES = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF}
"""Without a file's name, these come from our own output: for other files there are `HostError`s."""


def run(program: Callable[[], int | None]) -> int | str | None:
    """Call it, and report what fails; what to give to `sys.exit`."""
    streams.prepare()
    status: int | str | None = 1
    failed: OSError | None = None
    try:
        status = program()
    except SystemExit as end:
        status = end.code
    except KeyboardInterrupt:
        status = INTERRUPTED
    except VlockstepError as error:
        say(f"vlockstep: {error}")
        status = error.exit_status
    except OSError as error:
        failed = error
    except Exception:  # a bug; what follows must not tear down a running guest all the same
        say(traceback.format_exc().rstrip())
    output = failed is not None and failed.filename is None and failed.errno in _OF_WRITES
    try:
        sys.stdout.flush()
    except OSError as error:
        discard(sys.stdout.fileno())
        output, failed, status = True, error, 1
    if failed is not None and not isinstance(failed, BrokenPipeError):  # else nobody reads it
        what = "cannot write the output: " if output else ""
        say(f"vlockstep: {what}{_reason(failed)}")
    return status


def _reason(error: OSError) -> str:
    reason = error.strerror or str(error)
    return reason if error.filename is None else f"{error.filename}: {reason}"


def say(text: str) -> None:
    """Print a line on standard error. If it cannot be written, nothing is said from now on: what
    the program does matters more."""
    try:
        print(text, file=sys.stderr, flush=True)
    except OSError:
        discard(sys.stderr.fileno())


def discard(descriptor: int) -> None:
    """Let vanish what is written there."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, descriptor)
    os.close(null)
