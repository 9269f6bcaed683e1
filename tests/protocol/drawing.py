"""The states of the protocol as drawings, made from the table: `python tests/protocol/drawing.py`
puts them into the README of the protocol."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from vlockstep.protocol.role import TRANSITIONS, State

README = Path(__file__).parents[2] / "vlockstep" / "protocol" / "README.md"
_BLOCK = re.compile(r"^```mermaid\n.*?^```\n", re.M | re.S)


def drawn(text: str) -> str:
    """The text with today's drawing in it."""
    return _BLOCK.sub(lambda _: "".join(f"{line}\n" for line in _lines()), text)


def _lines() -> Iterator[str]:
    """In the language of Mermaid."""
    yield "```mermaid"
    yield "stateDiagram-v2"
    for state in State:
        yield f"    {state.name}: {state.value}"
    for state, successors in TRANSITIONS.items():
        for successor in State:
            if successor in successors:
                yield f"    {state.name} --> {successor.name}"
    yield "```"


if __name__ == "__main__":
    README.write_text(drawn(README.read_text()))
