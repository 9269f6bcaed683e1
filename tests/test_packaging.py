"""What is installed and what is handed on: an sdist that is the whole project, a wheel that needs
no more than guests do."""

from __future__ import annotations

import re
import subprocess
import sys
import tarfile
import zipfile
from email import message_from_string
from email.message import Message
from pathlib import Path

import pytest

import vlockstep

ROOT = Path(__file__).parents[1]


def build(directory: Path, target: str, output: Path) -> Path:
    """What a build front end does, without fetching the back end anew."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", target, "-d", str(output)]
    subprocess.run(command, cwd=directory, capture_output=True, check=True)
    (built,) = output.iterdir()
    return built


def tracked(*paths: str) -> set[str]:
    """The files that git has here."""
    if not (ROOT / ".git").exists():
        pytest.skip("there is no git here to tell what the files are")
    command = ["git", "-C", str(ROOT), "ls-files", "-z", *paths]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return {name for name in listed.split("\0") if name and (ROOT / name).exists()}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project as it is in the sdist."""
    directory = tmp_path_factory.mktemp("sdist")
    with tarfile.open(build(ROOT, "sdist", directory / "built")) as archive:
        archive.extractall(directory, filter="data")
    return directory / f"vlockstep-{vlockstep.__version__}"


@pytest.fixture(scope="module")
def wheel(source: Path, tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """The wheel that is built from it."""
    return zipfile.ZipFile(build(source, "wheel", tmp_path_factory.mktemp("wheel")))


@pytest.fixture(scope="module")
def metadata(wheel: zipfile.ZipFile) -> Message:
    folder = f"vlockstep-{vlockstep.__version__}.dist-info"
    return message_from_string(wheel.read(f"{folder}/METADATA").decode())


@pytest.mark.external("git")
def test_the_sdist_has_all_files_of_the_project(source: Path) -> None:
    assert not [name for name in tracked() if not (source / name).is_file()]


@pytest.mark.external("gcc", "make")
def test_images_can_be_rebuilt_from_the_sdist(source: Path, tmp_path: Path) -> None:
    """To the same bytes as from here, whichever compiler this host has."""
    images = []
    for project in (source, ROOT):
        image = tmp_path / project.name / "echo.hvt"
        command = ["make", "-C", project / "guests", f"OUT={image.parent}", image]
        subprocess.run(command, capture_output=True, check=True)
        images.append(image.read_bytes())
    assert images[0] == images[1]


@pytest.mark.external("git")
def test_the_wheel_has_the_package_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    names = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert names >= tracked("vlockstep")
    assert all(name.startswith("vlockstep/") for name in names)


def test_the_version_is_that_of_the_package(metadata: Message) -> None:
    command = [sys.executable, "-m", "vlockstep", "--version"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert metadata["Version"] == vlockstep.__version__ == shown.split()[-1]
    assert metadata["License-Expression"] == "MIT"


def test_the_changelog_has_the_version() -> None:
    """Who raises it says what is new in it."""
    versions = re.findall(r"^## (\d\S*\d)", (ROOT / "CHANGELOG.md").read_text(), re.M)
    assert versions[0] == vlockstep.__version__


def test_who_runs_guests_needs_no_simulator(metadata: Message) -> None:
    needs = metadata.get_all("Requires-Dist", [])
    assert [need for need in needs if "greenlet" in need and "extra" not in need] == []
    assert [need for need in needs if re.match("greenlet.*extra == 'sim'", need)] != []


WITHOUT_GREENLET = "import sys; sys.modules['greenlet'] = None; "
"""An import of it fails as if it were not installed."""


@pytest.mark.parametrize(
    ("script", "options"),
    [
        ("import runpy; runpy.run_module('vlockstep.sim', run_name='__main__')", ["--seeds", "1"]),
        (
            "from vlockstep import program; from vlockstep.testing import LocalPair; "
            "sys.exit(program.run(lambda: LocalPair('hello')))",
            [],
        ),
    ],
)
def test_a_simulation_without_greenlet_says_what_to_install(
    script: str, options: list[str]
) -> None:
    command = [sys.executable, "-c", WITHOUT_GREENLET + script, *options]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "vlockstep: guests in virtual time need greenlet, which is not installed: "
        "pip install 'vlockstep[sim]'\n"
    )


def test_real_pairs_and_the_demo_need_no_greenlet() -> None:
    script = WITHOUT_GREENLET + "import vlockstep.demo.stage, vlockstep.testing.plugin; "
    script += "from vlockstep.testing import Pair, check_ledger, replay"
    subprocess.run([sys.executable, "-c", script], check=True)
