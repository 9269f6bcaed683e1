"""How guests of this computer have ended that nobody stopped. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from vlockstep.web import shapes

KEPT_SECONDS = 3600.0
MOST = 50
"""Endings, of which the newest are kept."""
_RECORD = "let it leave a recording on an error when it is started again, and debug that"
_BEGINS = ("waiting", "joining", "loading", "started")
_COMPARE = "let `vlockstep debug` find the instruction, with the report that is left"
_START = "look for what has killed its process, and start it again"


@dataclass(frozen=True)
class _Ending:
    group: str
    """What replicas of one guest have in common."""
    told: Mapping[str, Any] | None
    """The last event that says why; None if it has said nothing."""
    since: float


class Endings:
    """Of each name the last one, until a guest runs by that name again. Times are since the
    epoch."""

    def __init__(self) -> None:
        self._last_words: dict[str, Mapping[str, Any]] = {}
        self._running: dict[str, str] = {}
        self._ended: dict[str, _Ending] = {}

    def heard(self, name: str, said: Mapping[str, Any]) -> None:
        """An event, before it is seen that its process has gone."""
        if said["event"] in _BEGINS:
            self._last_words.pop(name, None)
        elif said["event"] in ("diverged", "finished", "stopped", "left"):
            self._last_words.setdefault(name, said)  # one that has diverged stops, too

    def see(self, running: Mapping[str, str], now: float) -> None:
        """The names of all that run, and the group of each."""
        for name in self._running.keys() - running.keys():
            told = self._last_words.pop(name, None)
            if _unwanted(told):
                self._ended.pop(name, None)  # so that it is the newest
                self._ended[name] = _Ending(self._running[name], told, now)
        self._running = dict(running)
        self._last_words = {n: said for n, said in self._last_words.items() if n in running}
        kept = [
            (name, ending)
            for name, ending in self._ended.items()
            if name not in running and now < ending.since + KEPT_SECONDS
        ]
        self._ended = dict(kept[-MOST:])

    def problems(self) -> list[shapes.Problem]:
        """One for each guest that does not go on elsewhere here, and for each that diverged."""
        return [*self._problems()]

    def _problems(self) -> Iterable[shapes.Problem]:
        shown = set(self._running.values())
        for name, ending in self._ended.items():
            told = ending.told or {"event": "gone"}
            if told["event"] != "diverged":
                if ending.group in shown:
                    continue
                shown.add(ending.group)
            yield _problem(name, told)


def _unwanted(told: Mapping[str, Any] | None) -> bool:
    match told:
        case None | {"event": "diverged" | "stopped"}:
            return True
        case {"event": "finished", "status": status}:
            return bool(status != 0)
    return False


def _problem(name: str, told: Mapping[str, Any]) -> shapes.Problem:
    match told:
        case {"event": "diverged"}:
            what, cause, do = (
                f"{name} has diverged",
                _first_line(str(told.get("report", ""))),
                _COMPARE,
            )
        case {"event": "finished"}:
            what = f"{name} has ended with status {told['status']}"
            cause, do = str(told.get("reason", "")) or "its guest says so", _RECORD
        case {"event": "stopped"}:
            what, cause, do = f"{name} had to stop", str(told.get("reason", "")), "start it again"
        case _:
            what, cause, do = f"{name} is gone", "its process has said no last word", _START
    return {"what": what, "cause": cause, "target": "", "do": do}


def _first_line(report: str) -> str:
    return report.strip().partition("\n")[0]
