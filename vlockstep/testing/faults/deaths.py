"""Processes that are killed."""

from __future__ import annotations

import subprocess
from contextlib import suppress
from signal import SIGKILL

from vlockstep.sim.sides import SIDES
from vlockstep.testing.faults.fault import Fault
from vlockstep.testing.faults.outside import Outputs, said
from vlockstep.testing.faults.trial import KILLED, Trial
from vlockstep.testing.process import PairError, command, environment


def primary_killed(trial: Trial) -> str:
    pair = trial.held()
    pair.crash("primary")
    pair.go("secondary")
    return trial.ends(pair, KILLED, 0, {2: "secondary"})


def secondary_killed(trial: Trial) -> str:
    pair = trial.held()
    pair.crash("secondary")
    pair.go("primary")
    return trial.ends(pair, 0, KILLED, {2: "primary"})


def both_killed(trial: Trial) -> str:
    pair = trial.held()
    pair.pause("secondary")  # or it could go live between the two
    for which in SIDES:
        pair.process(which).signal(SIGKILL)
    assert pair.wait_finished() == (KILLED, KILLED)
    before = Outputs.of(pair)
    with suppress(PairError):
        pair.start_primary()
    assert pair.process("primary").wait_exit() == 2
    assert said(pair, "primary", "that process is dead: if no .* runs anywhere, vlockstep arbiter")
    assert Outputs.of(pair) == before
    subprocess.run(command("arbiter", "reset", pair.arbiter), env=environment(), check=True)
    pair.start()
    pair.go()
    return f"refused, exit 2; after resetting the arbiter {trial.ends(pair, 0, 0)}"


FAULTS = (
    Fault("primary: SIGKILL", "the secondary goes live and finishes alone", primary_killed),
    Fault("secondary: SIGKILL", "the primary goes on alone", secondary_killed),
    Fault(
        "both: SIGKILL",
        "a new start is refused, which changes nothing, and told what to do; then it works",
        both_killed,
    ),
)
