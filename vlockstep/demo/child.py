"""`python -m vlockstep.demo.child PARENT ARGS`: vlockstep with ARGS, for as long as the process
PARENT lives, however that ends (on Linux; elsewhere the parent must see to it)."""

from __future__ import annotations

import ctypes
import os
import runpy
import signal
import sys

_PR_SET_PDEATHSIG = 1


def _die_with(parent: int) -> None:
    if sys.platform != "linux":
        return
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)  # it died before we asked


if __name__ == "__main__":
    _die_with(int(sys.argv[1]))
    sys.argv[:2] = ["vlockstep"]
    runpy.run_module("vlockstep", run_name="__main__")
