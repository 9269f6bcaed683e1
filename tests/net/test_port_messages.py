"""What switch and ports say survives the wire, and nothing else is taken for it."""

from __future__ import annotations

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlockstep.errors import UsageError
from vlockstep.net import portmessages
from vlockstep.net.nic import MAX_FRAME
from vlockstep.net.portmessages import (
    FRAME,
    MAX_DEPTH,
    MAX_GROUP,
    MAX_TEXT,
    TAGGED,
    WINDOW,
    Frame,
    Hello,
    Message,
    Probe,
    Refuse,
    Tagged,
    Window,
    check_group,
    decode,
    encode,
    format_mac,
    parse_mac,
)
from vlockstep.wire.codec import MessageError

texts = st.text(max_size=MAX_TEXT // 4)
groups = st.text(max_size=MAX_GROUP // 4)
macs = st.binary(min_size=6, max_size=6)
numbers = st.integers(0, (1 << 64) - 1)
paths = st.dictionaries(st.text(max_size=32), st.text(max_size=20), max_size=MAX_DEPTH)
some_messages: st.SearchStrategy[Message] = st.one_of(
    st.builds(Frame, st.binary(max_size=100)),
    st.builds(Hello, numbers, texts, macs, texts, groups),
    st.builds(portmessages.Welcome, numbers),
    st.builds(Refuse, texts),
    st.builds(portmessages.Who),
    st.builds(portmessages.Ping),
    st.builds(portmessages.Taken, numbers),
    st.builds(Tagged, st.binary(max_size=MAX_GROUP), st.binary(max_size=100)),
    st.builds(portmessages.TrunkHello, numbers, texts, texts, numbers),
    st.builds(Probe, numbers, paths, texts),
    st.builds(portmessages.Verdict, numbers, paths, texts),
    st.builds(portmessages.Attach, groups, macs, texts),
    st.builds(portmessages.Detach, groups, macs),
)


@given(some_messages)
def test_messages_survive_the_wire(message: Message) -> None:
    assert decode(encode(message)) == message


@given(st.binary(max_size=200))
def test_any_bytes_are_a_message_or_an_error(data: bytes) -> None:
    try:
        message = decode(data)
    except MessageError:
        return
    assert decode(encode(message)) == message


values = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 63), (1 << 64) - 1) | st.binary() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(st.integers(1, 255), values)
def test_any_content_is_a_message_or_an_error(number: int, content: object) -> None:
    try:
        message = decode(bytes((number,)) + msgpack.packb(content))
    except MessageError:
        return
    assert decode(encode(message)) == message


@given(some_messages, st.data())
def test_a_truncated_message_is_noticed(message: Message, data: st.DataObject) -> None:
    wire = encode(message)
    if not wire.startswith((FRAME, TAGGED)):
        with pytest.raises(MessageError):
            decode(wire[: data.draw(st.integers(0, len(wire) - 1))])


@pytest.mark.parametrize(
    "data",
    [
        b"",
        FRAME + bytes(MAX_FRAME + 1),
        TAGGED,
        TAGGED + b"\1",
        TAGGED + bytes((MAX_GROUP + 1,)) + bytes(100),
        TAGGED + b"\0" + bytes(MAX_FRAME + 1),
        b"\x01" + msgpack.packb([1, "guest", b"12345", "name", ""]),
        b"\x01" + msgpack.packb([True, "guest", b"123456", "name", ""]),
        b"\x01" + msgpack.packb([1, "guest", b"123456", "name", "x" * (MAX_GROUP + 1)]),
        b"\x01" + msgpack.packb([1, "guest", b"123456", "name"]),
        b"\x09" + msgpack.packb([1, {str(n): "" for n in range(MAX_DEPTH + 1)}, ""]),
        b"\x09" + msgpack.packb([1, {"x" * (MAX_TEXT + 1): ""}, ""]),
        b"\x09" + msgpack.packb([1, {"x": b""}, ""]),
        b"\x0b" + msgpack.packb(["", b"12345", ""]),
        b"\x0d\x90",
        b"\x03" + msgpack.packb(["x" * (MAX_TEXT + 1)]),
        b"\x03" + msgpack.packb(["x"]) + b"\xc0",
        b"\x03" + b"\x91" * 100_000,
        b"\x02\xdd\xff\xff\xff\xff",
    ],
)
def test_bytes_that_are_no_message(data: bytes) -> None:
    with pytest.raises(MessageError):
        decode(data)


@given(st.text())
def test_texts_are_cut_where_they_are_too_long(text: str) -> None:
    message = decode(encode(Refuse(text * 50)))
    assert isinstance(message, Refuse)
    assert len(message.reason.encode()) <= MAX_TEXT
    assert (text * 50).startswith(message.reason)


def test_a_full_window_waits_for_the_other_side() -> None:
    near, far = Window(), Window()
    granted = 0
    for _ in range(WINDOW):
        assert not near.full()
        near.sent()
        granted += far.took()
    assert near.full()
    near.granted(granted)
    assert not near.full()
    near.granted(-5)
    near.granted(1 << 62)
    for _ in range(WINDOW):
        assert not near.full()
        near.sent()
    assert near.full()
    near.reset()
    assert not near.full()


@given(macs)
def test_addresses_as_text(mac: bytes) -> None:
    assert parse_mac(format_mac(mac)) == mac


@pytest.mark.parametrize(
    "text", ["", "02:00:00:00:00", "02:00:00:00:00:0g", "2:0:0:0:0:1", "x" * 17]
)
def test_texts_that_are_no_addresses(text: str) -> None:
    with pytest.raises(UsageError, match="no MAC address"):
        parse_mac(text)


@pytest.mark.parametrize("name", ["", "blue", "blå", "two words", "x" * MAX_GROUP])
def test_names_of_port_groups(name: str) -> None:
    check_group(name)
    message = Hello(1, "guest", bytes(6), "name", name)
    assert decode(encode(message)) == message


@pytest.mark.parametrize("name", ["x" * (MAX_GROUP + 1), "\n", "\udcff", "å" * MAX_GROUP])
def test_texts_that_name_no_port_group(name: str) -> None:
    with pytest.raises(UsageError, match="port group"):
        check_group(name)
