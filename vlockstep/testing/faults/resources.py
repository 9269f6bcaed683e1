"""What replicas use and may not have: the arbiter, room for the log."""

from __future__ import annotations

from functools import partial

from vlockstep.sim.sides import SIDES, Side
from vlockstep.testing.faults import mounts
from vlockstep.testing.faults.fault import Fault
from vlockstep.testing.faults.trial import (
    HELD,
    KILLED,
    LINES,
    LONG,
    QUICK_MS,
    SHORT,
    SHORT_END,
    Trial,
)
from vlockstep.testing.pair import Pair
from vlockstep.testing.replaying import replay

_PAGE = 4096


def _waits_for_the_arbiter(pair: Pair, which: Side) -> None:
    """It asks, and writes nothing while it does."""
    process = pair.process(which)
    asking = process.wait_status(lambda status: status["state"] == "claiming")
    before = pair.transcript
    process.wait_status(lambda status: status["time"] > asking["time"] + 0.3)
    assert pair.transcript == before


def arbiter_gone(trial: Trial) -> str:
    pair = trial.held(heartbeat_ms=QUICK_MS)
    hidden = pair.directory / "hidden"
    pair.arbiter.rename(hidden)
    pair.crash("primary")
    pair.go("secondary")
    text = "the arbiter cannot be reached; nothing is emitted until it is"
    pair.process("secondary").wait_event("notice", text=text)
    _waits_for_the_arbiter(pair, "secondary")
    why = f"cannot read the arbiter {pair.arbiter}: No such file or directory"
    assert pair.process("secondary").count("notice", text=why) == 1
    hidden.rename(pair.arbiter)
    return f"silent meanwhile; {trial.ends(pair, KILLED, 0, {2: 'secondary'})}"


def arbiter_gone_at_the_end(trial: Trial) -> str:
    pair = trial.pair(SHORT, stop_at=[f"entry:{SHORT_END}"])
    pair.wait_reached("primary")
    pair.arbiter.rename(pair.directory / "hidden")
    pair.go()
    result = trial.ends(pair, 0, 0)
    notice = str(pair.process("primary").wait_event("notice")["text"])
    assert notice.endswith("the next start of this guest will be refused"), notice
    return f"said so; {result}"


def arbiter_frozen(trial: Trial) -> str:
    held = [f"entry:{HELD}"]
    pair = trial.pair(start=False, stop_at=held, heartbeat_ms=QUICK_MS)
    trial.resources.enter_context(mounts.freezable(pair.arbiter, pair.directory / "arbiter.ext4"))
    pair.start()
    with mounts.frozen(pair.arbiter):
        pair.cut()
        pair.go()
        for which in SIDES:
            _waits_for_the_arbiter(pair, which)
    return f"silent meanwhile; {trial.one_goes_on(pair)}"


def arbiter_frozen_at_the_end(trial: Trial) -> str:
    pair = trial.pair(SHORT, start=False, stop_at=[f"entry:{SHORT_END}"])
    trial.resources.enter_context(mounts.freezable(pair.arbiter, pair.directory / "arbiter.ext4"))
    pair.start()
    pair.wait_reached("primary")
    with mounts.frozen(pair.arbiter):
        pair.go()
        assert pair.process("secondary").wait_exit() == 0
        text = "the arbiter does not answer; the next start of this guest will be refused"
        pair.process("primary").wait_event("notice", text=text)
    return f"said so; {trial.ends(pair, 0, 0)}"


def _log_disk_full(lines: int, trial: Trial) -> str:
    pair = trial.pair([f"--lines={lines}", *LONG[1:]], start=False, logs=False)
    full = pair.directory / "full"
    trial.resources.enter_context(mounts.small(full, 2 * _PAGE))
    logs = {which: full / f"{which}.vlog" for which in SIDES}
    pair.start_primary("--log", logs["primary"])
    pair.start_secondary("--log", logs["secondary"])
    result = trial.ends(pair, 0, 0)
    kept = 0
    for which, log in logs.items():
        text = f"cannot write the log {log}: No space left on device; the log file ends here"
        pair.process(which).wait_event("notice", text=text)
        replayed = replay(log)
        assert pair.transcript.startswith(replayed.console)
        kept += replayed.entries
    return f"{kept} entries kept; {result}"


FAULTS = (
    Fault(
        "arbiter's directory gone, primary: SIGKILL",
        "the secondary says so and emits nothing until it is back; then it goes live",
        arbiter_gone,
    ),
    Fault(
        "arbiter's directory gone when the guest ends",
        "the primary says so; the exit status is the guest's",
        arbiter_gone_at_the_end,
    ),
    Fault(
        "arbiter's file system frozen, partition",
        "both wait for its answer and emit nothing; then exactly one goes on",
        arbiter_frozen,
        root=True,
        needs=("mkfs.ext4", "fsfreeze", "mount"),
    ),
    Fault(
        "arbiter's file system frozen when the guest ends",
        "the primary says so, and does not wait for ever; the exit status is the guest's",
        arbiter_frozen_at_the_end,
        root=True,
        needs=("mkfs.ext4", "fsfreeze", "mount"),
    ),
    Fault(
        "no room for the log files",
        "they end with a notice; the pair goes on, protected",
        partial(_log_disk_full, LINES),
        root=True,
        needs=("mount",),
    ),
    Fault(
        "no room for the last entries in the log files",
        "they end with a notice; the guest's status is the exit status",
        partial(_log_disk_full, 49),
        root=True,
        needs=("mount",),
    ),
)
