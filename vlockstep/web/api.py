"""What can be asked over HTTP, as a table: the routes, their documentation and their checks are
made of it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from vlockstep.web import shapes
from vlockstep.web.auth import Refusal, Right
from vlockstep.web.exposition import MEDIA
from vlockstep.web.recordings import MARKS, MAX_BINS, Recordings
from vlockstep.web.source import Source

MAX_KEYS = 1000
"""Recommendations that are applied at a time."""
_WORD = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True)
class Asked:
    """`path` and `query` are texts by name; `given` is the object that was sent."""

    path: Mapping[str, str]
    query: Mapping[str, str]
    given: Mapping[str, Any]

    def number(self, name: str, unless: int | None = None, most: int = 1 << 53) -> int:
        """In the query; `unless` it is missing, and None if it must not be."""
        text = self.query.get(name)
        if text is None and unless is not None:
            return unless
        return _number(name, text or "", most)

    def some_number(self, name: str) -> int | None:
        return self.number(name) if name in self.query else None

    def part(self, name: str) -> int:
        """A number in the path."""
        return _number(name, self.path[name], 1 << 53)

    def text(self, name: str) -> str:
        found = self.query.get(name)
        if found is None:
            raise Refusal(400, f"say which {name}: ?{name}=...")
        return found


def _number(name: str, text: str, most: int) -> int:
    if not re.fullmatch(r"[0-9]{1,16}", text) or int(text) > most:
        raise Refusal(400, f"{name} is a whole number from 0 to {most}")
    return int(text)


Call = Callable[["Sight", Asked], Any]


class Sight(NamedTuple):
    """What is served."""

    source: Source
    recordings: Recordings


@dataclass(frozen=True)
class Endpoint:
    """`call` gives what is answered, in a thread where it may wait; None if the server itself
    answers. `query` and `body` tell what may be given, and what that is."""

    method: str
    path: str
    summary: str
    answer: Any
    call: Call | None = None
    query: Mapping[str, str] = field(default_factory=dict)
    body: Mapping[str, str] = field(default_factory=dict)
    right: Right | None = Right.READ
    media: str = "application/json"

    @property
    def words(self) -> list[str]:
        """In its path."""
        return _WORD.findall(self.path)

    def check(self, query: Iterable[str], given: Iterable[str]) -> None:
        """Raise `Refusal` if anything is named in them that may not be given."""
        for names, known in ((query, self.query), (given, self.body)):
            unknown = next((name for name in names if name not in known), None)
            if unknown is not None:
                may = ", ".join(known) or "nothing"
                raise Refusal(400, f"{unknown[:80]!r} cannot be given here, but {may}")


def _source(call: Callable[[Source, Asked], Any]) -> Call:
    return lambda sight, asked: call(sight.source, asked)


def _recorded(
    path: str,
    summary: str,
    answer: Any,
    call: Callable[[Recordings, Asked], Any],
    query: Mapping[str, str] | None = None,
) -> Endpoint:
    return Endpoint(
        "GET",
        path,
        summary,
        answer,
        lambda sight, asked: call(sight.recordings, asked),
        query or {},
    )


def _act(action: str) -> Call:
    return _source(
        lambda source, asked: source.act_on_guest(asked.path["name"], action, asked.given)
    )


def _action(action: str, summary: str, **body: str) -> Endpoint:
    path = f"/api/guests/{{name}}/{action}"
    return Endpoint("POST", path, summary, shapes.Done, _act(action), body=body, right=Right.ACT)


def _maintenance(source: Source, asked: Asked) -> shapes.Done:
    wanted = asked.given.get("on")
    if not isinstance(wanted, bool):
        raise Refusal(400, '"on" is true or false')
    return source.act_on_host(asked.path["name"], wanted)


def _apply(source: Source, asked: Asked) -> shapes.Done:
    keys = asked.given.get("keys")
    if not isinstance(keys, list) or not 0 < len(keys) <= MAX_KEYS:
        raise Refusal(400, f'"keys" is a list of 1 to {MAX_KEYS} keys')
    if not all(isinstance(key, str) for key in keys):
        raise Refusal(400, "a key is a text")
    return source.apply(keys)


OWN = (
    Endpoint("GET", "/api/session", "What the token allows", shapes.Session),
    Endpoint("GET", "/api/view", "All that is to be seen, as one revision", shapes.View),
    Endpoint(
        "GET",
        "/api/stream",
        "The view, and then its changes: server-sent events view, change and console",
        None,
        query={
            "after": "the revision that is known; as the header Last-Event-ID",
            "console": "the guest whose console is told, too",
            "from": "the byte where its console begins",
        },
        media="text/event-stream",
    ),
    Endpoint("GET", "/api/openapi.json", "This document", dict[str, Any], right=None),
    Endpoint("GET", "/metrics", "Metrics, for Prometheus", None, media=MEDIA),
)
GUESTS = (
    Endpoint(
        "GET",
        "/api/guests/{name}",
        "What the view has no room for",
        shapes.GuestDetails,
        _source(lambda source, asked: source.details(asked.path["name"])),
    ),
    Endpoint(
        "GET",
        "/api/guests/{name}/console",
        "A piece of its console",
        shapes.Console,
        _source(
            lambda source, asked: source.console(asked.path["name"], asked.some_number("after"))
        ),
        query={"after": "the byte where it begins; without it the end is told"},
    ),
    Endpoint(
        "GET",
        "/api/guests/{name}/migrate",
        "Whether it could run on another host",
        shapes.Compatibility,
        _source(
            lambda source, asked: source.compatibility(
                asked.path["name"], asked.text("host"), asked.query.get("role", "primary")
            )
        ),
        query={"host": "which one", "role": "of the replica that would move; without it primary"},
    ),
    _action("switchover", "Let its replicas swap roles"),
    _action(
        "protect",
        "Give it a secondary, or elsewhere than in a cluster let replicas join it",
        arbiter="elsewhere: a new directory that all replicas share, from / on",
        listen="elsewhere: the endpoint where they join",
        heartbeat="elsewhere: milliseconds between heartbeats",
        misses="elsewhere: after how many that were missed a replica counts as dead",
    ),
    _action("unprotect", "Take its secondary away"),
    _action(
        "migrate",
        "Move it",
        host="where to, in a cluster",
        role="primary or secondary, there",
        to="the endpoint, elsewhere",
    ),
    _action("start", "Power it on", host="where; without it where it suits best"),
    _action("stop", "Power it off"),
    _action("test-failover", "A drill: its primary is killed"),
    _action("test-restart-secondary", "A drill: its secondary is killed"),
)
CLUSTER = (
    Endpoint(
        "POST",
        "/api/hosts/{name}/maintenance",
        "Empty a host for maintenance, or end that",
        shapes.Done,
        _source(_maintenance),
        body={"on": "true or false"},
        right=Right.ACT,
    ),
    Endpoint(
        "POST",
        "/api/recommendations/apply",
        "Carry recommendations out, with those that they need",
        shapes.Done,
        _source(_apply),
        body={"keys": "a list of keys"},
        right=Right.ACT,
    ),
    Endpoint(
        "POST",
        "/api/tasks/{number}/cancel",
        "Call a task off",
        shapes.Done,
        _source(lambda source, asked: source.cancel(asked.part("number"))),
        right=Right.ACT,
    ),
)


def _bins(recordings: Recordings, asked: Asked) -> shapes.Bins:
    last, bins = asked.some_number("last"), asked.number("bins", 200, MAX_BINS)
    return recordings.bins(asked.part("id"), asked.number("first", 0), last, bins)


def _marks(recordings: Recordings, asked: Asked) -> shapes.Marks:
    first, last = asked.number("first", 0), asked.some_number("last")
    return recordings.marks(asked.part("id"), asked.text("kind"), first, last)


_RANGE = {"first": "the first entry", "last": "the entry after the last one"}
RECORDINGS = (
    _recorded(
        "/api/recordings",
        "The logs that were named when the server was started",
        list[shapes.Recording],
        lambda recordings, asked: recordings.all(),
    ),
    _recorded(
        "/api/recordings/{id}",
        "One of them",
        shapes.Recording,
        lambda recordings, asked: recordings.facts(asked.part("id")),
    ),
    _recorded(
        "/api/recordings/{id}/bins",
        "How many entries of each kind, bin by bin",
        shapes.Bins,
        _bins,
        {**_RANGE, "bins": f"how many, {MAX_BINS} at the most"},
    ),
    _recorded(
        "/api/recordings/{id}/marks",
        "What happened there: text, disks, network, keyframes",
        shapes.Marks,
        _marks,
        {**_RANGE, "kind": f"one of {', '.join(MARKS)}"},
    ),
    _recorded(
        "/api/recordings/{id}/at",
        "The guest as it was at a position",
        shapes.Look,
        lambda recordings, asked: recordings.look(asked.part("id"), asked.text("position")),
        {"position": "exits:N, exits:N+BLOCKS or entry:N"},
    ),
)
ENDPOINTS: tuple[Endpoint, ...] = (*OWN, *GUESTS, *CLUSTER, *RECORDINGS)
