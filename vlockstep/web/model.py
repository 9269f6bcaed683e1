"""The view as it changes: revisions, and what is new in each. Pure.

A source makes a `Picture` again and again. What differs from the one before becomes a `Change`; the
newest changes are kept, so that who was away gets what it missed, or else the whole view.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from vlockstep.web import shapes
from vlockstep.web.levels import level_of_event

CHANGES = 300
"""So many of the newest are kept: some minutes."""
EVENTS = 1000
_PARTS = ("cluster", "hosts", "guests", "tasks", "recommendations", "problems", "story")


@dataclass(frozen=True)
class Picture:
    """All that is to be seen; `events` are those since the picture before, numbered by the
    model."""

    cluster: shapes.Cluster | None = None
    hosts: Mapping[str, shapes.Host] = field(default_factory=dict)
    guests: Mapping[str, shapes.Guest] = field(default_factory=dict)
    tasks: Mapping[str, dict[str, Any]] = field(default_factory=dict)
    recommendations: Mapping[str, shapes.Recommendation] = field(default_factory=dict)
    problems: Sequence[shapes.Problem] = ()
    events: Sequence[shapes.Event] = ()
    story: shapes.Story | None = None


class Model:
    """What it is handed must not be changed afterwards. Revisions count on from `first`, which is
    to be greater than those of any server before: who knows one of those gets the whole view."""

    def __init__(self, kind: shapes.Kind, first: int) -> None:
        self.kind = kind
        self.revision = first
        self._shown: dict[str, Any] = {part: {} for part in _PARTS} | {
            "cluster": None,
            "story": None,
        }
        self._shown["problems"] = []
        self._events: deque[shapes.Event] = deque(maxlen=EVENTS)
        self._told = 0
        self._changes: deque[shapes.Change] = deque(maxlen=CHANGES)

    def see(self, picture: Picture) -> shapes.Change | None:
        """What is new in it, if anything."""
        shown = {part: getattr(picture, part) for part in _PARTS}
        shown["problems"] = list(picture.problems)
        put: list[tuple[shapes.Path, Any]] = []
        gone: list[shapes.Path] = []
        for part in _PARTS:
            _compare([part], self._shown[part], shown[part], put, gone)
        events = [self._numbered(event) for event in picture.events]
        if not (put or gone or events):
            return None
        self.revision += 1
        self._shown = shown
        self._events.extend(events)
        change: shapes.Change = {
            "revision": self.revision,
            "set": put,
            "unset": gone,
            "events": events[-EVENTS:],
        }
        self._changes.append(change)
        return change

    def view(self) -> shapes.View:
        return cast(
            shapes.View,
            {
                "revision": self.revision,
                "kind": self.kind,
                **self._shown,
                "events": list(self._events),
            },
        )

    def since(self, revision: int) -> list[shapes.Change] | None:
        """The changes after it; None if they are not all kept, or it never was."""
        missed = self.revision - revision
        if not 0 <= missed <= len(self._changes):
            return None
        return list(self._changes)[len(self._changes) - missed :]

    def _numbered(self, event: shapes.Event) -> shapes.Event:
        self._told += 1
        return {**event, "number": self._told, "level": level_of_event(event)}


def _compare(
    path: shapes.Path,
    before: Any,
    after: Any,
    put: list[tuple[shapes.Path, Any]],
    gone: list[shapes.Path],
) -> None:
    if before is after:
        return
    if not (isinstance(before, Mapping) and isinstance(after, Mapping)):
        if not _same(before, after):
            put.append((path, after))
        return
    for key, value in after.items():
        if key in before:
            _compare([*path, key], before[key], value, put, gone)
        else:
            put.append(([*path, key], value))
    gone += [[*path, key] for key in before if key not in after]


def _same(before: Any, after: Any) -> bool:
    """As JSON has it: 1 is not true, though equal."""
    if type(before) is not type(after) or before != after:
        return False
    return not isinstance(after, list | tuple | dict) or repr(before) == repr(after)
