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
    MAX_TEXT,
    WINDOW,
    Frame,
    Hello,
    Message,
    Refuse,
    Window,
    decode,
    encode,
    format_mac,
    parse_mac,
)
from vlockstep.wire.codec import MessageError

texts = st.text(max_size=MAX_TEXT // 4)
macs = st.binary(min_size=6, max_size=6)
some_messages: st.SearchStrategy[Message] = st.one_of(
    st.builds(Frame, st.binary(max_size=100)),
    st.builds(Hello, st.integers(0, (1 << 64) - 1), texts, macs, texts),
    st.builds(portmessages.Welcome, st.integers(0, (1 << 64) - 1)),
    st.builds(Refuse, texts),
    st.builds(portmessages.Who),
    st.builds(portmessages.Ping),
    st.builds(portmessages.Taken, st.integers(0, (1 << 64) - 1)),
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
    if not wire.startswith(FRAME):
        with pytest.raises(MessageError):
            decode(wire[: data.draw(st.integers(0, len(wire) - 1))])


@pytest.mark.parametrize(
    "data",
    [
        b"",
        FRAME + bytes(MAX_FRAME + 1),
        b"\x01" + msgpack.packb([1, "guest", b"12345", "name"]),
        b"\x01" + msgpack.packb([True, "guest", b"123456", "name"]),
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
