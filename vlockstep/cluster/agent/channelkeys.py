"""The keys of guests' logging channels and switches: one set for all hosts of a cluster.

The first host makes them, and the store says which set it is; every other host is given them on the
management network, where only hosts of the cluster are heard.
"""

from __future__ import annotations

import hashlib
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from vlockstep.cluster.agent.network import ManagementNetwork
from vlockstep.cluster.store import Conflict, Store
from vlockstep.errors import HostError
from vlockstep.wire import keys
from vlockstep.wire.codec import Codec, MessageError

_RECORD = "channel-keys"
_SECONDS = 30.0
_AGAIN = 0.2
_MOST_FILES = 16


@dataclass(frozen=True, slots=True)
class Wanted:
    """Give me the keys of this digest."""

    digest: str


@dataclass(frozen=True, slots=True)
class Given:
    """These are their files, by name."""

    digest: str
    files: dict[str, str]


_FIRST = 32
"""Of the kinds of messages; the monitors' are below."""
_CODEC = Codec[Wanted | Given]({_FIRST: Wanted, _FIRST + 1: Given})


def is_about_keys(data: bytes) -> bool:
    return data[:1] >= bytes((_FIRST,))


class ChannelKeys:
    """In `directory`, once `obtain` has returned."""

    def __init__(self, directory: Path, network: ManagementNetwork) -> None:
        self.directory = directory
        self._network = network

    def obtain(self, store: Store, host: str, know: Callable[[], list[str]]) -> None:
        """Make them if nobody has, else get them from a host that has. `know` tells which other
        hosts there are now, and lets the network know them."""
        if store.get(_RECORD) is None and not self.directory.exists():
            self._make(store, host)
        entry = store.get(_RECORD)
        assert entry is not None
        digest = str(entry.value.get("digest"))
        deadline = time.monotonic() + _SECONDS
        while self._digest() != digest:
            if time.monotonic() > deadline:
                raise HostError(
                    "no host gives this one the keys of the guests' channels: start one that has "
                    f"them, such as {entry.value.get('host')}"
                )
            for other in know():
                self._network.send(other, _CODEC.encode(Wanted(digest)))
            self._network.wait(_AGAIN)
            for sender, data in self._network.heard():
                if is_about_keys(data):
                    self.heard(sender, data, digest)

    def heard(self, sender: str, data: bytes, wanted: str = "") -> None:
        """A message of another host's, which may want them, or give the `wanted` ones."""
        try:
            message = _CODEC.decode(data)
        except MessageError:
            return
        match message:
            case Wanted(digest) if digest == self._digest():
                files = {path.name: path.read_text() for path in self._files()}
                self._network.send(sender, _CODEC.encode(Given(digest, files)))
            case Given(digest, files) if wanted and digest == wanted:
                self._take(files, digest)

    def _make(self, store: Store, host: str) -> None:
        draft = self.directory.with_name(f".{uuid.uuid4().hex}.keys")
        keys.create(draft)
        digest = _digest_of(draft)
        with suppress(Conflict):
            store.put(_RECORD, {"digest": digest, "host": host}, 0)
            draft.rename(self.directory)
            return
        for path in draft.iterdir():
            path.unlink()
        draft.rmdir()

    def _take(self, files: dict[str, str], digest: str) -> None:
        names = {f"{party}{suffix}" for party in keys.Party for suffix in (".key", ".key_secret")}
        if files.keys() != names or len(files) > _MOST_FILES:
            return
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name, text in files.items():
            path = self.directory / name
            path.touch(mode=0o600)
            path.write_text(text)

    def _digest(self) -> str:
        return _digest_of(self.directory)

    def _files(self) -> Iterator[Path]:
        return iter(sorted(self.directory.glob("*.key*")))


def _digest_of(directory: Path) -> str:
    """Of the public keys there; "" if there are none."""
    digest = hashlib.blake2b(digest_size=16)
    found = sorted(directory.glob("*.key"))
    for path in found:
        digest.update(path.read_bytes())
    return digest.hexdigest() if found else ""
