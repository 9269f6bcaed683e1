"""Hosts, and what is set, told and recommended in a cluster."""

from __future__ import annotations

from typing import Any, TypedDict

from vlockstep.web.shapes.words import Level


class HostLoad(TypedDict):
    """What a host's agent reported last."""

    time: float
    cpu: float
    """MIPS."""
    memory: float
    """MiB."""


class Host(TypedDict):
    """All fields of `HostRecord`; a run directory has one host, this one."""

    name: str
    cpu: float
    """MIPS; 0 if it is not known."""
    memory: float
    """MiB; 0 if it is not known."""
    maintenance: bool
    state: str
    """As the master says: connectedToMaster, hostDown, ... ; "here" without a cluster."""
    explanation: str
    """Of the state, for people; "" if it needs none."""
    master: bool
    level: Level
    report: HostLoad | None


class Cluster(TypedDict):
    """`vlockstep cluster status --json`, and more."""

    name: str
    ha: bool
    ft: bool
    drs: bool
    automation: str
    threshold: int
    admission: dict[str, Any]
    status: dict[str, Any] | None
    """`MasterStatus`: master, since, time, hosts, pending, faults, imbalance."""
    target: float | None
    """The imbalance that load balancing aims at; None if it aims at none."""
    datastores: dict[str, list[str]]
    """Which hosts have each; heartbeats go there."""


class Recommendation(TypedDict):
    """`vlockstep cluster recommendations --json`: priority 1 is the most urgent; gain, cost and
    risk are of the imbalance. Each of `moves` has guest, role, from and to."""

    key: str
    priority: int
    reason: str
    code: str
    gain: float
    cost: float
    risk: float
    prerequisites: list[str]
    """Keys of those that are applied before it."""
    moves: list[dict[str, str]]
