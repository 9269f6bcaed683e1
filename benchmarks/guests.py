"""Sample guests that run in this process: unprotected, recorded, replayed."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from vlockstep import (
    BlockConfig,
    ConsoleFile,
    Disk,
    GuestConfig,
    LiveWorld,
    LogReader,
    LogWriter,
    Machine,
    Outcome,
    Recorder,
    Replayer,
    Sequence,
    open_image,
)
from vlockstep.machine import engines, sitefinder

_DISK_NAME, _DISK_HANDLE = "disk", 1


Clock = Callable[[], float]


def timed(action: Callable[[], object], clock: Clock = time.perf_counter) -> float:
    """How long it takes, in seconds of `clock`."""
    start = clock()
    action()
    return clock() - start


class SampleGuest:
    """A guest whose console, log and disk are files in `directory`.

    Each method runs it once from boot to halt and returns the seconds that took, without those
    of making the machine; with those of opening and closing the log. `RuntimeError` if its
    status is not 0. The seconds are those of `clock`. On the engine kvm, it has traps.
    """

    def __init__(
        self,
        directory: Path,
        name: str,
        *arguments: str,
        disk_size: int = 0,
        clock: Clock = time.perf_counter,
        engine: str = engines.AUTO,
    ) -> None:
        directory.mkdir(parents=True)
        self.console, self.log = directory / "console.txt", directory / "log.vlog"
        self._disk = directory / "disk.img" if disk_size else None
        if self._disk is not None:
            with self._disk.open("wb") as file:
                file.truncate(disk_size)
        blocks = {_DISK_NAME: BlockConfig(disk_size)} if disk_size else {}
        self.image = open_image(name)
        self._clock, self._engine = clock, engine
        config = GuestConfig(self.image.digest, arguments=arguments, blocks=blocks)
        if engine == engines.KVM:
            config = replace(config, sites=sitefinder.find(self.image, config.cpu))
        self.config = config

    def live(self) -> float:
        """Unprotected: nothing is logged."""
        return self._run(lambda machine, world: machine.run(world))

    def record(self) -> float:
        """To a log file, anew."""

        def run(machine: Machine, world: LiveWorld) -> Outcome:
            with LogWriter(self.log, self.config) as log:
                return machine.run(Recorder(world, machine, log.append))

        return self._run(run)

    def replay(self) -> float:
        """What the last `record` recorded; records first if there was none."""
        if not self.log.exists():
            self.record()

        def run(machine: Machine, _world: LiveWorld) -> Outcome:
            with closing(LogReader(self.log)) as log:
                return machine.run(Replayer(Sequence(log.entries()), machine))

        return self._run(run)

    def _run(self, run: Callable[[Machine, LiveWorld], Outcome]) -> float:
        self.console.unlink(missing_ok=True)
        outcomes: list[Outcome] = []
        disk = Disk(self._disk) if self._disk is not None else None
        with (
            closing(ConsoleFile(self.console)) as console,
            closing(Machine(self.image, self.config, engine=self._engine)) as machine,
        ):
            world = LiveWorld(console, {_DISK_HANDLE: disk} if disk is not None else {})
            seconds = timed(lambda: outcomes.append(run(machine, world)), self._clock)
        if disk is not None:
            disk.close()
        if outcomes[0].status:
            raise RuntimeError(f"{self.image.name} ended with status {outcomes[0].status}")
        return seconds
