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

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from vlockstep.errors import Key, UsageError, VlockstepError
from vlockstep.files.tables import (
    Read,
    integer,
    number,
    read_toml,
    table,
    take,
    text,
    texts,
    truth,
    written,
)
from vlockstep.host.attach import DiskSpec
from vlockstep.net.attach import NicSpec
from vlockstep.supervise.spec import ReplicaSpec, TestSpec, TimingSpec, dotted

SUFFIX = ".toml"
_IMAGE = ".hvt"


def read_fields(path: Path) -> dict[str, Any]:
    """The fields of a `ReplicaSpec` that the file gives."""
    given = read_toml(path, "specification")
    with naming(path):
        return _Reader(path.parent).replica(given) | {"source": path}


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
    if isinstance(value, Path):
        value = os.path.abspath(value)  # noqa: PTH100 - `resolve` would follow links
    return written(value)


class _Reader:
    """Takes values of a TOML file for fields. Paths are as seen from a directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._replica: dict[str, Read] = {
            "image": self._image,
            "role": text,
            "name": text,
            "arguments": texts,
            "memory": integer,
            "cpu": text,
            "cpu_limit": text,
            "engine": text,
            "disk": self._disks,
            "nic": self._nics,
            "console": self._path,
            "log": self._path,
            "keyframes": number,
            "on_error": text,
            "cores": self._path,
            "arbiter": self._path,
            "endpoint": text,
            "keys": self._path,
            "secondaries": integer,
            "lease": integer,
            "resume": self._path,
            "resumes": truth,
            "resume_limit": integer,
            "resume_growth": integer,
            "resume_interval": integer,
            "reached_at": text,
            "awaits_at": text,
            "respawn": text,
            "hold": truth,
            "timing": self._timing,
            "run_directory": self._path,
            "test": self._test,
        }

    def replica(self, top: Mapping[str, Any]) -> dict[str, Any]:
        given = take(top, self._replica, ())
        for kind in ("disk", "nic"):
            if kind in given:
                given[f"{kind}s"] = given.pop(kind)
        return given

    def _disks(self, value: Any, key: Key) -> tuple[DiskSpec, ...]:
        readers: dict[str, Read] = {"path": self._path, "local": truth, "block_size": integer}
        return tuple(
            DiskSpec(name, **take(table(disk, (*key, name)), readers, (*key, name), ("path",)))
            for name, disk in table(value, key).items()
        )

    def _nics(self, value: Any, key: Key) -> tuple[NicSpec, ...]:
        readers: dict[str, Read] = {
            "backend": text,
            "capture": self._path,
            "mac": text,
            "group": text,
            "mtu": integer,
        }
        return tuple(
            NicSpec(name, **take(table(nic, (*key, name)), readers, (*key, name), ("backend",)))
            for name, nic in table(value, key).items()
        )

    def _timing(self, value: Any, key: Key) -> TimingSpec:
        readers = {each.name: integer for each in fields(TimingSpec)}
        return TimingSpec(**take(table(value, key), readers, key))

    def _test(self, value: Any, key: Key) -> TestSpec:
        readers = {each.name: text for each in fields(TestSpec)} | {"stop": texts}
        return TestSpec(**take(table(value, key), readers, key))

    def _path(self, value: Any, key: Key) -> Path:
        path = Path(text(value, key))
        try:
            return self._directory / path.expanduser()
        except RuntimeError as error:
            raise UsageError(f"{path.parts[0]} is nobody's home here", key=key) from error

    def _image(self, value: Any, key: Key) -> str:
        image: str = text(value, key)
        is_path = "/" in image or image.endswith(_IMAGE)
        return str(self._path(image, key)) if is_path else image
