"""A process that gets a part of a CPU's time, by SIGSTOP and SIGCONT."""

from __future__ import annotations

import threading
from signal import SIGCONT, SIGSTOP
from types import TracebackType

from vlockstep.testing.process import TIMEOUT, ReplicaProcess


class DutyCycle:
    """Lets it run and stand still by turns, for so many seconds each. `count` is how often."""

    def __init__(self, process: ReplicaProcess, run: float, stand: float) -> None:
        self.count = 0
        self._counted = threading.Condition()
        self._process = process
        self._run, self._stand = run, stand
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._alternate, name="duty cycle")

    def _alternate(self) -> None:
        while not self._over.wait(self._run):
            self._process.signal(SIGSTOP)
            with self._counted:
                self.count += 1
                self._counted.notify_all()
            self._over.wait(self._stand)
            self._process.signal(SIGCONT)

    def wait(self, count: int) -> None:
        """Until it has stood still so often."""
        with self._counted:
            enough = self._counted.wait_for(lambda: self.count >= count, TIMEOUT)
        assert enough, f"it stood still only {self.count} times"

    def __enter__(self) -> DutyCycle:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        self._thread.join()
