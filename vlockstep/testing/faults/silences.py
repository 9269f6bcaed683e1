"""Replicas that live and are not heard, or are slow."""

from __future__ import annotations

from functools import partial

from vlockstep.sim.sides import Direction
from vlockstep.testing.faults.duty import DutyCycle
from vlockstep.testing.faults.fault import Fault
from vlockstep.testing.faults.outside import Outputs, stopped_because
from vlockstep.testing.faults.trial import (
    KILLED,
    QUICK_MS,
    RECONNECTING_MS,
    SHORT,
    SHORT_END,
    Trial,
)


def primary_paused(trial: Trial) -> str:
    """It stops between an output's being sent and its release: the answer waits in its socket. The
    new primary stands still while the old one is awake, so that whoever writes then is the old."""
    pair = trial.pair(pause_at="sent:150", stop_at=["entry:200"], heartbeat_ms=QUICK_MS)
    pair.process("primary").wait_paused()
    pair.wait_live("secondary")
    pair.wait_reached("secondary")
    pair.pause("secondary")
    before = Outputs.of(pair)
    assert b"done" not in before.console
    pair.resume("primary")
    assert pair.process("primary").wait_exit() == 1
    assert Outputs.of(pair) == before, "the old primary has written"
    assert "generation 2" in stopped_because(pair, "primary")
    pair.resume("secondary")
    pair.go("secondary")
    return f"no write until it left; {trial.ends(pair, 1, 0, {2: 'secondary'})}"


def two_misses(trial: Trial) -> str:
    pair = trial.held(misses=2)
    pair.pause("primary")
    pair.go("secondary")
    pair.wait_live("secondary")
    pair.resume("primary")
    assert "generation 2" in stopped_because(pair, "primary")
    return trial.ends(pair, 1, 0, {2: "secondary"})


def secondary_paused(trial: Trial) -> str:
    pair = trial.held(heartbeat_ms=QUICK_MS)
    pair.pause("secondary")
    pair.go("primary")
    pair.wait_live("primary")
    pair.resume("secondary")
    assert "generation 2" in stopped_because(pair, "secondary")
    return trial.ends(pair, 0, 1, {2: "primary"})


def _partition(direction: Direction, heals: bool, trial: Trial) -> str:
    pair = trial.held(heartbeat_ms=QUICK_MS)
    pair.cut(direction)
    pair.go()
    return trial.one_goes_on(pair, pair.heal) if heals else trial.one_goes_on(pair)


def short_partition(trial: Trial) -> str:
    """The guest comes to its end meanwhile, since it may get far ahead of the secondary."""
    last = f"entry:{SHORT_END - 1}"
    pair = trial.pair(SHORT, stop_at=[last], primary_options=["--max-lag", 10_000])
    pair.wait_reached("primary")
    pair.cut()
    pair.go()
    pair.process("primary").wait_status(lambda status: status["entries"] == SHORT_END + 1)
    assert b"done" not in pair.transcript
    pair.heal()
    return f"outputs waited; {trial.ends(pair, 0, 0)}"


def dropped_connection(trial: Trial) -> str:
    """A crash after it is survived."""
    pair = trial.held(crash_at="entry:250", heartbeat_ms=RECONNECTING_MS)
    pair.drop()
    pair.process("secondary").wait_event("notice", text="the connection to the primary was lost")
    pair.go()
    return trial.ends(pair, KILLED, 0, {2: "secondary"})


def starved_secondary(trial: Trial) -> str:
    pair = trial.pair(["--lines=200", "--pause=5", "--work=100000"], stop_at=["entry:900"])
    with DutyCycle(pair.process("secondary"), run=0.02, stand=0.08) as cycle:
        cycle.wait(6)
        pair.go()
        pair.wait_finished()
    return f"stood still {cycle.count} times; {trial.ends(pair, 0, 0)}"


def slow_link(trial: Trial) -> str:
    pair = trial.pair(delay=0.05, crash_at="sent:150")
    return trial.ends(pair, KILLED, 0, {2: "secondary"})


_ONE = "exactly one goes on, the other leaves"
FAULTS = (
    Fault(
        "primary: SIGSTOP; SIGCONT once the secondary is live",
        "it writes nothing more and leaves; the secondary finishes alone",
        primary_paused,
    ),
    Fault(
        "the same, where 2 heartbeats of silence count as death",
        "the secondary goes live and finishes alone; the primary leaves",
        two_misses,
    ),
    Fault(
        "secondary: SIGSTOP; SIGCONT once the primary is alone",
        "the secondary leaves",
        secondary_paused,
    ),
    Fault("partition, both ways", _ONE, partial(_partition, "both", False)),
    Fault("partition, only towards the primary", _ONE, partial(_partition, "to_primary", False)),
    Fault(
        "partition, only towards the secondary", _ONE, partial(_partition, "to_secondary", False)
    ),
    Fault("partition that heals once one has gone on", _ONE, partial(_partition, "both", True)),
    Fault(
        "partition shorter than death",
        "outputs wait, nobody claims, the pair goes on",
        short_partition,
    ),
    Fault(
        "connection dropped; later primary: SIGKILL",
        "both connect again and go on, protected: the secondary goes live and finishes alone",
        dropped_connection,
    ),
    Fault("secondary: a fifth of a CPU", "outputs wait, the pair goes on", starved_secondary),
    Fault(
        "round trip of 100 ms, then primary: SIGKILL",
        "protected until then; the secondary goes live and finishes alone",
        slow_link,
    ),
)
