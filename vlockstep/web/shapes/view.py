"""All that is to be seen, how it changes, and what else is answered."""

from __future__ import annotations

from typing import Any, Literal, NotRequired, TypedDict

from vlockstep.web.shapes.cluster import Cluster, Host, Recommendation
from vlockstep.web.shapes.guests import Guest
from vlockstep.web.shapes.story import Story
from vlockstep.web.shapes.words import Kind, Level, Path


class Event(TypedDict):
    """`number` rises by one, and begins with 1 when the server starts."""

    number: int
    time: float
    kind: str
    text: str
    host: str | None
    guest: str | None
    details: NotRequired[dict[str, Any]]
    """What its kind has besides."""
    level: NotRequired[Level]
    """In the view, and in the stream."""


class Problem(TypedDict):
    """Something is wrong: what, why, with which guest or host (as `guests/books`), and what a
    person can do. The worst come first."""

    what: str
    cause: str
    target: str
    do: str


class View(TypedDict):
    revision: int
    kind: Kind
    cluster: Cluster | None
    hosts: dict[str, Host]
    guests: dict[str, Guest]
    tasks: dict[str, dict[str, Any]]
    """By number, as `vlockstep cluster tasks` has them: number, kind, target, by, created, details,
    state (queued, running, done, failed, canceled), progress, reason, result, cancel, begun,
    ended."""
    events: list[Event]
    recommendations: dict[str, Recommendation]
    problems: list[Problem]
    story: Story | None
    """Of a demonstration alone."""


class Change(TypedDict):
    revision: int
    set: list[tuple[Path, Any]]
    unset: list[Path]
    events: list[Event]


class Session(TypedDict):
    """What the token allows."""

    rights: list[Literal["read", "act"]]
    version: str
    kind: Kind
    source: str
    """What is looked at, for people: a store or a run directory."""


class Failure(TypedDict):
    error: str


class Done(TypedDict):
    """What an action has begun: a task, to be followed in the view, where it may have ended by now.
    A failure has its `reason`."""

    task: dict[str, Any]
