"""Registers in a directory that hosts share, each changed by a step that only one can do.

Theory of operation. Each key belongs to one of 64 *shards*. A shard has a *revision*, which every
change raises by one, and at each revision a *content*: all its entries, each of which has as its
version the revision of its last change. The directory holds, for a shard at revision 7,

    3f.7.93ab8b22f4b54ac9        the baton: empty, and the only one of its shard
    3f.7.93ab8b22f4b54ac9.json   the content, which never changes

Who wants to change it writes the next content, durably, as 3f.8.TOKEN.json with a token that nobody
else ever draws, and then passes the baton on: rename(2) from 3f.7.93ab8b22f4b54ac9 to 3f.8.TOKEN.

*Of all who want to change revision 7 exactly one does.* A rename consumes the name that it is
given, and no name of a baton ever comes again, since each is made by one rename to a name with a
token of its own. So however late a rename comes, after a minute or a year, it finds its name
or it does not; and if it does, nobody has changed the shard since its content was read. That needs
no clock and no time limit, unlike creating a file of the next version, which may have been there
and been removed. A rename is atomic on local file systems and on an NFS server.

*What is removed is needed by nobody.* Contents are removed that are of the shard's revision or
before, but not the baton's own. Whoever has one of those in hand still to give it the baton cannot:
he would take it from an earlier name, which is gone. So neither deleted keys nor failed changes
leave anything behind, and a version never comes again although nothing is remembered of a deleted
key: the shard's revision only rises, and shards are never removed.

*A rename whose answer was lost.* A client of NFS that hears nothing asks again, and may be told
that the name is not there, though it was its own first try that renamed it. The contents tell: each
has the tokens of the last revisions, its *trail*. If that does not reach back there is no answer.

*Reading.* The batons are found by listing the directory (which on Linux asks an NFS server whether
it has changed). A listing is no picture of one moment: of a name that is just being changed both
may be seen, and the higher one counts, or none, and then it is listed again. A content that is not
there although a later listing still has its baton is lost.

*The directory comes into being* with all batons, under another name, and is renamed to its own,
which only one can do, since one with files in it is never replaced. It has a file whose name tells
it from others, so that one that was replaced is not taken for what it was.

What is foreign in the directory is left alone.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import secrets
import shutil
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from vlockstep.cluster.store.interface import StoreError
from vlockstep.cluster.store.values import Stored
from vlockstep.files.atomicfile import sync

COUNT = 64
TRAIL = 64
"""Revisions."""
MAX_CONTENT = 1 << 28
"""Bytes of a content."""
_NAME = re.compile(r"([0-3][0-9a-f])\.(\d{1,15})\.([0-9a-f]{16})(\.json)?")
_IDENTITY = re.compile(r"id\.[0-9a-f]{16}")
_FORMAT = 1
_LISTINGS = 100
"""How often it is listed in a row before a baton that was never seen is lost."""


class Baton(NamedTuple):
    shard: int
    revision: int
    token: str

    @property
    def name(self) -> str:
        return f"{self.shard:02x}.{self.revision}.{self.token}"

    @property
    def content(self) -> str:
        return self.name + ".json"


class Shard(NamedTuple):
    baton: Baton
    entries: Mapping[str, Stored]
    trail: tuple[str, ...]
    """The tokens of the last revisions, this one's last."""


class Shards:
    """Those in the directory `home`, where they are made if there are none. Its parent must be
    there: a file system that is not mounted is not to be mistaken for an empty one.

    What it is asked may hang as long as the file system does. Raises `StoreError`.
    """

    def __init__(self, home: Path) -> None:
        self._home = home
        self._identity = ""
        self._known: dict[int, Shard] = {}
        self._superseded: list[Baton] = []
        """Those of contents that the last listing had and nobody needs."""

    def read_all(self) -> list[Shard]:
        batons = self._list()
        return [self._load(baton) or self.read(baton.shard) for baton in batons]

    def read(self, shard: int) -> Shard:
        baton = self._list()[shard]
        while (content := self._load(baton)) is None:
            before, baton = baton, self._list()[shard]
            if baton == before:
                raise StoreError(
                    f"the store {self._home} has lost its file {baton.content}: restore it"
                )
        return content

    def replace(self, before: Shard, entries: Mapping[str, Stored]) -> Shard | None:
        """Give a shard its next content; None if somebody else has."""
        old = before.baton
        new = Baton(old.shard, old.revision + 1, secrets.token_hex(8))
        shard = Shard(new, entries, (*before.trail[1 - TRAIL :], new.token))
        with self._doing("write"):
            self._write(shard)
        with self._doing("write"):
            try:
                (self._home / old.name).rename(self._home / new.name)
            except FileNotFoundError:
                if not self._passed_to(new):
                    (self._home / new.content).unlink(missing_ok=True)
                    return None
            sync(self._home)
            self._known[new.shard] = shard
            for baton in (*self._superseded, old):
                if baton.shard == new.shard:
                    (self._home / baton.content).unlink(missing_ok=True)
        return shard

    def _passed_to(self, baton: Baton) -> bool:
        """Whether this one was the next, although its rename was told that it was not."""
        now = self.read(baton.shard)
        later = now.baton.revision - baton.revision
        if later < 0 or later >= len(now.trail):
            raise StoreError(f"the store {self._home} has been changed too often to tell by whom")
        return now.trail[-1 - later] == baton.token

    # The directory

    def _list(self) -> list[Baton]:
        """The batons of all shards."""
        for _ in range(_LISTINGS):
            try:
                with os.scandir(self._home) as entries:
                    names = [entry.name for entry in entries]
            except FileNotFoundError:
                self._make()
                continue
            except OSError as error:
                raise self._failed("read", error) from error
            batons = self._parse(names)
            if len(batons) == COUNT:
                return [self._check_newest(batons[shard]) for shard in range(COUNT)]
        raise StoreError(f"the directory {self._home} has not all files of a store: restore them")

    def _parse(self, names: list[str]) -> dict[int, Baton]:
        identities = [name for name in names if _IDENTITY.fullmatch(name)]
        self._identity = self._identity or "".join(identities)
        if identities != [self._identity]:
            raise StoreError(
                f"the directory {self._home} is no store, or another than it was: start again "
                "with the right one"
            )
        batons: dict[int, Baton] = {}
        contents = []
        for match in map(_NAME.fullmatch, names):
            if match:
                baton = Baton(int(match[1], 16), int(match[2]), match[3])
                if match[4]:
                    contents.append(baton)
                else:
                    batons[baton.shard] = max(baton, batons.get(baton.shard, baton))
        self._superseded = [
            content
            for content in contents
            if content.shard in batons
            and content.revision <= batons[content.shard].revision
            and content != batons[content.shard]
        ]
        return batons

    def _check_newest(self, baton: Baton) -> Baton:
        known = self._known.get(baton.shard)
        if known and (baton.revision, baton.token) < (known.baton.revision, known.baton.token):
            raise StoreError(
                f"the store {self._home} shows an older state than before: if it was restored "
                "from a copy, start again"
            )
        return baton

    def _make(self) -> None:
        """Unless somebody else has meanwhile."""
        if self._identity:
            raise StoreError(f"the store {self._home} has vanished")
        draft = self._home.parent / f".{secrets.token_hex(8)}.part"
        with self._doing("make"):
            if not self._home.parent.is_dir():
                raise StoreError(
                    f"there is no directory {self._home.parent}: make it, on storage that all "
                    "hosts share"
                )
            try:
                draft.mkdir()
                (draft / f"id.{secrets.token_hex(8)}").touch()
                for shard in range(COUNT):
                    (draft / Baton(shard, 0, "0" * 16).name).touch()
                sync(draft)
                with contextlib.suppress(FileNotFoundError):  # done, if the answer got lost
                    draft.rename(self._home)
                sync(self._home.parent)
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    raise
            finally:
                shutil.rmtree(draft, ignore_errors=True)

    # Contents

    def _load(self, baton: Baton) -> Shard | None:
        """None if it is not there any more."""
        known = self._known.get(baton.shard)
        if known and known.baton == baton:
            return known
        if baton.revision == 0:
            shard = Shard(baton, {}, (baton.token,))
        else:
            try:
                shard = self._parse_content(baton, self._read(baton.content))
            except OSError as error:
                if error.errno in (errno.ENOENT, errno.ESTALE):
                    return None
                raise self._failed("read", error) from error
            except (ValueError, TypeError, RecursionError) as error:
                raise StoreError(
                    f"{self._home / baton.content} is damaged ({error}): restore it"
                ) from error
        self._known[baton.shard] = shard
        return shard

    def _read(self, name: str) -> bytes:
        flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
        with os.fdopen(os.open(self._home / name, flags), "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode) or status.st_size > MAX_CONTENT:
                raise ValueError("no file, or far too large")
            return file.read()

    def _parse_content(self, baton: Baton, data: bytes) -> Shard:
        content = json.loads(data)
        if not isinstance(content, dict) or content.get("format") != _FORMAT:
            raise ValueError(f"not of format {_FORMAT}")
        trail, rows = content.get("trail"), content.get("entries")
        if (
            not (isinstance(trail, list) and trail and isinstance(rows, dict))
            or {type(token) for token in trail} != {str}
            or trail[-1] != baton.token
        ):
            raise ValueError("not of this revision")
        entries = {key: Stored(*row) for key, row in rows.items()}
        for key, stored in entries.items():
            kinds = tuple(map(type, stored))
            if kinds != (str, int, str) or not 0 < stored.version <= baton.revision:
                raise ValueError(f"odd entry {key!r:.80}")
        return Shard(baton, entries, tuple(trail))

    def _write(self, shard: Shard) -> None:
        content = {"format": _FORMAT, "trail": shard.trail, "entries": shard.entries}
        data = json.dumps(content, ensure_ascii=False).encode()
        if len(data) > MAX_CONTENT:
            raise StoreError(f"the store {self._home} is full: delete something")
        draft = self._home / shard.baton.content
        try:
            with draft.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        except OSError:
            with contextlib.suppress(OSError):
                draft.unlink()
            raise

    # Errors

    @contextlib.contextmanager
    def _doing(self, what: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise self._failed(what, error) from error

    def _failed(self, what: str, error: OSError) -> StoreError:
        return StoreError(f"cannot {what} the store {self._home}: {error.strerror}")


def shard_of(key: str) -> int:
    return hashlib.blake2b(key.encode(), digest_size=1).digest()[0] % COUNT
