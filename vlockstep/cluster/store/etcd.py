"""The store in etcd.

An entry's version is its `mod_revision`, the revision of the whole of etcd at its last change,
which unlike etcd's own version of a key rises over deletions; compared with, it is 0 for a key that
is not there. Leases are etcd's: those of a whole number of seconds, and at least as many as its
election takes.

A watch is a thread that keeps a mirror of what it watches: one member streams all changes since
a revision; when it breaks off, or has been silent for so long that it may hang, the next one goes
on from the last change. If etcd has forgotten that by then (it was compacted), all is read again.
"""

from __future__ import annotations

import base64
import contextlib
import math
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple, TypeVar

from vlockstep.cluster.store.etcdaddress import Address, parse_address
from vlockstep.cluster.store.gateway import MALFORMED, NOT_FOUND, EtcdError, Gateway, Message
from vlockstep.cluster.store.interface import (
    Change,
    Conflict,
    Entry,
    Expired,
    Lease,
    StoreError,
    Value,
    Watch,
    check_expected,
    check_ttl,
    elapsed,
)
from vlockstep.cluster.store.polling import Told, Watchers
from vlockstep.cluster.store.values import (
    Reading,
    check_key,
    check_prefix,
    encode,
    entry_of,
    is_key,
    within,
)
from vlockstep.cluster.store.worker import Worker

T = TypeVar("T")
PAGE = 64
"""Entries that are asked for at a time."""
SILENCE = 10.0
"""Seconds after which a stream of changes is opened anew."""
PAUSE = 0.2
"""Seconds before that after a failure."""


class _Stored(NamedTuple):
    text: bytes
    version: int


class EtcdStore:
    """The store at an address, as `parse_address` takes it. Calls take at most `limit` seconds.
    What is written is read by `entry`."""

    def __init__(self, address: str, *, limit: float = 5.0, entry: Reading = entry_of) -> None:
        self._entry = entry
        self._keys = _Keys(parse_address(address))
        self._gateway = Gateway(self._keys.address)
        self._worker = Worker("etcd", limit)
        self._watchers = Watchers()

    def get(self, key: str) -> Entry | None:
        check_key(key)
        answer = self._ask("kv/range", {"key": self._keys.encode(key)})
        with _understanding():
            stored = _stored(answer)
        return self._told(key, stored)

    def list(self, prefix: str) -> dict[str, Entry]:
        check_prefix(prefix)
        _, found = self._call(lambda give_up: self._keys.list(self._gateway, prefix, give_up))
        self._watchers.learn(found)
        return {key: self._entry(key, stored) for key, stored in found.items()}

    def put(self, key: str, value: Value, expected: int | None, lease: Lease | None = None) -> int:
        check_key(key)
        text = _base64(encode(key, value).encode())
        put = {"key": self._keys.encode(key), "value": text}
        if lease is not None:
            put["lease"] = lease.identity
        try:
            revision = self._change(key, expected, {"request_put": put})
        except EtcdError as error:
            if lease is not None and error.code == NOT_FOUND:
                raise Expired from error
            raise
        self._watchers.learn([key])
        return revision

    def delete(self, key: str, expected: int | None) -> None:
        check_key(key)
        self._change(key, expected, {"request_delete_range": {"key": self._keys.encode(key)}})

    def watch(self, prefix: str) -> Watch:
        check_prefix(prefix)
        revision, found = self._call(
            lambda give_up: self._keys.list(self._gateway, prefix, give_up)
        )
        watch = EtcdWatch(self._watchers, self._keys, prefix, revision, found, self._entry)
        self._watchers.add(watch)
        return watch

    def grant(self, ttl: float) -> Lease:
        check_ttl(ttl)
        asked = elapsed()
        answer = self._ask("lease/grant", {"TTL": str(math.ceil(ttl))})
        with _understanding():
            identity, granted = str(answer["ID"]), float(answer["TTL"])
        return Lease(identity, granted, asked, elapsed, self._keepalive, self._revoke)

    def close(self) -> None:
        self._worker.close(self._gateway.close)

    def _keepalive(self, identity: str) -> None:
        answer = self._ask("lease/keepalive", {"ID": identity})
        if "TTL" not in answer:
            raise Expired

    def _revoke(self, identity: str) -> None:
        try:
            self._ask("lease/revoke", {"ID": identity})
        except EtcdError as error:
            if error.code != NOT_FOUND:
                raise

    def _change(self, key: str, expected: int | None, request: Message) -> int:
        """The revision then."""
        check_expected(expected)
        name = self._keys.encode(key)
        compare = {"key": name, "target": "MOD", "result": "EQUAL", "mod_revision": str(expected)}
        answer = self._ask(
            "kv/txn",
            {
                "compare": [] if expected is None else [compare],
                "success": [request],
                "failure": [{"request_range": {"key": name}}],
            },
            once=True,
        )
        with _understanding():
            if answer.get("succeeded"):
                return int(answer["header"]["revision"])
            stored = _stored(answer["responses"][0]["response_range"])
        raise Conflict(key, self._told(key, stored))

    def _told(self, key: str, stored: _Stored | None) -> Entry | None:
        if stored is None:
            return None
        self._watchers.learn([key])
        return self._entry(key, stored)

    def _ask(self, method: str, body: Message, *, once: bool = False) -> Message:
        return self._call(lambda give_up: self._gateway.ask(method, body, give_up, once=once))

    def _call(self, call: Callable[[float], T]) -> T:
        """Whoever makes it gives up a little earlier than who waits for it, and can say why."""
        return self._worker.call(lambda: call(elapsed() + 0.9 * self._worker.limit))


class EtcdWatch:
    def __init__(
        self,
        watchers: Watchers,
        keys: _Keys,
        prefix: str,
        revision: int,
        found: dict[str, _Stored],
        entry: Reading,
    ) -> None:
        self._entry = entry
        self._watchers = watchers
        self._keys = keys
        self._prefix = prefix
        self._gateway = Gateway(keys.address)
        self._revision = revision
        self._mirror = found
        self._told = Told(prefix, found)
        self._learnt: set[str] = set()
        self._error: StoreError | None = None
        self._closed = False
        self._changed = threading.Condition()
        self._news = False
        threading.Thread(target=self._follow, name="store watch", daemon=True).start()

    def poll(self, seconds: float) -> list[Change]:
        with self._changed:
            self._changed.wait_for(lambda: self._news or self._closed, seconds)
            changes = self._told.news(lambda: self._mirror, self._entry)
            self._news = False
            if not changes and self._error is not None:
                raise self._error
        return changes

    def learn(self, keys: Iterable[str]) -> None:
        """What the mirror may not know when all is read again."""
        with self._changed:
            self._learnt.update(key for key in keys if within(self._prefix, key))

    def close(self) -> None:
        """A poll that waits ends."""
        self._watchers.remove(self)
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._gateway.interrupt()

    # Its thread

    def _follow(self) -> None:
        while not self._closed:
            try:
                compacted = self._stream()
                self._gateway.turn()
                if compacted:
                    self._read_again()
            except StoreError as error:
                self._gateway.turn()
                self._gateway.log_out()
                with self._changed:
                    self._error = error
                    self._changed.wait_for(lambda: self._closed, PAUSE)
        self._gateway.close()

    def _stream(self) -> bool:
        """Until it ends; whether that was since etcd has forgotten what comes next."""
        create = self._keys.range(self._prefix) | {"start_revision": str(self._revision + 1)}
        for message in self._gateway.stream("watch", {"create_request": create}, SILENCE):
            if "compact_revision" in message:
                return True
            if message.get("canceled"):
                reason = message.get("cancel_reason", "no reason given")
                raise StoreError(f"etcd has ended a watch: {reason}")
            with _understanding():
                self._take(message)
            if self._closed:
                break
        return False

    def _take(self, message: Message) -> None:
        with self._changed:
            self._error = None
            for event in message.get("events", []):
                name, stored = self._keys.parse(event["kv"])
                self._revision = int(event["kv"]["mod_revision"])
                if name is None or not within(self._prefix, name):
                    continue
                if event.get("type") == "DELETE":
                    self._mirror.pop(name, None)
                    self._learnt.discard(name)
                    self._told.learn([name])
                else:
                    self._mirror[name] = stored
                self._news = True
            self._changed.notify_all()

    def _read_again(self) -> None:
        revision, found = self._keys.list(self._gateway, self._prefix, elapsed() + SILENCE)
        with self._changed:
            self._revision, self._mirror, self._news = revision, found, True
            self._told.learn(self._learnt)
            self._learnt = set()
            self._changed.notify_all()


class _Keys:
    """How keys stand in etcd."""

    def __init__(self, address: Address) -> None:
        self.address = address
        self._before = address.prefix + "/"

    def encode(self, key: str) -> str:
        return _base64((self._before + key).encode())

    def range(self, prefix: str) -> dict[str, str]:
        """Of all that a prefix means, and some more."""
        start = self._before + prefix
        end = start.removesuffix("/") + "0"  # which follows the slash
        return {"key": _base64(start.encode()), "range_end": _base64(end.encode())}

    def parse(self, kv: Message) -> tuple[str | None, _Stored]:
        """None for a key that is none of ours."""
        stored = _parse(kv)
        name = base64.b64decode(kv["key"]).decode(errors="replace")
        key = name.removeprefix(self._before)
        return key if name.startswith(self._before) and is_key(key) else None, stored

    def list(self, gateway: Gateway, prefix: str, give_up: float) -> tuple[int, dict[str, _Stored]]:
        """A revision, and what a prefix means then or, in part, somewhat later."""
        body: Message = self.range(prefix) | {"limit": str(PAGE)}
        revision, found = 0, {}
        while True:
            answer = gateway.ask("kv/range", body, give_up)
            with _understanding():
                revision = revision or int(answer["header"]["revision"])
                page = answer.get("kvs", [])
                for key, stored in map(self.parse, page):
                    if key is not None and within(prefix, key):
                        found[key] = stored
                if not answer.get("more"):
                    return revision, dict(sorted(found.items()))
                body["key"] = _base64(base64.b64decode(page[-1]["key"]) + b"\0")


def _stored(answer: Message) -> _Stored | None:
    kvs = answer.get("kvs")
    return _parse(kvs[0]) if kvs else None


def _parse(kv: Message) -> _Stored:
    text = base64.b64decode(kv.get("value", ""), validate=True)
    return _Stored(text, int(kv["mod_revision"]))


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


@contextlib.contextmanager
def _understanding() -> Iterator[None]:
    """What etcd says."""
    try:
        yield
    except MALFORMED as error:
        raise StoreError(f"what answers does not speak as etcd does ({error!r})") from error
