"""What an agent is started from."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from vlockstep.cluster.guestfile import check_name
from vlockstep.errors import UsageError
from vlockstep.host.room import available
from vlockstep.machine.cpumodels import check_model

MIPS = 500.0
"""What one processor is taken for that executes guests; `capacity` says it better."""
_MIB = 1 << 20


@dataclass(frozen=True)
class AgentSpec:
    """`store` is the cluster's; `capacity` in MIPS and `memory` in MiB are what guests can have,
    None for all that is there; `state` is the directory of the host's own files."""

    name: str
    store: str
    datastores: Mapping[str, Path] = field(default_factory=dict)
    management: str = "tcp://127.0.0.1:0"
    keys: Path | None = None
    isolation_addresses: tuple[str, ...] = ()
    uplinks: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    """Port groups that its guests' NICs can be in, beside the default one."""
    capacity: float | None = None
    memory: float | None = None
    cpu_limit: str | None = None
    standby: bool = False
    state: Path | None = None
    cut: Path | None = None
    """For tests: while this file is there, the host is cut off from the management network."""

    def __post_init__(self) -> None:
        check_name(self.name)
        for name, path in self.datastores.items():
            check_name(name)
            if not path.is_dir():
                raise UsageError(f"the datastore {name} is not there: {path} is no directory")
        for what, value in (("capacity", self.capacity), ("memory", self.memory)):
            if value is not None and not 0 < value < 1e9:
                raise UsageError(f"a {what} of {value:g}: give more than 0")
        if self.cpu_limit is not None:
            check_model(self.cpu_limit, ("cpu_limit",))

    @property
    def mips(self) -> float:
        """Of one processor."""
        return self.cpu / (os.cpu_count() or 1)

    @property
    def cpu(self) -> float:
        return self.capacity or MIPS * (os.cpu_count() or 1)

    @property
    def ram(self) -> float:
        return self.memory or available() / _MIB

    @property
    def address(self) -> str:
        """Where others reach this host."""
        host = urlsplit(self.management).hostname
        return "127.0.0.1" if host is None else f"[{host}]" if ":" in host else host

    @property
    def directory(self) -> Path:
        if self.state is not None:
            return self.state
        given = os.environ.get("XDG_STATE_HOME", "")
        base = Path(given) if given.startswith("/") else Path.home() / ".local" / "state"
        return base / "vlockstep" / "hosts" / self.name
