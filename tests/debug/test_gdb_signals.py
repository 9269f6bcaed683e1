"""Ctrl-C and signals, with real gdb."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path

import pytest
from recordings import write_recording

from vlockstep.debug.recording import Recording
from vlockstep.debug.server import Server
from vlockstep.debug.timeline import Timeline


class Signalling(Timeline):
    """Sends gdb what Ctrl-C does, while that waits for one of many steps to end."""

    gdb: subprocess.Popen[str]
    stepped = 0

    def step(self) -> bool:
        self.stepped += 1
        if self.stepped == 20:
            os.kill(self.gdb.pid, signal.SIGINT)
        return super().step()


@pytest.mark.external("gdb")
def test_ctrl_c_ends_many_steps(tmp_path: Path) -> None:
    path = write_recording(tmp_path / "hello.vlog", "hello")
    with closing(Signalling(Recording(path))) as timeline, closing(Server(0)) as server:
        told = ["-ex", f"target remote {server.address}", "-ex", "stepi 1000000"]
        words = ["gdb", "-q", "-batch", "-nx", *told, "-ex", "echo behind\\n", "-ex", "stepi"]
        timeline.gdb = subprocess.Popen(
            words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        with ThreadPoolExecutor(1) as pool:
            reading = pool.submit(timeline.gdb.communicate)
            assert server.serve(timeline)
            output = reading.result(timeout=60)[0]
    many, _, one = output.partition("behind\n")
    assert "Program received signal SIGINT" in many, output
    assert "SIGINT" not in one and " in " in one, output
    assert timeline.stepped < 40


@pytest.mark.external("gdb")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_batch(number: signal.Signals, tmp_path: Path) -> None:
    log = write_recording(tmp_path / "hello.vlog", "hello")
    batch = tmp_path / "batch"
    batch.write_text("seek begin\necho begun\\n\nwhile 1\nstepi\nreverse-stepi\nend\n")
    words = [sys.executable, "-m", "vlockstep", "debug", str(log), "--batch", str(batch)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        assert process.stdout is not None
        while b"begun" not in process.stdout.readline():
            assert process.poll() is None
        process.send_signal(number)
        told = process.communicate(timeout=60)[0].decode()
    assert process.returncode == 1 and "Traceback" not in told, told
    assert "Exception ignored" not in told


@pytest.mark.external("gdb")
@pytest.mark.parametrize("typed", [b"q", b"stepi 100000000"])
def test_who_leaves_is_not_asked(typed: bytes, tmp_path: Path) -> None:
    """At a terminal, by a command or by a signal."""
    log = write_recording(tmp_path / "hello.vlog", "hello")
    words = [sys.executable, "-m", "vlockstep", "debug", str(log)]
    told = bytearray()
    ours, theirs = os.openpty()
    with os.fdopen(ours, "r+b", buffering=0) as terminal:
        process = subprocess.Popen(
            words, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
        )
        os.close(theirs)
        while b"(gdb) " not in told:
            told += terminal.read(4096)
        terminal.write(typed + b"\n")
        if typed != b"q":
            process.terminate()
        with suppress(OSError):  # there is no terminal when they have left
            while part := terminal.read(4096):
                told += part
                assert b"anyway" not in told and b"Traceback" not in told
        assert process.wait(timeout=60) == 0
