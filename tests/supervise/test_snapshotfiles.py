"""The file of a snapshot, of a guest of which more becomes known meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from support import MIB, Console, config_for, sample

from vlockstep.errors import HostError
from vlockstep.host.devices import Disk
from vlockstep.host.live import LiveWorld
from vlockstep.machine.machine import Machine
from vlockstep.replay.snapshot import Snapshot, SnapshotReader
from vlockstep.supervise.snapshotfiles import SnapshotFiles, take
from vlockstep.supervise.visits import Visit


class Counting:
    """A guest that computes. `check` is called for each part of the file, once it is held."""

    def __init__(self, check: Callable[[], None]) -> None:
        image = sample("preempt")
        self.machine = Machine(image, config_for(image, "--work=4000000", memory=16 * MIB))
        self.files: tuple[Path, ...] = ()
        self.disks: Mapping[str, Disk] = {}
        self.check = check

    def visit(self) -> Visit[Snapshot]:
        return Visit(self.machine, lambda: None, self._look)

    def _look(self) -> Snapshot:
        machine = self.machine
        state = machine.capture(memory=False)
        return Snapshot("a", machine.config, None, state, (0, 0), 0, 0, 0, {})


def made(path: Path, check: Callable[[], None]) -> dict[str, Any]:
    """What is answered."""
    subject, files, told = Counting(check), SnapshotFiles(), list[dict[str, Any]]()
    with closing(subject.machine) as machine:
        guest = threading.Thread(target=machine.run, args=(LiveWorld(Console()),))
        guest.start()
        files.make(path, (), partial(take, subject), told.append)
        assert files.busy
        files.finish()
        assert not files.busy
        guest.join()
        assert machine.outcome is not None and machine.outcome.status == 0
    return told[-1]


def test_a_snapshot_of_a_guest_that_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "a.vsnap"
    told = made(path, lambda: None)
    with closing(SnapshotReader(path)) as reader:
        assert [*reader.verify()] and str(reader.snapshot.position) == told["position"]
    assert told["bytes"] == path.stat().st_size


@pytest.mark.parametrize("parts", [0, 1])
def test_one_that_is_not_to_be_kept(tmp_path: Path, parts: int) -> None:
    """That becomes known when so many of its parts are written."""
    left = parts

    def check() -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise HostError("it is not to be trusted")

    assert made(tmp_path / "a.vsnap", check)["error"] == "it is not to be trusted"
    assert [*tmp_path.iterdir()] == []
