"""Guests and replicas as processes in one directory."""

from __future__ import annotations

import os
import shlex
import subprocess
from contextlib import closing
from pathlib import Path
from typing import Any

from commands import run_command, wait_until

from vlockstep.sim.ledger import inspect_unfinished_ledger
from vlockstep.supervise.client import GuestClient
from vlockstep.supervise.rundir import RunDirectory
from vlockstep.testing.process import command, environment

PATIENT = ("--misses", 40)
"""Two seconds without a word, and a replica counts as dead: many processes share these CPUs."""


class House:
    """Guests and replicas in a directory, that share a disk and a console."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.disk = directory / "disk.img"
        self.console = directory / "console.txt"
        self.endpoint = f"ipc://{directory}/channel"
        self.run_directory = RunDirectory(directory / "run")
        self.started: list[subprocess.Popen[str]] = []
        self.disk.touch()
        os.truncate(self.disk, 8 << 20)

    def start(self, name: str, *words: object) -> subprocess.Popen[str]:
        """Start a command that has a name and a control socket; wait for these."""
        process = subprocess.Popen(
            command(*words[:2], "--name", name, "--run-dir", self.run_directory.path, *words[2:]),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(),
        )
        self.started.append(process)
        wait_until(lambda: process.poll() is not None or name in self.run_directory.names())
        return process

    def run_ledger(self, *arguments: str) -> subprocess.Popen[str]:
        """It writes until it is stopped, unless `arguments` say otherwise."""
        devices = ("--block", f"disk={self.disk}", "--console", self.console)
        arguments = arguments or ("--lines=10000", "--pause=20")
        return self.start("books", "run", "ledger", *devices, "--", *arguments)

    def wait_lines(self, more: int) -> None:
        """Until the guest has written them."""
        lines = self.console.read_bytes().count(b"\n") + more
        wait_until(lambda: self.console.read_bytes().count(b"\n") >= lines)

    def check_that_it_goes_on(self, name: str) -> None:
        """The guest, as this one's: it writes more, and all that it wrote is there once."""
        self.wait_lines(10)
        assert self.call("stop", name).returncode == 0
        report = inspect_unfinished_ledger(self.console.read_bytes(), self.disk.read_bytes())
        assert report.ok, report

    def join(self, name: str, image: str = "ledger") -> subprocess.Popen[str]:
        """A secondary; wait until it is a member."""
        return self._replica(name, "secondary", image, "--join", self.endpoint)

    def receive(self, name: str, endpoint: str, *words: object) -> subprocess.Popen[str]:
        return self._replica(name, "receive", "ledger", "--listen", endpoint, *words)

    def _replica(self, name: str, role: str, image: str, *words: object) -> subprocess.Popen[str]:
        devices = ("--block", f"disk={self.disk}", "--console", self.console)
        arbiter = ("--arbiter", self.directory / "arbiter")
        return self.start(name, role, image, *devices, *arbiter, *PATIENT, *words)

    def start_by(self, given: str) -> subprocess.Popen[str]:
        """Start what a person was told to."""
        program, *words = shlex.split(given)
        assert program == "vlockstep"
        process = subprocess.Popen(
            command(*words),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(),
        )
        self.started.append(process)
        return process

    def call(self, *words: object) -> subprocess.CompletedProcess[str]:
        return run_command(*words, "--run-dir", self.run_directory.path)

    def protect(self, *options: object) -> subprocess.CompletedProcess[str]:
        arbiter = self.directory / "arbiter"
        return self.call(
            "protect", "books", "--arbiter", arbiter, "--listen", self.endpoint, *PATIENT, *options
        )

    def protect_at_once(self, **timing: int) -> None:
        """Without a command, while whose start the guest could end."""
        timing = {"misses": 40, **timing}
        with closing(GuestClient(self.run_directory, "books")) as client:
            arbiter = str(self.directory / "arbiter")
            client.ask("protect", arbiter=arbiter, listen=self.endpoint, timing=timing)

    def wait_event(self, name: str, event: str) -> dict[str, Any]:
        """The first event of this kind that the guest `name` ever told."""
        client = GuestClient(self.run_directory, name)
        try:
            return next(told for told in client.events(0) if told["event"] == event)
        finally:
            client.close()

    def close(self) -> None:
        for process in self.started:
            process.kill()
            process.communicate()
