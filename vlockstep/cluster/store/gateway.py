"""etcd, asked in JSON: its gateway at `/v3/`, over a connection that is kept.

Several endpoints are asked in turn until one answers, unless what is asked must not be done twice
and may have been done. Each request says that it wants a member which has a leader (the metadata
`hasleader` of etcd's own clients): one that is cut off from the others refuses at once.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import select
import socket
import ssl
import time
from collections.abc import Iterator
from typing import Any

from vlockstep.cluster.store.etcdaddress import Address, Endpoint
from vlockstep.cluster.store.interface import StoreError, elapsed

PAUSE = 0.1
"""Seconds between rounds while the members elect a leader."""
MAX_ANSWER = 1 << 28
"""Bytes."""
NOT_FOUND = 5
MALFORMED = (LookupError, ValueError, TypeError, AttributeError, RecursionError)
"""What comes of a message that is not as etcd's are."""
_FAILURES = {1, 2, 4, 13, 14}
"""gRPC's codes by which nobody knows what was done: CANCELLED, UNKNOWN, DEADLINE_EXCEEDED,
INTERNAL, UNAVAILABLE."""
_NOT_YET = {
    "etcdserver: no leader": "has no leader: see that most members of etcd run and reach each "
    "other",
    "etcdserver: too many requests": "is overloaded",
}
"""Said before anything is done."""
_NOT_JSON = {
    b"HTTP request to an HTTPS server": "wants TLS: give its authority, ca=FILE",
    b"CommonName of client": "knows users, and so wants a cert without a common name (CN)",
    b"404 page not found": "is too old, or no etcd: 3.4 is needed",
}
"""Said before it comes to an answer."""
_OLD_TOKEN = ("invalid auth token", "auth: revision in header is old", "auth store is old")
_HINTS = {
    "authentication failed": "see to the user and its password",
    "user name is empty": "name a user and its password",
    "authentication is not enabled": "name no user",
    "permission denied": "name a user who may read and write all keys that begin with the prefix",
    "database space exceeded": "compact and defragment it, then clear its alarm",
}

Message = dict[str, Any]


class EtcdError(StoreError):
    """etcd refuses, with a `code` of gRPC: nothing was done."""

    def __init__(self, text: str, code: int) -> None:
        hint = next((f": {hint}" for said, hint in _HINTS.items() if said in text), "")
        super().__init__(f"etcd says: {text.removeprefix('etcdserver: ')}{hint}")
        self.text = text
        self.code = code


class _Failure(Exception):
    """Of an endpoint, for this reason. `undone` is whether surely nothing was done, `soon` whether
    it may do better in a moment."""

    def __init__(self, why: object, *, undone: bool = False, soon: bool = False) -> None:
        super().__init__(why)
        self.undone = undone
        self.soon = soon


class Gateway:
    """Used by one thread at a time. Raises `StoreError`."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._endpoints = list(address.endpoints)
        self._connection: _Connection | None = None
        """To the first endpoint."""
        self._token = ""
        self._cluster = ""

    def ask(self, method: str, body: Message, give_up: float, *, once: bool = False) -> Message:
        """The answer, by the time `give_up` of `elapsed`; `once` if it must not be done twice."""
        while True:
            failures, soon = [], False
            for left in range(len(self._endpoints), 0, -1):
                endpoint = self._endpoints[0]
                share = elapsed() + (give_up - elapsed()) / left
                try:
                    return self._ask_first(method, body, share, give_up if once else share)
                except _Failure as failure:
                    self.turn()
                    if once and not failure.undone:
                        raise StoreError(
                            f"etcd at {endpoint} {failure}: what it was asked may have been done "
                            "or not"
                        ) from failure
                    failures.append(f"{endpoint} {failure}")
                    soon = soon or failure.soon
            if not soon or elapsed() + PAUSE >= give_up:
                raise StoreError(f"etcd does not answer: {'; '.join(failures)}")
            time.sleep(PAUSE)

    def stream(self, method: str, body: Message, silence: float) -> Iterator[Message]:
        """Messages of one endpoint, until it has said nothing for `silence` seconds."""
        endpoint, give_up = self._endpoints[0], elapsed() + silence
        try:
            with self._failing():
                self._log_in(give_up, give_up)
                connection = self._send(method, body, give_up)
                response = connection.answer(give_up)
                connection.socket.settimeout(silence)
            while True:
                with self._failing():
                    try:
                        line = response.readline(MAX_ANSWER)
                    except TimeoutError:
                        return
                    if not line:
                        raise _Failure("has ended its answer")
                    message = self._parse(response.status, line)
                yield message
        except _Failure as failure:
            raise StoreError(f"etcd at {endpoint} {failure}") from failure

    def turn(self) -> None:
        """Ask another endpoint from now on."""
        self.close()
        self._endpoints.append(self._endpoints.pop(0))

    def log_out(self) -> None:
        """What one is logged in with may be worth nothing any more."""
        self._token = ""

    def interrupt(self) -> None:
        """From another thread: let what waits for an answer fail."""
        if (connection := self._connection) is not None:
            with contextlib.suppress(OSError):
                connection.socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    # One endpoint

    def _ask_first(self, method: str, body: Message, reach_by: float, answer_by: float) -> Message:
        try:
            self._log_in(reach_by, answer_by)
            return self._exchange(method, body, reach_by, answer_by)
        except EtcdError as error:
            if not self._token or not any(said in error.text for said in _OLD_TOKEN):
                raise
        self.log_out()
        self._log_in(reach_by, answer_by)
        return self._exchange(method, body, reach_by, answer_by)

    def _log_in(self, reach_by: float, answer_by: float) -> None:
        if not self._address.user or self._token:
            return
        who = {"name": self._address.user, "password": self._address.password}
        try:
            answer = self._exchange("auth/authenticate", who, reach_by, answer_by)
        except _Failure as failure:
            raise _Failure(failure, undone=True, soon=failure.soon) from failure
        self._token = str(answer.get("token", ""))

    def _exchange(self, method: str, body: Message, reach_by: float, answer_by: float) -> Message:
        with self._failing():
            connection = self._send(method, body, reach_by)
            response = connection.answer(answer_by)
            return self._parse(response.status, connection.rest(response, answer_by))

    def _send(self, method: str, body: Message, reach_by: float) -> _Connection:
        if self._connection is None or not self._connection.idle:
            self.close()
            try:
                self._connection = _Connection(self._address, self._endpoints[0], reach_by)
            except ssl.SSLCertVerificationError as error:
                why = f"has a certificate that is not trusted ({error.verify_message})"
                raise _Failure(why, undone=True) from error
            except ssl.SSLError as error:
                raise _Failure(f"speaks no TLS with us ({error.reason})", undone=True) from error
            except (ConnectionResetError, BrokenPipeError) as error:  # by who had accepted
                ask = "" if self._address.tls is None else ": does it speak TLS?"
                raise _Failure(f"breaks off{ask}", undone=True) from error
            except TimeoutError as error:
                raise _Failure("cannot be reached in time", undone=True) from error
            except OSError as error:
                raise _Failure(f"cannot be reached ({error.strerror})", undone=True) from error
        self._connection.send(method, body, self._token)
        return self._connection

    @contextlib.contextmanager
    def _failing(self) -> Iterator[None]:
        """With what cannot be understood no connection goes on."""
        try:
            yield
        except TimeoutError as error:
            raise _Failure("does not answer in time") from error
        except ssl.SSLError as error:
            raise _Failure(f"breaks TLS off ({error.reason}): does it want a cert?") from error
        except OSError as error:
            raise _Failure(f"breaks off ({error.strerror or error})") from error
        except (http.client.HTTPException, *MALFORMED) as error:
            raise _Failure(f"does not speak as etcd does ({error!r})") from error

    def _parse(self, status: int, data: bytes) -> Message:
        """The message that is there, or what it says instead."""
        try:
            message = json.loads(data)
        except ValueError:
            for said, means in _NOT_JSON.items():
                if said in data:
                    raise _Failure(means, undone=True) from None
            raise
        if "error" in message:
            error = text = message["error"]
            code = message.get("code")
            if isinstance(error, dict):  # in a stream
                text, code = error["message"], error["grpc_code"]
            if why := _NOT_YET.get(text):
                raise _Failure(why, undone=True, soon=True)
            if code in _FAILURES:
                raise _Failure(f"says: {text.removeprefix('etcdserver: ')}", soon=True)
            raise EtcdError(text, int(code))
        answer: Message = message.get("result", message)
        if cluster := answer.get("header", {}).get("cluster_id"):
            self._cluster = self._cluster or cluster
            if cluster != self._cluster:
                raise _Failure("belongs to another cluster of etcd than the others")
        return answer


class _Connection:
    """`reach_by` and others are times of `elapsed`."""

    def __init__(self, address: Address, endpoint: Endpoint, reach_by: float) -> None:
        left = _left(reach_by)
        if address.tls is None:
            self._http = http.client.HTTPConnection(endpoint.host, endpoint.port, timeout=left)
        else:
            self._http = http.client.HTTPSConnection(
                endpoint.host, endpoint.port, timeout=left, context=address.tls
            )
        try:
            self._http.connect()
        except BaseException:
            self._http.close()
            raise
        self.socket: socket.socket = self._http.sock

    @property
    def idle(self) -> bool:
        """Whether a request can be sent: its end has not been closed, and all is read."""
        return self._http.sock is not None and not select.select([self.socket], [], [], 0)[0]

    def send(self, method: str, body: Message, token: str) -> None:
        headers = {"Content-Type": "application/json", "Grpc-Metadata-hasleader": "true"}
        if token:
            headers["Authorization"] = token
        self._http.request("POST", f"/v3/{method}", json.dumps(body).encode(), headers)

    def answer(self, answer_by: float) -> http.client.HTTPResponse:
        self.socket.settimeout(_left(answer_by))
        return self._http.getresponse()

    def rest(self, response: http.client.HTTPResponse, answer_by: float) -> bytes:
        data = bytearray()
        while some := response.read1():
            data += some
            if len(data) > MAX_ANSWER:
                raise ValueError("an answer without end")
            self.socket.settimeout(_left(answer_by))
        response.close()
        return bytes(data)

    def close(self) -> None:
        self._http.close()


def _left(until: float) -> float:
    left = until - elapsed()
    if left <= 0:
        raise TimeoutError
    return left
