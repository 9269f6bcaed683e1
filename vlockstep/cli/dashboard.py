"""`vlockstep dashboard`: the management view."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vlockstep.cli import output
from vlockstep.cli.clusteroptions import VARIABLE
from vlockstep.cli.options import is_given
from vlockstep.cli.running import DirectoryOption, run_directory
from vlockstep.errors import HostError, UsageError

if TYPE_CHECKING:
    from vlockstep.web.auth import Tokens
    from vlockstep.web.source import Source

LOOPBACK = "127.0.0.1"
DEFAULT_PORT = 7780


def dashboard(
    ctx: typer.Context,
    logs: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[LOG...]", help="Recordings to be shown, too.", show_default=False),
    ] = None,
    cluster: Annotated[
        str | None,
        typer.Option(
            "--cluster",
            metavar="STORE",
            envvar=VARIABLE,
            help="Show this cluster: the directory of its store, or etcd://HOST:2379; by default "
            "the guests that run here.",
            show_default=False,
        ),
    ] = None,
    port: Annotated[
        int,
        typer.Option("--port", min=0, max=65535, help="Where it is reached; 0: one that is free."),
    ] = DEFAULT_PORT,
    listen: Annotated[
        str,
        typer.Option(
            "--listen",
            metavar="ADDRESS",
            help="Where it listens. Beyond this computer it takes --tls-cert, --tls-key and "
            "--token-file.",
        ),
    ] = LOOPBACK,
    tls_cert: Annotated[
        Path | None,
        typer.Option(
            "--tls-cert", metavar="FILE", help="Its certificate, in PEM.", show_default=False
        ),
    ] = None,
    tls_key: Annotated[
        Path | None,
        typer.Option(
            "--tls-key", metavar="FILE", help="The certificate's key, in PEM.", show_default=False
        ),
    ] = None,
    token_file: Annotated[
        Path | None,
        typer.Option(
            "--token-file",
            metavar="FILE",
            help="A file with the token that allows to read and to act; by default it is made at "
            "each start.",
            show_default=False,
        ),
    ] = None,
    read_token_file: Annotated[
        Path | None,
        typer.Option(
            "--read-token-file",
            metavar="FILE",
            help="A file with the token that allows to read; by default it is made at each start.",
            show_default=False,
        ),
    ] = None,
    directory: DirectoryOption = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the addresses as a line of JSON.")
    ] = False,
) -> None:
    """Serve the management view: guests, hosts and recordings in a browser, until Ctrl-C.

    Open the address that it prints: its last part is a token, which lets who has it act.
    """
    try:
        from vlockstep.web.auth import is_loopback
        from vlockstep.web.serving import listen as bind
        from vlockstep.web.serving import serve
    except ModuleNotFoundError as error:
        raise UsageError(
            f"the management view needs {error.name}: pip install 'vlockstep[web]'"
        ) from error

    if is_given(ctx, "cluster") and directory is not None:
        raise UsageError("--cluster shows a cluster, --run-dir what runs here: give one of them")
    if (tls_cert is None) != (tls_key is None):
        raise UsageError("a certificate and its key belong together: give --tls-cert and --tls-key")
    tls = None if tls_cert is None or tls_key is None else (tls_cert, tls_key)
    if not is_loopback(listen) and (tls is None or token_file is None):
        raise UsageError(
            f"{listen} is reached from other computers: give --tls-cert, --tls-key and "
            f"--token-file, or listen at {LOOPBACK}"
        )
    tokens = _tokens(token_file, read_token_file)
    if tls is not None:
        _check_certificate(*tls)
    for log in logs or ():
        _check_log(log)
    source = _source(cluster, directory)
    listener = bind(listen, port)
    name = _reached_by(listen)
    address = f"{'http' if tls is None else 'https'}://{name}:{listener.getsockname()[1]}/"

    def ready() -> None:
        acting, reading = f"{address}#token={tokens.act}", f"{address}#token={tokens.read}"
        if as_json:
            output.emit({"address": address, "act": acting, "read": reading}, flush=True)
            return
        shown = tokens.act if token_file is None else "...(--token-file)"
        print(
            f"The management view of {source.name} is at\n\n  {address}#token={shown}", flush=True
        )
        if read_token_file is None:
            print(f"\nwho shall only look:\n\n  {reading}", flush=True)

    with contextlib.suppress(KeyboardInterrupt):
        serve(source, tokens, listener, tls, ready, [log.resolve() for log in logs or ()])


def _source(cluster: str | None, directory: Path | None) -> Source:
    if cluster is None or directory is not None:
        from vlockstep.web.directory import DirectorySource

        found = run_directory(directory)
        found.names()  # which tells what is wrong with it
        return DirectorySource(found)
    from vlockstep.web.clusters import ClusterSource

    return ClusterSource(cluster)


def _reached_by(listen: str) -> str:
    """As part of an address: this computer's name, if it listens at all addresses."""
    import socket
    from ipaddress import ip_address

    with contextlib.suppress(ValueError):
        if ip_address(listen).is_unspecified:
            return socket.gethostname()
    return f"[{listen}]" if ":" in listen else listen


def _check_log(path: Path) -> None:
    from vlockstep.replay.logfile import LogReader

    LogReader(path).close()


def _tokens(act: Path | None, read: Path | None) -> Tokens:
    from dataclasses import replace

    from vlockstep.web.auth import Tokens, check_token

    tokens = Tokens.random()
    if act is not None:
        tokens = replace(tokens, act=check_token(_read(act, secret=True).strip(), str(act)))
    if read is not None:
        tokens = replace(tokens, read=check_token(_read(read, secret=True).strip(), str(read)))
    if tokens.act == tokens.read:
        raise UsageError(f"{act} and {read} have the same token: two rights need two")
    return tokens


def _check_certificate(certificate: Path, key: Path) -> None:
    """Here, where it can be told what is wrong."""
    import ssl

    for file in (certificate, key):
        _read(file)
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password="")
    except (ssl.SSLError, ValueError) as error:
        raise UsageError(
            f"{certificate} and {key} are no certificate and its key, in PEM and without a "
            f"password ({error})"
        ) from error


def _read(file: Path, secret: bool = False) -> str:
    try:
        with file.open() as opened:
            if secret and os.fstat(opened.fileno()).st_mode & 0o077:
                raise UsageError(f"{file} can be read by others; chmod 600 it")
            return opened.read()
    except UnicodeDecodeError as error:
        raise UsageError(f"{file} is no text") from error
    except OSError as error:
        raise HostError(f"cannot read {file}: {error.strerror}") from error
