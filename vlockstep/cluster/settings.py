"""Settings of a cluster as somebody writes them: `KEY=VALUE`."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from typing import Any

from vlockstep.cluster.guestfile import Isolation
from vlockstep.cluster.ha import timing
from vlockstep.cluster.master.manager import policy_of
from vlockstep.cluster.model import Automation
from vlockstep.errors import UsageError
from vlockstep.machine.cpumodels import check_model

_TRUE, _FALSE = ("true", "on", "yes"), ("false", "off", "no")


def parse_settings(texts: Iterable[str]) -> dict[str, Any]:
    """The fields of a `ClusterRecord` that they give."""
    found: dict[str, Any] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals:
            raise UsageError(f"{text!r} is no setting: write KEY=VALUE")
        head, _, rest = key.partition(".")
        if rest and head in _TABLES:
            found.setdefault(head, {})[rest] = _number_or_text(value)
            continue
        if key not in _READERS:
            known = [*_READERS, *(f"{table}.…" for table in _TABLES)]
            close = difflib.get_close_matches(key, known, n=1)
            hint = f"the nearest is {close[0]}" if close else f"there are {', '.join(known)}"
            raise UsageError(f"a cluster has no setting {key!r}; {hint}")
        try:
            found[key] = _READERS[key](value)
        except ValueError as error:
            raise UsageError(f"{text!r}: {error}") from error
    policy_of(found.get("admission", {}))
    if "timing" in found or "profile" in found:
        timing_of(found.get("profile", "fast"), found.get("timing", {}))
    return found


def timing_of(profile: str, given: dict[str, float]) -> timing.Timing:
    """Those of the monitors; `given` in milliseconds."""
    return timing.timing(profile, {name: int(ms * 1_000_000) for name, ms in given.items()})


def _truth(text: str) -> bool:
    if text not in (*_TRUE, *_FALSE):
        raise ValueError("it is true or false")
    return text in _TRUE


def _one_of(kind: Any) -> Callable[[str], Any]:
    def read(text: str) -> Any:
        try:
            return kind(text)
        except ValueError as error:
            raise ValueError(f"it is one of {', '.join(kind)}") from error

    return read


def _between(low: float, high: float, kind: type[Any]) -> Callable[[str], Any]:
    def read(text: str) -> Any:
        try:
            value = kind(text)
        except ValueError as error:
            raise ValueError("it is a number") from error
        if not low <= value <= high:
            raise ValueError(f"it is from {low:g} to {high:g}")
        return value

    return read


def _model(text: str) -> str | None:
    if text == "none":
        return None
    check_model(text)
    return text


def _profile(text: str) -> str:
    timing.timing(text)
    return text


def _number_or_text(text: str) -> float | int | str:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


_READERS: dict[str, Callable[[str], Any]] = {
    "ha": _truth,
    "ft": _truth,
    "drs": _truth,
    "automation": _one_of(Automation),
    "threshold": _between(1, 5, int),
    "interval": _between(1, 86_400, float),
    "hold": _between(0, 86_400, float),
    "baseline": _model,
    "isolation": _one_of(Isolation),
    "apart": _truth,
    "profile": _profile,
    "fence": _between(100, 3_600_000, int),
    "misses": _between(2, 1_000_000, int),
}
_TABLES = ("admission", "timing")
