"""Secondaries that may not follow."""

from __future__ import annotations

import sys

from vlockstep.machine.bundled import open_bundled
from vlockstep.testing.faults.fault import Fault
from vlockstep.testing.faults.outside import said
from vlockstep.testing.faults.trial import SHORT, Trial
from vlockstep.testing.pair import Pair
from vlockstep.wire import keys

NEXT_PROTOCOL = """
import sys
from vlockstep.protocol import messages
messages.PROTOCOL += 1
from vlockstep.cli import main
sys.argv[1:] = sys.argv[sys.argv.index("vlockstep") + 1 :]
main()
"""


def _sent_away(pair: Pair, why: str) -> None:
    assert pair.process("secondary").wait_exit() == 1
    assert said(pair, "secondary", why), pair.process("secondary").report()
    assert pair.transcript == b""
    assert all(event["event"] != "started" for event in pair.events("primary"))


def _then_a_right_one(trial: Trial, pair: Pair) -> str:
    pair.start_secondary()
    return f"exit 1; then {trial.ends(pair, 0, 0)}"


def wrong_key(trial: Trial) -> str:
    pair = trial.pair(SHORT, keys=True, start=False)
    assert pair.keys is not None
    pair.start_primary()
    others = pair.directory / "others"
    keys.create(others)
    (others / "primary.key").write_bytes((pair.keys / "primary.key").read_bytes())
    pair.start_secondary("--keys", others)
    _sent_away(pair, "does not accept the secondary.key that is here")
    return _then_a_right_one(trial, pair)


def other_protocol(trial: Trial) -> str:
    under = {"secondary": [sys.executable, "-c", NEXT_PROTOCOL]}
    pair = trial.pair(SHORT, start=False, under=under)
    pair.start_primary()
    pair.start_secondary()
    _sent_away(pair, r"refuses this replica: it speaks protocol \d+, not")
    pair.under.clear()
    return _then_a_right_one(trial, pair)


def other_image(trial: Trial) -> str:
    pair = trial.pair(SHORT, start=False)
    image = pair.directory / "ledger.hvt"
    image.write_bytes(open_bundled("ledger").content + b"\0")
    pair.start_primary()
    pair.start_secondary(guest=image)
    _sent_away(pair, "refuses this replica: .*start both with the same image")
    return _then_a_right_one(trial, pair)


_AWAY = "it leaves and tells why; nothing has changed for one that may follow"
FAULTS = (
    Fault("secondary with a wrong key", _AWAY, wrong_key),
    Fault("secondary of another protocol version", _AWAY, other_protocol),
    Fault("secondary with another image", _AWAY, other_image),
)
