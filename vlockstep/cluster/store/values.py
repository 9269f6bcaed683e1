"""Which keys and values there are; how values are written."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

from vlockstep.cluster.store.interface import Entry, StoreError
from vlockstep.errors import UsageError

MAX_KEY = 512
"""Bytes."""
MAX_VALUE = 1 << 20
"""Bytes of its JSON text."""


class Stored(NamedTuple):
    text: str
    version: int
    lease: str
    """"" if it has none."""


class Written(Protocol):
    """What a store has at a key, as it has it."""

    @property
    def text(self) -> str | bytes: ...
    @property
    def version(self) -> int: ...


def check_key(key: str) -> None:
    if not is_key(key):
        raise UsageError(
            f"{_shown(key)} is no key: at most {MAX_KEY} bytes of printable parts between slashes, "
            "none of them empty or with a dot in front"
        )


def check_prefix(prefix: str) -> None:
    if prefix and not is_key(prefix.removesuffix("/")):
        raise UsageError(f"{_shown(prefix)} is no key, and no key with a slash behind")


def is_key(key: str) -> bool:
    parts = key.split("/")
    return (
        key.isprintable()
        and len(key.encode()) <= MAX_KEY
        and all(part and part[0] != "." for part in parts)
    )


def within(prefix: str, key: str) -> bool:
    """Whether the prefix means this key, too."""
    beneath = prefix if not prefix or prefix.endswith("/") else prefix + "/"
    return key == prefix or key.startswith(beneath)


def encode(key: str, value: Mapping[str, Any]) -> str:
    """A value's text; `key` for people."""
    try:
        if not isinstance(value, dict):
            raise TypeError(f"but {type(value).__name__}")
        _check_plain(value)
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        size = len(text.encode())
    except (TypeError, ValueError, RecursionError) as error:
        raise UsageError(f"the value for {key} is no JSON object: {error}") from error
    if size > MAX_VALUE:
        raise UsageError(f"the value for {key} has {size} bytes of JSON, above {MAX_VALUE}")
    return text


def decode(key: str, text: str | bytes) -> dict[str, Any]:
    """What another one has written, or something else."""
    try:
        value = _JSON.decode(text if isinstance(text, str) else text.decode())
    except (ValueError, RecursionError) as error:
        raise _not_ours(key, str(error)) from error
    if not isinstance(value, dict):
        raise _not_ours(key, f"but {type(value).__name__}")
    return value


Reading = Callable[[str, Written], Entry]
"""How what is written at a key is told."""


def entry_of(key: str, written: Written) -> Entry:
    return Entry(decode(key, written.text), written.version)


class Unreadable(dict[str, Any]):
    """In the place of a value that is no JSON object, for who looks at all there is. It is empty,
    and no record of any kind; `problem` says what is there, and what to do."""

    def __init__(self, problem: str) -> None:
        super().__init__()
        self.problem = problem


def entry_or_unreadable(key: str, written: Written) -> Entry:
    try:
        return entry_of(key, written)
    except StoreError as error:
        return Entry(Unreadable(str(error)), written.version)


def _not_ours(key: str, why: str) -> StoreError:
    return StoreError(
        f"the store holds no JSON object at {key} ({why}), so something else has written there: "
        "put it again, or delete it"
    )


def _check_plain(value: object) -> None:
    """It comes back as it was, but for tuples, which do as lists."""
    match value:
        case dict():
            for name, item in value.items():
                if not isinstance(name, str):
                    raise TypeError(f"{name!r} is no name of JSON")
                _check_plain(item)
        case list() | tuple():
            for item in value:
                _check_plain(item)
        case float():
            if not math.isfinite(value):
                raise ValueError(f"{value} is no number of JSON")
        case str() | bool() | int() | None:
            pass
        case _:
            raise TypeError(f"{type(value).__name__} is nothing of JSON")


def _no_number(text: str) -> float:
    raise ValueError(f"{text} is no number of JSON")


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise ValueError(f"{text[:20]} is too large")
    return value


_JSON = json.JSONDecoder(parse_constant=_no_number, parse_float=_finite)
"""One for all, since each that is made costs as much as a small value."""


def _shown(text: str) -> str:
    return repr(text if len(text) <= 80 else text[:80] + "…")
