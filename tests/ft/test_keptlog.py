"""A replica's log file may be lost while the replica goes on; a signal ends the replica."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import config_for, sample

from vlockstep.cli import pair
from vlockstep.errors import VlockstepError
from vlockstep.ft.keptlog import KeptLog
from vlockstep.replay.entry import Entry


@pytest.fixture
def sigterm() -> Iterator[None]:
    """Handled as replicas do."""
    before = signal.signal(signal.SIGTERM, pair._leave)
    yield
    signal.signal(signal.SIGTERM, before)


class Interrupting(list[Entry]):
    """Entries; SIGTERM comes while they are written."""

    def __iter__(self) -> Iterator[Entry]:
        os.kill(os.getpid(), signal.SIGTERM)
        return super().__iter__()


def test_a_signal_is_not_taken_for_a_full_disk(sigterm: None, tmp_path: Path) -> None:
    lost: list[str] = []
    log = KeptLog(tmp_path / "x.vlog", config_for(sample("hello")), lost.append)
    with pytest.raises(VlockstepError, match="stopped by SIGTERM"):
        log.keep(0, Interrupting())
    assert not lost
