"""Logs of every version are read; one of today is written to the bytes that it had."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from golden import CONFIG, HOW, IMAGE, KEYFRAME, LOG, entries, write_log
from support import replay

from vlockstep.machine import image as images
from vlockstep.replay.entry import Kind, describe
from vlockstep.replay.keyframe import Keyframe
from vlockstep.replay.logfile import VERSION, LogReader, LogWriter


def test_a_log_is_written_to_the_same_bytes(tmp_path: Path) -> None:
    write_log(tmp_path / "log.vlog")
    assert (tmp_path / "log.vlog").read_bytes() == LOG.read_bytes(), HOW


def test_what_is_read_is_written_to_the_same_bytes(tmp_path: Path) -> None:
    with (
        closing(LogReader(LOG)) as log,
        LogWriter(tmp_path / "log.vlog", log.config, log.image) as new,
    ):
        for found in log.frames():
            if isinstance(found, Keyframe):
                new.keyframe(found)
            else:
                new.extend(found[1])
    assert (tmp_path / "log.vlog").read_bytes() == LOG.read_bytes(), HOW


def test_every_kind_of_entry_is_read_and_a_keyframe() -> None:
    with closing(LogReader(LOG)) as log:
        assert (log.version, log.config, log.image) == (VERSION, CONFIG, IMAGE)
        _, keyframe, _ = log.frames()
    assert keyframe == KEYFRAME
    with closing(LogReader(LOG)) as log:
        read = list(log.entries())
    assert read == entries()
    assert {kind for kind, *_ in read} == set(Kind), HOW
    assert all(map(describe, read))


def test_a_log_with_interrupts_is_replayed() -> None:
    """The guest of then, whose threads race, and its log as it was written: whatever changes here,
    positions do not."""
    with closing(LogReader(LOG.parent / "preempt.vlog")) as log:
        read = list(log.entries())
    assert any(checkpoint for *_, checkpoint in read)
    assert any(blocks for kind, _, blocks, _, _ in read if kind == Kind.INTERRUPT)
    outcome = replay(images.load(LOG.parent / "preempt.hvt"), log.config, read)
    assert (outcome.status, outcome.position.exits) == (0, read[-1][1])
