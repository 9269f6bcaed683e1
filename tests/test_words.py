"""A layer speaks its own words: no option of the command line in a text below `cli/`."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import vlockstep

ROOT = Path(vlockstep.__file__).parent
PROGRAMS = {"cli", "sim", "testing"}
"""Folders with command lines of their own, as each `__main__` is one."""
GUESTS = {"machine/samples.py", "demo/plan.py", "demo/hosts/plan.py"}
"""What guests have as options."""
BELOW = sorted(
    path
    for path in ROOT.rglob("*.py")
    if path.relative_to(ROOT).parts[0] not in PROGRAMS
    and path.name != "__main__.py"
    and str(path.relative_to(ROOT)) not in GUESTS
)
OPTION = re.compile(r"(?<![\w-])--[a-z]")
ARGUMENT = re.compile(r"--[a-z][a-z0-9-]*")
"""A text that is nothing else is an argument for another program."""


def texts(tree: ast.AST) -> Iterator[str]:
    """All but docstrings; an f-string as one, with `{}` for each value."""
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            parts = [p.value if isinstance(p, ast.Constant) else "{}" for p in node.values]
            yield "".join(map(str, parts))
        elif isinstance(node, ast.Constant) and id(node) not in docstrings:
            yield str(node.value)


def optional(text: str) -> bool:
    return bool(OPTION.search(text)) and not ARGUMENT.fullmatch(text)


def test_the_search_finds_some() -> None:
    """Else the next test could not fail."""
    source = (
        'def f(name):\n    """--not this"""\n    return f"give {name} more with --mem", "--fd"\n'
    )
    assert [text for text in texts(ast.parse(source)) if optional(text)] == [
        "give {} more with --mem",
        " more with --mem",
    ]
    assert len(BELOW) > 80


@pytest.mark.parametrize("path", BELOW, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_option_is_named_below_the_command_line(path: Path) -> None:
    assert [text for text in texts(ast.parse(path.read_text())) if optional(text)] == []
