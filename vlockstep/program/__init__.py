"""What is around each of our programs: standard streams, exit status, a line about a failure.

`run` is around all of a program, `say` prints a line for people on standard error.

    streams     prepare: the standard streams, of which each is there and takes what is printed
    progress    Progress: how far a long program is
    tracebacks  hide: where pytest shows a failure
"""

from __future__ import annotations

import errno
import os
import sys
import time
import traceback
import warnings
from collections.abc import Callable
from typing import TextIO

from vlockstep.errors import VlockstepError, VlockstepWarning
from vlockstep.host.background import Background, BackgroundThread
from vlockstep.program import streams

INTERRUPTED = 130
"""The exit status after Ctrl-C."""
_OF_WRITES = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF}
"""Without a file's name, these come from our own output: for other files there are `HostError`s."""
PATIENCE = 1.0
"""Seconds in which what the program has left in the background may come to its end."""
_unfinished: list[Background] = []
_voice: Background | None = None
"""Where standard error is written, if that may keep nobody waiting."""


def run(program: Callable[[], int | None]) -> int | str | None:
    """Call it, and report what fails; what to give to `sys.exit`."""
    streams.prepare()
    warnings.showwarning = _show_warning
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
    _finish()
    return status


def background(name: str) -> Background:
    """A thread for which `run` waits in the end, if not for long."""
    made = BackgroundThread(name)
    _unfinished.append(made)
    return made


def voice() -> Background:
    """Where `say` writes from now on: whoever speaks does not wait for who reads it."""
    global _voice
    _voice = _voice or background("standard error")
    return _voice


def _finish() -> None:
    global _voice
    deadline = time.monotonic() + PATIENCE
    for work in _unfinished:
        if not work.drain(max(0, deadline - time.monotonic())) and work is _voice:
            discard(sys.stderr.fileno())  # or Python might wait for who reads its last words
    _unfinished.clear()
    _voice = None


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Ours for people; others, as Python shows them, for who looks for a bug."""
    if issubclass(category, VlockstepWarning):
        say(f"vlockstep: {message}")
    else:
        say(warnings.formatwarning(message, category, filename, lineno, line).rstrip())


def _reason(error: OSError) -> str:
    reason = error.strerror or str(error)
    return reason if error.filename is None else f"{error.filename}: {reason}"


def say(text: str) -> None:
    """Print a line on standard error. If it cannot be written, nothing is said from now on: what
    the program does matters more."""
    if _voice is not None:
        _voice.submit(lambda: write_line(text))
        return
    try:
        print(text, file=sys.stderr, flush=True)
    except OSError:
        discard(sys.stderr.fileno())


def write_line(text: str) -> None:
    """`say` it now, however long that takes; in the background, past `sys.stderr`, which Python
    could not close while a thread waits in it."""
    rest = memoryview(f"{text}\n".encode(sys.stderr.encoding, sys.stderr.errors or "strict"))
    try:
        while rest:
            rest = rest[os.write(sys.stderr.fileno(), rest) :]
    except OSError:
        discard(sys.stderr.fileno())


def discard(descriptor: int) -> None:
    """Let vanish what is written there."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, descriptor)
    os.close(null)
