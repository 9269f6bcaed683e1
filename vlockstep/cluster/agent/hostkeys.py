"""The key of a host, by which the others of its cluster know it.

`vlockstep keys hosts DIR NAME…` makes `NAME.key`, which is public, and `NAME.key_secret`, which is
not, for each host. A host needs its own secret one, and the public ones of all: whose is not there
does not belong to the cluster.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import zmq.auth

from vlockstep.cluster.guestfile import check_name
from vlockstep.errors import HostError, UsageError
from vlockstep.wire.keys import read_key

_PUBLIC, _SECRET = ".key", ".key_secret"


@dataclass(frozen=True)
class HostKeys:
    """Z85-encoded. `others` are public, by the name of their host."""

    public: bytes
    secret: bytes
    others: dict[str, bytes]


def create_host_keys(directory: Path, hosts: Sequence[str]) -> list[Path]:
    """Make new keys for these hosts, beside those of others that are there; the files."""
    for host in hosts:
        check_name(host)
    files: list[Path] = []
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        for host in hosts:
            if (directory / f"{host}{_PUBLIC}").exists():
                raise UsageError(f"{directory} has a key of {host} already: remove it to renew it")
        mask = os.umask(0o077)
        try:
            for host in hosts:
                files += [Path(f) for f in zmq.auth.create_certificates(directory, host)]
        finally:
            os.umask(mask)
    except OSError as error:
        raise HostError(f"cannot make keys in {directory}: {error.strerror}") from error
    return files


def load_host_keys(directory: Path, host: str) -> HostKeys:
    """Those that the host needs."""
    own = read_key(directory / f"{host}{_SECRET}")
    if own is None or own[1] is None:
        raise UsageError(
            f"{directory} lacks {host}{_SECRET}, the secret key of the host: make keys",
            key=("keys",),
        )
    others = {}
    try:
        paths = sorted(directory.glob(f"*{_PUBLIC}"))
    except OSError as error:
        raise HostError(f"cannot read the keys in {directory}: {error.strerror}") from error
    for path in paths:
        found = read_key(path)
        if path.stem != host and found is not None:
            others[path.stem] = found[0]
    if len({own[0], *others.values()}) <= len(others):
        raise UsageError(f"two hosts have one key in {directory}: make new ones", key=("keys",))
    return HostKeys(own[0], own[1], others)
