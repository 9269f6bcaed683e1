"""Messages survive the wire, and nothing else is taken for one."""

from __future__ import annotations

import struct
import zlib
from dataclasses import fields
from typing import Any, get_args

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlockstep.protocol import messages
from vlockstep.protocol.messages import Hello, Message
from vlockstep.wire.codec import MessageError

FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "int": st.integers(0, (1 << 63) - 1),
    "bool": st.booleans(),
    "str": st.text(),
    "bytes": st.binary(),
    "dict[str, str]": st.dictionaries(st.text(max_size=99), st.text(max_size=99), max_size=9),
    "dict[str, Any]": st.dictionaries(st.text(), st.integers(0, 9) | st.text()),
}


def fields_of(kind: type[Message]) -> dict[str, st.SearchStrategy[Any]]:
    return {field.name: FIELDS[str(field.type)] for field in fields(kind)}


some_messages: st.SearchStrategy[Message] = st.one_of(
    *(st.builds(kind, **fields_of(kind)) for kind in get_args(Message))
)


@given(some_messages)
def test_messages_survive_the_wire(message: Message) -> None:
    assert messages.decode(messages.encode(message)) == message


@given(some_messages, st.data())
def test_a_flipped_bit_is_noticed(message: Message, data: st.DataObject) -> None:
    wire = bytearray(messages.encode(message))
    bit = data.draw(st.integers(0, len(wire) * 8 - 1))
    wire[bit // 8] ^= 1 << bit % 8
    with pytest.raises(MessageError):
        messages.decode(bytes(wire))


@given(some_messages, st.data())
def test_a_truncated_message_is_noticed(message: Message, data: st.DataObject) -> None:
    wire = messages.encode(message)
    with pytest.raises(MessageError):
        messages.decode(wire[: data.draw(st.integers(0, len(wire) - 1))])


values = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 63), (1 << 64) - 1) | st.binary() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(st.integers(0, 255), st.lists(values) | values)
def test_well_formed_rubbish_is_a_message_error_or_a_message(kind: int, content: object) -> None:
    packed = bytes((kind,)) + msgpack.packb(content)
    wire = struct.pack("<I", zlib.crc32(packed)) + packed
    try:
        message = messages.decode(wire)
    except MessageError:
        return
    assert messages.encode(message)


@pytest.mark.parametrize("basis", [{"results": "5" * 1000}, {str(n): "" for n in range(1000)}])
def test_a_basis_of_a_peer_is_small(basis: dict[str, str]) -> None:
    with pytest.raises(MessageError, match="a Hello with a basis that is none"):
        messages.decode(messages.encode(Hello("image", 0, 0, "", "", basis)))


@given(st.binary(max_size=200))
def test_random_bytes_are_no_message(data: bytes) -> None:
    with pytest.raises(MessageError):
        messages.decode(data)
