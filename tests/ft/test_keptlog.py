"""What waits for a replica's log file, and is bounded."""

from __future__ import annotations

from pathlib import Path

import pytest
from support import config_for, sample

from vlockstep.ft import keptlog
from vlockstep.ft.keptlog import KeptLog
from vlockstep.host.background import Job
from vlockstep.protocol.journal import Batch
from vlockstep.replay import codec
from vlockstep.replay.entry import Kind, Value


class StandingStill:
    """A `Background` that does nothing."""

    def submit(self, job: Job) -> None:
        pass

    def drain(self, seconds: float) -> bool:
        return False


@pytest.mark.parametrize(
    ("kind", "value"), [(Kind.NET_READ, (1, bytes(1000))), (Kind.BLOCK_READ, bytes(1000))]
)
def test_the_data_of_entries_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: Kind, value: Value
) -> None:
    monkeypatch.setattr(keptlog, "LIMIT", 3000)
    path, lost = tmp_path / "a.vlog", list[str]()
    log = KeptLog(path, config_for(sample("hello")), StandingStill(), lost.append)
    for number in range(3):
        assert lost == []
        content = codec.encode(number, [(kind, number, 0, value, b"")])
        log.keep(0, [Batch(number, number + 1, 1, content)])
    assert lost == [f"{path} takes less than the guest gives; the log file ends here"]
