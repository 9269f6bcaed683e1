"""How far the guest's clock is ahead, learnt from readings that come late."""

from __future__ import annotations

import random

from vlockstep.ft.lead import ClockLead
from vlockstep.protocol.timing import MILLISECOND, SECOND

LEAD = 10**15


def test_the_fastest_reading_tells_best() -> None:
    lead = ClockLead()
    assert lead.value is None
    for late in (5, 2, 7, 3):
        lead.note(0, LEAD - late * MILLISECOND)
    assert lead.value == LEAD - 2 * MILLISECOND


def test_clocks_that_drift_for_a_day_are_not_mistaken_by_a_millisecond() -> None:
    """At 50 parts in a million, faster or slower; readings are up to 5 ms on their way."""
    for drift in (50, -50):
        lead, chance = ClockLead(), random.Random(drift)
        for now in range(0, 86_400 * SECOND, 20 * SECOND):
            for at in range(now, now + 2 * SECOND, 100 * MILLISECOND):
                clock = LEAD + at + at * drift // 1_000_000
                late = chance.randint(0, 5 * MILLISECOND)
                lead.note(at + late, clock)
            value = lead.value
            assert value is not None
            ahead = value - (clock - at)
            assert -5 * MILLISECOND <= ahead <= MILLISECOND


def test_what_was_learnt_last_counts_however_long_ago() -> None:
    lead = ClockLead()
    lead.note(0, LEAD)
    assert lead.value == LEAD
    lead.note(100 * SECOND, LEAD + 99 * SECOND)
    assert lead.value == LEAD
    lead.note(101 * SECOND, LEAD + 100 * SECOND)
    assert lead.value == LEAD - SECOND


def test_what_was_assumed_counts_until_something_is_read() -> None:
    """A new primary whose guest had never read its counter lets it begin anew."""
    lead = ClockLead(assumed=LEAD)
    assert lead.value == LEAD
    lead.note(0, LEAD - SECOND)
    assert lead.value == LEAD - SECOND
