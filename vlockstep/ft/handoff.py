"""Entries between the guest's thread and the thread that talks to the peer."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from vlockstep.machine.world import WorldChanged
from vlockstep.replay.entry import OUTPUTS, Entry
from vlockstep.replay.replayer import Source

_MANY_OUTPUTS, _MOST_OUTPUTS = 16, 64
"""So many are sent off without a pause of the guest, and while earlier ones are on their way."""


class Condition(Protocol):
    """What the guest's thread waits on, as `threading.Condition`."""

    def __enter__(self) -> object: ...
    def __exit__(self, *exc: Any) -> object: ...
    def wait(self) -> object: ...
    def notify_all(self) -> None: ...


class EntryOutbox:
    """Primary: entries that the guest makes, on their way out.

    `wake` is called when there is something to take after a `take` that found nothing, and when
    the guest has stopped as asked; `hurry` when it is `urgent`, since the guest pauses after an
    output or has made several. The guest waits in `append`, before its entry counts, or in `pause`
    while it is held or slowed. The entry of an output can be taken only when that is `queued`:
    nobody may acknowledge what is not there to be released.
    """

    def __init__(
        self,
        wake: Callable[[], None],
        hurry: Callable[[], None],
        condition: Condition,
        next: int = 0,
    ) -> None:
        self.next = next
        self._wake = wake
        self._hurry = hurry
        self._entries: list[Entry] = []
        self._told = self._making = False
        self._outputs = 0
        self.urgent = False
        self._condition = condition
        self._held = self._slowed = self._left = self._closed = False
        self.waiting = False
        """The guest waits because it is held."""
        self._visitor: Callable[[], bool] | None = None
        self._stay = False
        self._sealed: list[Entry] | None = None
        self.acknowledged = self._taken = next
        """The other replicas have the entries before the former; those before the latter were
        taken."""

    # The guest's thread

    def append(self, entry: Entry) -> None:
        if self._closed:
            self._wait()
        if entry[0] in OUTPUTS:
            self._making = True
        self._entries.append(entry)
        self.next += 1
        if not self._told:
            self._told = True
            self._wake()

    def queued(self) -> None:
        """The output of the last entry is made, or queued."""
        self._making = False
        self._outputs += 1
        many = _MANY_OUTPUTS if self.acknowledged >= self._taken else _MOST_OUTPUTS
        if self._outputs >= many:
            self._send_off()
        elif not self._told:
            self._told = True
            self._wake()

    def pause(self) -> None:
        """The guest has nothing to do, or could be stopped here."""
        if self._outputs:
            self._send_off()
        if self._closed:
            self._wait()

    def _send_off(self) -> None:
        self._outputs = 0
        if not self.urgent:
            self.urgent = True
            self._hurry()

    def _wait(self) -> None:
        self._receive_visitor()
        while self._stands():
            self._receive_visitor()
        if self._left:
            raise WorldChanged

    def _stands(self) -> bool:
        """Wait for a change while the guest is held or slowed; whether it is."""
        with self._condition:
            if not self._held and not self._slowed:
                self.waiting = False
                return False
            if self._held and not self.waiting:
                self.waiting = True
                self._wake()
            self._condition.wait()
            return True

    def _receive_visitor(self) -> None:
        visitor = self._visitor
        if visitor is None or not visitor():
            return
        with self._condition:
            if self._visitor == visitor:
                assert self._sealed is None
                self._sealed, self._entries = self._entries, []
                self._visitor = None
                self._set(held=True if self._stay else None)
        self._wake()

    # The other thread

    def take(self) -> list[Entry]:
        """All entries that have not been taken, but for those behind a visit, until `unseal`. After
        any, look again without being woken."""
        self._told = self.urgent = False
        with self._condition:
            sealed = self._sealed
            found = self._entries if sealed is None else sealed
        entries = found[:]
        if sealed is None and self._making and entries and entries[-1][0] in OUTPUTS:
            entries.pop()
        del found[: len(entries)]
        self._told = bool(entries)
        self._taken += len(entries)
        return entries

    def hold(self, held: bool) -> None:
        """A guest that was visited to stay is let go only when that is seen."""
        with self._condition:
            self._set(held=held or (self._stay and self._sealed is not None))
        if held and self.waiting:
            self._wake()

    def visit(self, visitor: Callable[[], bool] | None, stay: bool = False) -> None:
        """Let the guest's thread call this at each place where it can be stopped, until it returns
        true; it is then `visited`, between two entries, and held there if it is to `stay`. None: as
        if there was no visit."""
        with self._condition:
            held = None
            if self._sealed is not None and visitor is None:
                self._entries[:0], self._sealed = self._sealed, None
                held = False if self._stay else None
            self._visitor, self._stay = visitor, stay
            self._set(held=held)

    @property
    def visited(self) -> bool:
        """There was a visit, and what the guest made before it is not taken, or nothing but that
        can be taken."""
        return self._sealed is not None

    def unseal(self) -> None:
        """The visit is seen, and all before it is taken."""
        assert not self._sealed
        self._sealed = None

    def slow(self, slowed: bool) -> bool:
        """Whether that is new."""
        new = slowed != self._slowed
        if new:
            self._set(slowed=slowed)
        return new

    def leave(self) -> None:
        """From now on the guest's calls raise `WorldChanged`."""
        self._set(held=False, slowed=False, left=True)

    def _set(
        self, held: bool | None = None, slowed: bool | None = None, left: bool | None = None
    ) -> None:
        with self._condition:
            self._held = self._held if held is None else held
            self._slowed = self._slowed if slowed is None else slowed
            self._left = self._left if left is None else left
            visited = self._visitor is not None
            self._closed = self._held or self._slowed or self._left or visited
            self._condition.notify_all()


class Received:
    """Secondary: entries on their way in, a `Source` for a Replayer.

    `idle` is called when the guest has taken all there is, and `let_in` when it is told so by
    `wake` while it waits. After `finish`, who has taken the last entry calls its function, which
    installs the new World, and raises `WorldChanged`.
    """

    def __init__(
        self, idle: Callable[[], None], let_in: Callable[[], None], condition: Condition
    ) -> None:
        self._idle = idle
        self._let_in = let_in
        self._entries: deque[Entry] = deque()
        self._condition = condition
        self._finished: Callable[[], None] | None = None
        self._woken = False
        self.dry = False
        """The guest waits for more. In its thread."""

    # The guest's thread

    def peek(self) -> Entry:
        if not self._entries:
            self._wait()
        return self._entries[0]

    def take(self) -> Entry:
        if not self._entries:
            self._wait()
        return self._entries.popleft()

    def _wait(self) -> None:
        self._idle()
        self.dry = True
        try:
            while self._stands():
                self._let_in()
        finally:
            self.dry = False

    def _stands(self) -> bool:
        """Wait for entries; false if there are some, and true if it was woken."""
        with self._condition:
            while not self._entries:
                if self._finished is not None:
                    self._finished()
                    raise WorldChanged
                if self._woken:
                    self._woken = False
                    return True
                self._condition.wait()
            return False

    # The other thread

    def put(self, entries: list[Entry]) -> None:
        with self._condition:
            self._entries.extend(entries)
            self._condition.notify_all()

    def wake(self) -> None:
        """Let the guest call `let_in` if it waits, or when it waits next."""
        with self._condition:
            self._woken = True
            self._condition.notify_all()

    def finish(self, function: Callable[[], None]) -> None:
        """There will be no more entries."""
        with self._condition:
            self._finished = function
            self._condition.notify_all()


class Behind:
    """A Source that is `entries` first, and then another one."""

    def __init__(self, entries: Iterator[Entry], source: Source) -> None:
        self._entries: Iterator[Entry] | None = entries
        self._source = source
        self._ahead: Entry | None = None

    def peek(self) -> Entry:
        if self._ahead is None and self._entries is not None:
            self._ahead = next(self._entries, None)
            if self._ahead is None:
                self._entries = None
        return self._source.peek() if self._ahead is None else self._ahead

    def take(self) -> Entry:
        entry, self._ahead = self.peek(), None
        return self._source.take() if self._entries is None else entry


class Telling:
    """A Source that tells of each entry that was taken, before it is executed."""

    def __init__(self, source: Source, next: int, taken: Callable[[Entry, int], None]) -> None:
        self._source = source
        self._next = next
        self._taken = taken
        self.peek = source.peek

    def take(self) -> Entry:
        entry = self._source.take()
        self._taken(entry, self._next)
        self._next += 1
        return entry


class Visiting:
    """A Source that tells before each entry is taken."""

    def __init__(self, source: Source, next: int, visit: Callable[[int], None]) -> None:
        self._source = source
        self._next = next
        self._visit = visit

    def peek(self) -> Entry:
        return self._source.peek()

    def take(self) -> Entry:
        entry = self._source.peek()
        self._visit(self._next)
        self._next += 1
        assert entry is self._source.peek()
        return self._source.take()
