"""The page's files, as they lie there."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import vlockstep.web

STATIC = Path(vlockstep.web.__file__).with_name("static")
OURS = [p for p in STATIC.rglob("*") if p.suffix in (".js", ".css", ".html", ".svg")]
OURS = [path for path in OURS if path.parent.name != "vendor"]
_NAMESPACE = "http://www.w3.org/2000/svg"
MOST_LINES = 400


def test_what_others_made_is_as_it_came() -> None:
    told = re.findall(r"`(\S+)` \|[^`]*(?:`uPlot.LICENSE`)?[^`]*`([0-9a-f]{64})`", _vendor())
    assert {name for name, _ in told} == {"uPlot.iife.min.js", "uPlot.min.css"}
    for name, digest in told:
        content = (STATIC / "vendor" / name).read_bytes()
        assert hashlib.sha256(content).hexdigest() == digest
    assert "MIT License" in (STATIC / "vendor" / "uPlot.LICENSE").read_text()


def _vendor() -> str:
    return (STATIC / "vendor" / "ORIGIN.txt").read_text()


def test_nothing_comes_from_outside() -> None:
    for path in OURS:
        assert "://" not in path.read_text().replace(_NAMESPACE, "").replace("tcp://", "").replace(
            'includes("://")', ""
        ), path


def test_all_that_is_named_is_there() -> None:
    page = STATIC / "index.html"
    for name in re.findall(r'(?:href|src)="([^"#]+)"', page.read_text()):
        assert (STATIC / name).is_file(), name
    for path in OURS:
        for name in re.findall(r'from "(\./[^"]+)"', path.read_text()):
            assert (path.parent / name).is_file(), f"{path.name}: {name}"


def test_no_markup_is_made_of_text() -> None:
    """Nor is a style or a script written into the page, which its policy forbids."""
    for path in OURS:
        text = path.read_text()
        for way in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("):
            assert way not in text, path
        assert not re.search(r"\sstyle=|\son\w+=|<style|<script>", text), path
        assert text.count("\n") < MOST_LINES, path
