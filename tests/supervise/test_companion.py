"""The command that starts a secondary of a guest."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from vlockstep.host.attach import DiskSpec
from vlockstep.net.attach import NicSpec
from vlockstep.supervise.companion import secondary_words
from vlockstep.supervise.spec import ReplicaSpec, TimingSpec


def test_all_that_it_cannot_learn_from_its_primary_is_said() -> None:
    spec = ReplicaSpec(
        "kv.hvt",
        role="primary",
        arguments=("--not", "told"),
        disks=(DiskSpec("disk", Path("a b.img")), DiskSpec("own", Path("/own.img"), local=True)),
        nics=(NicSpec("net", "switch:tcp://127.0.0.1:7710", group="front"),),
        console=Path("console.txt"),
        arbiter=Path("/pair"),
        endpoint="tcp://127.0.0.1:7700",
        keys=Path("/keys"),
        timing=TimingSpec(misses=40),
        run_directory=Path("/run"),
    )
    here = Path.cwd()
    assert secondary_words(spec, "kv-2") == [
        *("vlockstep", "secondary", f"{here}/kv.hvt", "--join", "tcp://127.0.0.1:7700"),
        *("--arbiter", "/pair", "--console", f"{here}/console.txt", "--keys", "/keys"),
        *("--run-dir", "/run", "--name", "kv-2"),
        *("--block", f"disk={here}/a b.img", "--block", "own=/own.img,local"),
        *("--net", "net=switch:tcp://127.0.0.1:7710,group=front", "--misses", "40"),
    ]


@pytest.mark.parametrize(
    ("listens", "joins"),
    [
        ("ipc://pair.sock", f"ipc://{Path.cwd()}/pair.sock"),
        ("tcp://0.0.0.0:7700", f"tcp://{socket.gethostname()}:7700"),
        ("tcp://*:7700", f"tcp://{socket.gethostname()}:7700"),
        ("tcp://[::]:7700", f"tcp://{socket.gethostname()}:7700"),
        ("tcp://[::1]:7700", "tcp://[::1]:7700"),
    ],
)
def test_where_it_listens_is_told_as_others_reach_it(listens: str, joins: str) -> None:
    spec = ReplicaSpec("ledger", role="primary", arbiter=Path("/pair"), endpoint=listens)
    words = secondary_words(spec, "ledger-2")
    assert words[words.index("--join") + 1] == joins


def test_a_bundled_guest_is_named() -> None:
    spec = ReplicaSpec("ledger", role="primary", arbiter=Path("/pair"))
    assert secondary_words(spec, "ledger-2")[:3] == ["vlockstep", "secondary", "ledger"]
