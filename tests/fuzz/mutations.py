"""Inputs that are nearly right: seeds with bits flipped, pieces cut out, copied from elsewhere or
inserted, and with numbers that lie where lengths and counts may stand."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from hypothesis import strategies as st

Edit = Callable[[bytes], bytes]

_NUMBERS = [0, 1, 2, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 1 << 16, 0x7FFFFFFF, 0xFFFFFFFF, 1 << 31,
            (1 << 63) - 1, 1 << 63, (1 << 64) - 4096, (1 << 64) - 1]  # fmt: skip
_places = st.integers(0, 1 << 8) | st.integers(0, 1 << 17)
"""Rather near the start, where headers are."""


def mutations(seeds: Sequence[bytes], most: int = 8) -> st.SearchStrategy[bytes]:
    """A seed with up to `most` edits."""
    edits = st.one_of(
        st.builds(_flip, _places, st.integers(0, 7)),
        st.builds(_replace, _places, st.integers(0, 16), st.binary(max_size=16)),
        st.builds(_lie, _places, st.sampled_from(_NUMBERS), st.sampled_from([1, 2, 4, 8]),
                  st.sampled_from(["little", "big"])),
        st.builds(_splice, _places, st.sampled_from(seeds), _places, st.integers(0, 256)),
        st.builds(_cut, _places),
    )  # fmt: skip
    return st.builds(_edited, st.sampled_from(seeds), st.lists(edits, max_size=most))


def _edited(data: bytes, edits: list[Edit]) -> bytes:
    for edit in edits:
        data = edit(data) if data else data
    return data


def _flip(at: int, bit: int) -> Edit:
    def edit(data: bytes) -> bytes:
        changed = bytearray(data)
        changed[at % len(data)] ^= 1 << bit
        return bytes(changed)

    return edit


def _replace(at: int, size: int, piece: bytes) -> Edit:
    def edit(data: bytes) -> bytes:
        start = at % len(data)
        return data[:start] + piece + data[start + size :]

    return edit


def _lie(at: int, number: int, size: int, order: str) -> Edit:
    piece = (number & (1 << 8 * size) - 1).to_bytes(size, order)  # type: ignore[arg-type]
    return _replace(at, size, piece)


def _splice(at: int, source: bytes, start: int, size: int) -> Edit:
    return _replace(at, 0, source[start % len(source) :][:size])


def _cut(at: int) -> Edit:
    return lambda data: data[: at % len(data)]
