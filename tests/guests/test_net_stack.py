"""The guests' network stack, frame by frame, in the emulated guest and under a fuzzer."""

from __future__ import annotations

import struct
import subprocess
from pathlib import Path

import lan
import pytest
from lan import ACK, FIN, PSH, RST, SYN, Client, Script, ends, run, segments
from support import MIB, ScriptedWorld, config_for, machine_of, net_config, sample

GUESTS = Path(__file__).parents[2] / "guests"
SECOND = 10**9
HOUR = 3600 * SECOND


def test_it_announces_its_address_at_the_start() -> None:
    def script() -> Script:
        yield []

    (greeting,) = run("echo", script()).greeting
    address = bytes(map(int, lan.GUEST.split(".")))
    assert greeting[:14] == b"\xff" * 6 + lan.GUEST_MAC + b"\x08\x06"
    assert greeting[20:42] == b"\0\1" + lan.GUEST_MAC + address + bytes(6) + address


def test_arp_requests_for_the_guest_are_answered_and_no_others() -> None:
    def script() -> Script:
        yield []
        (reply,) = yield [lan.arp(1, lan.PEER, lan.GUEST)]
        assert reply[:14] == lan.PEER_MAC + lan.GUEST_MAC + b"\x08\x06"
        assert reply[20:28] == b"\x00\x02" + lan.GUEST_MAC
        (probe,) = yield [lan.arp(1, "0.0.0.0", lan.GUEST)]
        assert probe[20:28] == b"\x00\x02" + lan.GUEST_MAC
        assert (yield [lan.arp(1, lan.PEER, "10.0.0.4")]) == []
        assert (yield [lan.arp(1, "10.1.0.3", lan.GUEST)]) == []

    assert set(run("echo", script()).sleeps) == {HOUR}


@pytest.mark.parametrize("size", [0, 1, 57, 1472])
def test_pings_up_to_the_mtu_and_datagrams_come_back(size: int) -> None:
    data = bytes(range(256)) * 6

    def script() -> Script:
        yield []
        (pong,) = yield [lan.ping(data[:size])]
        assert pong[34:36] == b"\0\0" and pong[38:] == lan.ping(data[:size])[38:]
        assert lan.checksum(pong[34:]) == 0 and lan.checksum(pong[14:34]) == 0
        (back,) = yield [lan.datagram(999, 7, data[:size])]
        assert back[34:38] == struct.pack("!HH", 7, 999) and back[42:] == data[:size]

    run("echo", script())


def test_a_peer_behind_the_gateway_is_answered_once_the_gateway_is_known() -> None:
    def script() -> Script:
        yield []
        stranger = lan.packet(1, lan.ping(b"x")[34:], source="192.168.7.7")
        (query,) = yield [stranger]
        assert query[:6] == lan.BROADCAST and query[38:42] == bytes([10, 0, 0, 1])
        (pong,) = yield [lan.arp(2, "10.0.0.1", lan.GUEST)]
        assert pong[:6] == lan.PEER_MAC and pong[30:34] == bytes([192, 168, 7, 7])

    run("echo", script())


MALFORMED = {
    "cut Ethernet header": lan.ping(b"x")[:13],
    "cut IPv4 header": lan.ping(b"x")[:30],
    "cut ARP": lan.arp(1, lan.PEER, lan.GUEST)[:40],
    "lying length": lan.packet(1, lan.ping(b"x")[34:], length=60),
    "length below the header": lan.packet(1, lan.ping(b"x")[34:], length=19),
    "options without their length": lan.ping(b"x", options=b"\x07\x00\x00\x00"),
    "options that are too long": lan.ping(b"x", options=b"\x01\x07\x04\x00"),
    "a header beyond the packet": lan.packet(1, b"", version=0x46),
    "a loose source route": lan.ping(b"x", options=b"\x83\x07\x08\x0a\x00\x00\x03\x00"),
    "a strict source route": lan.ping(b"x", options=b"\x01\x89\x03\x04"),
    "version 6": lan.packet(1, lan.ping(b"x")[34:], version=0x65),
    "checksum": lan.packet(1, lan.ping(b"x")[34:], checksum=1),
    "first fragment": lan.packet(1, lan.ping(b"x")[34:], fragment=0x2000),
    "last fragment": lan.packet(1, lan.ping(b"x")[34:], fragment=1),
    "another target": lan.packet(1, lan.ping(b"x")[34:], target=0x0A000004),
    "broadcast target": lan.packet(1, lan.ping(b"x")[34:], target=0xFFFFFFFF),
    "broadcast frame": lan.BROADCAST + lan.ping(b"x")[6:],
    "multicast sender": lan.ping(b"x")[:6] + b"\x03" + lan.ping(b"x")[7:],
    "ICMP checksum": lan.ping(b"x")[:-1] + b"y",
    "UDP checksum": lan.datagram(5, 7, b"ab")[:-1] + b"c",
    "UDP length": lan.packet(17, struct.pack("!HHHH", 5, 7, 99, 0)),
    "TCP checksum": Client().segment(SYN)[:-1] + b"\1",
    "TCP offset": lan.packet(6, struct.pack("!HHIIBBHHH", 5, 7, 0, 0, 0xF0, SYN, 9, 0, 0)),
    "TCP option": Client().segment(SYN, options=b"\x02\x09\x05\xb4"),
    "SYN and FIN": Client().segment(SYN | FIN),
    "port 0": Client(port=0).segment(SYN),
    "protocol": lan.packet(99, b"what?"),
    "type": lan.ping(b"x")[:12] + b"\x86\xdd" + lan.ping(b"x")[14:],
} | {
    f"from {source}": lan.packet(1, lan.ping(b"x")[34:], source=source)
    for source in ("0.0.0.0", "127.0.0.1", "224.0.0.1", "255.255.255.255", "10.0.0.0", "10.0.0.255",
                   lan.GUEST)
}  # fmt: skip


def test_malformed_frames_are_dropped_without_an_answer() -> None:
    def script() -> Script:
        yield []
        for name, frame in MALFORMED.items():
            assert (yield [frame]) == [], name
        assert len((yield [lan.ping(b"x")])) == 1

    run("echo", script())


def test_a_closed_port_answers_with_the_rst_of_the_standard() -> None:
    def script() -> Script:
        yield []
        client = Client(service=99)
        (answer,) = segments((yield [client.segment(SYN)]))
        assert (answer.flags, answer.sequence, answer.ack) == (RST | ACK, 0, client.sequence)
        client.ack = 77
        (answer,) = segments((yield [client.segment(ACK, b"abc")]))
        assert (answer.flags, answer.sequence) == (RST, 77)
        assert (yield [client.segment(RST)]) == []
        (answer,) = segments((yield [Client(ack=5).segment(ACK)]))  # to a listener
        assert (answer.flags, answer.sequence) == (RST, 5)

    run("echo", script())


def test_what_is_sent_comes_back_and_both_sides_close() -> None:
    data = bytes(i * 7 & 0xFF for i in range(5000))

    def script() -> Script:
        yield []
        client = Client()
        yield from client.open()
        sent = [client.segment(ACK, data[at : at + 1000]) for at in range(0, 5000, 1000)]
        answer = yield sent
        assert [len(s.data) for s in segments(answer)] == [1460, 1460, 1460, 620]
        assert client.receive(answer) == data
        last = segments((yield [client.segment(FIN | ACK)]))[-1]
        assert last.flags == FIN | ACK and last.ack == client.sequence
        client.ack = ends(last)
        assert (yield [client.segment()]) == []
        (answer,) = segments((yield [client.segment(ACK, b"late")]))
        assert answer.flags == RST

    run("echo", script())


def test_segments_may_come_twice_and_in_any_order() -> None:
    data = bytes(i * 5 & 0xFF for i in range(900))

    def script() -> Script:
        yield []
        client = Client()
        yield from client.open()
        pieces = [client.segment(ACK, data[at : at + 100]) for at in range(0, 900, 100)]
        answers = segments((yield [pieces[i] for i in (2, 1, 1, 8, 4, 6)]))
        start = client.sequence - 900 & 0xFFFFFFFF
        assert {a.ack for a in answers} == {start} and len(answers) >= 3
        got = client.receive((yield [pieces[i] for i in (0, 5, 7, 3, 0)]))
        assert got == data

    run("echo", script())


def test_what_is_not_acknowledged_is_sent_again_until_the_guest_gives_up() -> None:
    def script() -> Script:
        yield []
        client = Client()
        yield from client.open()
        (first,) = segments((yield [client.segment(ACK, b"hello")]))
        assert first.data == b"hello" and first.flags == PSH | ACK
        repeats = 0
        while True:
            (again,) = segments((yield None))
            if again.flags & RST:
                break
            assert again == first
            repeats += 1
        assert repeats >= 10
        yield None

    sleeps = run("echo", script(), "--tcp-keepalive=0").sleeps
    handshake, *waits = (sleep for sleep in sleeps if sleep < HOUR)
    assert handshake == 200_000_000
    assert waits == sorted(waits) and 50_000_000 <= waits[0] <= 300_000_000
    assert 100 * SECOND <= sum(waits) <= 200 * SECOND and sleeps[-1] == HOUR


def test_three_duplicate_acks_repeat_the_lost_segment_at_once() -> None:
    def script() -> Script:
        yield []
        client = Client()
        yield from client.open()
        data = bytes(1460)
        sent = segments((yield [client.segment(ACK, data) for _ in range(5)]))
        assert len(sent) == 5
        again = segments((yield [client.segment() for _ in range(3)]))
        assert [s.sequence for s in again] == [sent[0].sequence]

    run("echo", script())


def test_a_closed_window_is_probed_until_it_opens() -> None:
    def script() -> Script:
        yield []
        client = Client()
        yield from client.open(window=0)
        (answer,) = segments((yield [client.segment(ACK, b"hello", window=0)]))
        assert answer.data == b"" and answer.ack == client.sequence
        for _ in range(40):
            sent = segments((yield None))
            assert [s.data for s in sent] == [b"h"]
            assert (yield [client.segment(window=0)]) == []
        assert client.receive((yield [client.segment(window=100)])) == b"hello"

    run("echo", script())


def test_a_rst_must_be_exact_and_a_syn_ends_nothing() -> None:
    def script() -> Script:
        yield []
        client = Client()
        yield from client.open()
        for flags, shift in ((RST, 1), (SYN, 5)):
            (challenge,) = segments((yield [client.segment(flags, shift=shift)]))
            assert (challenge.flags, challenge.ack) == (ACK, client.sequence)
            yield None
        assert (yield [client.segment(RST, shift=-1), client.segment(RST, shift=1 << 20)]) == []
        yield None
        (challenge,) = segments((yield [client.segment(ACK, b"x", shift=0, ack_shift=1000)]))
        assert challenge.ack == client.sequence - 1
        client.sequence -= 1
        assert client.receive((yield [client.segment(ACK, b"still there")])) == b"still there"
        assert (yield [client.segment(RST)]) == []
        (answer,) = segments((yield [client.segment(ACK, b"gone")]))
        assert answer.flags == RST

    run("echo", script(), "--tcp-keepalive=0")


@pytest.mark.parametrize("options", [(), ("--port=80",)])
def test_the_stream_numbers_its_words_and_fills_its_segments(options: tuple[str, ...]) -> None:
    def script() -> Script:
        yield []
        client = Client(service=80 if options else 7007)
        (answer,) = segments((yield [client.segment(SYN, options=b"\x02\x04\x05\xb4")]))
        client.ack = ends(answer)
        got = b""
        frames = yield [client.segment()]
        while len(got) < 300_000:
            assert {len(s.data) for s in segments(frames)} == {1460}
            got += client.receive(frames)
            frames = yield [client.segment()]
        count = len(got) // 8
        assert struct.unpack(f"!{count}Q", got[: count * 8]) == tuple(range(count))

    run("stream", script(), *options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "no address: --ipv4 takes"),
        (("--ipv4=10.0.0.2",), "not: 10.0.0.2"),
        (("--ipv4=10.0.0.2/33",), "not: 10.0.0.2/33"),
        (("--ipv4=10.0.0.2/24x",), "not: 10.0.0.2/24x"),
        (("--ipv4=10.0.0.256/24",), "not: 10.0.0.256/24"),
        (("--ipv4=10.0.0.0/24",), "not: 10.0.0.0/24"),
        (("--ipv4=224.0.0.1/24",), "not: 224.0.0.1/24"),
        (("--ipv4=10.0.0.2/24", "--ipv4-gateway=10.0.1.1"), "network of --ipv4, not: 10.0.1.1"),
        (("--ipv4=10.0.0.2/24", "--ipv4-gateway=10.0.0.2"), "network of --ipv4, not: 10.0.0.2"),
        (("--ipv4=10.0.0.2/24", "--ipv6=::1"), "unknown option: --ipv6=::1"),
    ],
)
def test_addresses_that_cannot_be_are_refused_with_status_2(
    options: tuple[str, ...], message: str
) -> None:
    image, world = sample("echo"), ScriptedWorld()
    config = config_for(image, *options, memory=32 * MIB, nets=net_config("net"))
    with machine_of(image, config) as machine:
        assert machine.run(world).status == 2
    assert message in world.text and world.text.endswith("\n")


def operation(number: int, peer: int, *arguments: int) -> bytes:
    """As guests/net/fuzz/fuzz.c reads it; with 0x80 a round follows."""
    return bytes([number, peer, *arguments])


SEEDS = {
    "a datagram and a ping": operation(8 | 0x80, 0, 7, 0, 9, 0, 9),
    "open, send, close": operation(2, 0, 3) + operation(5 | 0x80, 0, 1, 0) + operation(7 | 0x80, 0),
    "a stream, time passes": operation(2, 2, 3) + operation(1, 0) * 8 + operation(5, 2, 0, 0) * 3,
    "all connections": operation(3, 0, 79) + operation(5 | 0x80, 4, 3, 0),
    "odd segments": operation(2, 0, 3) + operation(6 | 0x80, 0, 16, 0, 9, 7, 9, 9, 1, 0) * 5,
    "losses": operation(12, 2, 1, 1) + operation(2 | 0x80, 2, 3) + operation(1, 0) * 8,
    "gaps": operation(2, 0, 3) + operation(13 | 0x80, 0, 77) * 2,
    "a flood": operation(14, 0, 159),
    "fragments": operation(15, 0, 32, 1, 0, 0, 0, 0, 64) + operation(15, 0, 0, 9, 0, 0, 0, 0, 9),
    "options": operation(15, 0, 0, 0, 148, 4, 0, 0, 64) + operation(15, 0, 0, 0, 1, 7, 0, 0, 64),
    "no ARP reply": operation(9, 0, 0, 0, 1, 7, 7) + operation(2, 1, 3),
}


@pytest.mark.external("clang", "make")
def test_the_fuzzer_finds_nothing_in_a_short_run(tmp_path: Path) -> None:
    build = ["make", "-C", str(GUESTS), "fuzz", f"OUT={tmp_path}"]
    subprocess.run(build, capture_output=True, check=True)
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    for name, seed in SEEDS.items():
        (corpus / name).write_bytes(b"\0" + seed)
    command = [tmp_path / "fuzz-net", "-seed=1", "-runs=1000", "-max_len=300", corpus]
    result = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert result.returncode == 0, result.stderr[-3000:]
