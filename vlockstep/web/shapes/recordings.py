"""Logs in the page."""

from __future__ import annotations

from typing import Any, TypedDict


class Recording(TypedDict):
    """`GET /api/recordings` is a list of these, `GET /api/recordings/ID` one. Only logs that were
    named when the server was started."""

    id: int
    name: str
    image: str
    entries: int
    bytes: int
    exits: int
    """Of the last entry's position."""
    complete: bool
    """Whether the execution ends there."""
    problem: str
    """Why it could not be read to its end."""
    reading: bool
    """Whether it is still to be read: then the others but `id` and `name` say nothing yet."""


class Bin(TypedDict):
    """Entries `first` up to `first + count`, without that."""

    first: int
    count: int
    kinds: dict[str, int]
    """How many of each kind."""
    bytes: int
    exits: int
    """Where it begins."""


class Bins(TypedDict):
    """`GET /api/recordings/ID/bins?first=N&last=N&bins=N` (500 at most)."""

    first: int
    last: int
    bins: list[Bin]


class Mark(TypedDict):
    """Something at an entry: `kind` is console, disk, network, keyframe, interrupt or end."""

    entry: int
    position: str
    kind: str
    text: str
    bytes: int


class Marks(TypedDict):
    """`GET /api/recordings/ID/marks?kind=KIND&first=N&last=N`: 1,000 at most; `more` tells that
    there are others from `next` on."""

    marks: list[Mark]
    more: bool
    next: int
    problem: str
    """Why texts are missing; "" also while they are only not known yet."""


class Look(TypedDict):
    """`GET /api/recordings/ID/at?position=POSITION`: the guest replayed up to there."""

    position: str
    registers: dict[str, Any]
    code: str
    commands: list[str]
    """To look there oneself: to debug it, then in gdb to go there, and to replay it up to there."""
