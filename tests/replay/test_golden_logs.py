"""Logs of every version are read; one of today is written to the bytes that it had."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from golden import BASIS, CONFIG, HOW, IMAGE, KEYFRAME, LOG, entries, write_log
from support import replay

from vlockstep.machine import image as images
from vlockstep.replay.entry import Kind, describe
from vlockstep.replay.keyframe import Keyframe
from vlockstep.replay.logfile import VERSION, LogReader, LogWriter

VERSION_2 = LOG.parents[1] / "version2"


def test_a_log_is_written_to_the_same_bytes(tmp_path: Path) -> None:
    write_log(tmp_path / "log.vlog")
    assert (tmp_path / "log.vlog").read_bytes() == LOG.read_bytes(), HOW


def test_what_is_read_is_written_to_the_same_bytes(tmp_path: Path) -> None:
    with (
        closing(LogReader(LOG)) as log,
        LogWriter(tmp_path / "log.vlog", log.config, log.image, basis=log.basis) as new,
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
        assert log.basis == BASIS
        _, keyframe, _ = log.frames()
    assert keyframe == KEYFRAME
    with closing(LogReader(LOG)) as log:
        read = list(log.entries())
    assert read == entries()
    assert {kind for kind, *_ in read} == set(Kind), HOW
    assert all(map(describe, read))


def test_version_2_has_no_random_bits_and_is_read() -> None:
    with closing(LogReader(VERSION_2 / "every-kind.vlog")) as log:
        read = list(log.entries())
        assert (log.version, log.config, log.image, log.basis) == (2, CONFIG, IMAGE, {})
    *before, (kind, exits, *end) = (entry for entry in entries() if entry[0] != Kind.RANDOM)
    assert read == [*before, (kind, exits - 1, *end)]


def test_a_log_with_interrupts_is_replayed() -> None:
    """The guest of then, whose threads race, and its log as it was written: whatever changes here,
    positions do not."""
    with closing(LogReader(VERSION_2 / "preempt.vlog")) as log:
        read = list(log.entries())
    assert any(checkpoint for *_, checkpoint in read)
    assert any(blocks for kind, _, blocks, _, _ in read if kind == Kind.INTERRUPT)
    outcome = replay(images.load(VERSION_2 / "preempt.hvt"), log.config, read)
    assert (outcome.status, outcome.position.exits) == (0, read[-1][1])
