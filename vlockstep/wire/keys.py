"""Keys of a pair: CURVE key pairs of its replicas, its operator and its switch, as files.

`NAME.key` is public, `NAME.key_secret` is not. Each party needs its own secret key and the public
keys of those it talks to; the secret ones of the others may be deleted from its copy.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import zmq.auth
from zmq.utils import z85

from vlockstep.errors import HostError, UsageError


class Party(StrEnum):
    """Who connects. The names are those of the start: a switchover does not change keys."""

    PRIMARY = "primary"
    SECONDARY = "secondary"
    OPERATOR = "operator"
    SWITCH = "switch"


_NEEDED = {
    Party.PRIMARY: (Party.SECONDARY,),
    Party.SECONDARY: (Party.PRIMARY,),
    Party.OPERATOR: (Party.PRIMARY,),
    Party.SWITCH: (Party.PRIMARY, Party.SECONDARY),
}
"""Whose public keys each cannot do without. Replicas need the switch's if they use one."""

_KEY_SIZE = 32


@dataclass(frozen=True)
class Keys:
    """The keys one party uses, Z85-encoded. `peers` are those it accepts."""

    party: Party
    public: bytes
    secret: bytes
    peers: dict[Party, bytes]

    def has(self, party: Party) -> bool:
        """Whether the public key of `party` is there."""
        return party in self.peers or party is self.party

    def of(self, party: Party) -> bytes:
        """The public key of `party`. Raises `UsageError` if it is not there."""
        if party is self.party:
            return self.public
        if party not in self.peers:
            raise UsageError(
                f"among the keys {party}.key, the public key of the {party}, is missing"
            )
        return self.peers[party]


def create(directory: Path) -> list[Path]:
    """Make new keys in `directory`, which must be empty or not exist; the files."""
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        if any(directory.iterdir()):
            raise UsageError(f"{directory} is not empty; name a new directory for the keys")
        files = []
        mask = os.umask(0o077)
        try:
            for party in Party:
                files += [Path(f) for f in zmq.auth.create_certificates(directory, party)]
        finally:
            os.umask(mask)
    except OSError as error:
        raise HostError(f"cannot make keys in {directory}: {error.strerror}") from error
    return files


def load(directory: Path, party: Party) -> Keys:
    """The keys `party` needs from `directory`."""
    secret_file = directory / f"{party}.key_secret"
    own = read_key(secret_file)
    if own is None:
        raise UsageError(
            f"{directory} lacks {secret_file.name}, the secret key of the {party}: make keys",
            key=("keys",),
        )
    public, secret = own
    if secret is None:
        raise UsageError(f"{secret_file} holds no secret key")
    others = {p: read_key(directory / f"{p}.key") for p in Party if p is not party}
    peers = {other: keys[0] for other, keys in others.items() if keys is not None}
    for needed in _NEEDED[party]:
        if needed not in peers:
            raise UsageError(f"{directory} lacks {needed}.key, the public key of the {needed}")
    holders: dict[bytes, Party] = {}
    for holder, key in {party: public, **peers}.items():
        other = holders.setdefault(key, holder)
        if other is not holder:
            raise UsageError(
                f"in {directory} the keys of {other} and {holder} are the same, and nobody could "
                "tell who is who: make new ones",
                key=("keys",),
            )
    return Keys(party, public, secret, peers)


def read_key(file: Path) -> tuple[bytes, bytes | None] | None:
    """The public key in a file, and the secret one if it is there; None if there is no file."""
    try:
        mode = file.stat().st_mode
        if file.suffix == ".key_secret" and mode & 0o077:
            raise UsageError(f"{file} can be read by others; chmod 600 it")
        public, secret = zmq.auth.load_certificate(file)
        for key in (public,) if secret is None else (public, secret):
            if len(z85.decode(key)) != _KEY_SIZE:
                raise ValueError("a key of another length")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UsageError(
            f"cannot read the key file {file}: {error.strerror}; "
            "it must be readable for who runs this"
        ) from error
    except (ValueError, LookupError, struct.error) as error:
        raise UsageError(
            f"{file} holds no valid key; copy it again, or make new ones", key=("keys",)
        ) from error
    return public, secret
