"""What the web guest answers, request by request, and how long it waits for one."""

from __future__ import annotations

import re
from collections.abc import Generator
from email.utils import format_datetime, parsedate_to_datetime

import pytest
from lan import ACK, FIN, RST, Client, Script, run, segments

SECOND = 10**9
WALL = 1 << 60
"""The time of day that it is told, in ns."""
GET = b"GET /none HTTP/1.1\r\nHost: x\r\n"


def ask(client: Client, request: bytes, size: int = 1000) -> Generator[object, list[bytes], bytes]:
    """Sends the request in pieces of this size. Returns the reply; b"" stands for RST."""
    pieces = [request[at : at + size] for at in range(0, len(request), size)]
    frames = yield [client.segment(ACK, piece) for piece in pieces]
    reply = client.receive(frames)
    while more := (yield [client.segment()]):
        reply += client.receive(more)
    return reply


def replies(request: bytes, size: int = 1000) -> list[tuple[int, dict[str, str], bytes]]:
    """To what one client sends."""
    got = b""

    def script() -> Script:
        nonlocal got
        yield []
        client = Client(service=80)
        yield from client.open()
        got = yield from ask(client, request, size)  # type: ignore[arg-type]

    run("web", script())
    found = []
    while got:
        head, got = got.split(b"\r\n\r\n", 1)
        line, *fields = head.decode().split("\r\n")
        headers = dict(field.lower().split(": ", 1) for field in fields)
        length = int(headers["content-length"])
        found.append((int(line.split()[1]), headers, got[:length]))
        got = got[length:]
    return found


def statuses(request: bytes, size: int = 1000) -> list[int]:
    return [status for status, _, _ in replies(request, size)]


@pytest.mark.parametrize("size", [1, 100, 1460])
def test_heads_come_in_any_pieces_and_without_end_are_refused(size: int) -> None:
    request = b"\r\n\n" + GET + b"\r\n" + GET.replace(b"\r\n", b"\n") + b"\n\r\n"
    assert statuses(request, size) == [404, 404]
    if size == 1:
        return
    long = GET + b"Long: " + b"x" * (8192 - len(GET) - 10) + b"\r\n\r\n"
    assert len(long) == 8192 and statuses(long + request, size) == [404] * 3
    assert statuses(long.replace(b"Long", b"Longer") + request, size) == [431]


def test_replies_have_a_date() -> None:
    ((status, headers, _),) = replies(GET + b"\r\n")
    said = parsedate_to_datetime(headers["date"])
    assert status == 404 and int(said.timestamp()) == WALL // SECOND
    assert headers["date"] == format_datetime(said, usegmt=True).lower()


@pytest.mark.parametrize(
    ("wanted", "part"),
    [
        ("bytes=0-3", (0, 3)),
        ("bytes=5-", (5, None)),
        ("bytes=-7", (-7, None)),
        ("bytes=-99999", (0, None)),
        ("BYTES=1-99999999999999999999999", (1, None)),
    ],
)
def test_a_range_gets_that_part(wanted: str, part: tuple[int, int | None]) -> None:
    whole = GET.replace(b"none", b"") + b"\r\n"
    ranged = whole[:-2] + f"Range: {wanted}\r\n\r\n".encode()
    (full, partial) = replies(whole + ranged)
    first, last = part
    page = re.sub(rb"(requests.>)1", rb"\g<1>2", full[2])
    first, end = first % len(page), len(page) if last is None else last + 1
    assert (full[0], full[1]["accept-ranges"], partial[0]) == (200, "bytes", 206)
    assert partial[2] == page[first:end]
    assert partial[1]["content-range"] == f"bytes {first}-{end - 1}/{len(page)}"


@pytest.mark.parametrize("wanted", ["bytes=99999-", "bytes=99999-99999", "bytes=-0"])
def test_a_range_behind_the_end_is_refused(wanted: str) -> None:
    request = f"GET / HTTP/1.1\r\nHost: x\r\nRange: {wanted}\r\n\r\n".encode()
    ((status, headers, body), after) = replies(request + GET + b"\r\n")
    assert (status, body, after[0]) == (416, b"", 404)
    assert re.fullmatch(r"bytes \*/\d+", headers["content-range"])


@pytest.mark.parametrize(
    "fields",
    [
        "Range: bytes=3-1", "Range: bytes=-", "Range: bytes=0-1,3-4", "Range: lines=0-1",
        "Range: bytes", "Range: bytes=a-b", 'Range: bytes=0-1\r\nIf-Range: "x"',
    ],
)  # fmt: skip
def test_what_is_no_range_gets_all(fields: str) -> None:
    assert statuses(f"GET / HTTP/1.1\r\nHost: x\r\n{fields}\r\n\r\n".encode()) == [200]


def post(*fields: bytes) -> bytes:
    return (
        b"".join(b"%s\r\n" % line for line in (b"POST / HTTP/1.1", b"Host: x", *fields)) + b"\r\n"
    )


CHUNKED = post(b"Transfer-Encoding: Chunked")


@pytest.mark.parametrize("size", [1, 7, 1000])
@pytest.mark.parametrize(
    "body",
    [
        b"0\r\n\r\n",
        b"5\r\nhello\r\n0\r\n\r\n",
        b"5;a=b\r\nhello\r\n00A \r\n0\r\n\r\n0\r\n\r\n\r\n0\r\nTrailer: x\r\nOther: y\r\n\r\n",
        b"5\nhello\n0\n\n",
    ],
)
def test_chunked_bodies_end_where_they_say(body: bytes, size: int) -> None:
    assert statuses(CHUNKED + body + GET + b"\r\n", size) == [405, 404]


@pytest.mark.parametrize(
    "body",
    [
        b"x\r\n", b"\r\n", b"-5\r\nhello", b"0x5\r\n", b"123456789\r\n", b"5\r\nhellox\r\n",
        b"5\r\nhello\r\r\n", b"0\r\n" + b"T: " + b"t" * 2000, b"5;" + b"e" * 2000,
        b"100001\r\n",
    ],
)  # fmt: skip
def test_after_a_body_that_cannot_be_read_nothing_is_answered(body: bytes) -> None:
    assert statuses(CHUNKED + body + b"\r\n\r\n" + GET + b"\r\n") == [405]


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        (post(b"Transfer-Encoding: gzip, chunked"), 501),
        (post(b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"), 501),
        (post(b"Transfer-Encoding: chunked", b"Content-Length: 5"), 400),
        (post(b"Transfer-Encoding: chunked").replace(b"1.1", b"1.0"), 400),
        (post(b"Content-Length: 5", b"Expect: 100-continue"), 405),
    ],
)
def test_what_may_be_followed_by_anything_ends_the_connection(
    request_: bytes, expected: int
) -> None:
    ((status, headers, _),) = replies(request_ + GET + b"\r\n")
    assert (status, headers["connection"]) == (expected, "close")


def waited(*sent: bytes, drains: bool = True) -> tuple[float, bytes, int]:
    """For how many seconds it waits for a client that sends this and then only ACKs, what it
    answers in that time, and the flags of its last segment."""
    reply, flags = b"", 0
    window = 0xFFFF if drains else 0

    def script() -> Script:
        nonlocal reply, flags
        yield []
        client = Client(service=80)
        yield from client.open(window)
        waiting = [client.segment(ACK, piece, window=window) for piece in sent]
        while not flags & (FIN | RST):
            frames = (yield waiting) if waiting else (yield None)
            waiting = []
            for segment in segments(frames):
                flags |= segment.flags
                if drains:
                    assert segment.sequence == client.ack
                    client.ack += len(segment.data)
                    reply += segment.data
                waiting = [client.segment(window=window)]

    lan = run("web", script(), "--tcp-keepalive=0")
    return lan.now / SECOND, reply, flags


PAGE = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.mark.parametrize(
    ("sent", "limit", "status"),
    [
        ([], 10, b""),
        ([b"GET / HTTP/1.1\r\n"], 10, b"408"),
        ([PAGE], 60, b"200"),
        ([PAGE, b"\r\n"], 60, b"200"),
        ([post(b"Content-Length: 9"), b"12345"], 30, b"405"),
        ([CHUNKED, b"5\r\nhel"], 30, b"405"),
    ],
)
def test_it_waits_for_so_long_and_closes(sent: list[bytes], limit: int, status: bytes) -> None:
    seconds, reply, flags = waited(*sent)
    assert limit <= seconds < limit + 1
    assert reply[9:12] == status and reply.count(b"HTTP/1.1 ") == bool(status)
    assert flags & FIN and not flags & RST


def test_who_reads_no_replies_is_reset() -> None:
    seconds, _, flags = waited(*[PAGE * 40] * 2, drains=False)
    assert 60 <= seconds < 61 and flags & RST


def test_more_of_a_head_gets_no_more_time() -> None:
    def script() -> Script:
        yield []
        client = Client(service=80)
        yield from client.open()
        for byte in b"GET / HTTP/1.1":
            assert (yield [client.segment(ACK, bytes([byte]))]) != []

    sleeps = run("web", script()).sleeps[3:]
    assert sleeps[0] <= 10 * SECOND and len(sleeps) == 15
    assert sleeps == sorted(set(sleeps), reverse=True)
