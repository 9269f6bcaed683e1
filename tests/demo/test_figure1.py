"""`vlockstep demo figure1`: a cluster whose master dies, as a newcomer sees it."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from xml.etree import ElementTree

import pytest
from commands import run_command
from demo_command import judged

from vlockstep.testing.process import command, environment


def left_in(directory: Path) -> list[int]:
    """Processes that use files there."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if str(directory) in (path / "cmdline").read_text() or directory in [
                *(path / "cwd").readlink().parents
            ]:
                found.append(int(path.name))
        except OSError:
            continue
    return found


@pytest.mark.long
@pytest.mark.timeout(400)
def test_the_master_dies(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    done = subprocess.run(
        command("demo", "figure1", "--keep", kept),
        capture_output=True,
        text=True,
        env=environment(),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert judged(done.stdout) == dict.fromkeys(
        ("master", "guests", "clients", "counters", "protection", "one live", "consoles"), "ok"
    )
    assert "B is master, A was" in done.stdout
    assert "run: A1 on C, A2 on B, A3 on D" in done.stdout
    assert "A1: primary on C, secondary on D" in done.stdout
    picture = ElementTree.parse(kept / "timeline.svg").getroot()
    texts = {element.text for element in picture.iter() if element.text}
    assert {"host A", "host D", "A is killed", "answers"} <= texts
    assert left_in(tmp_path) == []


@pytest.mark.long
@pytest.mark.timeout(400)
@pytest.mark.parametrize("deed", ["--isolate=B", "--maintenance=A"])
def test_other_stories(tmp_path: Path, deed: str) -> None:
    picture = tmp_path / "picture.svg"
    done = subprocess.run(
        command("demo", "figure1", "--json", deed, "--picture", picture),
        capture_output=True,
        text=True,
        env=environment(),
    )
    facts = json.loads(done.stdout)
    assert facts["ok"] and done.returncode == 0, facts
    assert picture.read_text().startswith("<svg")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--hosts", 3], "3 hosts: give 4 to 26"),
        (["--kill", "E"], "there is no host 'E': there are A, B, C, D"),
        (["--kill", "A", "--isolate", "B"], "one thing happens to one host"),
    ],
)
def test_what_cannot_be_shown(options: list[object], said: str) -> None:
    done = run_command("demo", "figure1", *options)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
