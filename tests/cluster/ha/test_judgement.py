"""Every row of the tables."""

from __future__ import annotations

from itertools import product

import pytest
from own_states import README, drawn

from vlockstep.cluster.ha.states import JUDGEMENTS, TRANSITIONS, Availability, judge

A = Availability
YES, NO, UNKNOWN = True, False, None
ALL = list(product((YES, NO, UNKNOWN), (YES, NO, UNKNOWN), (YES, NO, UNKNOWN), (YES, NO)))


@pytest.mark.parametrize(
    ("words", "datastores", "ping", "isolated", "state"),
    [
        (YES, UNKNOWN, UNKNOWN, NO, A.CONNECTED),
        (YES, NO, NO, YES, A.CONNECTED),
        (NO, YES, NO, YES, A.ISOLATED),
        (NO, YES, NO, NO, A.PARTITIONED),
        (NO, NO, NO, NO, A.DOWN),
        (NO, NO, NO, YES, A.DOWN),
        (NO, NO, YES, NO, A.UNREACHABLE),
        (NO, YES, YES, YES, A.UNREACHABLE),
        (NO, UNKNOWN, YES, NO, A.UNREACHABLE),
        (NO, UNKNOWN, NO, NO, None),
        (NO, NO, UNKNOWN, NO, None),
        (NO, YES, UNKNOWN, YES, None),
        (UNKNOWN, NO, NO, NO, None),
        (UNKNOWN, YES, YES, YES, None),
    ],
)
def test_the_state_of_a_host(
    words: bool | None,
    datastores: bool | None,
    ping: bool | None,
    isolated: bool,
    state: Availability | None,
) -> None:
    assert judge(words, datastores, ping, isolated) is state


def test_a_host_is_down_only_if_nothing_is_seen_of_it() -> None:
    down = [known[:3] for known in ALL if judge(*known) is A.DOWN]
    assert set(down) == {(NO, NO, NO)}


def test_no_two_rows_apply_to_the_same_host() -> None:
    for *known, isolated in ALL:
        rows = [
            row
            for row in JUDGEMENTS
            if all(c in (None, k) for c, k in zip(row, (*known, isolated), strict=False))
        ]
        assert len(rows) <= 1


def test_what_is_known_of_the_words_and_the_ping_decides_with_the_datastores() -> None:
    """Whatever they are, if none of it is unknown."""
    assert all(judge(*known) for known in ALL if UNKNOWN not in known)


def test_each_of_its_own_states_can_be_reached_and_left() -> None:
    assert set(TRANSITIONS) == set().union(*TRANSITIONS.values())
    assert all(TRANSITIONS.values())


def test_the_drawing_is_that_of_the_table() -> None:
    text = README.read_text()
    assert text.count("<!-- states -->") == 1
    assert text == drawn(text), "draw it again: python tests/cluster/ha/own_states.py"


def test_the_readme_has_the_rows_of_the_table() -> None:
    cells = {YES: "yes", NO: "no", None: ""}
    text = README.read_text()
    for *row, state in JUDGEMENTS:
        line = " | ".join([f"| `{state}`", *(cells[column] for column in row), ""])
        assert line.replace("  ", " ").rstrip() in text.replace("  ", " "), line
