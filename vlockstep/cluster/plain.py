"""Dataclasses as plain values of JSON, and back, strictly."""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from functools import cache, partial
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from vlockstep.errors import VlockstepError

_T = TypeVar("_T")
_LARGE = 1 << 63
"""No count, and no time, comes to that."""


class PlainError(VlockstepError):
    """A value is none that `to_plain` has made."""


def to_plain(value: Any) -> Any:
    """Of a dataclass, an enumeration, a tuple or a mapping of texts, or what is plain already."""
    if is_dataclass(value):
        return {each.name: to_plain(getattr(value, each.name)) for each in fields(value)}
    if isinstance(value, Enum):
        return value.name.lower()
    if isinstance(value, Mapping):
        return {key: to_plain(each) for key, each in value.items()}
    if isinstance(value, tuple | frozenset):
        return [to_plain(each) for each in (sorted(value) if type(value) is frozenset else value)]
    return value


def from_plain(kind: type[_T], value: Any) -> _T:
    """The `kind` of dataclass that it was. A field with a default may be missing, and what an
    earlier or later version knows besides is not heeded. Raises `PlainError`."""
    try:
        wanted: Any = kind
        made: _T = _reader(wanted)(value)
    except _Wrong as error:
        raise PlainError(f"{'.'.join([kind.__name__, *reversed(error.path)])}{error}") from error
    return made


class _Wrong(Exception):
    """`path` leads to it, from within."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.path: list[str] = []


_Read = Callable[[Any], Any]


@cache
def _reader(kind: Any) -> _Read:
    """How a value of this type is read."""
    origin, parts = get_origin(kind), get_args(kind)
    if kind is Any:
        return lambda value: value
    if origin in (types.UnionType, Union):
        (inner,) = (_reader(part) for part in parts if part is not type(None))
        return lambda value: None if value is None else inner(value)
    if origin in (tuple, frozenset):
        return _reader_of_items(origin, _reader(parts[0]))
    if origin is not None and issubclass(origin, Mapping) and parts[1] is Any:
        return lambda value: dict(_expect(dict, value))
    if origin is not None and issubclass(origin, Mapping):
        return _reader_of_mapping(_reader(parts[1]))
    if is_dataclass(kind):
        return _reader_of_dataclass(kind)
    if issubclass(kind, Enum):
        return _reader_of_enum(kind)
    if kind is float:
        return _read_float
    if kind is int:
        return _read_int
    return partial(_expect, kind)


def _read_float(value: Any) -> float:
    return float(_read_int(value)) if type(value) is int else _expect(float, value)


def _read_int(value: Any) -> int:
    if abs(_expect(int, value)) >= _LARGE:
        raise _Wrong(" is too large")
    return int(value)


def _reader_of_items(kind: Any, read: _Read) -> _Read:
    return lambda value: kind(map(read, _expect(list, value)))


def _reader_of_mapping(read: _Read) -> _Read:
    return lambda value: _read_each(_expect(dict, value), lambda _: read)


def _reader_of_dataclass(kind: Any) -> _Read:
    hints = get_type_hints(kind)
    readers = {each.name: _reader(hints[each.name]) for each in fields(kind)}

    def read(value: Any) -> Any:
        given = _expect(dict, value)
        known = {name: given[name] for name in readers if name in given}
        values = _read_each(known, readers.__getitem__)
        try:
            return kind(**values)
        except (TypeError, ValueError) as error:
            raise _Wrong(f": {error}") from error

    return read


def _reader_of_enum(kind: type[Enum]) -> _Read:
    members = {name.lower(): member for name, member in kind.__members__.items()}

    def read(value: Any) -> Any:
        name = _expect(str, value).lower()
        if name not in members:
            raise _Wrong(f" is none of {', '.join(members)}")
        return members[name]

    return read


def _read_each(given: dict[str, Any], reader: Callable[[str], _Read]) -> dict[str, Any]:
    found = {}
    for name, value in given.items():
        try:
            found[name] = reader(name)(value)
        except _Wrong as error:
            error.path.append(name)
            raise
    return found


def _expect(kind: type[_T], value: Any) -> _T:
    if type(value) is not kind:
        raise _Wrong(f" is {type(value).__name__}, not {kind.__name__}")
    return value
