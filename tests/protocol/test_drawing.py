"""The drawings in the README of the protocol show the table that is."""

from __future__ import annotations

from drawing import README, drawn

from vlockstep.protocol.states import TABLE


def test_the_drawings_are_those_of_the_table() -> None:
    text = README.read_text()
    assert text.count("```mermaid") == len(TABLE)
    assert text == drawn(text), "draw them again: python tests/protocol/drawing.py"
