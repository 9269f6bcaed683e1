"""The documents: what they point to is there, and the commands that they show can be given."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from typer.main import get_command

from vlockstep.cli.app import app
from vlockstep.cli.command import DefaultGroup
from vlockstep.cli.tender import translated

ROOT = Path(__file__).parents[1]
HIDDEN = {".venv", "build", "dist"}
DOCUMENTS = sorted(
    path
    for path in ROOT.rglob("*.md")
    if not any(part in HIDDEN or part.startswith(".") for part in path.relative_to(ROOT).parts)
)
NAMES = [str(path.relative_to(ROOT)) for path in DOCUMENTS]


def without_code(text: str) -> str:
    return re.sub(r"^```.*?^```$|`[^`\n]*`", "", text, flags=re.M | re.S)


def anchors(document: Path) -> set[str]:
    """As a reader's program makes them of headings."""
    headings = re.findall(r"^#+ (.*)$", document.read_text(), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("name", NAMES)
def test_links_lead_somewhere(name: str) -> None:
    document = ROOT / name
    for target in re.findall(r"\]\(([^)\s]+)\)", without_code(document.read_text())):
        if "://" in target:
            continue
        file, _, anchor = target.partition("#")
        there = (document.parent / file).resolve() if file else document
        assert there.is_relative_to(ROOT) and there.exists(), target
        assert not anchor or anchor in anchors(there), target


def test_every_document_is_reached_from_the_first_one() -> None:
    reached, left = set[Path](), [ROOT / "README.md"]
    while left:
        document = left.pop()
        if document in reached or document.suffix != ".md":
            continue
        reached.add(document)
        for target in re.findall(r"\]\(([^)#\s]+)", without_code(document.read_text())):
            if "://" not in target:
                left.append((document.parent / target).resolve())
    assert reached == set(DOCUMENTS)


def test_the_first_one_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 150


def test_the_example_of_a_machine_runs() -> None:
    text = (ROOT / "vlockstep" / "machine" / "README.md").read_text()
    (example,) = re.findall(r"^```py\n(.*?)^```$", text, re.M | re.S)
    done = subprocess.run([sys.executable, "-c", example], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "Hello from vlockstep\n"), done.stderr


def shown(text: str) -> Iterator[list[str]]:
    """The commands in blocks and in running text: their words, up to the guest's own."""
    blocks = re.findall(r"^```console\n(.*?)^```$", text, re.M | re.S)
    for line in [line for block in blocks for line in block.splitlines()]:
        words = shlex.split(line, comments=True)
        if words[:1] == ["vlockstep"]:
            yield words[1 : words.index("--")] if "--" in words else words[1:]
    for quoted in re.findall(r"`(vlockstep [^`\n]+)`", text):
        yield quoted.split()[1:]


@pytest.mark.parametrize("name", NAMES)
def test_commands_can_be_given(name: str) -> None:
    for line in shown((ROOT / name).read_text()):
        command, words = get_command(app), [part for word in line for part in translated(word)]
        for word in words:
            if isinstance(command, DefaultGroup) and word not in command.commands:
                command = next(iter(command.commands.values()))
            if isinstance(command, typer.core.TyperGroup) and word[0] != "-":
                assert word in command.commands, words
                command = command.commands[word]
            elif word[0] == "-" and len(word) > 1:
                names = {name for parameter in command.params for name in parameter.opts}
                assert word.split("=")[0] in names | {"--help", "-h"}, words
