"""A simulated computer, and the processes that run on it."""

from __future__ import annotations

from collections import deque

from vlockstep.cluster.sim.clock import Call, VirtualTime

_BACKLOG = 10_000
"""What may wait for a process that is stopped; more is lost."""


class SimulatedHost:
    """Its clock is monotonic, and runs fast by `drift` millionths."""

    def __init__(self, name: str, time: VirtualTime, drift: int = 0) -> None:
        self.name = name
        self.on = False
        self.frozen = False
        self.processes: list[Process] = []
        self._time = time
        self._drift = drift

    def clock(self) -> int:
        return self._time.now + self._time.now * self._drift // 1_000_000

    def after(self, delay: int, call: Call) -> None:
        """By its own clock."""
        self._time.after(max(delay - delay * self._drift // 1_000_000, 0), call)

    def answers(self) -> bool:
        """Whether it answers pings."""
        return self.on and not self.frozen

    def boot(self) -> None:
        if not self.on:
            self.on = True
            for process in self.processes:
                process.start()

    def crash(self) -> None:
        self.on = self.frozen = False
        for process in self.processes:
            process.kill()

    def freeze(self) -> None:
        """All of it stands still."""
        self.frozen = True

    def thaw(self) -> None:
        self.frozen = False
        for process in self.processes:
            process.catch_up()


class Process:
    """What a subclass does in `started`, and in calls. It ends when it is killed, and waits while
    it, or its host, stands still."""

    def __init__(self, host: SimulatedHost) -> None:
        self.host = host
        self.alive = False
        self.stopped = False
        self._life = 0
        self._waiting: deque[Call] = deque()
        host.processes.append(self)

    def started(self) -> None:
        """It begins, and knows nothing."""
        raise NotImplementedError

    def start(self) -> None:
        if self.host.on and not self.alive:
            self.alive = True
            self._life += 1
            self.started()

    def kill(self) -> None:
        self.alive = self.stopped = False
        self._waiting.clear()

    def stop(self) -> None:
        self.stopped = True

    def resume(self) -> None:
        self.stopped = False
        self.catch_up()

    @property
    def runs(self) -> bool:
        return self.alive and not self.stopped and not self.host.frozen

    def do(self, call: Call) -> None:
        """Now, or when the process runs again; never if it is dead."""
        if self.runs and not self._waiting:
            call()
        elif self.alive and len(self._waiting) < _BACKLOG:
            self._waiting.append(call)

    def after(self, delay: int, call: Call) -> None:
        """In this life of the process."""
        life = self._life

        def due() -> None:
            if life == self._life:
                self.do(call)

        self.host.after(delay, due)

    def catch_up(self) -> None:
        while self.runs and self._waiting:
            self._waiting.popleft()()
