"""Writers that stand still: nobody reads, a terminal holds its output, a file system hangs."""

from __future__ import annotations

import os
import select
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from vlockstep.sim.ledger import check_ledger
from vlockstep.sim.sides import SIDES
from vlockstep.testing.faults import mounts
from vlockstep.testing.faults.fault import Fault
from vlockstep.testing.faults.trial import (
    HELD,
    KILLED,
    LINES,
    QUICK_MS,
    SHORT,
    SHORT_END,
    SHORT_LINES,
    Trial,
)
from vlockstep.testing.pair import DISK_SIZE, Pair, Statuses
from vlockstep.testing.replaying import replay

_DEAD = 5 * QUICK_MS / 1000
"""Seconds of silence that count as death."""
_STOP, _GO_ON = b"\x13", b"\x11"
"""Ctrl-S, Ctrl-Q."""


def _stays_protected(pair: Pair) -> None:
    """For longer than silence would count as death, with a guest that has come to its end and
    outputs that are not made."""
    process = pair.process("primary")
    ended = process.wait_status(lambda status: status["entries"] == SHORT_END + 1)
    process.wait_status(lambda status: status["time"] > ended["time"] + 2 * _DEAD)
    for which in SIDES:
        assert pair.process(which).status["generation"] == 1
        assert pair.process(which).exit_status is None


# Standard error and logs


def _unread(killed: bool, trial: Trial) -> str:
    pair = trial.held()
    for which in SIDES:
        pair.process(which).deafen()
    if killed:
        pair.crash("primary")
    pair.go()
    statuses = pair.wait_finished()
    assert statuses == Statuses(KILLED if killed else 0, 0), f"exit {statuses}"
    check_ledger(pair.transcript, pair.disk(), LINES)
    for which in SIDES:
        if not killed or which == "secondary":
            replayed = replay(pair.log(which))
            assert (replayed.status, replayed.console) == (0, pair.transcript)
    return f"{LINES} lines once; exit {statuses.primary}, {statuses.secondary}"


@contextmanager
def _full_fifo(at: Path) -> Iterator[Path]:
    """One that takes nothing more: somebody has opened it to read, and does not."""
    os.mkfifo(at)
    reader = os.open(at, os.O_RDONLY | os.O_NONBLOCK)
    try:
        with at.open("wb", buffering=0) as pipe:
            os.set_blocking(pipe.fileno(), False)
            while pipe.write(bytes(select.PIPE_BUF)):
                pass
        yield at
    finally:
        os.close(reader)


def unread_logs(trial: Trial) -> str:
    pair = trial.pair(start=False, logs=False, crash_at="entry:150")
    logs = {
        which: trial.resources.enter_context(_full_fifo(pair.directory / f"{which}.fifo"))
        for which in SIDES
    }
    pair.start_primary("--log", logs["primary"])
    pair.start_secondary("--log", logs["secondary"])
    result = trial.ends(pair, KILLED, 0, {2: "secondary"})
    text = f"{logs['secondary']} does not take what the guest gave; the log file ends here"
    pair.process("secondary").wait_event("notice", text=text)
    return f"said so; {result}"


# Console and disk


class _Terminal:
    """A terminal for standard output, as somebody sees it who can type."""

    def __init__(self, trial: Trial) -> None:
        self._master, slave = os.openpty()
        trial.resources.callback(os.close, self._master)
        trial.resources.callback(os.close, slave)
        self.under = ["sh", "-c", f'exec "$@" >{os.ttyname(slave)}', "sh"]
        """A command that runs another one there."""

    def press(self, key: bytes) -> None:
        os.write(self._master, key)

    def read(self) -> bytes:
        """What has been written since."""
        os.set_blocking(self._master, False)
        shown = b""
        try:
            while True:
                shown += os.read(self._master, 1 << 16)
        except BlockingIOError:
            return shown.replace(b"\r\n", b"\n")


def stopped_terminal(trial: Trial) -> str:
    terminal = _Terminal(trial)
    pair = trial.pair(
        SHORT,
        start=False,
        heartbeat_ms=QUICK_MS,
        under={"primary": terminal.under},
        primary_options=["--console", "-"],
        secondary_options=["--console", "-"],
    )
    terminal.press(_STOP)
    pair.start()
    _stays_protected(pair)
    assert terminal.read() == b""
    terminal.press(_GO_ON)
    assert pair.wait_finished() == (0, 0)
    check_ledger(terminal.read(), pair.disk(), SHORT_LINES)
    return f"outputs waited; protected to the end; {SHORT_LINES} lines once; exit 0, 0"


def frozen_outputs(trial: Trial) -> str:
    at = trial.directory / "hanging"
    trial.resources.enter_context(mounts.freezable(at, trial.directory / "hanging.ext4"))
    disk = at / "disk.img"
    disk.write_bytes(bytes(DISK_SIZE))
    held = [f"entry:{HELD}"]
    pair = trial.pair(SHORT, start=False, stop_at=held, heartbeat_ms=QUICK_MS, disks={"disk": disk})
    pair.console.symlink_to(at / "console.txt")
    pair.start()
    pair.wait_reached("primary")
    with mounts.frozen(at):
        before = pair.transcript
        pair.go()
        _stays_protected(pair)
        assert pair.transcript == before
    return f"outputs waited; {trial.ends(pair, 0, 0)}"


_GOES_ON = "nobody waits for that: the pair goes on, protected"
_WAIT = "outputs wait, nobody claims; then all of them are there, once"
FAULTS = (
    Fault("standard error of both unread", _GOES_ON, partial(_unread, False)),
    Fault(
        "standard error of both unread, primary: SIGKILL",
        "the secondary goes live and finishes alone",
        partial(_unread, True),
    ),
    Fault(
        "log files that take nothing, primary: SIGKILL",
        "they end with a notice; the secondary goes live and finishes alone",
        unread_logs,
    ),
    Fault("primary's terminal stopped by Ctrl-S", _WAIT, stopped_terminal),
    Fault(
        "console's and disk's file system frozen",
        _WAIT,
        frozen_outputs,
        root=True,
        needs=("mkfs.ext4", "fsfreeze", "mount"),
    ),
)
