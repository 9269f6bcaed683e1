"""Lets the demonstration happen: starts the replicas, follows them to the guest's end, and lets a
paused primary go on to see what it does."""

from __future__ import annotations

import hashlib
import os
import select
import sys
import threading
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from signal import SIGCONT, SIGSTOP, SIGTERM
from typing import Protocol

from vlockstep.demo.guard import Guard
from vlockstep.demo.network import Network, last_words
from vlockstep.demo.plan import Plan, disk_sizes
from vlockstep.demo.story import Fate, Name, Story
from vlockstep.errors import HostError
from vlockstep.ft.places import Place
from vlockstep.sim.sides import Side
from vlockstep.testing import Pair, PairError, ReplicaProcess

_TICK = 0.1
_PATIENCE = 10
"""Seconds that the replicas wait for each other at the start."""
_SILENCE = 20.0
"""Seconds without a word from any replica: something is wrong."""
_FAREWELL = 10.0
"""Seconds that a replica has to notice that it is no longer wanted."""
_AFTERWARDS = 2.0
"""Seconds for which clients go on after the failover."""
_PATIENT, _PROMPT = 200, 5
"""Missed heartbeats: who is killed is missed by its connection, and nobody else shall be on a busy
machine; of who is paused only silence tells."""
_TAIL = 512
_WHICH: dict[Name, Side] = {"A": "primary", "B": "secondary"}


class Screen(Protocol):
    def update(self, story: Story, console: Path) -> None:
        """Called about ten times a second."""


@dataclass(frozen=True)
class Continued:
    """What a primary did that was paused for `after` seconds. `written` are the files that changed
    meanwhile, and the network if frames came from it; `exit_status` is None if it did not leave."""

    after: float
    exit_status: int | None
    reason: str
    written: tuple[str, ...]


def make_pair(plan: Plan, directory: Path) -> Pair:
    """The pair of a plan, not started. All its files are in the directory, which is empty.

    The fault strikes by itself, but where there are clients: these must have come before.
    """
    pause = plan.signal is SIGSTOP
    place = None if plan.networked else plan.place
    pair = Pair(
        plan.reference,
        plan.arguments,
        directory=directory,
        disks=disk_sizes(plan),
        memory=plan.memory,
        misses=_PROMPT if pause else _PATIENT,
        crash_at=None if pause else place,
        pause_at=place if pause else None,
    )
    for side, spec in pair.specs.items():
        pair.specs[side] = replace(spec, timing=replace(spec.timing, wait=_PATIENCE))
    return pair


def perform(plan: Plan, pair: Pair, screen: Screen) -> tuple[Story, Continued | None]:
    """Run the guest on both replicas until it has ended. Raises `HostError` if it never starts.

    No process is left, whatever happens.
    """
    story = Story(plan, Network(pair.directory) if plan.networked else None)
    continued = None
    with ExitStack() as stack:
        guard = stack.enter_context(Guard())
        if story.network is not None:
            stack.callback(story.network.close)
            story.network.start(guard)
            story.tell(time.time(), story.network.describe())
        stack.callback(pair.close)
        try:
            _connect(story, pair)
            pair.start_primary()
        except PairError as error:
            raise _not_started(pair, "primary") from error
        guard.watch(pair.process("primary").pid)
        fate: list[Fate] = []
        # A thread of its own, so that the moment does not depend on what else we are doing.
        threading.Thread(target=_witness, args=(plan, pair, fate), daemon=True).start()
        pair.start_secondary("--connect", pair.endpoint)
        guard.watch(pair.process("secondary").pid)
        _follow(story, pair, fate, screen)
        if story.fault is not None and story.fault.exit_status is None:
            continued = _continue(story, pair)
            _refresh(story, pair, fate)
            screen.update(story, pair.console)
        if story.network is not None:
            story.network.stop()
    return story, continued


def _connect(story: Story, pair: Pair) -> None:
    if story.network is not None:
        for side, spec in pair.specs.items():
            pair.specs[side] = replace(spec, nics=(story.network.nic(side),))


def _witness(plan: Plan, pair: Pair, fate: list[Fate]) -> None:
    """Note when the first primary is stopped or ends."""
    process = pair.process("primary")
    if plan.signal is SIGSTOP:
        while not process.stops and process.exit_status is None:
            with suppress(PairError):
                process.wait_paused()
    else:
        _wait_for_end(process)
    now = time.time()
    tail = _console_tail(pair.console)
    status = None if process.stops else process.wait_exit()
    fate.append(Fate(now, status, tail))


def _wait_for_end(process: ReplicaProcess) -> None:
    if sys.platform == "linux":
        with suppress(ProcessLookupError):
            handle = os.pidfd_open(process.pid)
            select.select([handle], [], [])
            os.close(handle)
            return
    while process.exit_status is None:
        with suppress(PairError):
            process.wait_exit()


def _console_tail(console: Path) -> bytes:
    with suppress(OSError):
        return console.read_bytes()[-_TAIL:].rpartition(b"\n")[2]
    return b""


def _follow(story: Story, pair: Pair, fate: list[Fate], screen: Screen) -> None:
    heard_at = time.monotonic()
    while True:
        before = story.now
        ended = [w for w in _WHICH.values() if pair.process(w).exit_status is not None]
        over = "secondary" in ended and bool(fate)
        _refresh(story, pair, fate)  # all that the ended ones have said
        if story.network is not None:
            _guide(story, story.network, pair)
        screen.update(story, pair.console)
        if story.now > before:
            heard_at = time.monotonic()
        if over:
            return
        if ended and story.began is None:
            raise _not_started(pair, ended[0])
        if time.monotonic() - heard_at > _SILENCE:
            raise HostError(f"no word from the replicas for {_SILENCE:.0f} s")
        time.sleep(_TICK)


def _guide(story: Story, network: Network, pair: Pair) -> None:
    """Let clients come as soon as the guest is protected, let the fault strike when it is time and
    each of them has had an answer, and end the guest when they have left."""
    now = time.time()
    after = Place.parse(story.plan.place).seconds
    assert after is not None
    if not network.visitors:
        if any(event["event"] == "started" for event in pair.events("secondary")):
            story.tell(now, network.visit())
    elif network.left:
        if story.over is None:
            story.dismiss(now)
            for who, which in _WHICH.items():
                if who not in story.ended:
                    pair.process(which).signal(SIGTERM)
    elif story.live is not None:
        live = story.live["time"]
        if now > live + _AFTERWARDS and network.answered(live):
            network.dismiss()
    elif story.began is not None and now > story.began + after and network.answered(story.began):
        pair.process("primary").signal(story.plan.signal)


def _refresh(story: Story, pair: Pair, fate: list[Fate]) -> None:
    for who, which in _WHICH.items():
        process = pair.process(which)
        ended = fate[:1] if who == "A" else _ending(process)
        story.players[who].pid = process.pid
        story.hear(who, pair.events(which))
        story.see(who, process.status)
        if ended and who not in story.ended:
            story.end(who, ended[0])


def _ending(process: ReplicaProcess) -> list[Fate]:
    return [] if process.exit_status is None else [Fate(time.time(), process.exit_status)]


def _not_started(pair: Pair, which: Side) -> HostError:
    words = last_words(pair.process(which))
    return HostError(f"the {which} did not start the guest: {words}")


def _continue(story: Story, pair: Pair) -> Continued:
    """Let the old primary go on, when the guest has long ended elsewhere."""
    assert story.fault is not None
    before = _fingerprints(story, pair)
    now = time.time()
    primary = pair.process("primary")
    story.tell(now, "A is continued")
    primary.signal(SIGCONT)
    with suppress(PairError):
        primary.wait_exit(_FAREWELL)
    after = _fingerprints(story, pair)
    stopped = next((event for event in primary.events if event["event"] == "stopped"), None)
    return Continued(
        after=now - story.fault.time,
        exit_status=primary.exit_status,
        reason=stopped["reason"] if stopped else "",
        written=tuple(name for name, found in before.items() if after[name] != found),
    )


def _fingerprints(story: Story, pair: Pair) -> dict[str, tuple[int, bytes]]:
    """Of what a live replica emits to: the time of the last write and the content of a file, and
    the number of frames."""
    found = {}
    for path in (pair.console, *pair.directory.glob("*.img")):
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "blake2b").digest()
        found[path.name] = (path.stat().st_mtime_ns, digest)
    if story.network is not None:
        found["the network"] = (story.network.frames_from(pair.process("primary").pid), b"")
    return found
