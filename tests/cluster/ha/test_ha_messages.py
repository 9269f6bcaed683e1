"""Messages of the monitors on the wire."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlockstep.cluster.ha.messages import (
    MAX_MESSAGE,
    Candidate,
    Left,
    Master,
    Message,
    Resigned,
    Slave,
    decode,
    encode,
)
from vlockstep.wire.codec import MessageError

WORDS = (Candidate, Master, Slave)


@pytest.mark.parametrize("message", [*(word(3, True) for word in WORDS), Resigned(), Left()])
def test_what_is_said_arrives(message: Message) -> None:
    assert decode(encode(message)) == message


def test_the_longest_fits() -> None:
    assert len(encode(Candidate((1 << 64) - 1, False))) <= MAX_MESSAGE


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x00",
        b"\x05\x90",
        encode(Left())[:1] + b"\x91\x01",
        b"\x01\x92\xff\xc3",  # -1 datastores
        b"\x01\x92\x01\x01",  # a number for a bool
        b"\x01\x92\xc3\xc3",  # a bool for a number
        encode(Left()) + b"\x00",
        bytes(MAX_MESSAGE + 1),
    ],
)
def test_what_is_no_message_is_refused(data: bytes) -> None:
    with pytest.raises(MessageError):
        decode(data)


@given(st.binary(max_size=MAX_MESSAGE + 8))
def test_any_bytes_are_a_message_or_refused(data: bytes) -> None:
    try:
        message = decode(data)
    except MessageError:
        return
    assert decode(encode(message)) == message
