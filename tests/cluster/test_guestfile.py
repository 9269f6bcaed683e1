"""`guest.toml`: what a guest of a cluster is."""

from __future__ import annotations

import string
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlockstep.cluster.guestfile import (
    FILE,
    DiskSetting,
    GuestFile,
    Isolation,
    Monitoring,
    NicSetting,
    Restart,
    parse,
    read,
    to_toml,
    write,
)
from vlockstep.cluster.model import Allocation, Automation, Priority
from vlockstep.errors import UsageError, VlockstepError

_NAMES = st.text(string.ascii_lowercase, min_size=1, max_size=5)
_ALLOCATIONS = st.builds(
    Allocation, st.integers(1, 5000), st.integers(0, 60).map(float), st.none() | st.just(100.0)
)
_FILES = st.builds(
    GuestFile,
    image=st.sampled_from(["kv", "images/a.hvt"]),
    memory=st.sampled_from([64, 4096]),
    cpu=st.sampled_from(["westmere", "nehalem"]),
    arguments=st.lists(st.text(max_size=6)).map(tuple),
    disks=st.dictionaries(_NAMES, st.builds(DiskSetting, _NAMES, st.sampled_from([512, 4096]))),
    nics=st.dictionaries(
        _NAMES,
        st.builds(
            NicSetting,
            _NAMES,
            st.sampled_from(["", "02:00:00:00:00:01"]),
            st.sampled_from([1500, 9000]),
        ),
    ),
    ft=st.booleans(),
    hold=st.booleans(),
    priority=st.sampled_from(Priority),
    automation=st.none() | st.sampled_from(Automation),
    monitoring=st.sampled_from(Monitoring),
    isolation=st.none() | st.sampled_from(Isolation),
    restart=st.sampled_from(Restart),
    cpu_resources=_ALLOCATIONS,
    memory_resources=_ALLOCATIONS,
).filter(lambda guest: not (guest.ft and guest.restart is Restart.RESUME))


@given(guest=_FILES)
def test_a_file_says_the_same(guest: GuestFile) -> None:
    import tomllib

    assert parse(tomllib.loads(to_toml(guest))) == guest
    assert parse(guest.to_dict()) == guest


def test_what_is_written_is_read(tmp_path: Path) -> None:
    disks, nics = {"data": DiskSetting("data.img")}, {"net": NicSetting("front")}
    guest = GuestFile("kv", ft=True, disks=disks, nics=nics)
    write(tmp_path, guest)
    assert read(tmp_path) == guest


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('image = "kv"\nmemry = 3\n', "memry: there is no such key; the nearest is memory"),
        ("memory = 64\n", "image: it is missing"),
        ('image = "kv"\n[disk.a]\npath = "a"\nblock_size = 5\n', "disk.a.block_size: blocks of 5"),
        ('image = "kv"\n[nic.a]\nmtu = 5\n', "nic.a.mtu: an MTU of 5"),
        ('image = "kv"\nmemory = 3\n', "memory: guest memory of 3 MiB"),
        ('image = "../kv.hvt"\n', "image: '../kv.hvt' leads out of the guest's folder"),
        ('image = "kv"\ncpu = "z80"\n', "cpu: "),
        ('image = "kv"\npriority = "urgent"\n', 'priority: "urgent" is none of disabled, low'),
        ('image = "kv"\nmonitoring = 3\n', "monitoring: 3 is none of off, low, medium, high"),
        ('image = "kv"\nft = true\nrestart = "resume"\n', "restart: a guest with ft goes on"),
        ('image = "kv"\n[disk.a]\npath = "/a"\n', "disk.a.path: '/a' leads out of"),
        ('image = "kv"\n[disk.a]\n', "disk.a.path: it is missing"),
        ('image = "kv"\n[nic.n]\nmac = "x"\n', "nic.n.mac: 'x' is no MAC address"),
        ('image = "kv"\n[nic.n]\ngroup = "a b"\n', "nic.n.group: 'a b' is no name"),
        ('image = "kv"\n[resources.cpu]\nshares = 0\n', "resources.cpu.shares: 0 is not from 1"),
        (
            'image = "kv"\n[resources.cpu]\nreservation = 3\nlimit = 2\n',
            "resources.cpu.limit: the limit 2 is below the reservation 3",
        ),
        (
            'image = "kv"\n[resources.memory]\nreservation = 65\n',
            "resources.memory.reservation: 65 MiB are reserved for a guest of 64 MiB",
        ),
        ("image = ", "guest.toml is no TOML"),
    ],
)
def test_every_error_names_file_and_key(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / FILE).write_text(text)
    with pytest.raises(UsageError) as caught:
        read(tmp_path)
    assert str(tmp_path / FILE) in str(caught.value)
    assert said in str(caught.value)


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(_NAMES, inner, max_size=2),
    max_leaves=5,
)


@given(key=st.sampled_from([*GuestFile("kv").to_dict(), "disk", "nic", "resources"]), value=_VALUES)
def test_any_value_is_taken_or_refused(key: str, value: Any) -> None:
    try:
        parse({"image": "kv", key: value})
    except VlockstepError as error:
        assert error.key[0] == key
