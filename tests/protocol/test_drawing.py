"""The drawing in the README of the protocol shows the table that is."""

from __future__ import annotations

from drawing import README, drawn


def test_the_drawing_is_that_of_the_table() -> None:
    text = README.read_text()
    assert text.count("```mermaid") == 1
    assert text == drawn(text), "draw it again: python tests/protocol/drawing.py"
