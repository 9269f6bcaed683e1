"""A replica joins a guest that runs, whatever became of the replicas before."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from pair_checks import check_output, some

from vlockstep.arbiter import DirectoryArbiter
from vlockstep.testing import Pair
from vlockstep.testing.plugin import MakePair
from vlockstep.testing.process import ReplicaProcess

LINES = 150
GUEST = [f"--lines={LINES}", "--pause=10", "--work=500"]
"""Held in the middle, it has a second left for whoever joins: it must go on for that."""
HELD = ["--stop-at", "entry:100"]


def join(pair: Pair, name: str, *options: object, to: str = "primary") -> ReplicaProcess:
    """Let it join where the guest is held, which goes on meanwhile."""
    newcomer = pair.join(name, *options, to=to, wait=False)
    newcomer.wait_event("loading")
    pair.go(to)
    pair.process(to).wait_event("joined")
    return newcomer


def check(pair: Pair, *left: str) -> None:
    """The world has seen it once."""
    check_equally_ended(pair, *left)
    check_output(pair, LINES)


def check_equally_ended(pair: Pair, *left: str) -> None:
    """The guest ends, on all that are left, in the same state."""
    for name in left:
        assert pair.process(name).wait_exit() == 0, pair._explain()
    assert len({pair.memory_digest(name) for name in left}) == 1
    assert all(pair.registers(name) == pair.registers(left[0]) for name in left)


def members(pair: Pair) -> list[int]:
    """How many each generation has had."""
    return [len(r.record.members) for r in DirectoryArbiter(pair.arbiter, "test").reigns()]


def alone(make_pair: MakePair, **options: object) -> Pair:
    """A primary whose secondary has died, and whose guest is held in the middle."""
    pair = make_pair("ledger", GUEST, primary_options=HELD, **options)
    pair.wait_reached("primary")
    pair.crash("secondary")
    assert pair.wait_live("primary") == 2
    return pair


def failed_over(
    make_pair: MakePair, guest: str = "ledger", arguments: Sequence[str] = GUEST, **options: object
) -> Pair:
    """A secondary that has taken over, and whose guest is held in the middle."""
    pair = make_pair(
        guest, arguments, reachable=True, crash_at="entry:50", secondary_options=HELD, **options
    )
    assert pair.wait_live() == 2
    pair.wait_reached("secondary")
    return pair


@pytest.mark.parametrize("keys", some([False], True))
def test_lone_primary(make_pair: MakePair, keys: bool) -> None:
    """It is protected again, and the newcomer takes its place when it dies."""
    pair = alone(make_pair, keys=keys)
    join(pair, "third")
    pair.process("primary").wait_event("protected")
    pair.crash("primary")
    assert pair.wait_live("third") == 4
    check(pair, "third")
    assert members(pair) == [2, 1, 2, 1]


@pytest.mark.parametrize("keys", [False, True])
def test_after_a_failover(make_pair: MakePair, keys: bool) -> None:
    """Who began as a secondary is joined where it listens, and found by its own key."""
    pair = failed_over(make_pair, keys=keys)
    join(pair, "third", to="secondary")
    check(pair, "secondary", "third")
    assert members(pair) == [2, 1, 2]
    assert not pair.process("secondary").count("rejected")


@pytest.mark.parametrize("lost", some(["primary"], "secondary", "third"))
def test_of_three_one_dies(make_pair: MakePair, lost: str) -> None:
    """A pair that was joined stays protected, whoever dies."""
    pair = make_pair("ledger", GUEST, reachable=True, primary_options=HELD)
    pair.wait_reached("primary")
    join(pair, "third")
    for name in ("secondary", "third"):  # they know each other
        pair.process(name).wait_status(lambda status: status["members"] == 3)
    pair.crash(lost)
    left = [name for name in ("primary", "secondary", "third") if name != lost]
    check(pair, *left)
    assert members(pair) == [2, 3, 2]
    assert not any(pair.process(name).count("unprotected") for name in left)


@pytest.mark.long
def test_one_after_the_other(make_pair: MakePair) -> None:
    """Each newcomer is the heir of the one before."""
    pair = failed_over(make_pair)
    chain(pair, 140, 180, 220, step=13)
    check(pair, "2", "last")


def chain(pair: Pair, *places: int, step: int) -> None:
    """One joins the one before, which then dies. Each is held when it is live; who comes there
    before goes on to the next place."""
    live = "secondary"
    for number, place in enumerate(places):
        name = f"{number}"
        stops = [w for n in range(3) for w in ("--stop-at", f"entry:{place + n * step}")]
        join(pair, name, *stops, to=live)
        pair.crash(live)
        pair.process(name).go_live()
        live = name
        pair.wait_reached(live)
    join(pair, "last", to=live)
    for _ in range(2):
        pair.go(live)  # also from the places to come
    assert members(pair)[: 2 * len(places)] == [2, 1] * len(places)
