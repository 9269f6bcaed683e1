"""What is fuzzed. A target is a module with two functions: `check` takes any bytes and raises only
if something that must hold does not, and `seeds` gives inputs from which to start."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import NamedTuple


class Target(NamedTuple):
    check: Callable[[bytes], None]
    seeds: Callable[[], list[bytes]]


TARGETS = {
    "image": "ELF files and manifests",
    "code": "machine code of a hostile guest",
    "calls": "hypercalls of a hostile guest",
    "log": "log files: header, batches, entries, checkpoints",
    "snapshot": "snapshots: header, pieces of RAM and disks",
    "messages": "what replicas say to each other",
    "ports": "what a switch and its ports say to each other, frames included",
}


def load(name: str) -> Target:
    module = import_module(f"fuzz.{name}")
    return Target(module.check, module.seeds)
