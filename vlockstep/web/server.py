"""The server: files of the page, the API and the stream, each request checked first."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from vlockstep import __version__
from vlockstep.errors import UsageError, VlockstepError
from vlockstep.program import say
from vlockstep.web import shapes
from vlockstep.web.api import ENDPOINTS, Asked, Endpoint, Sight
from vlockstep.web.auth import Refusal, Right, Tokens, check_host, check_origin
from vlockstep.web.exposition import MEDIA
from vlockstep.web.hub import Hub, Messages, Tail
from vlockstep.web.metrics import of_view
from vlockstep.web.openapi import document
from vlockstep.web.recordings import Recordings
from vlockstep.web.source import Absent

STATIC = Path(__file__).with_name("static")
MAX_BODY = 64 << 10
BODY_SECONDS = 10.0
PATIENCE = 20.0
"""Seconds in which who asks takes something of what it is told; who does not is dropped."""
MAX_STREAMS = 64
_PIECE = 64 << 10
HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}
Handler = Callable[[Request], Awaitable[Response]]


class Service:
    """What one server serves; `loopback` tells whether it is reached from this computer alone."""

    def __init__(self, hub: Hub, recordings: Recordings, tokens: Tokens, loopback: bool) -> None:
        self.hub = hub
        self._sight = Sight(hub.source, recordings)
        self._tokens = tokens
        self._loopback = loopback
        self.streams = 0
        """How many follow."""
        self.own: dict[str, Handler] = {
            "/api/session": self._session,
            "/api/view": self._view,
            "/api/stream": self._stream,
            "/api/openapi.json": self._openapi,
            "/metrics": self._metrics,
        }

    def app(self) -> Starlette:
        routes: list[BaseRoute] = [
            Route(each.path, self._handler(each), methods=[each.method]) for each in ENDPOINTS
        ]
        routes.append(Mount("/", StaticFiles(directory=STATIC, html=True)))
        app = Starlette(
            routes=routes,
            lifespan=self._lifespan,
            exception_handlers={HTTPException: _told},
        )
        app.add_middleware(_Answers)
        return app

    @contextlib.asynccontextmanager
    async def _lifespan(self, app: Starlette) -> AsyncIterator[None]:
        self.hub.start()
        yield
        await self.hub.stop()
        self._sight.recordings.close()

    def _handler(self, endpoint: Endpoint) -> Handler:
        async def handle(request: Request) -> Response:
            try:
                self._check(request, endpoint.right)
                own = self.own.get(endpoint.path)
                if own is not None:
                    if endpoint.media != MEDIA:  # which scrapers ask for with words of their own
                        endpoint.check(request.query_params, ())
                    return await own(request)
                return _Json(await self._call(endpoint, request))
            except Refusal as refusal:
                return _failure(refusal.status, str(refusal))
            except Absent as error:
                return _failure(404, str(error))
            except UsageError as error:
                return _failure(404 if request.method == "GET" else 409, str(error))
            except VlockstepError as error:
                return _failure(503 if request.method == "GET" else 409, str(error))
            except Exception as error:
                say(f"vlockstep: {request.url.path} has failed: {type(error).__name__}: {error}")
                return _failure(500, f"this is a fault of the server: {type(error).__name__}")

        return handle

    def _check(self, request: Request, right: Right | None) -> None:
        check_host(request.headers.get("host", ""), self._loopback)
        check_origin(request.headers, request.url.scheme)
        if right is None:
            return
        rights = self._rights(request)
        if not rights:
            raise Refusal(401, "open the address that was printed when the server was started")
        if right not in rights:
            raise Refusal(403, f"this token does not allow to {right}")

    def _rights(self, request: Request) -> frozenset[Right]:
        return self._tokens.rights(request.headers.get("authorization", ""))

    async def _call(self, endpoint: Endpoint, request: Request) -> Any:
        assert endpoint.call is not None
        given = await _given(request) if endpoint.method == "POST" else {}
        endpoint.check(request.query_params, given)
        asked = Asked(request.path_params, request.query_params, given)
        return await run_in_threadpool(endpoint.call, self._sight, asked)

    async def _session(self, request: Request) -> Response:
        session: shapes.Session = {
            "rights": [right.value for right in sorted(self._rights(request), reverse=True)],
            "version": __version__,
            "kind": self.hub.source.kind,
            "source": self.hub.source.name,
        }
        return _Json(session)

    async def _view(self, request: Request) -> Response:
        return _Json(self.hub.model.view())

    async def _openapi(self, request: Request) -> Response:
        return _Json(document())

    async def _metrics(self, request: Request) -> Response:
        text = of_view(self.hub.model.view(), self.hub.counts)
        return Response(text, media_type=MEDIA)

    async def _stream(self, request: Request) -> Response:
        last = request.headers.get("last-event-id")
        query = {**request.query_params, **({"after": last} if last is not None else {})}
        asked = Asked({}, query, {})
        after, guest, console = asked.some_number("after"), query.get("console"), None
        if guest is not None:
            console = Tail(guest, asked.some_number("from"))
        if self.streams >= MAX_STREAMS:
            raise Refusal(503, f"{MAX_STREAMS} others follow already")
        return _Stream(self, self.hub.messages(after, console))

    @contextlib.contextmanager
    def streaming(self) -> Any:
        self.streams += 1
        try:
            yield
        finally:
            self.streams -= 1


class _Json(Response):
    """In ASCII: names may have halves of characters, which UTF-8 has not."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        return json.dumps(content, separators=(",", ":"), allow_nan=False).encode()


class _Stream(Response):
    """Messages one by one, until the follower goes or takes none any more."""

    def __init__(self, service: Service, messages: Messages) -> None:
        super().__init__(media_type="text/event-stream")
        del self.headers["content-length"]
        self._service = service
        self._messages = messages

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def tell() -> None:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            async with contextlib.aclosing(self._messages) as messages:
                async for message in messages:
                    await send({"type": "http.response.body", "body": message, "more_body": True})
            await send({"type": "http.response.body", "body": b""})

        async def gone() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass

        with self._service.streaming():
            tasks = [asyncio.ensure_future(each) for each in (tell(), gone())]
            try:
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)


class _Answers:
    """What all have: headers, and an end for who takes nothing."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                own = {name.lower() for name, _ in message["headers"]}
                message["headers"] = [
                    *message["headers"],
                    *(
                        (name.encode(), value.encode())
                        for name, value in HEADERS.items()
                        if name.encode() not in own
                    ),
                ]
            for piece in _pieces(message):
                try:
                    async with asyncio.timeout(PATIENCE):
                        await send(piece)
                except TimeoutError:
                    scope["abort"]()

        await self._app(scope, receive, with_headers if scope["type"] == "http" else send)


def _pieces(message: Message) -> Iterator[Message]:
    """Of what is long: who takes one after the other is slow, but takes something."""
    body = message.get("body", b"")
    ends = range(_PIECE, len(body), _PIECE)
    for end in ends:
        yield {**message, "body": body[end - _PIECE : end], "more_body": True}
    yield {**message, "body": body[len(ends) * _PIECE :]} if ends else message


async def _given(request: Request) -> dict[str, Any]:
    """The object that was sent, which is small."""
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        raise Refusal(415, "send application/json")
    body = b""
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for piece in request.stream():
                body += piece
                if len(body) > MAX_BODY:
                    raise Refusal(413, f"at most {MAX_BODY} bytes are read")
        given = json.loads(body)
    except TimeoutError as error:
        raise Refusal(408, "what was announced does not come") from error
    except ClientDisconnect as error:
        raise Refusal(400, "gone") from error
    except (ValueError, RecursionError) as error:
        raise Refusal(400, "send an object in JSON") from error
    if not isinstance(given, dict):
        raise Refusal(400, "send an object in JSON")
    return given


def _failure(status: int, reason: str) -> Response:
    failure: shapes.Failure = {"error": reason}
    return _Json(failure, status)


async def _told(request: Request, error: Exception) -> Response:
    """Of what no endpoint answers."""
    assert isinstance(error, HTTPException)
    return _failure(error.status_code, error.detail)
