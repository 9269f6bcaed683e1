"""Where a store in etcd is, as a user says it."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

from vlockstep.cluster.store.values import is_key
from vlockstep.errors import UsageError

PORT = 2379
PREFIX = "vlockstep"
OPTIONS = ("ca", "cert", "key", "user", "password-file")


@dataclass(frozen=True)
class Endpoint:
    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True)
class Address:
    """`prefix` is before all keys, with a slash between; without `tls` nothing is encrypted, and
    without a `user` nobody logs in."""

    endpoints: tuple[Endpoint, ...]
    prefix: str = PREFIX
    tls: ssl.SSLContext | None = None
    user: str = ""
    password: str = field(default="", repr=False)


def parse_address(text: str) -> Address:
    """`etcd://HOST:PORT,HOST:PORT/PREFIX?ca=FILE&cert=FILE&key=FILE&user=NAME&password-file=FILE`,
    where one host is enough. The files are read. Raises `UsageError`."""
    try:
        parts = urlsplit(text)
        query = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
    except ValueError as error:
        raise UsageError(f"{text!r} is no address of etcd: {error}") from error
    if parts.scheme != "etcd" or parts.fragment:
        raise UsageError(f"{text!r} is no address of etcd, which is etcd://HOST:PORT/PREFIX")
    if "@" in parts.netloc:
        raise UsageError(
            "the address of etcd takes no password, since others can see it: "
            "give ?user=NAME&password-file=FILE"
        )
    options = dict(query)
    for name in options:
        if name not in OPTIONS:
            raise UsageError(f"etcd has no option {name!r}, but {', '.join(OPTIONS)}")
    prefix = parts.path.strip("/") or PREFIX
    if not is_key(prefix):
        raise UsageError(f"{prefix!r} is nothing with which keys in etcd can begin")
    user, file = options.get("user", ""), options.get("password-file", "")
    if bool(user) != bool(file):
        raise UsageError("etcd wants both a user and a password-file, or neither")
    return Address(
        tuple(_endpoint(part) for part in parts.netloc.split(",")),
        prefix,
        _tls(options),
        user,
        _password(file) if file else "",
    )


def _endpoint(text: str) -> Endpoint:
    try:
        parts = urlsplit(f"//{text}")
        host, port = parts.hostname, parts.port
        (host or "").encode("idna")
    except ValueError as error:
        raise UsageError(f"{text!r} is no HOST:PORT of etcd: {error}") from error
    if not host or " " in host or not host.isprintable():
        raise UsageError(f"{text!r} is no HOST:PORT of etcd")
    return Endpoint(host, PORT if port is None else port)


def _password(file: str) -> str:
    try:
        return Path(file).read_text().rstrip("\n")
    except (OSError, ValueError) as error:
        raise UsageError(f"no password for etcd can be read from {file}: {_why(error)}") from error


def _tls(options: Mapping[str, str]) -> ssl.SSLContext | None:
    ca, cert, key = (options.get(name) for name in ("ca", "cert", "key"))
    if ca is None:
        if cert is not None or key is not None:
            raise UsageError("a certificate for etcd needs that of etcd's authority: ca=FILE")
        return None
    if (cert is None) != (key is None):
        raise UsageError("etcd wants both a cert and its key, or neither")
    file = ca
    try:
        context = ssl.create_default_context(cafile=ca)
        if cert is not None:
            file = f"{cert} with the key {key}"
            context.load_cert_chain(cert, key, password="")  # rather than ask for one
    except (OSError, ValueError) as error:
        raise UsageError(f"no certificate can be read from {file}: {_why(error)}") from error
    return context


def _why(error: Exception) -> object:
    return error.strerror if isinstance(error, OSError) else error
