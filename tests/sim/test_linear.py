"""Histories that one server explains, those that none does, and those of which nothing is known."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlockstep.errors import UsageError
from vlockstep.sim.linear import (
    Operation,
    Reply,
    Value,
    apply,
    check_history,
    emptied,
    inspect_history,
)


def operation(text: str, reply: Reply, called: int, returned: int | None = None) -> Operation:
    """By the client that its first word names."""
    client, *words = text.encode().split()
    return Operation(client.decode(), tuple(words), called, returned, reply)


STALE_READ = [
    operation("a SET k 1", "OK", 0, 1),
    operation("a SET k 2", "OK", 2, 3),
    operation("b GET k", b"1", 4, 5),
]
LOST_UPDATE = [
    operation("a INCR k", 1, 0, 4),
    operation("b INCR k", 1, 1, 3),
]
DOUBLED_INCR = [
    operation("a INCR k", 1, 0, 1),
    operation("a INCR k", 3, 2, 3),
]
NEVER_WRITTEN = [
    operation("a SET k 1", "OK", 0, 1),
    operation("b GET k", b"2", 0, 1),
]
FORGOTTEN = [
    operation("a SET k 1", "OK", 0, 1),
    operation("b GET k", None, 2, 3),
]
BACK_AND_FORTH = [
    operation("a SET k 1", None, 0),
    operation("b GET k", b"1", 1, 2),
    operation("b GET k", None, 3, 4),
]
"""An operation of unknown outcome cannot be taken back."""
READ_BEFORE_IT_WAS_SENT = [
    operation("b GET k", b"1", 0, 1),
    operation("a SET k 1", None, 2),
]


@pytest.mark.parametrize(
    "history",
    [
        STALE_READ,
        LOST_UPDATE,
        DOUBLED_INCR,
        NEVER_WRITTEN,
        FORGOTTEN,
        BACK_AND_FORTH,
        READ_BEFORE_IT_WAS_SENT,
    ],
)
def test_a_history_that_no_server_explains(history: list[Operation]) -> None:
    report = inspect_history(history)
    assert len(report.problems) == 1 and not report.undecided and not explained(history)
    with pytest.raises(AssertionError, match="this history is not linearizable:\n'k': no order"):
        check_history(history)


@pytest.mark.parametrize(
    "history",
    [
        [],
        [operation("a SET k 1", None, 0)],
        [*STALE_READ[:2], operation("b GET k", b"1", 1, 5)],
        [operation("a INCR k", None, 0), operation("b INCR k", 2, 1, 3)],
        [operation("a INCR k", None, 0), operation("b INCR k", 1, 1, 3)],
        [operation("a SET k 1", "OK", 0, 1), operation("b GET j", None, 2, 3)],
        [operation("a SET k 1", "OK", 0, 1), operation("b GET k", None, 1, 3)],
        [*FORGOTTEN, emptied(1, 3)],
        [operation("a SET k 1", None, 0), *FORGOTTEN[1:], operation("b GET k", b"1", 8, 9)],
    ],
)
def test_a_history_that_one_explains(history: list[Operation]) -> None:
    assert check_history(history).ok


def test_what_a_restart_may_forget_is_what_came_before_it() -> None:
    assert not inspect_history([*FORGOTTEN, emptied(4, 5)]).ok
    again = operation("b GET k", b"1", 6, 7)
    assert not inspect_history([*FORGOTTEN, emptied(1, 3), again]).ok


def test_a_problem_tells_which_operations_have_no_order() -> None:
    history = [
        *(operation(f"a SET k {n}", "OK", 10 * n, 10 * n + 1) for n in range(100)),
        operation("b GET k", b"97", 985, 1_002_000),
        operation("a APPEND k x", 3, 1_001_000, 1_001_500),
        operation("c GET k", b"hello", 2_000_000, 2_000_001),
    ]
    (problem,) = inspect_history(history).problems
    assert problem.splitlines() == [
        "'k': no order explains what was replied by 0.001002 s; the longest one has 101 of 103 "
        "operations with a reply",
        "  at its end:",
        *(f"    {o}" for o in [*history[93:100], history[101]]),
        "  then it is '99x', and none of these comes next:",
        "    b: GET k at 0.000001 s, '97' at 0.001002 s; it would be '99x'",
    ]


@pytest.mark.parametrize(
    ("words", "value", "after", "reply"),
    [
        ("GET k", None, None, None),
        ("get k", b"x", b"x", b"x"),
        ("SET k y", b"x", b"y", "OK"),
        ("APPEND k y", None, b"y", 1),
        ("APPEND k yz", b"x", b"xyz", 3),
        ("DEL k", b"x", None, 1),
        ("DEL k", None, None, 0),
        ("FLUSHALL", b"x", None, "OK"),
        ("INCR k", None, b"1", 1),
        ("INCR k", b"-1", b"0", 0),
        ("INCR k", b"-9223372036854775808", b"-9223372036854775807", -9223372036854775807),
        ("INCR k", b"-0", b"-0", "ERR value is not an integer or out of range"),
        ("INCR k", b"01", b"01", "ERR value is not an integer or out of range"),
        ("INCR k", b"1\n", b"1\n", "ERR value is not an integer or out of range"),
        ("INCR k", b"9223372036854775808", b"9223372036854775808",
         "ERR value is not an integer or out of range"),
        ("INCR k", b"9223372036854775807", b"9223372036854775807",
         "ERR increment or decrement would overflow"),
    ],
)  # fmt: skip
def test_the_model(words: str, value: Value, after: Value, reply: Reply) -> None:
    assert apply(words.encode().split(), value) == (after, reply)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (operation("a EXPIRE k 1", 1, 0, 1), "there is no model of this: a: EXPIRE k 1 at"),
        (operation("a SET k 1 NX", 1, 0, 1), "there is no model of this"),
        (operation("a DEL j k", 1, 0, 1), "there is no model of this"),
        (operation("a", 1, 0, 1), "there is no model of this"),
        (operation("a GET k", None, 2, 1), "this returned before it was called: a: GET k"),
    ],
)
def test_an_operation_that_cannot_be(wrong: Operation, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        check_history([wrong])


def test_what_is_not_decided_is_no_pass() -> None:
    """Whatever order 30 values were written in at once, this one was none of them."""
    history = [operation(f"{n} SET k {n}", "OK", 0, 9) for n in range(30)]
    history.append(operation("a GET k", b"other", 0, 9))
    report = inspect_history(history, limit=2000)
    assert not report.ok and not report.problems
    with pytest.raises(AssertionError, match=r"not known whether .* linearizable:\n'k': nothing"):
        check_history(history, limit=2000)


def explained(history: Sequence[Operation]) -> bool:
    """Whether one of all orders of all operations that may have taken effect does."""
    unknown = [o for o in history if o.returned is None]
    for chosen in range(1 << len(unknown)):
        left_out = [o for n, o in enumerate(unknown) if not chosen >> n & 1]
        if any(map(fits, permutations([o for o in history if not any(o is x for x in left_out)]))):
            return True
    return False


def fits(order: Sequence[Operation]) -> bool:
    value: Value = None
    latest = -1
    for one in order:
        latest = max(latest, one.called)
        if one.returned is not None and one.returned < latest:
            return False
        value, reply = apply(one.words, value)
        if one.returned is not None and reply != one.reply:
            return False
    return True


COMMANDS = ["GET k", "SET k 1", "SET k 2", "INCR k", "DEL k", "APPEND k 1", "FLUSHALL"]
REPLIES = [None, b"1", b"2", b"11", "OK", 0, 1, 2, 3]


@st.composite
def histories(draw: st.DrawFn, most: int) -> list[Operation]:
    """What one server replied to operations of clients that overlap."""
    count = draw(st.integers(1, most))
    moments = sorted(draw(st.lists(st.integers(0, 40), min_size=count, max_size=count)))
    history = []
    value: Value = None
    for moment in moments:
        words = tuple(draw(st.sampled_from(COMMANDS)).encode().split())
        called = moment - draw(st.integers(0, 12))
        known, effect = draw(st.sampled_from([(True, True)] * 4 + [(False, True), (False, False)]))
        after, reply = apply(words, value)
        value = after if effect else value
        returned = moment + draw(st.integers(0, 12)) if known else None
        history.append(Operation("a", words, called, returned, reply if known else None))
    return draw(st.permutations(history))


@given(histories(60))
def test_what_one_server_did_has_an_order(history: list[Operation]) -> None:
    """It is not always found, if nearly all of it was done at once."""
    assert not inspect_history(history, limit=100_000).problems


@given(histories(6), st.data())
def test_the_same_verdict_as_by_trying_all_orders(
    history: list[Operation], data: st.DataObject
) -> None:
    known = [n for n, o in enumerate(history) if o.returned is not None]
    for number in data.draw(st.sets(st.sampled_from(known), max_size=2)) if known else ():
        reply = data.draw(st.sampled_from(REPLIES))
        history[number] = replace(history[number], reply=reply)
    report = inspect_history(history)
    has_a_key = any(len(o.words) > 1 for o in history)
    assert report.ok == (not has_a_key or explained(history))
    assert not report.undecided


def long_history(seed: int, operations: int, keys: int, clients: int) -> list[Operation]:
    chance = random.Random(seed)
    values: dict[bytes, Value] = {}
    free = [0] * clients
    history = []
    for now in range(0, operations * 1000, 1000):
        client = min(range(clients), key=lambda n: (free[n] > now, chance.random()))
        key = b"key %d" % chance.randrange(keys)
        word = chance.choice([b"GET", b"SET", b"INCR", b"DEL", b"APPEND"])
        words = (word, key, *([b"%d" % (now % 997)] if word in (b"SET", b"APPEND") else []))
        values[key], reply = apply(words, values.get(key))
        called, returned = now - chance.randrange(8000), now + chance.randrange(8000)
        free[client] = returned
        known = chance.random() < 0.99
        history.append(Operation(f"{client}", words, called, returned if known else None, reply))
    return history


def test_a_long_history_and_one_wrong_reply_in_it() -> None:
    history = long_history(1, 10_000, 20, 8)
    assert check_history(history).keys == 20
    last = max(n for n, o in enumerate(history) if o.words[0] == b"GET" and o.returned is not None)
    history[last] = replace(history[last], reply=b"never written")
    report = inspect_history(history)
    assert len(report.problems) == 1 and not report.undecided
