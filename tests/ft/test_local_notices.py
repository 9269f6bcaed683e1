"""What replicas tell of protection and network, and when."""

from __future__ import annotations

from typing import Any

from vlockstep.protocol.timing import MILLISECOND, SECOND
from vlockstep.sim.host import SimulatedHost
from vlockstep.testing import LocalPair

TOLD = ("alone", "unprotected", "protected", "network_lost", "network_back", "live", "finished")


def told(host: SimulatedHost) -> list[dict[str, Any]]:
    return [
        {key: event[key] for key in ("event", "generation", "status") if key in event}
        for event in host.events
        if event["event"] in TOLD
    ]


ENDED = {"event": "finished", "status": 0}


def test_a_pair_that_stays_one() -> None:
    with LocalPair() as pair:
        pair.run()
        assert told(pair.primary) == told(pair.secondary) == [ENDED]


def test_the_secondary_goes_live() -> None:
    with LocalPair() as pair:
        pair.run_to_entry(12)
        pair.crash("primary")
        pair.run()
        live = {"event": "live", "generation": 2}
        assert told(pair.secondary) == [live, {"event": "unprotected"}, ENDED]


def test_the_primary_goes_on_alone() -> None:
    with LocalPair() as pair:
        pair.run_to_entry(12)
        pair.crash("secondary")
        pair.run(lambda: pair.primary.state == "ALONE")
        pair.run_to_entry(20)
        status = pair.primary.replica.status()
        assert (status.lag_entries, status.lag_ms) == (0, 0)
        pair.run()
        alone = {"event": "alone", "generation": 2}
        assert told(pair.primary) == [alone, {"event": "unprotected"}, ENDED]


def test_a_connection_that_drops() -> None:
    with LocalPair() as pair:
        pair.run_to_entry(12)
        pair.drop()
        pair.run()
        for host in pair.hosts:
            assert told(host) == [{"event": "protected"}, ENDED]


def test_a_switchover_is_none_of_it() -> None:
    with LocalPair() as pair:
        pair.run_to_entry(12)
        pair.switchover()
        pair.run()
        assert told(pair.primary) == [ENDED]
        assert told(pair.secondary) == [{"event": "live", "generation": 2}, ENDED]


def test_the_network_of_one_host() -> None:
    with LocalPair("echo", ["--ipv4=10.0.0.2/24"], memory=32) as pair:
        pair.run_until(pair.now + SECOND)
        pair.secondary.plug(False)
        pair.run_until(pair.now + 100 * MILLISECOND)
        assert told(pair.secondary) == [{"event": "network_lost"}]
        pair.secondary.plug(True)
        pair.run_until(pair.now + 100 * MILLISECOND)
        assert told(pair.secondary)[1:] == [{"event": "network_back"}]
        assert told(pair.primary) == []
