"""The switch that a host has for its guests: a process of its own, which outlives the agent."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from vlockstep.cluster.agent.local import environment
from vlockstep.errors import HostError
from vlockstep.files.processes import identity, runs

_FACTS, _OUTPUT = "switch.json", "switch.txt"
_LISTENING = re.compile(r"listening on (\S+)\n")
_SECONDS = 10.0
"""In which it must listen."""


class HostSwitch:
    """Finds the one that runs, or starts one that listens at `address`."""

    def __init__(
        self, state: Path, address: str, uplinks: Sequence[str], keys: Path | None
    ) -> None:
        self._state = state
        self._keys = keys
        self.endpoint = self._find() or self._start(address, uplinks)

    def close(self) -> None:
        """It goes on."""

    def _find(self) -> str | None:
        with suppress(OSError, ValueError, KeyError, TypeError):
            told = json.loads((self._state / _FACTS).read_text())
            if runs(told["pid"], told["identity"]):
                return str(told["endpoint"])
        return None

    def _start(self, address: str, uplinks: Sequence[str]) -> str:
        command = [sys.executable, "-m", "vlockstep", "switch"]
        command += ["--listen", f"tcp://{address}:0"]
        if self._keys is not None:
            command += ["--keys", str(self._keys)]
        for uplink in uplinks:
            command += ["--uplink", uplink]
        output = self._state / _OUTPUT
        with output.open("wb") as said:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                env=environment(),
                start_new_session=True,
                cwd=self._state,
            )
        deadline = time.monotonic() + _SECONDS
        while time.monotonic() < deadline:
            text = output.read_text(errors="replace")
            if found := _LISTENING.search(text):
                return self._keep(process.pid, found[1])
            if process.poll() is not None:
                break
            time.sleep(0.02)
        else:
            process.kill()
        words = output.read_text(errors="replace").strip().rpartition("\n")[2]
        raise HostError(f"the switch for this host's guests did not start: {words}")

    def _keep(self, pid: int, endpoint: str) -> str:
        facts = {"pid": pid, "identity": identity(pid), "endpoint": endpoint}
        (self._state / _FACTS).write_text(json.dumps(facts))
        return endpoint
