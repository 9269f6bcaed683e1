"""How guests of this computer have ended that nobody stopped. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vlockstep.web import shapes

KEPT_SECONDS = 3600.0
MOST = 50
"""Endings, of which the newest are kept."""
_MOST_TEXT = 200
_LAST = ("diverged", "finished", "stopped", "left")
_RECORD = "let it leave a recording on an error when it is started again, and debug that"
_COMPARE = "let `vlockstep debug` find the instruction, with the report that is left"
_START = "look for what has killed its process, and start it again"


@dataclass(frozen=True)
class _Ending:
    kind: str
    """The event that says why, or "gone" if its process has said nothing."""
    cause: str = ""
    status: int = 0

    @property
    def wanted(self) -> bool:
        return self.kind == "left" or (self.kind == "finished" and self.status == 0)


@dataclass(frozen=True)
class _Ended:
    ending: _Ending
    group: str
    """What replicas of one guest have in common."""
    since: float


class Endings:
    """Of each name the last one, until a guest runs by that name again, or goes on as another
    replica here; that one has diverged is told all the same. Times are since the epoch."""

    def __init__(self) -> None:
        self._last_words: dict[str, tuple[object, _Ending]] = {}
        """By name: of which process, and what it was."""
        self._running: dict[str, str] = {}
        self._ended: dict[str, _Ended] = {}

    def heard(self, name: str, process: object, said: Mapping[str, Any]) -> None:
        """An event, before it is seen that its process has gone."""
        known, _ = self._last_words.get(name, (None, None))
        if known != process:
            self._last_words.pop(name, None)
        if said["event"] in _LAST:
            # One that has diverged stops, too.
            self._last_words.setdefault(name, (process, _ending(said)))

    def see(self, running: Mapping[str, str], now: float) -> None:
        """The names of all that run, and the group of each."""
        over = set(running.values())
        for name in self._running.keys() - running.keys():
            _, ending = self._last_words.pop(name, (None, _Ending("gone")))
            group = self._running[name]
            if ending.wanted:
                over.add(group)
            else:
                self._ended[name] = _Ended(ending, group, now)
        self._running = dict(running)
        kept = [
            (name, ended)
            for name, ended in self._ended.items()
            if name not in running
            and now < ended.since + KEPT_SECONDS
            and (ended.ending.kind == "diverged" or ended.group not in over)
        ]
        self._ended = dict(kept[-MOST:])

    def problems(self) -> list[shapes.Problem]:
        """The newest first, one for each guest, and for each replica that diverged."""
        found, told = [], set()
        for name, ended in reversed(self._ended.items()):
            if ended.ending.kind != "diverged":
                if ended.group in told:
                    continue
                told.add(ended.group)
            found.append(_problem(name, ended.ending))
        return found


def _ending(said: Mapping[str, Any]) -> _Ending:
    kind, status = str(said["event"]), said.get("status", 0)
    cause = str(said.get("report" if kind == "diverged" else "reason") or "")
    first = cause.strip().partition("\n")[0][:_MOST_TEXT]
    return _Ending(kind, first, status if isinstance(status, int) else 1)


def _problem(name: str, ending: _Ending) -> shapes.Problem:
    match ending.kind:
        case "diverged":
            what, cause, do = f"{name} has diverged", ending.cause, _COMPARE
        case "finished":
            what = f"{name} has ended with status {ending.status}"
            cause, do = ending.cause or "its guest says so", _RECORD
        case "stopped":
            what, cause, do = f"{name} had to stop", ending.cause, "start it again"
        case _:
            what, cause, do = f"{name} is gone", "its process has said no last word", _START
    return {"what": what, "cause": cause, "target": "", "do": do}
