"""The command that starts a secondary of a guest, where its files are."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from vlockstep.host.attach import DiskSpec
from vlockstep.machine.bundled import image_file
from vlockstep.machine.engines import AUTO
from vlockstep.net.attach import NicSpec
from vlockstep.supervise.spec import ReplicaSpec, TimingSpec
from vlockstep.wire.endpoint import is_anywhere

_IPC = "ipc://"


def secondary_words(spec: ReplicaSpec, name: str) -> list[str]:
    """Of the primary of `spec`, word by word; the secondary is called `name`. It can be
    given in any directory. On another host files, a tap device or a switch may be called otherwise;
    memory, CPU and the guest's command line come from the primary."""
    file = image_file(spec.image)
    words = ["vlockstep", "secondary", spec.image if file is None else _absolute(file)]
    words += ["--join", _reached(spec.endpoint)]
    for option, path in (
        ("--arbiter", spec.arbiter),
        ("--console", spec.console),
        ("--keys", spec.keys),
        ("--run-dir", spec.run_directory),
    ):
        if path is not None:
            words += [option, _absolute(path)]
    words += ["--name", name]
    for disk in spec.disks:
        words += ["--block", _disk(disk)]
    for nic in spec.nics:
        words += ["--net", _nic(nic)]
    usual = TimingSpec()
    if spec.timing.heartbeat != usual.heartbeat:
        words += ["--heartbeat", str(spec.timing.heartbeat)]
    if spec.timing.misses != usual.misses:
        words += ["--misses", str(spec.timing.misses)]
    if spec.engine != AUTO:
        words += ["--engine", spec.engine]
    return words


def _reached(endpoint: str) -> str:
    if endpoint.startswith(_IPC):
        return f"{_IPC}{_absolute(endpoint.removeprefix(_IPC))}"
    if is_anywhere(endpoint):
        return f"tcp://{socket.gethostname()}:{endpoint.rpartition(':')[2]}"
    return endpoint


def _disk(disk: DiskSpec) -> str:
    return f"{disk.name}={_absolute(disk.path)}{',local' if disk.local else ''}"


def _nic(nic: NicSpec) -> str:
    group = f",group={nic.group}" if nic.group else ""
    return f"{nic.name}={nic.backend}{group}"


def _absolute(path: str | Path) -> str:
    return os.path.abspath(path)  # noqa: PTH100 - `resolve` would follow links
