"""TOML files (https://toml.io) that are read strictly: every value has a type, every key is known,
and every error has the `key` of what is wrong."""

from __future__ import annotations

import difflib
import json
import stat
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from vlockstep.errors import HostError, Key, UsageError

MAX_SIZE = 1 << 16
Read = Callable[[Any, Key], Any]
"""Takes a value and its key; what the value means. Raises `UsageError` for what is none."""


def read_toml(path: Path, what: str) -> dict[str, Any]:
    """The top table of a file, which is to be `what`."""
    import tomllib

    try:
        if not stat.S_ISREG(path.stat().st_mode):  # one that nobody writes to waits for ever
            raise HostError(f"cannot read {path}: it is no regular file")
        with path.open("rb") as file:
            data = file.read(MAX_SIZE + 1)
    except OSError as error:
        raise HostError(f"cannot read {path}: {error.strerror}") from error
    if len(data) > MAX_SIZE:
        raise UsageError(f"{path} is no {what}: it is longer than {MAX_SIZE >> 10} KiB")
    try:
        return tomllib.loads(data.decode())
    except (ValueError, RecursionError) as error:  # both of TOML and of UTF-8
        raise UsageError(f"{path} is no TOML: {error or 'it is nested too deep'}") from error


def take(
    table: Mapping[str, Any], readers: Mapping[str, Read], key: Key, needed: Iterable[str] = ()
) -> dict[str, Any]:
    """What the table gives, each value by its reader."""
    for name in table:
        if name not in readers:
            close = difflib.get_close_matches(name, readers, n=1)
            known = f"the nearest is {close[0]}" if close else f"there are {', '.join(readers)}"
            raise UsageError(f"there is no such key; {known}", key=(*key, name))
    for name in needed:
        if name not in table:
            raise UsageError("it is missing", key=(*key, name))
    return {name: readers[name](value, (*key, name)) for name, value in table.items()}


def _typed(kind: type, what: str) -> Read:
    def read(value: Any, key: Key) -> Any:
        if type(value) is not kind:
            raise UsageError(f"{shown(value)} is not {what}", key=key)
        return value

    return read


integer = _typed(int, "a whole number")
truth = _typed(bool, "true or false")
table = _typed(dict, "a table")
_list = _typed(list, "a list of texts")


def number(value: Any, key: Key) -> float:
    if type(value) not in (int, float):
        raise UsageError(f"{shown(value)} is not a number", key=key)
    return float(value)


def text(value: Any, key: Key) -> str:
    if type(value) is not str:
        raise UsageError(f"{shown(value)} is not a text", key=key)
    if not value or "\0" in value:
        raise UsageError("it is empty, or holds a NUL character", key=key)
    return value


def texts(value: Any, key: Key) -> tuple[str, ...]:
    for each in _list(value, key):
        if type(each) is not str:
            raise UsageError(f"{shown(each)} is not a text", key=key)
    return tuple(value)


def shown(value: Any) -> str:
    """Something that stands in a file, for people; no more of it than shows what it is."""
    text = json.dumps(value, default=str)
    return text if len(text) <= 40 else f"{text[:37]}..."


def written(value: Any) -> str:
    """A text, a number, a truth or a list of them, as TOML has it: JSON's are the same, but that
    DEL is escaped there."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
