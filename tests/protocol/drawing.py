"""The states of the protocol as drawings, made from the table: `python tests/protocol/drawing.py`
puts them into the README of the protocol."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from vlockstep.protocol.states import TABLE, Row, State

README = Path(__file__).parents[2] / "vlockstep" / "protocol" / "README.md"
_PART = re.compile(r"(^<!-- states -->\n).*?(^<!-- end of states -->\n)", re.M | re.S)


def drawn(text: str) -> str:
    """The text with today's drawings in it."""
    return _PART.sub(lambda found: f"{found[1]}{''.join(_lines())}{found[2]}", text)


def _lines() -> Iterator[str]:
    """A drawing of each role, in the language of Mermaid."""
    for role, rows in TABLE.items():
        yield f"\n### The {role}\n\n```mermaid\nstateDiagram-v2\n    direction LR\n"
        for state in rows:
            yield f"    {state.name}: {state.value}\n"
        for state, row in rows.items():
            for successor in State:
                if because := _because(row, successor):
                    yield f"    {state.name} --> {successor.name}: {because}\n"
        yield "```\n"
    yield "\n"


def _because(row: Row, successor: State) -> str:
    """The events that may lead there."""
    return ", ".join(event.value for event, states in row.items() if successor in states)


if __name__ == "__main__":
    README.write_text(drawn(README.read_text()))
