"""The house: each layer has a face that is true, and no module needs itself to be imported."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import grimp
import pytest

PACKAGE = Path(__file__).parents[1] / "vlockstep"
LAYERS = sorted(path.parent for path in PACKAGE.glob("*/**/__init__.py"))
HEAVY = {"unicorn", "zmq", "elftools", "capstone", "greenlet"}


def names_defined(module: Path) -> set[str]:
    """What a module, or a package by its face, defines at the top."""
    file = module / "__init__.py" if module.is_dir() else module
    found = set()
    for node in ast.parse(file.read_text()).body:
        match node:
            case ast.ClassDef(name) | ast.FunctionDef(name):
                found.add(name)
            case ast.Assign(targets):
                found |= {target.id for target in targets if isinstance(target, ast.Name)}
            case ast.AnnAssign(ast.Name(name)):
                found.add(name)
    return found


def test_every_folder_of_modules_has_a_face() -> None:
    folders = {path.parent for path in PACKAGE.rglob("*.py")} - {PACKAGE}
    assert sorted(folders) == LAYERS


@pytest.mark.parametrize("layer", LAYERS, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_face_names_every_module_and_what_is_found_there(layer: Path) -> None:
    """A line each: the module, two spaces or more, public names, a colon and what they are."""
    face = ast.get_docstring(ast.parse((layer / "__init__.py").read_text()))
    assert face, "say in the first line what lives here"
    lines = re.findall(r"^ *([a-z]\w*)  +(\S.*)$", face, re.M)
    modules = {path.stem: path for path in layer.iterdir() if path.suffix in ("", ".py")}
    present = [name for name, path in modules.items() if path.is_file() or path in LAYERS]
    assert sorted(name for name, _ in lines) == sorted(n for n in present if n[:2] != "__")
    for module, text in lines:
        named = re.match(r"\w+(?:, \w+)*(?=:)", text)
        missing = set(named[0].split(", ")) - names_defined(modules[module]) if named else set()
        assert not missing, f"{module} has no {missing}"


def test_tests_lie_by_layer() -> None:
    """Or by what they have in their hands: hostile input, the bundled guests, real pairs."""
    layers = {layer.name for layer in LAYERS} | {"fuzz", "guests", "pair"}
    tests = Path(__file__).parent
    assert {path.parent.name for path in tests.glob("*/test_*.py")} <= layers


def test_no_module_needs_itself_to_be_imported() -> None:
    """Imports within functions count: they are made, if late. Those for types alone are not made:
    two classes may name each other, as a machine and its hypercalls do."""
    graph = grimp.build_graph("vlockstep", exclude_type_checking_imports=True, cache_dir=None)
    imports = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    while leaves := {module for module, needs in imports.items() if not needs}:
        imports = {m: needs - leaves for m, needs in imports.items() if m not in leaves}
    assert not imports, "these import each other, or what does"


def test_the_faces_cost_nothing() -> None:
    """Who wants one layer's pure part gets no CPU, and no sockets."""
    faces = [".".join(("vlockstep", *layer.relative_to(PACKAGE).parts)) for layer in LAYERS]
    faces.remove("vlockstep.testing.faults")  # a table of faults, for which pairs are there
    script = f"import sys, {', '.join(faces)}; print(*{{*sys.modules}} & {HEAVY})"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "\n", "")
