"""One codec for all messages: a byte that tells the kind, then a msgpack array of its fields."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, Generic, TypeVar

import msgpack

from vlockstep.errors import VlockstepError

MAX_MESSAGE = 80 << 20
"""Bytes of a message on any channel."""
_FIELD_TYPES = {"int": int, "bool": bool, "str": str, "bytes": bytes, "dict[str, Any]": dict}
_TEXTS = "dict[str, str]"
_M = TypeVar("_M")


class MessageError(VlockstepError):
    """Bytes that are not a message."""


class Codec(Generic[_M]):
    """Encodes dataclasses, each of which has a number below 256 in `kinds`.

    A field is a number that is not negative, a bool, a text, bytes, a dict of texts, or one of
    plain types.
    """

    def __init__(self, kinds: Mapping[int, type[_M]]) -> None:
        self._kinds = kinds
        self._heads = {kind: bytes((number,)) for number, kind in kinds.items()}
        self._names = {kind: [f.name for f in fields(kind)] for kind in kinds.values()}  # type: ignore[arg-type]
        self._layouts = {
            number: [_FIELD_TYPES.get(str(f.type), dict) for f in fields(kind)]  # type: ignore[arg-type]
            for number, kind in kinds.items()
        }
        self._texts = {
            number: [i for i, f in enumerate(fields(kind)) if f.type == _TEXTS]  # type: ignore[arg-type]
            for number, kind in kinds.items()
        }

    def encode(self, message: _M) -> bytes:
        return b"".join(self.parts(message))

    def parts(self, message: _M) -> tuple[bytes, bytes]:
        """What `encode` returns, but for putting it together: that may be a copy of much."""
        kind = type(message)
        packed: bytes = msgpack.packb([getattr(message, name) for name in self._names[kind]])
        return self._heads[kind], packed

    def decode(self, data: bytes | memoryview) -> _M:
        """Raises `MessageError` for anything that `encode` cannot have made."""
        number = data[0] if data else -1
        layout = self._layouts.get(number)
        if layout is None:
            raise MessageError("a message of no kind there is")
        try:
            values = msgpack.unpackb(memoryview(data)[1:])
        except (ValueError, TypeError, msgpack.UnpackException) as error:
            raise MessageError(f"a malformed message of kind {number} ({error})") from error
        if type(values) is not list or [*map(type, values)] != layout:
            raise MessageError(f"a malformed message of kind {number}")
        for value in values:
            if type(value) is int and value < 0:
                raise MessageError(f"a negative number in a message of kind {number}")
        for place in self._texts[number]:
            if {type(text) for text in (*values[place], *values[place].values())} - {str}:
                raise MessageError(f"what is no text in a message of kind {number}")
        made: Any = self._kinds[number]
        message: _M = made(*values)
        return message
