"""Processes that are asked to leave, by SIGTERM."""

from __future__ import annotations

from signal import SIGTERM

from vlockstep.sim.sides import SIDES
from vlockstep.testing.faults.fault import Fault
from vlockstep.testing.faults.trial import Trial


def primary_leaves(trial: Trial) -> str:
    pair = trial.held()
    pair.process("primary").signal(SIGTERM)
    pair.go()
    assert pair.process("primary").wait_exit() == 0
    return trial.ends(pair, 0, 0, {2: "secondary", 3: "secondary"})


def secondary_leaves(trial: Trial) -> str:
    pair = trial.held()
    pair.process("secondary").signal(SIGTERM)
    assert pair.process("secondary").wait_exit() == 0
    pair.go("primary")
    return trial.ends(pair, 0, 0, {2: "primary"})


def both_leave(trial: Trial) -> str:
    pair = trial.held()
    for which in SIDES:
        pair.process(which).signal(SIGTERM)
    pair.go()
    statuses = pair.wait_finished()
    assert max(statuses) == 1, f"exit {statuses}: who ended the guest?"
    assert b"done" not in pair.transcript
    pair.start()
    pair.go()
    return f"exit {statuses.primary}, {statuses.secondary}; then {trial.ends(pair, 0, 0)}"


FAULTS = (
    Fault(
        "primary: SIGTERM",
        "it hands over and leaves with 0; the secondary finishes alone",
        primary_leaves,
    ),
    Fault("secondary: SIGTERM", "it leaves with 0; the primary finishes alone", secondary_leaves),
    Fault(
        "both: SIGTERM",
        "the last one ends the guest, and the arbiter knows: a new start is not refused",
        both_leave,
    ),
)
