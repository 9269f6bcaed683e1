"""What every store promises.

**Keys and values.** A key is a text of parts between slashes: `hosts/a`, `tasks/0000000012`. A
value is a JSON object of at most 1 MiB. A *prefix* is a key, which means it and all beneath it, or
a key and a slash (only what is beneath), or "" (everything): `hosts/a` never means `hosts/ab`. A
key or value that is none raises `UsageError`.

**Versions.** Each entry has a version, which rises with every change of the key, though not by one.
It rises over a deletion, too: no version of a key ever comes again, so who has read one can tell
for ever whether the key has changed since. 0 means that the key is not there.

**Changes.** `put` and `delete` compare the key's version with the one that is expected and change
it, as one step: of all who expect the same version exactly one succeeds.

**Reads.** A read tells what was there at some time during the call, or, where the store itself is
read through a cache, somewhat earlier; but never something older than this handle has read or
written before. `list` tells each entry as `get` would: it is no picture of one moment.

**No answer.** Each call takes no longer than the handle's time limit. `StoreError` says nothing
about a change that was asked for: it has happened, or not, or is still to happen (which it can only
if the key is then at the expected version). Whoever gets it reads again. `Conflict` and `Expired`
are answers: nothing was changed.

**Watches.** A watch misses no state that lasts: a `poll` tells what is there now of all that has
changed since the last one or, at first, since `watch` returned; several changes of a key as its
last one, and of a key that came and went meanwhile perhaps nothing, unless this handle had told of
it. So who makes a watch, lists by the same handle, and then polls knows everything. A poll that
raises `StoreError` has lost nothing: the next one tells it.

**Leases.** An entry that was put with a lease vanishes, as if deleted, some time after its holder
has fallen silent. It is there for at least `ttl` seconds from before the last `keepalive` that
succeeded was asked, which is what `left` counts, so by it a holder knows how long nobody can see
its entries vanish. How much longer it is there is not promised: a server that was restarted counts
anew, and where there is no server the others do the counting, from when each first saw the
keepalive, and whoever has been looking (by `list`, polls, or `get` of the entry) for `ttl` seconds
removes it. So a lease is a hint of who lives, and a fence for its holder, but not a fast detector
of failures. An entry keeps the lease with which it was put last; without one, it stays.

A handle may be used by several threads, a watch or a lease by one at a time.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

from vlockstep.errors import HostError, UsageError, VlockstepError

Value = Mapping[str, Any]
"""A JSON object."""
MAX_TTL = 86400
"""Seconds."""


class StoreError(HostError):
    """No answer: the store cannot be reached, does not work, or holds what it cannot."""


class Entry(NamedTuple):
    value: dict[str, Any]
    """The caller's own copy."""
    version: int


class Change(NamedTuple):
    """What is at a key now; None if it was deleted, or vanished."""

    key: str
    entry: Entry | None


class Conflict(VlockstepError):
    """The key is not at the version that was expected, but has `entry`; None if it is not there."""

    def __init__(self, key: str, entry: Entry | None) -> None:
        now = "is not there" if entry is None else f"is at version {entry.version}"
        super().__init__(f"{key} was changed by somebody else and {now}: read it again")
        self.entry = entry


class Expired(VlockstepError):
    """The lease has ended, and with it the entries that had it."""

    def __init__(self) -> None:
        super().__init__("the lease in the store has expired: take a new one")


class Lease:
    """What keeps entries there while its holder calls `keepalive` often enough: several times in
    `ttl` seconds. Made by a store's `grant`; `asked` is when it was asked for."""

    def __init__(
        self,
        identity: str,
        ttl: float,
        asked: float,
        clock: Callable[[], float],
        keepalive: Callable[[str], None],
        revoke: Callable[[str], None],
    ) -> None:
        self.identity = identity
        self.ttl = ttl
        self._asked = asked
        self._clock = clock
        self._keepalive = keepalive
        self._revoke = revoke

    def left(self) -> float:
        """Seconds for which its entries surely stay, if nobody changes them; negative when they may
        have vanished."""
        return self._asked + self.ttl - self._clock()

    def keepalive(self) -> None:
        """Raises `Expired` if it is too late, `StoreError` if there is no answer."""
        asked = self._clock()
        self._keepalive(self.identity)
        self._asked = asked

    def revoke(self) -> None:
        """Let its entries vanish now."""
        self._revoke(self.identity)


class Watch(Protocol):
    def poll(self, seconds: float) -> list[Change]:
        """What has changed since the last poll, in the keys' order; [] if nothing has until
        `seconds` are over."""

    def close(self) -> None: ...


class Store(Protocol):
    def get(self, key: str) -> Entry | None: ...

    def list(self, prefix: str) -> dict[str, Entry]:
        """In the keys' order."""

    def put(self, key: str, value: Value, expected: int | None, lease: Lease | None = None) -> int:
        """Give the key this value if it is at the version `expected` (0: not there; None: whatever
        is there); its new version. Raises `Conflict`, and `Expired` if the lease has ended."""

    def delete(self, key: str, expected: int | None) -> None:
        """Raises `Conflict`; with None it may not be there at all."""

    def watch(self, prefix: str) -> Watch: ...

    def grant(self, ttl: float) -> Lease:
        """A lease of at least so many seconds."""

    def close(self) -> None: ...


def elapsed() -> float:
    """Seconds of a clock that never steps, and does not stand while the host sleeps."""
    if sys.platform == "linux":
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    return time.monotonic()


def check_expected(expected: int | None) -> None:
    if expected is not None and expected < 0:
        raise UsageError(f"a version is not negative, as {expected} is")


def check_ttl(ttl: float) -> None:
    if not 0 < ttl <= MAX_TTL:
        raise UsageError(f"a lease lasts more than 0 and at most {MAX_TTL} seconds, not {ttl}")
