"""IPv4 packets with options and in fragments, and neighbours whose addresses look alike."""

from __future__ import annotations

from itertools import permutations

import lan
import pytest
from lan import ACK, Client, Script, fragment, ping, run

DATA = bytes(n * 7 & 0xFF for n in range(1400))


@pytest.mark.parametrize(
    "options",
    [
        b"\x94\x04\x00\x00",  # router alert
        b"\x01\x01\x01\x00",
        b"\x07\x0b\x04" + bytes(9),  # record route
        b"\x44\x0c\x05\x00" + bytes(8),  # time stamps
        b"\x00\x83\xff\xff",  # what follows the end is none
        b"\x01" * 40,
    ],
)
def test_options_are_no_reason_to_drop_a_packet(options: bytes) -> None:
    def script() -> Script:
        yield []
        (pong,) = yield [ping(b"hello", options=options)]
        assert pong[14] == 0x45 and pong[38:] == ping(b"hello")[38:]
        client = Client()
        yield from client.open()
        segment = client.segment(ACK, b"hello")
        (answer,) = yield [lan.packet(6, segment[34:], options=options)]
        assert client.receive([answer]) == b"hello"

    run("echo", script())


PIECES = ((0, 8), (8, 800), (800, 1408))


def test_fragments_come_in_any_order_and_twice() -> None:
    def script() -> Script:
        yield []
        whole = ping(DATA)
        for number, order in enumerate(permutations(PIECES)):
            pieces = [fragment(whole, *piece, number) for piece in order]
            assert (yield [pieces[0], *pieces[:2]]) == []
            (pong,) = yield [pieces[2]]
            assert pong[38:] == whole[38:] and lan.checksum(pong[34:]) == 0
            assert (yield [pieces[0]]) == []

    run("echo", script())


def test_segments_and_datagrams_come_in_fragments_too() -> None:
    def script() -> Script:
        yield []
        client = Client()
        yield from client.open()
        segment = client.segment(ACK, DATA)
        (answer,) = yield [fragment(segment, 0, 704), fragment(segment, 704, 1420)]
        assert client.receive([answer]) == DATA
        datagram = lan.datagram(5, 7, DATA)
        (answer,) = yield [fragment(datagram, 704, 1408, 2), fragment(datagram, 0, 704, 2)]
        assert answer[42:] == DATA

    run("echo", script())


def test_of_a_ping_that_is_larger_than_a_frame_comes_back_what_fits() -> None:
    def script() -> Script:
        yield []
        whole = ping(DATA * 40)
        pieces = [fragment(whole, at, min(at + 1480, 56008)) for at in range(0, 56008, 1480)]
        (pong,) = yield pieces
        assert len(pong) == 1514 and pong[38:] == whole[38:1514]
        assert lan.checksum(pong[34:]) == 0

    run("echo", script())


@pytest.mark.parametrize(
    "pieces",
    [
        ((0, 800), (792, 1408)),  # overlap
        ((0, 800), (800, 1400), (1400, 1408), (0, 792)),
    ],
)
def test_overlaps_are_seen(pieces: tuple[tuple[int, int], ...]) -> None:
    whole = ping(DATA)

    def script() -> Script:
        yield []
        frames = [fragment(whole, *piece) for piece in pieces]
        answers = yield frames
        assert len(answers) == (len(pieces) > 2)

    run("echo", script())


def test_fragments_that_contradict_each_other_make_no_packet() -> None:
    whole, longer = ping(DATA), ping(DATA + bytes(8))
    wrong = {
        "two ends": [fragment(whole, 800, 1408), fragment(longer, 1408, 1416)],
        "beyond the end": [fragment(longer, 1408, 1416), fragment(whole, 800, 1408)],
        "no multiple of 8": [lan.packet(1, DATA[:9], fragment=0x2000)],
        "beyond a packet": [lan.packet(1, DATA[:800], fragment=8100)],
        "empty": [lan.packet(1, b"", fragment=0x2001)],
    }

    def script() -> Script:
        yield []
        for number, frames in enumerate(wrong.values()):
            assert (yield frames) == []
            assert (yield [fragment(whole, 0, 800, 10 + number)]) == []
        (pong,) = yield [fragment(whole, 800, 1408, 10)]
        assert pong[38:] == whole[38:]

    run("echo", script())


def test_packets_are_told_apart_and_the_oldest_give_way() -> None:
    sources = [f"10.0.0.{n}" for n in range(10, 30)]
    wholes = [ping(bytes([n]) * 100, source) for n, source in enumerate(sources)]

    def script() -> Script:
        yield []
        assert (yield [fragment(whole, 0, 56) for whole in wholes]) == []
        pongs = yield [fragment(whole, 56, 108) for whole in wholes[-16:]]
        assert [pong[42:] for pong in pongs] == [bytes([n]) * 100 for n in range(4, 20)]
        assert (yield [fragment(whole, 56, 108) for whole in wholes[:4]]) == []

    run("echo", script())


def test_what_has_come_of_a_packet_is_forgotten_in_time() -> None:
    whole = ping(DATA)

    def script() -> Script:
        yield []
        yield [fragment(whole, 0, 800)]
        yield None
        assert (yield [fragment(whole, 800, 1408)]) == []

    run("echo", script())


@pytest.mark.parametrize("neighbours", [3, 40, 1000])
def test_neighbours_whose_addresses_end_alike_are_all_known(neighbours: int) -> None:
    def script() -> Script:
        yield []
        addresses = [f"10.0.{n % 250 + 1}.{9 + n // 250}" for n in range(neighbours)]
        clients = [Client(address=address) for address in addresses]
        for client in clients:
            yield from client.open()
        for turn in range(3):
            for first in range(0, neighbours, 200):
                some = clients[first : first + 200]
                frames = yield [client.segment(ACK, b"turn %d" % turn) for client in some]
                assert {frame[12:14] for frame in frames} == {b"\x08\x00"}
                for client, frame in zip(some, frames, strict=True):
                    assert client.receive([frame]) == b"turn %d" % turn

    run("echo", script(), prefix=16)
