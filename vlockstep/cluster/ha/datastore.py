"""What the cluster's hosts write on datastores for each other, beside the guests' folders.

    .vlockstep-ha/CLUSTER/HOST-hb           Heartbeat: that the host lives
    .vlockstep-ha/CLUSTER/HOST-poweron      PowerOn: whether it is isolated, and what runs there
    .vlockstep-ha/CLUSTER/protectedlist     ProtectedList: the guests at home on this datastore; a
                                            master locks it, and is responsible for them
    .vlockstep-ha/CLUSTER/poweredoff/GUEST  PoweredOff: stopped by an isolation response

Each file is a JSON object, and is read by hosts that trust nothing in it.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Self

from vlockstep.cluster.model import Priority
from vlockstep.errors import UsageError, VlockstepError

MAX_FILE = 4 << 20
"""Bytes of any of these files."""
MAX_GUESTS = 10_000
"""On one host, and at home on one datastore."""
_LARGEST = 1 << 63
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_FOLDER = 1024
"""Characters, at most, of a folder's path."""


class DamagedFile(VlockstepError):
    """A file on a datastore has not what it should have."""


# Where


def directory(cluster: str) -> PurePosixPath:
    """The cluster's, below the datastore's root."""
    return PurePosixPath(".vlockstep-ha", _named("cluster", cluster))


def heartbeat_file(host: str) -> str:
    return f"{_named('host', host)}-hb"


def poweron_file(host: str) -> str:
    return f"{_named('host', host)}-poweron"


PROTECTED_LIST = "protectedlist"


def poweredoff_file(guest: str) -> PurePosixPath:
    return PurePosixPath("poweredoff", _named("guest", guest))


def _named(what: str, name: str) -> str:
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} is no name for a {what}: take up to 63 letters, digits, dots, dashes and"
            " underscores, a letter or digit first"
        )
    return name


# What


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """`counter` changes with each."""

    counter: int

    def format(self) -> bytes:
        return _format({"counter": self.counter})

    @classmethod
    def parse(cls, data: bytes, name: str) -> Self:
        """Raises `DamagedFile`, which calls the file `name`; here and below."""
        fields = _Fields.parse(data, name, "counter")
        return cls(fields.number("counter"))


@dataclass(frozen=True, slots=True)
class PowerOn:
    """`guests` are the names of those that run on the host."""

    isolated: bool
    guests: tuple[str, ...]

    def format(self) -> bytes:
        return _format({"isolated": self.isolated, "guests": sorted(self.guests)})

    @classmethod
    def parse(cls, data: bytes, name: str) -> Self:
        fields = _Fields.parse(data, name, "isolated", "guests")
        guests = [fields.name_of(guest) for guest in fields.entries("guests")]
        fields.check(len(set(guests)) == len(guests), "a guest that is there twice")
        return cls(fields.flag("isolated"), tuple(guests))


@dataclass(frozen=True, slots=True)
class ProtectedGuest:
    """`folder` is its home, below the datastore's root. It reserves `cpu` MIPS, and needs
    `memory` MiB with its overhead."""

    name: str
    folder: str
    priority: Priority
    cpu: int
    memory: int


@dataclass(frozen=True, slots=True)
class ProtectedList:
    guests: tuple[ProtectedGuest, ...]

    def format(self) -> bytes:
        return _format(
            {
                "guests": [
                    {
                        "name": guest.name,
                        "folder": guest.folder,
                        "priority": guest.priority.name.lower(),
                        "cpu": guest.cpu,
                        "memory": guest.memory,
                    }
                    for guest in self.guests
                ]
            }
        )

    @classmethod
    def parse(cls, data: bytes, name: str) -> Self:
        file = _Fields.parse(data, name, "guests")
        guests = []
        for entry in file.entries("guests"):
            fields = _Fields.of(entry, name, "name", "folder", "priority", "cpu", "memory")
            guests.append(
                ProtectedGuest(
                    fields.name_of(fields.text("name")),
                    fields.folder("folder"),
                    fields.priority("priority"),
                    fields.number("cpu"),
                    fields.number("memory"),
                )
            )
        file.check(len({g.name for g in guests}) == len(guests), "a guest that is there twice")
        return cls(tuple(guests))


@dataclass(frozen=True, slots=True)
class PoweredOff:
    """`host` stopped the guest whose name is the file's. Removed when the guest runs again."""

    host: str

    def format(self) -> bytes:
        return _format({"host": self.host})

    @classmethod
    def parse(cls, data: bytes, name: str) -> Self:
        fields = _Fields.parse(data, name, "host")
        return cls(fields.name_of(fields.text("host")))


def _format(content: dict[str, Any]) -> bytes:
    return json.dumps(content, indent=1).encode() + b"\n"


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) != len(pairs):
        raise ValueError("a field that is there twice")
    return content


class _Fields:
    """A JSON object with exactly the fields that it should have."""

    def __init__(self, content: dict[str, Any], file: str) -> None:
        self._content = content
        self._file = file

    @classmethod
    def parse(cls, data: bytes, file: str, *names: str) -> Self:
        if len(data) > MAX_FILE:
            raise cls.damaged(file, f"more than {MAX_FILE} bytes")
        try:
            content = json.loads(data, object_pairs_hook=_unique)
        except (ValueError, RecursionError) as error:
            raise cls.damaged(file, "what is not JSON") from error
        return cls.of(content, file, *names)

    @classmethod
    def of(cls, content: Any, file: str, *names: str) -> Self:
        if type(content) is not dict or content.keys() != set(names):
            raise cls.damaged(file, f"no object of {', '.join(names)}")
        return cls(content, file)

    @staticmethod
    def damaged(file: str, what: str) -> DamagedFile:
        return DamagedFile(f"{file} has {what}: remove it, and it is written anew by its owner")

    def check(self, holds: bool, what: str) -> None:
        if not holds:
            raise self.damaged(self._file, what)

    def number(self, name: str) -> int:
        value = self._content[name]
        self.check(type(value) is int and 0 <= value < _LARGEST, f"no number as {name}")
        return int(value)

    def flag(self, name: str) -> bool:
        value = self._content[name]
        self.check(type(value) is bool, f"neither true nor false as {name}")
        return bool(value)

    def text(self, name: str) -> str:
        value = self._content[name]
        self.check(type(value) is str, f"no text as {name}")
        return str(value)

    def entries(self, name: str) -> list[Any]:
        value = self._content[name]
        self.check(type(value) is list, f"no list as {name}")
        self.check(len(value) <= MAX_GUESTS, f"more than {MAX_GUESTS} {name}")
        return list(value)

    def name_of(self, value: Any) -> str:
        self.check(type(value) is str and bool(_NAME.fullmatch(value)), "what is no name")
        return str(value)

    def folder(self, name: str) -> str:
        value = self.text(name)
        parts = value.split("/")
        self.check(
            len(value) <= _FOLDER and value.isprintable() and not {"", ".", ".."} & set(parts),
            f"no path below the datastore as {name}",
        )
        return value

    def priority(self, name: str) -> Priority:
        value = self.text(name)
        found = {priority.name.lower(): priority for priority in Priority}.get(value)
        self.check(found is not None, f"no priority as {name}")
        assert found is not None
        return found


# Which


def heartbeat_datastores(
    connected: Mapping[str, Iterable[str]], per_host: int = 2
) -> dict[str, tuple[str, ...]]:
    """For each host those of its datastores that most hosts are connected to; of two that are
    alike the first by name."""
    hosts = Counter(datastore for where in connected.values() for datastore in set(where))
    return {
        host: tuple(sorted(set(where), key=lambda name: (-hosts[name], name))[:per_host])
        for host, where in connected.items()
    }
