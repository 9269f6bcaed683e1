"""`vlockstep dashboard`: what it refuses, and TLS."""

from __future__ import annotations

import json
import socket
import ssl
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from webclient import simulated

from vlockstep.cli import main
from vlockstep.cli.clusteroptions import VARIABLE
from vlockstep.testing.process import command, environment


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "weak").write_text("secret\n")
    (tmp_path / "strong").write_text("0123456789abcdef" * 2 + "\n")
    (tmp_path / "bytes").write_bytes(b"\xff\xfe")
    for name in ("weak", "strong", "bytes"):
        (tmp_path / name).chmod(0o600)
    (tmp_path / "shown").write_text("0123456789abcdef" * 2 + "\n")
    (tmp_path / "shown").chmod(0o640)
    return tmp_path


@pytest.fixture
def certificate(here: Path) -> Path:
    made = [
        *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
        *("-nodes", "-keyout", "key.pem", "-out", "cert.pem", "-days", "2", "-subj", "/CN=view"),
        *("-addext", "subjectAltName=IP:127.0.0.1"),
    ]
    subprocess.run(made, cwd=here, check=True, capture_output=True)
    return here / "cert.pem"


@pytest.mark.parametrize(
    ("arguments", "status", "why"),
    [
        (["--listen", "0.0.0.0"], 2, "give --tls-cert, --tls-key and --token-file"),
        (["--listen", "::", "--token-file", "strong"], 2, "give --tls-cert, --tls-key"),
        (["--tls-cert", "strong"], 2, "belong together"),
        (["--tls-cert", "nosuch", "--tls-key", "strong"], 1, "cannot read nosuch"),
        (["--tls-cert", "strong", "--tls-key", "strong"], 2, "are no certificate and its key"),
        (["--token-file", "weak"], 2, "weak: a token is one line"),
        (["--token-file", "bytes"], 2, "bytes is no text"),
        (["--token-file", "strong", "--read-token-file", "strong"], 2, "two rights need two"),
        (["--token-file", "shown"], 2, "shown can be read by others; chmod 600 it"),
        (["--read-token-file", "shown"], 2, "shown can be read by others; chmod 600 it"),
        (["--token-file", "nosuch"], 1, "cannot read nosuch"),
        (["--cluster", "nosuch"], 1, "there is no directory nosuch"),
        (["--cluster", ".", "--run-dir", "."], 2, "give one of them"),
        (["--run-dir", "strong"], 2, "cannot use the run directory strong: it is no directory"),
        (["nosuch.vlog"], 1, "nosuch.vlog"),
        (["strong"], 1, "strong"),
        (["--port", "70000"], 2, "70000"),
    ],
)
def test_refusals(
    here: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    status: int,
    why: str,
) -> None:
    monkeypatch.setattr(sys, "argv", ["vlockstep", "dashboard", "--port", "0", *arguments])
    with pytest.raises(SystemExit) as end:
        main()
    out, err = capfd.readouterr()
    assert (end.value.code, out) == (status, "")
    assert why in err


@pytest.mark.external("openssl")
def test_beyond_this_computer_it_speaks_tls(certificate: Path, here: Path) -> None:
    """A cluster that is set for all commands is not meant by who names a run directory."""
    tls = ("--tls-cert", certificate, "--tls-key", here / "key.pem")
    tokens = ("--token-file", here / "strong", "--run-dir", here / "run")
    process = subprocess.Popen(
        command("dashboard", "--port", 0, "--listen", "0.0.0.0", "--json", *tls, *tokens),
        stdout=subprocess.PIPE,
        text=True,
        env={**environment(), VARIABLE: str(here / "nosuch")},
    )
    with process:
        assert process.stdout is not None
        try:
            told = json.loads(process.stdout.readline())
            assert told["address"].startswith(f"https://{socket.gethostname()}:")
            token = (here / "strong").read_text().strip()
            request = urllib.request.Request(
                told["address"].replace(socket.gethostname(), "127.0.0.1") + "api/session",
                headers={"Authorization": f"Bearer {token}"},
            )
            trusted = ssl.create_default_context(cafile=str(certificate))
            with urllib.request.urlopen(request, context=trusted, timeout=30) as answer:
                assert json.load(answer)["rights"] == ["read", "act"]
        finally:
            process.terminate()


@pytest.mark.external("openssl")
def test_who_does_not_begin_to_speak_tls_is_not_kept(certificate: Path, here: Path) -> None:
    options = ("--guests", 2, "--head-seconds", 0.2, "--tls", certificate, here / "key.pem")
    with (
        simulated(*options) as client,
        socket.create_connection(("127.0.0.1", client.port), 30) as silent,
    ):
        assert silent.recv(1) == b""
