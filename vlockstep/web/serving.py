"""The server as a process: its sockets, its connections, its end."""

from __future__ import annotations

import asyncio
import resource
import socket
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self

import uvicorn
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from vlockstep.errors import HostError, UsageError
from vlockstep.web.auth import Tokens, is_loopback
from vlockstep.web.hub import Hub
from vlockstep.web.recordings import Recordings
from vlockstep.web.server import Service
from vlockstep.web.source import Source

MAX_CONNECTIONS = 200
"""What comes beyond them is told so, up to `MOST`; then it is ended at once, so that descriptors
are left for what is asked of guests."""
MOST = MAX_CONNECTIONS + 50
_BACKLOG = 50
RESERVED = 100
"""Descriptors that connections leave."""
END_SECONDS = 5.0
HEAD_SECONDS = 10.0
"""For a request to come, at first and after each answer; then for what was answered to be taken."""


class _Listener(socket.socket):
    """Who connects when few descriptors are left is sent away, before TLS even begins: the others
    are for asking guests."""

    def accept(self) -> tuple[socket.socket, Any]:
        accepted, peer = super().accept()
        most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        if accepted.fileno() >= most - min(RESERVED, most // 2):
            accepted.close()
            raise ConnectionAbortedError
        return accepted, peer


def listen(address: str, port: int) -> socket.socket:
    """Raises `UsageError` for what is no address, and `HostError` if it cannot listen there."""
    try:
        family, kind, protocol, _, where = socket.getaddrinfo(
            address, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except (socket.gaierror, UnicodeError) as error:
        raise UsageError(f"{address[:80]!r} is no address of this computer ({error})") from error
    try:
        made = _Listener(family, kind, protocol)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(where)
        made.listen(_BACKLOG)
    except OSError as error:
        raise HostError(
            f"cannot listen at {address}, port {port}: {error.strerror}; choose another port"
        ) from error
    return made


def serve(
    source: Source,
    tokens: Tokens,
    listener: socket.socket,
    tls: tuple[Path, Path] | None = None,
    ready: Callable[[], None] = lambda: None,
    logs: Sequence[Path] = (),
) -> None:
    """Until a signal ends it. `tls` is a certificate and its key; `ready` is called when who
    connects is answered; `logs` are shown, too."""
    loopback = is_loopback(listener.getsockname()[0])
    service = Service(Hub(source), Recordings(logs), tokens, loopback)
    with asyncio.Runner(loop_factory=_Loop) as runner:
        runner.run(_server(service, tls, ready).serve(sockets=[listener]))


class _Loop(asyncio.SelectorEventLoop):
    """Who connects has as long to agree upon TLS as for the head of a request."""

    async def create_server(self, *what: Any, **how: Any) -> asyncio.Server:
        if how["ssl"] is not None:
            how["ssl_handshake_timeout"] = HEAD_SECONDS
        return await super().create_server(*what, **how)


class Aside:
    """A server on loopback in a thread beside a program that tells a story: from `with` to its end.
    It looks at the source each `seconds`."""

    def __init__(
        self, source: Source, tokens: Tokens, listener: socket.socket, seconds: float
    ) -> None:
        self._service = Service(Hub(source, seconds), Recordings(()), tokens, loopback=True)
        self._server = _server(self._service)
        self._listener = listener
        self._thread = threading.Thread(target=self._run, name="page", daemon=True)

    @property
    def followers(self) -> int:
        """Who has its stream open."""
        return self._service.streams

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *reason: object) -> None:
        self._server.should_exit = True
        self._thread.join(END_SECONDS)

    def _run(self) -> None:
        asyncio.run(self._server.serve(sockets=[self._listener]))


def _server(
    service: Service,
    tls: tuple[Path, Path] | None = None,
    ready: Callable[[], None] = lambda: None,
) -> _Server:
    config = uvicorn.Config(
        service.app(),
        http=_Connection,
        ws="none",
        loop="asyncio",
        lifespan="on",
        log_config=None,
        log_level="critical",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        limit_concurrency=MAX_CONNECTIONS,
        backlog=_BACKLOG,
        timeout_graceful_shutdown=2,
        ssl_certfile=tls[0] if tls else None,
        ssl_keyfile=tls[1] if tls else None,
    )
    return _Server(config, service.hub, ready)


class _Connection(H11Protocol):
    """One that asks nothing is not kept, whatever else it sends; and each can be ended at once by
    its requests, by `abort` in their scope: whatever was to be sent is not waited for."""

    _limit: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > MOST:
            transport.abort()
            return
        app: Any = self.app

        async def served(scope: Scope, receive: Receive, send: Send) -> None:
            self._limit_by(None)
            scope["abort"] = transport.abort
            await app(scope, receive, send)

        self.app = served
        self._limit_by(self._end)

    def on_response_complete(self) -> None:
        self._limit_by(self._end)
        super().on_response_complete()

    def send_400_response(self, msg: str) -> None:
        self._limit_by(self.transport.abort)
        super().send_400_response(msg)

    def connection_lost(self, exc: Exception | None) -> None:
        self._limit_by(None)
        super().connection_lost(exc)

    def _limit_by(self, end: Callable[[], None] | None) -> None:
        """What happens after `HEAD_SECONDS`, if nothing else is said before."""
        if self._limit is not None:
            self._limit.cancel()
        self._limit = None if end is None else self.loop.call_later(HEAD_SECONDS, end)

    def _end(self) -> None:
        self.transport.close()
        self._limit_by(self.transport.abort)


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, hub: Hub, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._hub = hub
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await self._hub.stop()
        await super().shutdown(sockets)
