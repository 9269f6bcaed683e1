"""Guests' TCP with more clients than places, clients that vanish, and floods of SYNs."""

from __future__ import annotations

import pytest
from lan import ACK, FIN, RST, SYN, Client, Script, ends, run, segments

CONNECTIONS = 2048
OPTIONS = b"\x02\x04\x05\xb4\x01\x03\x03\x07"
"""An MSS of 1460, and a window scale of 7."""
HALF = b"GET / HTTP/1.1\r\nHost:"


def crowd(service: int) -> list[Client]:
    return [Client(service=service, port=port) for port in range(1, CONNECTIONS + 1)]


def open_all(clients: list[Client], greeting: bytes = b"") -> Script:
    """Many at once."""
    for at in range(0, len(clients), 64):
        some = clients[at : at + 64]
        answers = segments((yield [client.segment(SYN) for client in some]))
        for client, answer in zip(some, answers, strict=True):
            assert (answer.port, answer.flags) == (client.port, SYN | ACK)
            client.ack = ends(answer)
        yield [client.segment(ACK, greeting) for client in some]


def test_one_connection_more_than_there_is_room_for_waits_until_one_ends() -> None:
    def script() -> Script:
        yield []
        clients = crowd(7)
        yield from open_all(clients)
        for client in clients[::100]:
            text = b"%d" % client.port
            assert client.receive((yield [client.segment(ACK, text)])) == text
            yield [client.segment()]
        assert (yield [Client(port=5000).segment(SYN)]) == []
        yield [clients[17].segment(RST)]
        late = Client(port=5000)
        yield from late.open()
        assert late.receive((yield [late.segment(ACK, b"late")])) == b"late"

    run("echo", script())


def test_who_was_silent_for_longest_makes_room_where_the_service_lets_it() -> None:
    def script() -> Script:
        yield []
        clients = crowd(80)
        yield from open_all(clients, HALF)
        yield [clients[0].segment(ACK, b" x")]
        late = Client(service=80, port=5000)
        (answer,) = segments((yield [late.segment(SYN)]))
        late.ack = ends(answer)
        request = late.segment(ACK, b"GET /status.json HTTP/1.1\r\nHost: x\r\n\r\n")
        reset, *reply = segments((yield [request]))
        assert (reset.port, reset.flags & RST) == (clients[1].port, RST)
        assert reply[0].port == 5000 and b"200 OK" in reply[0].data
        assert b'"connections": 2048' in b"".join(segment.data for segment in reply)
        (answer,) = segments((yield [clients[0].segment(ACK, b"\r\n\r\n", shift=0)]))[:1]
        assert b"200 OK" in answer.data

    run("web", script())


def test_a_client_that_vanished_is_asked_for_and_given_up() -> None:
    asked = {1: 0, 2: 0}

    def script() -> Script:
        yield []
        gone, quiet = Client(port=1), Client(port=2)
        yield from gone.open()
        yield from quiet.open()
        ended = False
        while not ended:
            for segment in segments((yield None)):
                if segment.flags & RST:
                    assert segment.port == 1
                    ended = True
                    continue
                asked[segment.port] += 1
                assert segment.flags == ACK and not segment.data
                assert segment.sequence + 1 == (gone, quiet)[segment.port - 1].ack
                if segment.port == 2:
                    assert (yield [quiet.segment()]) == []
        assert quiet.receive((yield [quiet.segment(ACK, b"here")])) == b"here"
        yield [quiet.segment()]
        (answer,) = segments((yield [gone.segment(ACK, b"late")]))
        assert answer.flags == RST

    run("echo", script(), "--tcp-keepalive=30")
    assert asked == {1: 3, 2: 1}


@pytest.mark.parametrize(("window", "last", "limit"), [(0xFFFF, FIN, 20), (0, RST, 200)])
def test_a_connection_without_data_is_closed_in_time(window: int, last: int, limit: int) -> None:
    """Whether the client reads or not; it is there, and answers."""

    def script() -> Script:
        yield []
        client = Client()
        yield from client.open(window)
        client.receive((yield [client.segment(ACK, b"hello", window=window)]))
        flags = 0
        while not flags & last:
            yield [client.segment(window=window)]
            for segment in segments((yield None)):
                flags |= segment.flags

    seconds = run("echo", script(), "--tcp-keepalive=7", "--tcp-timeout=20").now / 10**9
    assert 20 <= seconds < limit + 1


@pytest.mark.parametrize("options", [b"\x02\x04\x05\xb4", OPTIONS, b""])
def test_whoever_answers_slowly_gets_in_among_syns_without_end(options: bytes) -> None:
    def flood(first: int) -> Script:
        answers = segments((yield [Client(port=first + n).segment(SYN) for n in range(250)]))
        assert {answer.flags for answer in answers} == {SYN | ACK} and len(answers) == 250

    def script() -> Script:
        yield []
        clients = [Client(port=port) for port in range(60000, 60004)]
        for number, client in enumerate(clients):
            (answer,) = segments((yield [client.segment(SYN, options=options)]))
            assert answer.ack == client.sequence and answer.flags == SYN | ACK
            assert (b"\x03\x03" in answer.options) == (options == OPTIONS)
            client.ack = ends(answer)
            yield from flood(10000 * number + 1)
        for client in clients:
            data = bytes(1460)
            answer = yield [client.segment(ACK, data, window=12)]
            room = 12 << 7 if options == OPTIONS else 12
            sizes = [len(segment.data) for segment in segments(answer)]
            assert sizes[0] == min(room, 1460 if options else 536)
            assert client.receive(answer) == bytes(sum(sizes))

    run("echo", script())


def test_clients_that_read_nothing_leave_room_for_those_that_do() -> None:
    """More than all buffers hold."""

    def script() -> Script:
        yield []
        greedy = crowd(7)[:1500]
        yield from open_all(greedy)
        for client in greedy:
            data = [client.segment(ACK, bytes(1460), window=0) for _ in range(20)]
            assert {segment.flags for segment in segments((yield data))} == {ACK}
        late = Client(port=5000)
        yield from late.open()
        for size in (1, 1460, 1460, 700):
            got = late.receive((yield [late.segment(ACK, bytes(size))]))
            while len(got) < size:
                more = late.receive((yield [late.segment()]))
                assert more
                got += more
            assert got == bytes(size)

    run("echo", script())


def test_an_ack_that_nobody_was_asked_for_opens_nothing() -> None:
    def script() -> Script:
        yield []
        for first in (1, 251):
            yield [Client(port=first + n).segment(SYN) for n in range(250)]
        for guess in range(0, 1 << 32, (1 << 32) // 500 + 1):
            (answer,) = segments((yield [Client(port=700, ack=guess).segment(ACK, b"x")]))
            assert answer.flags == RST
        real = Client(port=701)
        (answer,) = segments((yield [real.segment(SYN)]))
        real.ack = ends(answer)
        other = Client(port=702, sequence=real.sequence, ack=real.ack)
        (answer,) = segments((yield [other.segment(ACK, b"x")]))
        assert answer.flags == RST
        assert real.receive((yield [real.segment(ACK, b"x")])) == b"x"

    run("echo", script())
