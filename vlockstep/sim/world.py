"""Inputs of a simulated host: those of a `SimulatedWorld`, and frames in virtual time."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from vlockstep.host.live import BlockDevice, Console, Continuation, NetDevice
from vlockstep.host.simulated import SimulatedWorld
from vlockstep.sim.task import GuestTask


class NetworkedWorld(SimulatedWorld):
    """Time is the host's `now`, and sleeping takes some: until a frame comes, or what `alarm` was
    told is over. `read` is told each reading of the guest's counter."""

    def __init__(
        self,
        seed: int,
        console: Console,
        disks: Mapping[int, BlockDevice],
        nics: Mapping[int, NetDevice],
        *,
        start: Continuation,
        pause: Callable[[], None],
        task: GuestTask,
        now: Callable[[], int],
        alarm: Callable[[int], None],
        read: Callable[[int], None],
    ) -> None:
        super().__init__(seed, console, disks, start=start, pause=pause)
        self._nics = nics
        self._start = start
        self._task = task
        self._now = now
        self._alarm = alarm
        self._read = read
        self._zero = start.clock[0] - now()

    def cycles(self, at: int) -> int:
        self._cycles = max(self._cycles + 1, self._zero + self._now())
        self._read(self._cycles)
        return self._cycles

    def poll(self, at: int, timeout: int) -> int:
        since = self._start.waiting_since(at, self._now())
        while True:
            self._pause()
            ready = sum(1 << handle for handle, nic in self._nics.items() if nic.waiting())
            left = since + timeout - self._now()
            if ready or left <= 0:
                return ready
            self._alarm(left)
            self._task.wait()

    def net_read(self, at: int, handle: int, limit: int) -> bytes | None:
        return self._nics[handle].read(limit)

    def wake(self) -> None:
        self._task.wake()
