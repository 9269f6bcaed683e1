"""Which NIC a frame was read from: it is logged, verified, and unknown in logs of version 1."""

from __future__ import annotations

import pytest
from support import VERSION_1, ScriptedWorld, config_for, net_config, record, replay

from vlockstep.machine import image as images
from vlockstep.machine.config import MIB
from vlockstep.machine.image import Image
from vlockstep.replay.entry import Entry, Kind
from vlockstep.replay.logfile import LogReader
from vlockstep.replay.replayer import Divergence

RED, BLUE = 1, 2


def nics() -> Image:
    return images.load(VERSION_1 / "nics.hvt")


def reads(entries: list[Entry]) -> list[object]:
    return [value for kind, _, _, value, _ in entries if kind == Kind.NET_READ]


def test_the_nic_is_logged_and_verified() -> None:
    config = config_for(nics(), memory=4 * MIB, nets=net_config("red", "blue"))
    frames = [b"r" * 60, b"b" * 60]
    entries = record(nics(), config, ScriptedWorld(net_read=frames)).entries
    assert reads(entries) == [(RED, frames[0]), (BLUE, frames[1]), (RED, None)]
    replay(nics(), config, entries)
    for number, (kind, exits, blocks, value, checkpoint) in enumerate(entries):
        if isinstance(value, tuple):
            right, frame = value
            wrong = RED + BLUE - (right or 0)
            other = (kind, exits, blocks, (wrong, frame), checkpoint)
            what = (
                f"entry {number}, .* the guest reads from the NIC of handle {right} "
                f"where the log has a read from that of handle {wrong}"
            )
            with pytest.raises(Divergence, match=what):
                replay(nics(), config, [*entries[:number], other, *entries[number + 1 :]])


@pytest.mark.parametrize(("name", "length"), [("clock", 40), ("nics", 10)])
def test_logs_of_version_1_are_replayed(name: str, length: int) -> None:
    reader = LogReader(VERSION_1 / f"{name}.vlog")
    entries = list(reader.entries())
    reader.close()
    assert (reader.version, reader.truncated, len(entries)) == (1, None, length)
    outcome = replay(images.load(VERSION_1 / f"{name}.hvt"), reader.config, entries)
    assert (outcome.status, outcome.position.exits) == (0, length - 1)


def test_logs_of_version_1_do_not_tell_the_nic() -> None:
    reader = LogReader(VERSION_1 / "nics.vlog")
    entries = list(reader.entries())
    reader.close()
    assert reads(entries) == [(None, b"r" * 60), (None, b"b" * 60), (None, None)]
