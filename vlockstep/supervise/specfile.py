"""A specification in a file, in TOML (https://toml.io).

    image = "ledger"
    memory = 64
    arguments = ["--lines=1000"]
    arbiter = "arbiter"
    console = "console.txt"

    [disk.disk]
    path = "ledger.img"

    [timing]
    heartbeat = 20

Keys are the fields of a `ReplicaSpec`; disks and NICs are tables by name. Relative paths are as
seen from the file. Every error names the file and the key.
"""

from __future__ import annotations

import difflib
import json
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from vlockstep.errors import HostError, Key, UsageError, VlockstepError
from vlockstep.host.attach import DiskSpec
from vlockstep.net.attach import NicSpec
from vlockstep.supervise.spec import ReplicaSpec, TestSpec, TimingSpec, dotted

SUFFIX = ".toml"
_IMAGE = ".hvt"
_MAX_SIZE = 1 << 16
_Read = Callable[[Any, Key], Any]


def read_fields(path: Path) -> dict[str, Any]:
    """The fields of a `ReplicaSpec` that the file gives."""
    import tomllib

    try:
        if not stat.S_ISREG(path.stat().st_mode):  # one that nobody writes to waits for ever
            raise HostError(f"cannot read {path}: it is no regular file")
        with path.open("rb") as file:
            data = file.read(_MAX_SIZE + 1)
    except OSError as error:
        raise HostError(f"cannot read {path}: {error.strerror}") from error
    if len(data) > _MAX_SIZE:
        raise UsageError(f"{path} is no specification: it is longer than {_MAX_SIZE >> 10} KiB")
    try:
        table = tomllib.loads(data.decode())
    except (ValueError, RecursionError) as error:  # both of TOML and of UTF-8
        raise UsageError(f"{path} is no TOML: {error or 'it is nested too deep'}") from error
    with naming(path):
        return _Reader(path.parent).replica(table) | {"source": path}


def read_spec(path: Path) -> ReplicaSpec:
    with naming(path):
        return ReplicaSpec(**{"image": ""} | read_fields(path))


@contextmanager
def naming(source: Path | None, elsewhere: Iterable[Key] = ()) -> Iterator[None]:
    """An error of what was read from this file, if it was, names file and key; but not of what
    comes from `elsewhere`."""
    try:
        yield
    except VlockstepError as error:
        given = any(error.key[: len(key)] == key for key in elsewhere)
        if source is not None and error.key and not given:
            error.args = (f"{source}: {dotted(error.key)}: {error}",)
            error.key = ()
        raise


def to_toml(spec: ReplicaSpec) -> str:
    """A file that says the same, wherever it lies."""
    if "/" in spec.image or spec.image.endswith(_IMAGE):
        spec = replace(spec, image=os.path.abspath(spec.image))  # noqa: PTH100 - as below
    lines: list[str] = []
    tables: list[str] = []
    for each in fields(spec):
        value = getattr(spec, each.name)
        if each.name in ("disks", "nics"):
            for device in value:
                header = f"{each.name[:-1]}.{_toml(device.name)}"
                tables += ["", f"[{header}]", *_lines(device, {"name"})]
        elif isinstance(value, TimingSpec | TestSpec) and value != type(value)():
            tables += ["", f"[{each.name}]", *_lines(value)]
    lines += _lines(spec, {"source", "elsewhere", "disks", "nics", "timing", "test"})
    return "\n".join([*lines, *tables, ""])


def _lines(values: Any, without: Iterable[str] = ()) -> list[str]:
    found = [(each, getattr(values, each.name)) for each in fields(values)]
    return [
        f"{each.name} = {_toml(value)}"
        for each, value in found
        if each.name not in without and value is not None and value != each.default
    ]


def _toml(value: Any) -> str:
    """JSON's texts, numbers and lists are TOML's, but that DEL is escaped there."""
    if isinstance(value, Path):
        value = os.path.abspath(value)  # noqa: PTH100 - `resolve` would follow links
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


class _Reader:
    """Takes values of a TOML file for fields. Paths are as seen from a directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._replica: dict[str, _Read] = {
            "image": self._image,
            "role": _text,
            "name": _text,
            "arguments": _texts,
            "memory": _integer,
            "cpu": _text,
            "cpu_limit": _text,
            "disk": self._disks,
            "nic": self._nics,
            "console": self._path,
            "log": self._path,
            "keyframes": _number,
            "cores": self._path,
            "arbiter": self._path,
            "endpoint": _text,
            "keys": self._path,
            "secondaries": _integer,
            "reached_at": _text,
            "awaits_at": _text,
            "respawn": _text,
            "timing": self._timing,
            "run_directory": self._path,
            "test": self._test,
        }

    def replica(self, table: Mapping[str, Any]) -> dict[str, Any]:
        given = _take(table, self._replica, ())
        for kind in ("disk", "nic"):
            if kind in given:
                given[f"{kind}s"] = given.pop(kind)
        return given

    def _disks(self, value: Any, key: Key) -> tuple[DiskSpec, ...]:
        readers: dict[str, _Read] = {"path": self._path, "local": _truth}
        return tuple(
            DiskSpec(name, **_take(_table(disk, (*key, name)), readers, (*key, name), ("path",)))
            for name, disk in _table(value, key).items()
        )

    def _nics(self, value: Any, key: Key) -> tuple[NicSpec, ...]:
        readers: dict[str, _Read] = {"backend": _text, "capture": self._path, "mac": _text}
        return tuple(
            NicSpec(name, **_take(_table(nic, (*key, name)), readers, (*key, name), ("backend",)))
            for name, nic in _table(value, key).items()
        )

    def _timing(self, value: Any, key: Key) -> TimingSpec:
        readers = {each.name: _integer for each in fields(TimingSpec)}
        return TimingSpec(**_take(_table(value, key), readers, key))

    def _test(self, value: Any, key: Key) -> TestSpec:
        readers = {each.name: _text for each in fields(TestSpec)} | {"stop": _texts}
        return TestSpec(**_take(_table(value, key), readers, key))

    def _path(self, value: Any, key: Key) -> Path:
        path = Path(_text(value, key))
        try:
            return self._directory / path.expanduser()
        except RuntimeError as error:
            raise UsageError(f"{path.parts[0]} is nobody's home here", key=key) from error

    def _image(self, value: Any, key: Key) -> str:
        text = _text(value, key)
        return str(self._path(text, key)) if "/" in text or text.endswith(_IMAGE) else text


def _take(
    table: Mapping[str, Any], readers: Mapping[str, _Read], key: Key, needed: Iterable[str] = ()
) -> dict[str, Any]:
    for name in table:
        if name not in readers:
            close = difflib.get_close_matches(name, readers, n=1)
            known = f"the nearest is {close[0]}" if close else f"there are {', '.join(readers)}"
            raise UsageError(f"there is no such key; {known}", key=(*key, name))
    for name in needed:
        if name not in table:
            raise UsageError("it is missing", key=(*key, name))
    return {name: readers[name](value, (*key, name)) for name, value in table.items()}


def _typed(kind: type, what: str) -> _Read:
    def read(value: Any, key: Key) -> Any:
        if type(value) is not kind:
            raise UsageError(f"{_toml_of(value)} is not {what}", key=key)
        return value

    return read


_integer = _typed(int, "a whole number")
_truth = _typed(bool, "true or false")
_table = _typed(dict, "a table")
_list = _typed(list, "a list of texts")


def _number(value: Any, key: Key) -> float:
    if type(value) not in (int, float):
        raise UsageError(f"{_toml_of(value)} is not a number", key=key)
    return float(value)


def _text(value: Any, key: Key) -> str:
    if type(value) is not str:
        raise UsageError(f"{_toml_of(value)} is not a text", key=key)
    if not value or "\0" in value:
        raise UsageError("it is empty, or holds a NUL character", key=key)
    return value


def _texts(value: Any, key: Key) -> tuple[str, ...]:
    for each in _list(value, key):
        if type(each) is not str:
            raise UsageError(f"{_toml_of(each)} is not a text", key=key)
    return tuple(value)


def _toml_of(value: Any) -> str:
    """Something that stands in a TOML file, for people; no more of it than shows what it is."""
    text = json.dumps(value, default=str)
    return text if len(text) <= 40 else f"{text[:37]}..."
