"""The API over HTTP: who may ask, what is answered, and what hostile requests come to."""

from __future__ import annotations

import json
import re
import types
from collections.abc import Iterator
from typing import (
    Any,
    Literal,
    NotRequired,
    Union,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)

import pytest
from commands import wait_until
from simulated import TOKENS
from webclient import Client, simulated

from vlockstep.web import shapes
from vlockstep.web.api import ENDPOINTS, Endpoint
from vlockstep.web.auth import Right
from vlockstep.web.server import MAX_BODY, STATIC

PATHS = {"name": "guest-02", "number": "1", "id": "0"}
QUERIES = {"/api/guests/{name}/migrate": "?host=host-3", "/api/recordings/{id}/marks": "?kind=disk"}
GETS = [each for each in ENDPOINTS if each.method == "GET" and each.path != "/api/stream"]
POSTS = [each for each in ENDPOINTS if each.method == "POST"]


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with simulated("--guests", 20, "--wild") as made:
        yield made


def address(endpoint: Endpoint) -> str:
    path = re.sub(r"\{(\w+)\}", lambda word: PATHS[word[1]], endpoint.path)
    query = QUERIES.get(endpoint.path, "") if endpoint.query else ""
    return path.replace("/hosts/guest-02", "/hosts/host-1") + query


def name_of(endpoint: Endpoint) -> str:
    return f"{endpoint.method} {endpoint.path}"


def misfit(value: Any, kind: Any, where: str = "") -> str:
    """Where a value is not of a shape; "" if it is. More keys than a shape tells may be there."""
    origin, parts = get_origin(kind), get_args(kind)
    if kind is Any:
        return ""
    if is_typeddict(kind):
        hints = get_type_hints(kind, include_extras=True)
        if not isinstance(value, dict):
            return f"{where} is {value!r}"
        for key, hint in hints.items():
            if key not in value and get_origin(hint) is not NotRequired:
                return f"{where} lacks {key}"
            if key in value and (found := misfit(value[key], hint, f"{where}.{key}")):
                return found
        return ""
    if origin is NotRequired:
        return misfit(value, parts[0], where)
    if origin is Literal:
        return "" if value in parts else f"{where} is {value!r}"
    if origin in (types.UnionType, Union):
        found = [misfit(value, part, where) for part in parts]
        return "" if "" in found else found[0]
    if origin in (list, dict):
        inner = value.items() if origin is dict else enumerate(value)
        return next(
            filter(None, (misfit(each, parts[-1], f"{where}.{key}") for key, each in inner)), ""
        )
    if origin is tuple:
        pairs = enumerate(zip(value, parts, strict=True))
        return next(filter(None, (misfit(*pair, f"{where}.{at}") for at, pair in pairs)), "")
    wanted = (int, float) if kind is float else kind
    fits = isinstance(value, wanted) and (kind is bool or not isinstance(value, bool))
    return "" if fits else f"{where} is {value!r}"


def test_the_comparison_with_shapes_finds_some() -> None:
    """Else the next test could not fail."""
    done = {"task": {"number": 1}}
    assert misfit(done, shapes.Done) == ""
    assert misfit({}, shapes.Done) == " lacks task"
    assert misfit({"error": 1}, shapes.Failure) == ".error is 1"
    assert misfit([{"id": True}], list[shapes.Recording]) == ".0.id is True"


@pytest.mark.parametrize("endpoint", [*GETS, *POSTS], ids=name_of)
def test_answers_have_their_shapes(client: Client, endpoint: Endpoint) -> None:
    bodies = {"on": {"on": True}, "keys": {"keys": ["guest-02:host-8"]}}
    given = bodies.get(next(iter(endpoint.body), ""), {})
    path = address(endpoint)
    answer = client.get(path) if endpoint.method == "GET" else client.post(path, given)
    assert answer.headers["cache-control"] == "no-store"
    if endpoint.media != "application/json":
        assert answer.status == 200
        return
    kind = shapes.Failure if answer.status != 200 else endpoint.answer
    assert misfit(answer.json, kind) == ""
    refused = ("protect" in path.split("/"), path.endswith("/cancel"), "/recordings/0" in path)
    assert (answer.status == 200) != any(refused), answer.body


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=name_of)
def test_rights(client: Client, endpoint: Endpoint) -> None:
    def status(token: str | None) -> int:
        return client.with_token(token).ask(endpoint.method, address(endpoint), b"").status

    if endpoint.right is None:
        assert status(None) == 200
        return
    assert status(None) == status("Bearer") == status(TOKENS.act[:-1]) == 401
    assert status(TOKENS.read + TOKENS.act) == 401
    if endpoint.right is Right.ACT:
        assert status(TOKENS.read) == 403
    elif endpoint.path != "/api/stream":
        assert status(TOKENS.read) not in (401, 403)


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=name_of)
def test_what_another_site_asks_is_not_heeded(client: Client, endpoint: Endpoint) -> None:
    def ask(**headers: str) -> int:
        return client.ask(endpoint.method, address(endpoint), b"{}", **headers).status

    assert ask(Origin="http://evil.example") == 403
    assert ask(Origin="null") == 403
    assert ask(Origin=f"http://127.0.0.1:{client.port + 1}") == 403
    assert ask(Sec_Fetch_Site="cross-site") == 403
    assert ask(Host="evil.example") == 403


def test_nothing_was_done_for_them(client: Client) -> None:
    """The only task of a guest that nobody else asks for is the one that was heeded."""
    path = "/api/guests/guest-04/stop"
    for headers in ({"Origin": "http://evil.example"}, {"Host": "evil.example"}):
        assert client.post(path, **headers).status == 403
    assert client.with_token(TOKENS.read).post(path).status == 403
    assert client.with_token("x" * 40).post(path).status == 401
    heeded = client.post(path).json["task"]["number"]

    def tasks() -> list[str]:
        found = client.get("/api/view").json["tasks"].items()
        return [number for number, task in found if task["target"] == "guest-04"]

    wait_until(tasks)
    assert tasks() == [str(heeded)]


def test_a_preflight_allows_nothing(client: Client) -> None:
    answer = client.ask(
        "OPTIONS", "/api/view", Origin="http://evil.example", Access_Control_Request_Method="GET"
    )
    assert answer.status in (403, 405)
    assert not [name for name in answer.headers if name.startswith("access-control")]


def test_its_own_page_is_heeded(client: Client) -> None:
    own = {"Origin": f"http://127.0.0.1:{client.port}", "Sec_Fetch_Site": "same-origin"}
    assert client.post("/api/guests/guest-02/stop", **own).json["task"]["kind"] == "stop"


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"{}", {"Content_Type": "text/plain"}, 415),
        (b"{}", {"Content_Type": "application/x-www-form-urlencoded"}, 415),
        (b"{", {"Content_Type": "application/json"}, 400),
        (b"[]", {"Content_Type": "application/json"}, 400),
        (b"\xff", {"Content_Type": "application/json"}, 400),
        (b"[" * 60000, {"Content_Type": "application/json"}, 400),
        (b"{}" + b" " * MAX_BODY, {"Content_Type": "application/json"}, 413),
    ],
)
def test_bodies(client: Client, body: bytes, headers: dict[str, str], status: int) -> None:
    answer = client.ask("POST", "/api/guests/guest-02/stop", body, **headers)
    assert answer.status == status
    assert answer.json["error"]


@pytest.mark.parametrize(
    "given", [{}, {"keys": []}, {"keys": [1]}, {"keys": "a"}, {"keys": ["x"] * 2000}]
)
def test_what_is_no_list_of_recommendations(client: Client, given: Any) -> None:
    assert client.post("/api/recommendations/apply", given).status == 400


def test_what_cannot_be_given_is_not_ignored(client: Client) -> None:
    """Or a word that is spelt wrongly lets a guest go where nobody wanted it."""
    answer = client.post("/api/guests/guest-02/migrate", {"hots": "host-3"})
    assert answer.status == 400
    assert answer.json["error"] == "'hots' cannot be given here, but host, role, to"
    assert (
        client.post("/api/guests/guest-02/stop", {"x" * 9000: 1}).json["error"][-8:] == " nothing"
    )
    assert client.get("/api/view?fresh=1").status == 400
    assert client.get("/metrics?scraper=1").status == 200
    answer = client.get("/api/guests/guest-02/migrate?host=host-3&rule=secondary")
    assert (answer.status, answer.json["error"][:6]) == (400, "'rule'")


def test_a_refusal_has_its_reason(client: Client) -> None:
    answer = client.post("/api/guests/guest-02/protect")
    assert (answer.status, answer.json) == (409, {"error": "guest-02 is protected already"})
    gone = client.post("/api/recommendations/apply", {"keys": ["nobody:nowhere"]})
    assert (gone.status, gone.json["error"][:29]) == (409, "there is no recommendation 'n")


@pytest.mark.parametrize(
    "path",
    [
        "/api/guests/%3Cscript%3Ealert(1)%3C%2Fscript%3E",
        "/api/guests/..%2f..%2fetc%2fpasswd/console",
        "/api/guests/guest-01/console?after=-1",
        "/api/guests/guest-01/console?after=99999999999999999999",
        "/api/guests/%00/console",
        "/api/guests/%ff",
        "/api/recordings/99",
        "/api/recordings/x",
        "/api/recordings/0/at?position=x",
        "/api/stream?after=x",
        "/..%2f..%2fpyproject.toml",
        "/static/../server.py",
        "/%2e%2e/server.py",
        "/api/" + "x" * 5000,
    ],
)
def test_odd_paths_are_refused_as_data(client: Client, path: str) -> None:
    answer = client.get(path)
    assert answer.status in (400, 404)
    assert answer.headers["content-type"] == "application/json"
    assert "<" not in answer.body.decode() or answer.json


def test_names_with_markup_are_data(client: Client) -> None:
    """They come as JSON, which no browser takes for a page."""
    answer = client.get("/api/view")
    wild = [name for name in answer.json["guests"] if "<img" in name]
    assert wild and answer.headers["content-type"] == "application/json"
    assert answer.headers["x-content-type-options"] == "nosniff"
    metrics = client.get("/metrics").body.decode()
    assert 'vm="<img src=x onerror=alert(0)>&\\"' in metrics


def test_pages_may_load_nothing_from_elsewhere(client: Client) -> None:
    for path in ("/", "/api/view", "/nothing"):
        policy = client.get(path).headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; script-src 'self';")
        assert "unsafe" not in policy and "http" not in policy and "*" not in policy
        assert "frame-ancestors 'none'" in policy
    for file in STATIC.rglob("*"):
        if file.suffix in (".html", ".css", ".js") and "vendor" not in file.parts:
            text = file.read_text()
            assert not re.search(r"(src|href|url\(|import)[=\s\"'(]+(https?:)?//", text), file


def test_the_document_has_all_routes(client: Client) -> None:
    told = client.with_token(None).get("/api/openapi.json").json
    routes = {(each.path, each.method.lower()) for each in ENDPOINTS}
    assert {(path, how) for path, each in told["paths"].items() for how in each} == routes
    references = set(re.findall(r"#/components/schemas/(\w+)", json.dumps(told)))
    assert references == told["components"]["schemas"].keys()


def test_other_methods_are_refused(client: Client) -> None:
    assert client.ask("DELETE", "/api/view").status == 405
    assert client.get("/api/guests/guest-02/stop").status == 404
    assert client.ask("PUT", "/").status == 405


def test_there_is_nobody_to_act_on(client: Client) -> None:
    answer = client.post("/api/guests/nobody/stop", {})
    assert (answer.status, answer.json) == (404, {"error": "there is no guest 'nobody'"})


def test_half_characters_are_no_fault(client: Client) -> None:
    """JSON can name what UTF-8 cannot."""
    answer = client.post("/api/recommendations/apply", {"keys": ["\ud800"]})
    assert (answer.status, answer.json["error"][:29]) == (409, "there is no recommendation '\\")
    started = client.post("/api/guests/guest-03/migrate", {"host": "\ud800"})
    assert started.json["task"]["details"] == {"host": "\ud800"}
    number = str(started.json["task"]["number"])
    wait_until(lambda: number in client.get("/api/view").json["tasks"])
