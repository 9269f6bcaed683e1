"""Programs that are no Python packages: which Debian package brings them, and running them."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path

QEMU = "qemu-system-x86_64"
_GUESTS = Path(__file__).parents[1] / "guests"
_PACKAGES = {
    QEMU: "qemu-system-x86",
    "qemu-img": "qemu-utils",
    "gcc": "gcc",
    "make": "make",
    "redis-benchmark": "redis-tools",
    "ab": "apache2-utils",
    "ip": "iproute2",
    "chromium": "chromium",
}


def missing(programs: Iterable[str]) -> str:
    """What to install before they can run; empty if they are all there."""
    absent = [program for program in programs if shutil.which(program) is None]
    if not absent:
        return ""
    packages = " ".join(sorted({_PACKAGES[program] for program in absent}))
    return f"there is no {' and no '.join(absent)} here: apt-get install {packages}"


def build(target: str, directory: Path) -> None:
    """What `make -C guests` knows by this name, into `directory`."""
    text_of(["make", "-C", str(_GUESTS), target, f"OUT={directory}"])


def text_of(command: Sequence[str], status: int = 0) -> str:
    """What it prints. `RuntimeError` if it ends with another status."""
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if done.returncode != status:
        said = f"{done.stdout}{done.stderr}"
        raise RuntimeError(f"{' '.join(command)} ended with status {done.returncode}:\n{said}")
    return done.stdout
