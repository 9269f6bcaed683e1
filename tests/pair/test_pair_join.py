"""A replica joins a guest that runs, whatever became of the replicas before."""

from __future__ import annotations

import pytest
from pair_checks import KILLED, LONG, LONG_LINES, check_output, said

from vlockstep.arbiter import DirectoryArbiter
from vlockstep.testing import Pair
from vlockstep.testing.plugin import MakePair
from vlockstep.testing.process import ReplicaProcess


def join(
    pair: Pair, name: str, *options: object, to: str = "primary", reached: str = "joined"
) -> ReplicaProcess:
    """Let it join where the guest is held, which goes on meanwhile."""
    newcomer = pair.join(name, *options, to=to, wait=False)
    newcomer.wait_event("loading")
    pair.go(to)
    pair.process(to).wait_event("joined")
    return newcomer


def check(pair: Pair, *left: str) -> None:
    """The guest ends, on all that are left, in the same state, and the world has seen it once."""
    assert [pair.process(name).wait_exit() for name in left] == [0] * len(left)
    check_output(pair, LONG_LINES)
    assert len({pair.memory_digest(name) for name in left}) == 1
    assert all(pair.registers(name) == pair.registers(left[0]) for name in left)


def members(pair: Pair) -> list[int]:
    """How many each generation has had."""
    return [len(r.record.members) for r in DirectoryArbiter(pair.arbiter, "test").reigns()]


def alone(make_pair: MakePair, **options: object) -> Pair:
    """A primary whose secondary has died, and whose guest is held in the middle."""
    pair = make_pair("ledger", LONG, primary_options=["--stop-at", "entry:100"], **options)
    pair.wait_reached("primary")
    pair.crash("secondary")
    assert pair.wait_live("primary") == 2
    return pair


def failed_over(make_pair: MakePair, **options: object) -> Pair:
    """A secondary that has taken over, and whose guest is held in the middle."""
    stop = ["--stop-at", "entry:100"]
    pair = make_pair(
        "ledger", LONG, reachable=True, crash_at="entry:50", secondary_options=stop, **options
    )
    assert pair.wait_live() == 2
    pair.wait_reached("secondary")
    return pair


@pytest.mark.parametrize("keys", [False, True], ids=["without keys", "with keys"])
def test_lone_primary(make_pair: MakePair, keys: bool) -> None:
    """It is protected again, and the newcomer takes its place when it dies."""
    pair = alone(make_pair, keys=keys)
    join(pair, "third")
    pair.process("primary").wait_event("protected")
    pair.crash("primary")
    assert pair.wait_live("third") == 4
    check(pair, "third")
    assert members(pair) == [2, 1, 2, 1]


@pytest.mark.parametrize("keys", [False, True], ids=["without keys", "with keys"])
def test_after_a_failover(make_pair: MakePair, keys: bool) -> None:
    """Who began as a secondary is joined where it listens, and found by its own key."""
    pair = failed_over(make_pair, keys=keys)
    join(pair, "third", to="secondary")
    check(pair, "secondary", "third")
    assert members(pair) == [2, 1, 2]
    assert not pair.process("secondary").count("rejected")


def test_one_after_the_other(make_pair: MakePair) -> None:
    """Each newcomer is the heir of the one before."""
    pair = failed_over(make_pair)
    live = "secondary"
    for name, stop in (("a", 150), ("b", 200), ("c", 250)):
        join(pair, name, "--stop-at", f"entry:{stop}", to=live)
        pair.crash(live)
        pair.wait_live(name)
        pair.wait_reached(name)
        live = name
    pair.go(live)
    check(pair, live)
    assert members(pair) == [2, 1, 2, 1, 2, 1, 2, 1]
    assert pair.process("b").exit_status == KILLED and not said(pair, "secondary", "diverge")
