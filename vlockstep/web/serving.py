"""The server as a process: its sockets, its connections, its end."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import uvicorn
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from vlockstep.errors import HostError
from vlockstep.web.auth import Tokens, is_loopback
from vlockstep.web.hub import Hub
from vlockstep.web.recordings import Recordings
from vlockstep.web.server import Service
from vlockstep.web.source import Source

MAX_CONNECTIONS = 200
HEAD_SECONDS = 10.0
"""For a request to come."""


def listen(address: str, port: int) -> socket.socket:
    """Raises `HostError` if it cannot."""
    try:
        family, kind, protocol, _, where = socket.getaddrinfo(
            address, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        made = socket.socket(family, kind, protocol)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(where)
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
    hub = Hub(source)
    loopback = is_loopback(listener.getsockname()[0])
    config = uvicorn.Config(
        Service(hub, Recordings(logs), tokens, loopback).app(),
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
        timeout_graceful_shutdown=2,
        ssl_certfile=tls[0] if tls else None,
        ssl_keyfile=tls[1] if tls else None,
    )
    asyncio.run(_Server(config, hub, ready).serve(sockets=[listener]))


class _Connection(H11Protocol):
    """One that says nothing is not kept, and each can be ended at once by its requests, by `abort`
    in their scope: whatever was to be sent is not waited for."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        app: Any = self.app

        async def served(scope: Scope, receive: Receive, send: Send) -> None:
            scope["abort"] = transport.abort
            await app(scope, receive, send)

        self.app = served
        self.loop.call_later(HEAD_SECONDS, self._expect_request)

    def _expect_request(self) -> None:
        if self.cycle is None:
            self.transport.abort()

    def timeout_keep_alive_handler(self) -> None:
        super().timeout_keep_alive_handler()
        self.loop.call_later(HEAD_SECONDS, self.transport.abort)


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
