"""A process that checks inputs, so that what kills it, hangs it or fills its memory is a finding
and not the end of the tests."""

from __future__ import annotations

import os
import resource
import select
import struct
import subprocess
import sys
import traceback
from contextlib import suppress
from pathlib import Path

from fuzz import targets

_LENGTH = struct.Struct("<I")
_PATIENCE = 30.0
_MEMORY = 6 << 30
"""Address space that may be written: Unicorn alone reserves a GiB for each CPU."""


class Worker:
    """Checks with one target. A worker that died is replaced."""

    def __init__(self, target: str) -> None:
        self._target = target
        self._start()

    def check(self, data: bytes) -> None:
        """Raises `AssertionError` if the target objects, or if the process does not survive."""
        process = self._process
        assert process.stdin is not None and process.stdout is not None
        with suppress(BrokenPipeError):
            process.stdin.write(_LENGTH.pack(len(data)) + data)
            process.stdin.flush()
        ready, _, _ = select.select([process.stdout], [], [], _PATIENCE)
        head = process.stdout.read(_LENGTH.size) if ready else b""
        if len(head) == _LENGTH.size:
            complaint = process.stdout.read(_LENGTH.unpack(head)[0]).decode()
            assert not complaint, complaint
            return
        self.close()
        self._start()
        raise AssertionError(f"hangs or dies with status {process.returncode}: {data.hex()}")

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()

    def _start(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "fuzz.worker", self._target],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])},
        )


def _serve(target: targets.Target) -> None:
    resource.setrlimit(resource.RLIMIT_DATA, (_MEMORY, _MEMORY))
    while len(head := sys.stdin.buffer.read(_LENGTH.size)) == _LENGTH.size:
        complaint = ""
        try:
            target.check(sys.stdin.buffer.read(_LENGTH.unpack(head)[0]))
        except Exception:
            complaint = traceback.format_exc()
        sys.stdout.buffer.write(_LENGTH.pack(len(complaint.encode())) + complaint.encode())
        sys.stdout.flush()


if __name__ == "__main__":
    _serve(targets.load(sys.argv[1]))
