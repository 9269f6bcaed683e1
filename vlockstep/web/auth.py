"""Who may do what: two tokens, and whose requests are heeded. Pure."""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import urlsplit

from vlockstep.errors import UsageError

LEAST_TOKEN = 16
"""Characters of a token that somebody chose."""
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


class Right(StrEnum):
    READ = "read"
    ACT = "act"


class Refusal(Exception):
    """A request is not heeded, with this status of HTTP."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


@dataclass(frozen=True)
class Tokens:
    """`act` allows reading, too."""

    act: str
    read: str

    @classmethod
    def random(cls) -> Tokens:
        return cls(secrets.token_urlsafe(32), secrets.token_urlsafe(32))

    def rights(self, authorization: str) -> frozenset[Right]:
        """Of who gives this header; none if the token is neither."""
        scheme, _, token = authorization.partition(" ")
        given = token.strip().encode(errors="replace")
        if scheme.lower() != "bearer" or not given:
            return frozenset()
        acts = hmac.compare_digest(given, self.act.encode())
        reads = hmac.compare_digest(given, self.read.encode())
        return frozenset(Right) if acts else frozenset({Right.READ} if reads else ())


def check_token(token: str, file: str) -> str:
    """One that was given in a file. Raises `UsageError` if it can be guessed, or not be sent."""
    if len(token) < LEAST_TOKEN or not token.isascii() or not token.isprintable() or " " in token:
        raise UsageError(
            f"{file}: a token is one line of at least {LEAST_TOKEN} letters, digits and signs: "
            "make one by `openssl rand -hex 32`"
        )
    return token


def is_loopback(host: str) -> bool:
    return host in _LOOPBACK


def check_host(host: str, loopback: bool) -> None:
    """On loopback another site's name that leads here is no name of this server."""
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        name = ""
    if loopback and not is_loopback(name):
        raise Refusal(403, "this server is asked as localhost alone")


def check_origin(headers: Mapping[str, str], scheme: str) -> None:
    """Raises `Refusal` for what another site's page has sent."""
    origin, host = headers.get("origin"), headers.get("host", "")
    if origin is not None and origin.lower() != f"{scheme}://{host}".lower():
        raise Refusal(403, "another site may not ask this")
    if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        raise Refusal(403, "another site may not ask this")
