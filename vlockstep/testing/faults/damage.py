"""A network that changes what it carries."""

from __future__ import annotations

from functools import partial

from vlockstep.sim.sides import Direction, Side
from vlockstep.testing.faults.fault import Fault
from vlockstep.testing.faults.trial import QUICK_MS, RECONNECTING_MS, SHORT, SHORT_END, Trial


def _flip(direction: Direction, trial: Trial) -> str:
    """While the guest's last entry is sent: nothing that follows shows that it got lost."""
    receiver: Side = "primary" if direction == "to_primary" else "secondary"
    pair = trial.pair(SHORT, stop_at=[f"entry:{SHORT_END}"])
    pair.wait_reached("primary")
    pair.relay.flip(direction)
    pair.go("primary")
    refused = pair.process(receiver).wait_event("rejected")["reason"]
    pair.heal()
    pair.go("secondary")
    return f"{refused}; {trial.ends(pair, 0, 0)}"


def _flip_encrypted(direction: Direction, trial: Trial) -> str:
    """libzmq reads nothing more from a connection on which something was forged."""
    pair = trial.held(keys=True, heartbeat_ms=QUICK_MS)
    pair.relay.flip(direction)
    pair.go()
    return trial.one_goes_on(pair, pair.heal)


def _truncate(direction: Direction, keys: bool, trial: Trial) -> str:
    pair = trial.held(keys=keys, heartbeat_ms=RECONNECTING_MS)
    pair.relay.truncate(direction)
    pair.go()
    pair.process("secondary").wait_event("notice", text="the connection to the primary was lost")
    return trial.ends(pair, 0, 0)


_AGAIN = "they are refused by their checksum and sent again; the pair goes on"
_ONE = "nothing of it is taken in; exactly one goes on, the other leaves"
_RECONNECT = "both connect again, the pair goes on"


def _towards(name: str, direction: Direction) -> tuple[Fault, ...]:
    flipped, cut_short = (
        f"bits flipped on the way to the {name}",
        f"message to the {name} cut short",
    )
    return (
        Fault(flipped, _AGAIN, partial(_flip, direction)),
        Fault(f"{flipped}, with keys", _ONE, partial(_flip_encrypted, direction)),
        Fault(cut_short, _RECONNECT, partial(_truncate, direction, False)),
        Fault(f"{cut_short}, with keys", _RECONNECT, partial(_truncate, direction, True)),
    )


FAULTS = (*_towards("primary", "to_primary"), *_towards("secondary", "to_secondary"))
