"""The metrics of the view, and of a single replica. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from vlockstep import __version__
from vlockstep.cluster.standing import SILENT
from vlockstep.web import shapes
from vlockstep.web.counts import Counts
from vlockstep.web.exposition import Exposition

_HA_STATES = [
    "master",
    "connectedToMaster",
    "election",
    "uninitialized",
    "networkPartitionedFromMaster",
    "networkIsolated",
    "hostDown",
    "fdmUnreachable",
]
_FT_STATES = ["protected", "following", "alone", "live", "joining", "loading", "claiming"]
_MIB = 1 << 20


def of_view(view: shapes.View, counts: Counts) -> str:
    told = Exposition()
    _build(told)
    for name, host in view["hosts"].items():
        _host(told, name, host)
    for name, guest in view["guests"].items():
        _guest(told, name, guest)
    if (cluster := view["cluster"]) is not None:
        _cluster(told, cluster, view)
    about = "Tasks, by state."
    states = Counter(task["state"] for task in view["tasks"].values())
    for state in ("queued", "running", "done", "failed", "canceled"):
        told.gauge("vlockstep_tasks", about, states[state], state=state)
    told.gauge("vlockstep_problems", "What is wrong now.", len(view["problems"]))
    counts.tell(told)
    return told.text()


def of_replica(name: str, about: Mapping[str, Any], status: Mapping[str, Any]) -> str:
    """Of what its control socket says."""
    told = Exposition()
    _build(told)
    image = str(about.get("image", ""))
    told.gauge("vlockstep_vm_info", _VM_INFO, 1, vm=name, image=image, host="")
    told.gauge("vlockstep_vm_up", _VM_UP, 1, vm=name)
    told.states("vlockstep_ft_state", _FT_STATE, status["state"], _FT_STATES, vm=name)
    _counters(told, name, status)
    if status["lag_ms"] is not None:
        told.gauge("vlockstep_ft_lag_seconds", _LAG, status["lag_ms"] / 1000, vm=name)
    return told.text()


_VM_INFO = "A guest: which image it runs, and on which host."
_VM_UP = "Whether a replica of it runs."
_FT_STATE = "The state of a replica."
_LAG = "By how much the secondary is behind, as its primary knows."


def _build(told: Exposition) -> None:
    told.gauge("vlockstep_build_info", "The version.", 1, version=__version__)


def _host(told: Exposition, name: str, host: shapes.Host) -> None:
    about = "Whether the host takes part."
    told.gauge("vlockstep_host_up", about, float(host["level"] in ("good", "plain")), host=name)
    report = host["report"]
    if host["state"] != "here":
        about = "The state of the host, as the master says."
        told.states("vlockstep_host_ha_state", about, host["state"], _HA_STATES, host=name)
    if report is not None:
        if host["cpu"] > 0:
            about = "CPU that its guests use, of what it has for them."
            ratio = report["cpu"] / host["cpu"]
            told.gauge("vlockstep_host_cpu_usage_ratio", about, ratio, host=name)
        about = "Memory that its guests use."
        used = report["memory"] * _MIB
        told.gauge("vlockstep_host_memory_usage_bytes", about, used, host=name)


def _guest(told: Exposition, name: str, guest: shapes.Guest) -> None:
    host, image = guest["host"] or "", guest["image"]
    told.gauge("vlockstep_vm_info", _VM_INFO, 1, vm=name, image=image, host=host)
    replicas = guest["replicas"].values()
    running = [
        each
        for each in replicas
        if each["life"] == "running" and each["state"] and each.get("host_state") not in SILENT
    ]
    told.gauge("vlockstep_vm_up", _VM_UP, float(bool(running)), vm=name)
    about = "Whether it has at least two members."
    protected = any(each["members"] > 1 for each in running)
    told.gauge("vlockstep_vm_protected", about, float(protected), vm=name)
    for each in running:
        labels = {"vm": name, "host": each["host"]}
        told.states("vlockstep_ft_state", _FT_STATE, each["state"], _FT_STATES, **labels)
        if each["role"] == "primary" and each["lag_ms"] is not None:
            told.gauge("vlockstep_ft_lag_seconds", _LAG, each["lag_ms"] / 1000, vm=name)
        if "channel_bytes" in each:
            _channel(told, each["channel_bytes"], **labels)
    status = guest.get("status")
    if status is not None:
        _counters(told, name, status)


def _channel(told: Exposition, value: float, **labels: str) -> None:
    about = "Bytes said and heard on the logging channel."
    told.counter("vlockstep_ft_log_bytes_total", about, value, **labels)


def _counters(told: Exposition, name: str, status: Mapping[str, Any]) -> None:
    _channel(told, status["channel_bytes"], vm=name)
    about = "Outputs that wait, for an acknowledgement or for the world to take them."
    told.gauge("vlockstep_ft_outputs_held", about, status["outputs_held"], vm=name)
    for disk, counters in status["disks"].items():
        for what in ("read", "written"):
            about = f"Bytes {what}."
            metric = f"vlockstep_disk_{what}_bytes_total"
            told.counter(metric, about, counters[what], vm=name, disk=disk)
    for nic, counters in status["nics"].items():
        for what, key in (("receive", "received_bytes"), ("transmit", "sent_bytes")):
            metric = f"vlockstep_network_{what}_bytes_total"
            told.counter(metric, f"Bytes {key[:-6]}.", counters[key], vm=name, nic=nic)


def _cluster(told: Exposition, cluster: shapes.Cluster, view: shapes.View) -> None:
    for name, host in view["hosts"].items():
        about = "Whether the host is master."
        told.gauge("vlockstep_ha_master", about, float(host["master"]), host=name)
    if cluster["status"] is not None:
        about = "How unevenly hosts are loaded: the standard deviation of their loads."
        told.gauge("vlockstep_drs_imbalance", about, cluster["status"]["imbalance"])
    if cluster["target"] is not None:
        about = "The imbalance at which nothing is moved."
        told.gauge("vlockstep_drs_imbalance_target", about, cluster["target"])
    about = "Recommendations that wait for consent."
    waiting = Counter(each["priority"] for each in view["recommendations"].values())
    for priority in range(1, 6):
        labels = {"priority": str(priority)}
        told.gauge("vlockstep_drs_recommendations", about, waiting[priority], **labels)
