"""Tokens and origins: who may do what."""

from __future__ import annotations

import pytest

from vlockstep.errors import UsageError
from vlockstep.web.auth import (
    Refusal,
    Right,
    Tokens,
    check_host,
    check_origin,
    check_token,
)

TOKENS = Tokens("act" * 10, "read" * 10)


@pytest.mark.parametrize(
    ("header", "rights"),
    [
        (f"Bearer {TOKENS.act}", {Right.READ, Right.ACT}),
        (f"bearer  {TOKENS.act}", {Right.READ, Right.ACT}),
        (f"Bearer {TOKENS.read}", {Right.READ}),
        (f"Basic {TOKENS.act}", set()),
        (TOKENS.act, set()),
        (f"Bearer {TOKENS.act}x", set()),
        (f"Bearer {TOKENS.act[:-1]}", set()),
        ("Bearer ", set()),
        ("", set()),
        ("Bearer \udcff\u2603", set()),
    ],
)
def test_rights(header: str, rights: set[Right]) -> None:
    assert TOKENS.rights(header) == rights


def test_no_token_comes_twice() -> None:
    made = [Tokens.random() for _ in range(3)]
    assert len({token for each in made for token in (each.act, each.read)}) == 6


@pytest.mark.parametrize("token", ["", "short", "x" * 15, "with a space in it", "ümlaut" * 5])
def test_weak_tokens_are_refused(token: str) -> None:
    with pytest.raises(UsageError, match=r"tokens\.txt: a token is one line"):
        check_token(token, "tokens.txt")


@pytest.mark.parametrize(
    ("headers", "heeded"),
    [
        ({}, True),
        ({"origin": "http://127.0.0.1:7780", "host": "127.0.0.1:7780"}, True),
        ({"origin": "http://127.0.0.1:7781", "host": "127.0.0.1:7780"}, False),
        ({"origin": "https://127.0.0.1:7780", "host": "127.0.0.1:7780"}, False),
        ({"origin": "http://evil.example", "host": "127.0.0.1:7780"}, False),
        ({"origin": "null", "host": "127.0.0.1:7780"}, False),
        ({"origin": "", "host": ""}, False),
        ({"sec-fetch-site": "cross-site", "host": "a"}, False),
        ({"sec-fetch-site": "same-site", "host": "a"}, False),
        ({"sec-fetch-site": "same-origin", "host": "a"}, True),
        ({"sec-fetch-site": "none", "host": "a"}, True),
    ],
)
def test_origins(headers: dict[str, str], heeded: bool) -> None:
    if heeded:
        check_origin(headers, "http")
        return
    with pytest.raises(Refusal, match="another site") as refused:
        check_origin(headers, "http")
    assert refused.value.status == 403


@pytest.mark.parametrize("host", ["127.0.0.1:7780", "localhost", "[::1]:80", "LOCALHOST:1"])
def test_names_of_this_computer(host: str) -> None:
    check_host(host, True)


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example:7780", "", "[", "a@b"])
def test_names_that_were_made_to_lead_here(host: str) -> None:
    with pytest.raises(Refusal, match="localhost"):
        check_host(host, True)
    check_host(host, False)
