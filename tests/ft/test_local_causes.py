"""Why a generation begins: the arbiter's record says it, and who takes over tells it, too."""

from __future__ import annotations

import pytest

from vlockstep.testing import LocalPair


def causes(pair: LocalPair) -> list[str]:
    """By generation."""
    return [record.cause for _, record in sorted(pair.arbiter.records.items())]


@pytest.mark.parametrize(("silently", "cause"), [(False, "lost"), (True, "silence")])
def test_a_takeover_tells_for_how_long_the_primary_was_silent(silently: bool, cause: str) -> None:
    with LocalPair() as pair:
        pair.run_to_entry(12)
        died = pair.now
        pair.crash("primary", silently=silently)
        pair.run(lambda: pair.secondary.happened("live"))
        took = (pair.now - died) / 1e6
        assert causes(pair) == ["started", cause]
        (live,) = (event for event in pair.secondary.events if event["event"] == "live")
        assert live["cause"] == cause and "primary" in live["cause_text"]
        assert took <= live["silent_ms"] < took + 100, "from its last word on"
        status = pair.secondary.replica.status()
        assert (status.cause, status.took_over) == (cause, cause)
        assert status.silent_ms == live["silent_ms"]


def test_a_planned_takeover_has_no_silence() -> None:
    with LocalPair() as pair:
        pair.run_to_entry(12)
        assert pair.primary.replica.status().cause == "started"
        assert pair.secondary.replica.status().cause == ""
        pair.switchover()
        pair.run(lambda: pair.secondary.happened("live"))
        assert causes(pair) == ["started", "switchover"]
        status = pair.secondary.replica.status()
        assert (status.took_over, status.silent_ms) == ("switchover", None)
        pair.run(lambda: pair.primary.happened("following"))
        pair.crash("primary")
        pair.run(lambda: pair.secondary.happened("alone"))
        status = pair.secondary.replica.status()
        assert (status.cause, status.took_over) == ("without", "switchover"), "which stays"


def test_who_follows_again_rules_no_generation() -> None:
    with LocalPair() as pair:
        pair.run_to_entry(12)
        pair.switchover()
        pair.run(lambda: pair.primary.happened("following"))
        pair.switchover("secondary")
        pair.run(lambda: pair.secondary.happened("following"))
        status = pair.secondary.replica.status()
        assert (status.cause, status.took_over, status.silent_ms) == ("", "", None)
        assert pair.primary.replica.status().took_over == "switchover"


def test_who_goes_on_alone_says_so() -> None:
    with LocalPair() as pair:
        pair.run_to_entry(12)
        pair.crash("secondary")
        pair.run(lambda: pair.primary.happened("alone"))
        assert causes(pair) == ["started", "without"]
        assert pair.primary.replica.status().cause == "without"
