"""The guest that the README of guests/ shows is one."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from support import Console, config_for, machine_of

from vlockstep.host.simulated import SimulatedWorld
from vlockstep.machine import image as images

GUESTS = Path(__file__).parents[2] / "guests"


@pytest.mark.external("gcc", "make")
def test_the_guest_of_the_readme_does_what_it_says(tmp_path: Path) -> None:
    (source,) = re.findall(r"^```c\n(.*?)^```$", (GUESTS / "README.md").read_text(), re.M | re.S)
    shutil.copytree(GUESTS, tmp_path / "guests")
    (tmp_path / "guests" / "mine.c").write_text(source)
    built = tmp_path / "mine.hvt"
    command = ["make", "-C", tmp_path / "guests", f"OUT={tmp_path}", built]
    subprocess.run(command, check=True, capture_output=True)
    image, console = images.load(built), Console()
    with machine_of(image, config_for(image, "--seconds=2")) as machine:
        assert machine.run(SimulatedWorld(1, console)).status == 0
    assert console.text == "1 to go\n0 to go\n"
