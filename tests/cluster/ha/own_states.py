"""A host's own states as a drawing, made from the table: `python tests/cluster/ha/own_states.py`
puts it into the README of the cluster."""

from __future__ import annotations

import re
from pathlib import Path

from vlockstep.cluster.ha.states import TRANSITIONS

README = Path(__file__).parents[3] / "vlockstep" / "cluster" / "README.md"
_PART = re.compile(r"(^<!-- states -->\n).*?(^<!-- end of states -->\n)", re.M | re.S)


def drawn(text: str) -> str:
    """The text with today's drawing in it, in the language of Mermaid."""
    edges = [
        f"    {state} --> {successor}\n"
        for state, successors in TRANSITIONS.items()
        for successor in TRANSITIONS
        if successor in successors
    ]
    drawing = "".join(("\n```mermaid\nstateDiagram-v2\n    direction LR\n", *edges, "```\n\n"))
    return _PART.sub(lambda found: f"{found[1]}{drawing}{found[2]}", text)


if __name__ == "__main__":
    README.write_text(drawn(README.read_text()))
