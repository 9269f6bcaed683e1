"""Guests with a network, for clients that nobody here wrote."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import redis
from net.namespace import (
    GUEST,
    PATIENT,
    PRIMARY_NET,
    SECONDARY_NET,
    add_pair_network,
    namespace,
    until_running,
)
from redis.backoff import NoBackoff
from redis.retry import Retry

from vlockstep.testing.pair import Pair
from vlockstep.testing.process import TIMEOUT, ReplicaProcess

ARGUMENTS = [f"--ipv4={GUEST}/24"]


@contextmanager
def lan() -> Iterator[None]:
    """A network of the test's own, on which the devices tapa and tapb receive every frame."""
    with namespace():
        add_pair_network()
        yield


# Guests


class Unprotected(ReplicaProcess):
    """`vlockstep run`, by default in `lan`."""

    def __init__(
        self,
        guest: str,
        *options: object,
        net: str = "tap:tapa",
        arguments: Sequence[str] = ARGUMENTS,
    ) -> None:
        command = ["run", guest, "--mem", 64, "--net", f"net={net}", *options, "--", *arguments]
        super().__init__("guest", command, lambda: self.report())

    def wait_text(self, text: str) -> None:
        """Until there is such a line."""
        self._wait(repr(text), TIMEOUT, lambda: any(text in line for line in self.text) or None)


@contextmanager
def alone(guest: str, *options: object) -> Iterator[Unprotected]:
    """An unprotected guest in `lan`. It still runs at the end, unless it was killed."""
    with until_running("tapa"):
        process = Unprotected(guest, *options)
    try:
        yield process
        assert process.exit_status in (None, -9), process.report()
    finally:
        process.close()


def protected(guest: str, directory: Path, *, misses: int = PATIENT, **more: Any) -> Pair:
    """A protected guest in `lan`."""
    return Pair(
        guest,
        ARGUMENTS,
        directory=directory,
        misses=misses,
        primary_options=PRIMARY_NET,
        secondary_options=SECONDARY_NET,
        **more,
    )


@contextmanager
def serving(guest: str, how: str, directory: Path) -> Iterator[None]:
    """A guest in `lan`, alone or protected to the end."""
    if how == "alone":
        with alone(guest):
            yield
        return
    with protected(guest, directory) as pair:
        yield
        for process in map(pair.process, ("primary", "secondary")):
            assert process.exit_status is None, process.report()
        assert not any(e["event"] == "live" for e in pair.events("secondary"))


# Clients


def client(host: str = GUEST, port: int = 6379, protocol: int = 3) -> redis.Redis:
    """The Python client on one connection, but for pipelines; it does nothing a second time."""
    return redis.Redis(
        host,
        port,
        protocol=protocol,
        single_connection_client=True,
        socket_timeout=TIMEOUT,
        socket_connect_timeout=TIMEOUT,
        retry=Retry(NoBackoff(), 0),
    )


def program(*command: object, stdin: bytes = b"", status: int = 0) -> str:
    """What it writes to stdout."""
    done = subprocess.run([*map(str, command)], input=stdin, capture_output=True, timeout=60)
    assert done.returncode == status, (done.returncode, done.stdout, done.stderr)
    return done.stdout.decode()


class Increments:
    """INCR of one key on one connection, again and again in a thread until `stop`."""

    def __init__(self, key: str, host: str = GUEST, port: int = 6379) -> None:
        self.replies: list[int] = []
        self.error: Exception | None = None
        """What ended it before `stop`."""
        self._key = key
        self._client = client(host, port)
        self._stop = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Increments:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop = True
        self._thread.join()
        self._client.close()

    def wait_more(self, count: int) -> None:
        """Until there are so many replies more than now."""
        with self._changed:
            wanted = len(self.replies) + count
            self._changed.wait_for(lambda: len(self.replies) >= wanted or self.error, TIMEOUT)
            assert len(self.replies) >= wanted, self.error

    def wait_error(self) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: self.error, TIMEOUT)

    def _run(self) -> None:
        while not self._stop and not self.error:
            try:
                reply = self._client.incr(self._key)
            except Exception as error:
                with self._changed:
                    self.error = error
                    self._changed.notify_all()
            else:
                with self._changed:
                    self.replies.append(reply)
                    self._changed.notify_all()
