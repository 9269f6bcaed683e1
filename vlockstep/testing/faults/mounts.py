"""File systems that fill up, or stand still. Linux, as root."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def _run(*command: object) -> None:
    subprocess.run(list(map(str, command)), check=True, timeout=20)


@contextmanager
def small(at: Path, size: int) -> Iterator[None]:
    """A file system in memory for `size` bytes, whole pages, at the directory `at`."""
    at.mkdir(parents=True)
    _run("mount", "-t", "tmpfs", "-o", f"size={size}", "vlockstep", at)
    try:
        yield
    finally:
        _run("umount", at)


@contextmanager
def freezable(at: Path, image: Path) -> Iterator[None]:
    """An ext4 in the file `image`, at the directory `at`."""
    at.mkdir(parents=True)
    with image.open("wb") as file:
        file.truncate(4 << 20)
    _run("mkfs.ext4", "-q", image)
    _run("mount", "-o", "loop", image, at)
    try:
        yield
    finally:
        _run("umount", at)


@contextmanager
def frozen(at: Path) -> Iterator[None]:
    """Who writes to the file system at `at` stands still meanwhile, and cannot be killed."""
    _run("fsfreeze", "--freeze", at)
    try:
        yield
    finally:
        _run("fsfreeze", "--unfreeze", at)
