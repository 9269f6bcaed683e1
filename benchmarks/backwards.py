"""A step back, and back through all of an execution, as a client of gdb's remote protocol sees it:
vlockstep beside QEMU, which replays the same C source from its snapshots (`rr=replay`).

Each runs forwards from where the guest begins to where it ends, then back. QEMU's guests are
`guests/qemu`'s, in whose layout no breakpoint lies in a page with code that is executed between
(such a page QEMU executes instruction by instruction). QEMU keeps a snapshot each `_EVERY`
instructions, one a nanosecond, where it can go back with more than one at all. Now and then it
stands still in a step back all the same, which a note tells then.
"""

from __future__ import annotations

import json
import re
import socket
import subprocess
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from itertools import count
from pathlib import Path
from statistics import median

from benchmarks import qemu
from benchmarks.contest import Claim, Contestant, Report, interleave, ratio
from benchmarks.guests import timed
from benchmarks.programs import missing, text_of
from benchmarks.streams import watched
from vlockstep import open_image
from vlockstep.debug.packets import Deframer, framed
from vlockstep.testing.process import command

RECORDED, STEP, BACK = "recorded", "one step back, median", "back through all of it"
STEP_TARGET, BACK_TARGET = 50.0, 1500.0
"""Milliseconds."""
NEEDS = (*qemu.NEEDS, "qemu-img")
_GUESTS = {"sort": "--rounds=3", "preempt": "--work=5500000"}
"""Each takes about a second."""
_BEGIN, _END = "runtime_start", "guest_exit"
_STEPS = 20
_FEW_STEPS = 4
_MACHINES = {"sort": ("microvm", True), "preempt": ("pc", False)}
"""Of QEMU, and whether snapshots are made on the way: only `pc` has the timer, and there QEMU 7.2
hangs in the first step back if there is any but that of its beginning."""
_MEMORY = 64
_EVERY = 100_000_000
_PATIENCE = 30.0
_AT_BREAKPOINT = b"T05"
_numbers = count()


def measure(directory: Path, rounds: int) -> Report:
    notes: list[str] = []
    contestants = [
        Contestant(f"vlockstep, {guest}", _vlockstep(directory, guest, arguments))
        for guest, arguments in _GUESTS.items()
    ]
    if lacking := missing(NEEDS):
        notes.append(f"without QEMU: {lacking}")
    else:
        contestants += [
            Contestant(f"QEMU, {guest}", _qemu(directory, guest, arguments, notes))
            for guest, arguments in _GUESTS.items()
        ]
    figures = interleave(contestants, rounds)
    claims = []
    for guest in _GUESTS:
        recorded, step, back = (f"vlockstep, {guest}, {each}" for each in (RECORDED, STEP, BACK))
        claims.append(Claim(step, median(figures[step]), STEP_TARGET, at_least=False, unit="ms"))
        second = ratio(figures, back, recorded) * 1000
        what = f"vlockstep, {guest}, back through a second of execution"
        claims.append(Claim(what, second, BACK_TARGET, at_least=False, unit="ms"))
    return Report("backwards: recordings in a debugger", "ms", figures, claims, notes=notes)


class Unanswered(Exception):
    """In time."""


class Client:
    """Of gdb's remote protocol, at a connected socket. Raises `Unanswered`."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._connection.settimeout(_PATIENCE)
        self._deframer = Deframer()

    def ask(self, packet: bytes) -> bytes:
        self._connection.sendall(framed(packet))
        while True:
            try:
                data = self._connection.recv(1 << 16)
            except TimeoutError:
                raise Unanswered(f"no answer to {packet!r} in {_PATIENCE:g} s") from None
            if not data:
                raise Unanswered(f"no answer to {packet!r}, but the end")
            for found in self._deframer.feed(data):
                if isinstance(found, bytes):
                    self._connection.sendall(b"+")
                    return found

    def break_at(self, address: int, wanted: bool = True) -> None:
        answer = self.ask(b"%s0,%x,1" % (b"Z" if wanted else b"z", address))
        if answer != b"OK":
            raise RuntimeError(f"a breakpoint is refused: {answer!r}")

    def go(self, packet: bytes, expected: bytes = _AT_BREAKPOINT) -> float:
        """Milliseconds that it takes."""
        start = time.perf_counter()
        answer = self.ask(packet)
        if not answer.startswith(expected) or b"replaylog" in answer:
            raise RuntimeError(f"{packet!r} ended otherwise: {answer!r}")
        return (time.perf_counter() - start) * 1e3

    def go_between(self, places: Mapping[str, int], run: Callable[[], object]) -> None:
        """From where the guest begins to where it ends, which `run` does."""
        self.break_at(places[_BEGIN])
        self.go(b"c")
        self.break_at(places[_BEGIN], wanted=False)
        self.break_at(places[_END])
        run()
        self.break_at(places[_END], wanted=False)

    def backwards(self, begin: int, steps: int) -> dict[str, float]:
        """From the end."""
        found = [self.go(b"bs") for _ in range(steps)]
        self.break_at(begin)
        return {STEP: median(found), BACK: self.go(b"bc")}


def _vlockstep(directory: Path, guest: str, arguments: str) -> Callable[[], Mapping[str, float]]:
    log = directory / f"{guest}.vlog"
    places = {name: address for address, name in open_image(guest).symbols}

    def run() -> Mapping[str, float]:
        said = subprocess.run(
            [*command("record", guest, "-o", log, "--json"), "--", arguments],
            capture_output=True,
            check=True,
        )
        recorded = json.loads(said.stderr.splitlines()[-1])["seconds"] * 1e3
        with watched(*command("debug", log, "--port", 0)) as process:
            line = process.said.wait("waiting for gdb")[1]
            found = re.search(r"remote 127\.0\.0\.1:([0-9]+)", line)
            assert found is not None
            with closing(socket.create_connection(("127.0.0.1", int(found[1])))) as connection:
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # as gdb does
                client = Client(connection)
                client.go_between(places, lambda: client.go(b"c"))
                return {RECORDED: recorded, **client.backwards(places[_BEGIN], _STEPS)}

    return run


def _qemu(
    directory: Path, guest: str, arguments: str, notes: list[str]
) -> Callable[[], Mapping[str, float]]:
    kernel = qemu.build(directory, guest)
    places = _symbols(kernel)
    machine, snapshots = _MACHINES[guest]

    def run() -> Mapping[str, float]:
        here = directory / f"qemu-{next(_numbers)}"
        here.mkdir()
        disk = here / "snapshots"
        text_of(["qemu-img", "create", "-q", "-f", "qcow2", str(disk), "1M"])
        drive = ["-drive", f"file={disk},if=none,id=snapshots"]

        def words(mode: str) -> list[str]:
            file = Path(f"{here / 'rr'},rrsnapshot=begin")
            return [*qemu.command(kernel, arguments, mode, file, _MEMORY, machine), *drive]

        recorded = timed(lambda: text_of(words("record"), qemu.HALTED)) * 1e3
        sockets = "unix:{},server=on,wait=off"
        debugging = ["-S", "-gdb", sockets.format(here / "gdb")]
        monitor = ["-qmp", sockets.format(here / "qmp")]
        found = {RECORDED: recorded}
        with (
            watched(*words("replay"), *debugging, *monitor),
            closing(qemu.Monitor(here / "qmp")) as commands,
            closing(qemu.connect(here / "gdb")) as connection,
        ):
            client = Client(connection)
            client.go_between(places, lambda: _to_end(client, commands, snapshots))
            try:
                found |= client.backwards(places[_BEGIN], _FEW_STEPS)
            except Unanswered as trouble:
                notes.append(f"QEMU, {guest}: {trouble}")
        return found

    return run


def _to_end(client: Client, commands: qemu.Monitor, snapshots: bool) -> None:
    """With snapshots on the way, or without."""
    if not snapshots:
        client.go(b"c")
        return
    here = commands.ask("query-replay")["icount"]
    ended = False
    while not ended:
        said = commands.ask("human-monitor-command", **{"command-line": f"savevm at{here}"})
        assert not said, said
        here += _EVERY
        commands.ask("replay-break", icount=here)
        client.go(b"c", b"T0")
        ended = commands.ask("query-replay")["icount"] != here
    commands.ask("replay-delete-break")


def _symbols(kernel: Path) -> dict[str, int]:
    lines = (line.split() for line in text_of(["nm", str(kernel)]).splitlines())
    return {name: int(address, 16) for address, _, name in lines}
