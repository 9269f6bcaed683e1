"""Whether what clients of the guest `kv` saw has an order: linearizability, key by key.

A history is what clients sent, when, and which replies came when. It is linearizable if each
operation can be given a moment between its call and its return such that one server, which does
one after another at these moments, gives the same replies. An operation without a reply has an
unknown outcome: it may have taken effect at any moment since its call, or never.

The search is that of Wing and Gong, "Testing and Verifying Concurrent Objects" (1993), with Lowe's
memory of what was tried, "Testing for Linearizability" (2017), as porcupine has it. It puts one
operation after another in order. Next may be any that was called before the first return of those
that are left; where none fits, the last one is taken back. Three things keep it short, and lose no
order:

- An operation that fits, and whose reply shows that it changes nothing, is never taken back: in
  any order of what is left it may as well come now.
- Operations of unknown outcome are tried last, only where they change something, and of equal ones
  the earliest first.
- What was tried before is not tried again, nor with more operations of unknown outcome used up: it
  could only do less.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, count, pairwise

from vlockstep.errors import UsageError
from vlockstep.program.tracebacks import hide

__tracebackhide__ = hide

LIMIT = 1_000_000
"""Operations that the search looks at, for each key, before it gives up."""
Reply = bytes | int | str | None
"""A value, an integer, the text of a status or of an error, or that there is no value."""
Value = bytes | None
"""Of a key; None if it is not there."""
_SHOWN = 8
_LONG = 40
_SECOND = 10**9
_NUMBER = re.compile(rb"0|-?[1-9]\d{0,18}")
_MOST = (1 << 63) - 1
_NO_NUMBER = "ERR value is not an integer or out of range"
_OVERFLOW = "ERR increment or decrement would overflow"


@dataclass(frozen=True, slots=True)
class Operation:
    """`words` that `client` sent at `called`, and the `reply` that came at `returned`; that is None
    if none came. Times are in nanoseconds, of one clock for all clients."""

    client: str
    words: tuple[bytes, ...]
    called: int
    returned: int | None = None
    reply: Reply = None

    def __str__(self) -> str:
        command = b" ".join(word[:_LONG] for word in self.words).decode(errors="backslashreplace")
        what = f"{self.client}: {command} at {_time(self.called)}"
        if self.returned is None:
            return f"{what}, without a reply"
        return f"{what}, {_shown(self.reply)} at {_time(self.returned)}"

    @property
    def command(self) -> bytes:
        return self.words[0].upper()


@dataclass(frozen=True)
class HistoryReport:
    """`problems` has a text for each key whose operations have no order, `undecided` for each one
    of which the search has found neither an order nor that there is none."""

    operations: int
    keys: int
    problems: tuple[str, ...]
    undecided: tuple[str, ...]

    @property
    def ok(self) -> bool:
        return not self.problems and not self.undecided

    def __str__(self) -> str:
        if self.ok:
            return f"{self.operations} operations on {self.keys} keys, linearizable"
        return "\n".join([*self.problems, *self.undecided])


def inspect_history(operations: Iterable[Operation], limit: int = LIMIT) -> HistoryReport:
    """Look for an order of each key's operations, with so many steps at most. All keys are empty at
    first. Raises `UsageError` for an operation that cannot be, or that there is no model of."""
    operations = list(operations)
    problems, undecided = [], []
    keys = _by_key(operations)
    for key, own in sorted(keys.items()):
        search = _Search(own, limit)
        found = search.run()
        if found is None:
            undecided.append(
                f"{_shown(key)}: nothing was found out about {len(own)} operations in "
                f"{limit} steps; use shorter histories, or fewer operations at a time"
            )
        elif not found:
            problems.append(f"{_shown(key)}: {search.explanation}")
    return HistoryReport(len(operations), len(keys), tuple(problems), tuple(undecided))


def check_history(operations: Iterable[Operation], limit: int = LIMIT) -> HistoryReport:
    """Raise AssertionError if the operations of a key have no order, or none was found."""
    report = inspect_history(operations, limit)
    if report.problems:
        raise AssertionError(f"this history is not linearizable:\n{report}")
    if report.undecided:
        raise AssertionError(f"it is not known whether this history is linearizable:\n{report}")
    return report


def emptied(since: int, until: int) -> Operation:
    """That the server has lost every key at some moment of these, as `kv` does when it dies, and is
    started again from its boot: it keeps them in memory alone."""
    return Operation("the server", (b"FLUSHALL",), since, until, "OK")


# The model


def apply(words: Sequence[bytes], value: Value) -> tuple[Value, Reply]:
    """What a command makes of its key's value, and the reply."""
    command, *arguments = words
    return _COMMANDS[command.upper()](value, *arguments[1:])


def _get(value: Value) -> tuple[Value, Reply]:
    return value, value


def _set(value: Value, new: bytes) -> tuple[Value, Reply]:
    return new, "OK"


def _append(value: Value, more: bytes) -> tuple[Value, Reply]:
    value = (value or b"") + more
    return value, len(value)


def _incr(value: Value) -> tuple[Value, Reply]:
    text = b"0" if value is None else value
    number = int(text) if _NUMBER.fullmatch(text) else _MOST + 1
    if not -_MOST - 1 <= number <= _MOST:
        return value, _NO_NUMBER
    if number == _MOST:
        return value, _OVERFLOW
    return b"%d" % (number + 1), number + 1


def _del(value: Value) -> tuple[Value, Reply]:
    return None, int(value is not None)


def _flushall(value: Value) -> tuple[Value, Reply]:
    return None, "OK"


_COMMANDS: dict[bytes, Callable[..., tuple[Value, Reply]]] = {
    b"GET": _get,
    b"SET": _set,
    b"APPEND": _append,
    b"INCR": _incr,
    b"DEL": _del,
    b"FLUSHALL": _flushall,
}
_MUTE = {b"SET", b"FLUSHALL"}
"""Their replies do not tell whether they have changed anything."""
_WORDS = {b"GET": 2, b"SET": 3, b"APPEND": 3, b"INCR": 2, b"DEL": 2, b"FLUSHALL": 1}


def _by_key(operations: Iterable[Operation]) -> dict[bytes, list[Operation]]:
    """Those on each key; one on all of them is among those on each."""
    keys: dict[bytes, list[Operation]] = defaultdict(list)
    everywhere = []
    for operation in operations:
        _check(operation)
        if len(operation.words) == 1:
            everywhere.append(operation)
        else:
            keys[operation.words[1]].append(operation)
    return {key: [*own, *everywhere] for key, own in keys.items()}


def _check(operation: Operation) -> None:
    if not operation.words or _WORDS.get(operation.command) != len(operation.words):
        known = b", ".join(_COMMANDS).decode()
        raise UsageError(f"there is no model of this: {operation}; there are {known} of one key")
    if operation.returned is not None and operation.returned < operation.called:
        raise UsageError(f"this returned before it was called: {operation}")


# The search


class _Candidate:
    """An operation, in the list of those that are left by the time of the call if it has a reply.
    `bit` stands for it in sets."""

    __slots__ = ("bit", "following", "operation", "previous")

    def __init__(self, operation: Operation, number: int) -> None:
        self.operation = operation
        self.bit = 1 << number
        self.previous: _Candidate | None = None
        self.following: _Candidate | None = None


class _Node:
    """An order so far: the operation that came last, what the key is then, which operations with a
    reply are in it, and which of unknown outcome. `deadline` is the first return of those that are
    left, which have `choices` that are not tried yet."""

    __slots__ = ("choices", "deadline", "last", "loose", "placed", "value")

    def __init__(self, last: _Candidate | None, value: Value, placed: int, loose: int) -> None:
        self.last = last
        self.value = value
        self.placed = placed
        self.loose = loose
        self.deadline = 0
        self.choices: Iterator[_Candidate] = iter(())


class _Search:
    """For an order of one key's operations."""

    def __init__(self, operations: Iterable[Operation], limit: int) -> None:
        ordered = sorted(operations, key=lambda operation: operation.called)
        answered = [o for o in ordered if o.returned is not None]
        candidates = list(map(_Candidate, answered, count()))
        for before, after in pairwise(candidates):
            before.following, after.previous = after, before
        self._first = candidates[0] if candidates else None
        self._all = (1 << len(candidates)) - 1
        unknown = [o for o in ordered if o.returned is None]
        self._loose = list(map(_Candidate, unknown, count()))
        self._limit = limit
        self._steps = 0
        self._path: list[_Node] = []
        self._tried: dict[tuple[int, Value], list[int]] = defaultdict(list)
        """By operations placed, and the value: the operations of unknown outcome used up."""
        self._furthest = (0, 0)
        self.explanation = ""
        """How far the order led that came furthest, and what cannot follow it."""

    def run(self) -> bool | None:
        """Whether there is an order; None if the limit was reached."""
        self._enter(_Node(None, None, 0, 0))
        while self._path:
            node = self._path[-1]
            if node.placed == self._all:
                return True
            if self._steps > self._limit:
                return None
            following = self._following(node)
            if following is None:
                self._leave()
            else:
                self._enter(following)
        return False

    def _following(self, node: _Node) -> _Node | None:
        """The next order to try that begins as this one does."""
        while (candidate := next(node.choices, None)) is not None:
            self._steps += 1
            operation = candidate.operation
            value, reply = apply(operation.words, node.value)
            placed, loose = node.placed, node.loose
            if operation.returned is None:
                if value == node.value:
                    continue
                loose |= candidate.bit
            elif reply != operation.reply:
                continue
            else:
                placed |= candidate.bit
                if value == node.value and operation.command not in _MUTE:
                    node.choices = iter(())
            if not self._was_tried(placed, loose, value):
                return _Node(candidate, value, placed, loose)
        return None

    def _was_tried(self, placed: int, loose: int, value: Value) -> bool:
        tried = self._tried[placed, value]
        self._steps += len(tried)
        if any(before & ~loose == 0 for before in tried):
            return True
        tried.append(loose)
        return False

    def _enter(self, node: _Node) -> None:
        if node.last is not None and node.last.operation.returned is not None:
            self._take(node.last)
        self._path.append(node)
        left = list(self._left())
        node.deadline = min((c.operation.returned or 0 for c in left), default=0)
        node.choices = chain(left, self._unused(node))

    def _left(self) -> Iterator[_Candidate]:
        """Those with a reply of which each may come before all others that are left."""
        candidate, deadline = self._first, None
        while candidate is not None:
            called, returned = candidate.operation.called, candidate.operation.returned
            assert returned is not None
            if deadline is not None and called > deadline:
                return
            yield candidate
            deadline = returned if deadline is None else min(deadline, returned)
            candidate = candidate.following

    def _unused(self, node: _Node) -> list[_Candidate]:
        """Those of unknown outcome that may come before what is left; of equal ones the first."""
        found: dict[tuple[bytes, ...], _Candidate] = {}
        for candidate in self._loose:
            if candidate.operation.called > node.deadline:
                break
            if not node.loose & candidate.bit:
                found.setdefault(candidate.operation.words, candidate)
        return list(found.values())

    def _leave(self) -> None:
        node = self._path[-1]
        progress = node.deadline, node.placed.bit_count()
        if not self.explanation or progress > self._furthest:
            self._furthest = progress
            self.explanation = self._explain(node)
        self._path.pop()
        if node.last is not None and node.last.operation.returned is not None:
            self._put_back(node.last)

    def _take(self, candidate: _Candidate) -> None:
        before, after = candidate.previous, candidate.following
        if before is None:
            self._first = after
        else:
            before.following = after
        if after is not None:
            after.previous = before

    def _put_back(self, candidate: _Candidate) -> None:
        """What was taken last comes back first, and finds its neighbours as they were."""
        before, after = candidate.previous, candidate.following
        if before is None:
            self._first = candidate
        else:
            before.following = candidate
        if after is not None:
            after.previous = candidate

    def _explain(self, node: _Node) -> str:
        order = [n.last.operation for n in self._path if n.last is not None]
        lines = [
            f"no order explains what was replied by {_time(node.deadline)}; the longest one has "
            f"{node.placed.bit_count()} of {self._all.bit_count()} operations with a reply"
        ]
        if order:
            lines += ["  at its end:", *(f"    {operation}" for operation in order[-_SHOWN:])]
        lines.append(f"  then it is {_shown(node.value)}, and none of these comes next:")
        for candidate in self._left():
            operation = candidate.operation
            reply = apply(operation.words, node.value)[1]
            lines.append(f"    {operation}; it would be {_shown(reply)}")
        return "\n".join(lines)


def _time(nanoseconds: int) -> str:
    return f"{nanoseconds / _SECOND:.6f} s"


def _shown(reply: Reply) -> str:
    if reply is None:
        return "(nil)"
    if isinstance(reply, bytes):
        return repr(reply if len(reply) <= _LONG else reply[:_LONG] + b"...")[1:]
    return str(reply)
