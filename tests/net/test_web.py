"""The web guest tells which generation serves it, and keeps its connections."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest
from net.clients import GUEST, alone, lan, program, protected, serving

from vlockstep.testing.process import TIMEOUT

pytestmark = pytest.mark.external("ip")
CURL = ["curl", "-q", "--silent", "--show-error", "--noproxy", "*"]


@pytest.fixture(autouse=True)
def network() -> Iterator[None]:
    with lan():
        yield


@contextmanager
def connected() -> Iterator[HTTPConnection]:
    """Does not connect a second time."""
    connection = HTTPConnection(GUEST, timeout=TIMEOUT)
    connection.connect()
    connection.auto_open = 0
    try:
        yield connection
    finally:
        connection.close()


def get(connection: HTTPConnection, path: str) -> str:
    connection.request("GET", path)
    response = connection.getresponse()
    assert response.status == 200
    return response.read().decode()


def status(connection: HTTPConnection) -> dict[str, Any]:
    return dict(json.loads(get(connection, "/status.json")))


def generation(connection: HTTPConnection) -> int:
    """As the page shows it."""
    found = re.search('<dd id="generation">([0-9]+)\n', get(connection, "/"))
    assert found
    return int(found[1])


def test_unprotected() -> None:
    with alone("web") as guest, connected() as connection:
        guest.wait_text("web: port 80")
        assert generation(connection) == 0
        found = status(connection)
        assert found.pop("uptime_ms") >= 0
        assert found == {"requests": 2, "connections": 1, "generation": 0}


@pytest.mark.parametrize("how", ["crash", "switchover"])
def test_another_generation_on_the_same_connection(how: str, tmp_path: Path) -> None:
    with protected("web", tmp_path) as pair, connected() as connection:
        assert generation(connection) == 1
        before = status(connection)
        assert before["generation"] == 1
        if how == "crash":
            pair.crash()
        else:
            assert pair.switchover() == 2
        after = status(connection)
        assert (after["generation"], after["requests"], after["connections"]) == (2, 3, 1)
        assert after["uptime_ms"] >= before["uptime_ms"]
        assert generation(connection) == 2
        with connected() as other:
            assert status(other)["connections"] == 2


def test_crash_with_a_request_on_its_way(tmp_path: Path) -> None:
    """Whoever answers, there is one answer."""
    with protected("web", tmp_path) as pair, connected() as connection:
        assert generation(connection) == 1
        connection.request("GET", "/status.json")
        pair.crash()
        first = json.loads(connection.getresponse().read())
        assert first["requests"] == 2 and first["generation"] in (1, 2)
        second = status(connection)
        assert second["requests"] == 3 and second["generation"] == 2


@pytest.mark.external("curl")
@pytest.mark.parametrize("how", ["alone", "protected"])
def test_curl(how: str, tmp_path: Path) -> None:
    page, status, nothing = (f"http://{GUEST}{path}" for path in ("/", "/status.json", "/none"))
    with serving("web", how, tmp_path):
        codes = ["-o", os.devnull, "-w", "%{http_code} %{num_connects}\n"]
        assert program(*CURL, *codes, page, *codes[:2], status) == "200 1\n200 0\n"
        said = program(*CURL, "--head", page)
        assert said.startswith("HTTP/1.1 200 OK\r\n") and said.endswith("\r\n\r\n")
        assert program(*CURL, *codes, nothing) == "404 1\n"
        assert program(*CURL, "--fail", nothing, status=22) == ""
        said = program(*CURL, "--http1.0", "--include", status)
        assert "\r\nConnection: close\r\n" in said and '"generation": ' in said
        said = program(*CURL, "--include", "--data", "x=1", status)
        assert said.startswith("HTTP/1.1 405 ") and "Allow: GET, HEAD\r\n" in said
        codes_only = [*codes[:2], "-w", "%{http_code} "]
        assert len(program(*CURL, "--range", "5-24", page)) == 20
        assert program(*CURL, *codes_only, "--range", "0-1", page) == "206 "
        assert program(*CURL, *codes_only, "--range", "99999-", page) == "416 "
        chunked = [*codes_only, "--header", "Transfer-Encoding: chunked", "--data", "x=1"]
        assert program(*CURL, *chunked, page, *codes[:2], page) == "405 405 "
        assert (
            program(*CURL, *codes, "--parallel", *[page, *codes[:2]] * 20, page).count("200") == 21
        )
