"""What a replica is made from: values, their limits, and the file that holds them."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlockstep.errors import HostError, UsageError, VlockstepError
from vlockstep.host.attach import DiskSpec
from vlockstep.net.attach import NicSpec
from vlockstep.supervise.spec import ReplicaSpec, TestSpec, TimingSpec
from vlockstep.supervise.specfile import read_spec, to_toml

WHOLE = ReplicaSpec(
    "ledger",
    role="primary",
    name="books",
    arguments=("--lines=5", 'say "é\\\x7f"', ""),
    memory=64,
    cpu="nehalem",
    cpu_limit="westmere",
    disks=(DiskSpec("disk", Path("/a/b c.img")), DiskSpec("x", Path("/x"), True, 4096)),
    nics=(
        NicSpec("net", "tap:tap0", Path("/x.pcap"), "02:00:00:00:00:01"),
        NicSpec("lan", "switch:ipc://x", group="blue", mtu=9000),
    ),
    console=Path("/console.txt"),
    log=Path("/a.vlog"),
    cores=Path("/cores"),
    arbiter=Path("/arbiter"),
    endpoint="ipc:///tmp/x",
    keys=Path("/keys"),
    lease=5000,
    respawn="ssh spare 'vlockstep secondary'",
    timing=TimingSpec(heartbeat=20, misses=3, max_lag=50, max_log=1, wait=5),
    run_directory=Path("/run/x"),
    test=TestSpec(crash="entry:5", stop=("entry:1", "exits:7+3"), diverge="entry:9"),
)


def spec_of(directory: Path, text: str) -> ReplicaSpec:
    path = directory / "guest.toml"
    path.write_text(text)
    return read_spec(path)


# Values


def test_a_specification_is_a_value() -> None:
    assert ReplicaSpec("hello") == ReplicaSpec("hello", source=Path("x"))
    assert replace(WHOLE, memory=2) != WHOLE
    assert hash(WHOLE) == hash(replace(WHOLE))


@pytest.mark.parametrize(
    ("change", "key", "message"),
    [
        ({"image": ""}, "image", "there is no image"),
        ({"role": "tertiary"}, "role", "'tertiary' is no role: a replica is primary or secondary"),
        ({"name": "../x"}, "name", "is no name of a guest"),
        ({"name": ""}, "name", "is no name of a guest"),
        ({"arguments": ("\udcff",)}, "arguments", "is not valid UTF-8"),
        ({"secondaries": 8}, "secondaries", "8 is not from 0 to 7"),
        ({"lease": -1}, "lease", "-1 is not from 0 to"),
        ({"lease": 99}, "lease", "a lease of 99 ms is too short to be renewed in time"),
        ({"cpu_limit": "z80"}, "cpu_limit", "no CPU model 'z80'"),
        ({"cpu": "z80"}, "cpu", "no CPU model 'z80'"),
        ({"cpu": "core2duo"}, "cpu", "core2duo has ss, monitor, acpi, which"),
        ({"respawn": "'"}, "respawn", "is no command: No closing quotation"),
        ({"respawn": " "}, "respawn", "is no command"),
        ({"role": "secondary"}, "respawn", "nobody can join a replica that listens nowhere"),
        ({"arbiter": None}, "arbiter", "a primary needs an arbiter"),
        ({"role": None}, "arbiter", "only a guest that is protected has that"),
        ({"role": None, "arbiter": None}, "endpoint", "only a guest that is protected"),
    ],
)
def test_what_is_wrong_has_its_key(change: dict[str, Any], key: str, message: str) -> None:
    with pytest.raises(UsageError, match=re.escape(message)) as refused:
        replace(WHOLE, **change)
    assert refused.value.key == (key,)


def test_a_secondary_learns_the_model_later() -> None:
    secondary = replace(WHOLE, role="secondary", reached_at="ipc:///tmp/y", cpu="core2duo")
    assert secondary.cpu_limit == "westmere"


@pytest.mark.parametrize(
    ("field", "value"),
    [("heartbeat", 0), ("misses", 1), ("max_lag", 9), ("max_log", 0), ("wait", -1)],
)
def test_times_have_limits(field: str, value: int) -> None:
    with pytest.raises(UsageError, match=f"{value} is not from") as refused:
        TimingSpec(**{field: value})
    assert refused.value.key == ("timing", field)


# Files


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    assert spec_of(tmp_path, to_toml(WHOLE)) == WHOLE
    assert spec_of(tmp_path, to_toml(ReplicaSpec("hello"))) == ReplicaSpec("hello")
    waits = ReplicaSpec("hello", "secondary", arbiter=Path("/arbiter"), awaits_at="ipc:///tmp/x")
    assert spec_of(tmp_path, to_toml(waits)) == waits
    assert to_toml(ReplicaSpec("hello")) == 'image = "hello"\n'


@given(
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20).filter(
        lambda text: "\0" not in text
    ),
    st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=9), max_size=3),
)
def test_any_text_is_written_and_read_again(
    tmp_path_factory: pytest.TempPathFactory, name: str, arguments: list[str]
) -> None:
    spec = ReplicaSpec(
        "hello", arguments=tuple(arguments), disks=(DiskSpec(name, Path("/") / "x", True),)
    )
    assert spec_of(tmp_path_factory.getbasetemp(), to_toml(spec)) == spec


def test_paths_are_as_seen_from_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = 'image = "./x.hvt"\nconsole = "console.txt"\ncores = "/c"\nlog = "~/x"\n'
    monkeypatch.setenv("HOME", "/home")
    spec = spec_of(tmp_path, text + '[disk.a]\npath = "../a"\n')
    assert Path(spec.image) == tmp_path / "x.hvt"
    assert (spec.console, spec.cores) == (tmp_path / "console.txt", Path("/c"))
    assert spec.log == Path("/home/x")
    assert spec.disks == (DiskSpec("a", tmp_path / "../a"),)
    assert spec_of(tmp_path, 'image = "hello"').image == "hello"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "image: there is no image"),
        ('imag = "hello"', "imag: there is no such key; the nearest is image"),
        ('image = "hello"\nmemroy = 5', "memroy: there is no such key; the nearest is memory"),
        ('image = "hello"\n[block.data]\npath = "x"', "block: there is no such key; there are "),
        ('image = "hello"\nmemory = "5"', 'memory: "5" is not a whole number'),
        ('image = "hello"\nmemory = true', "memory: true is not a whole number"),
        ('image = "hello"\nmemory = 5.0', "memory: 5.0 is not a whole number"),
        ("image = 1979-05-27", 'image: "1979-05-27" is not a text'),
        ('image = ""', "image: it is empty"),
        ('image = "hello"\nlog = "~nobody-here/x"', "log: ~nobody-here is nobody's home here"),
        ('image = "hello"\nconsole = "a\\u0000"', "console: it is empty, or holds a NUL"),
        ('image = "hello"\narguments = "x"', 'arguments: "x" is not a list of texts'),
        ('image = "hello"\narguments = ["x", 1]', "arguments: 1 is not a text"),
        ('image = "hello"\ndisk = 5', "disk: 5 is not a table"),
        ('image = "hello"\ndisk.data = "x"', 'disk.data: "x" is not a table'),
        ('image = "hello"\n[disk.data]\nlocal = true', "disk.data.path: it is missing"),
        ('image = "hello"\n[disk.data]\npaht = "x"', "disk.data.paht: there is no such key; the"),
        ('image = "hello"\n[disk."a.b"]\npath = 1', "disk.'a.b'.path: 1 is not a text"),
        ('image = "hello"\n[disk.d]\npath = "x"\nlocal = 1', "disk.d.local: 1 is not true or"),
        ('image = "hello"\n[nic.net]\nmac = "x"', "nic.net.backend: it is missing"),
        ('image = "hello"\n[nic.net]\nbackend = "x"', "nic.net.backend: 'x' is no network: write"),
        (
            'image = "hello"\n[nic.net]\nbackend = "tap:x"\nmac = "x"',
            "nic.net.mac: 'x' is no MAC address",
        ),
        (
            'image = "hello"\n[nic.net]\nbackend = "tap:x"\ngroup = "x"',
            "nic.net.group: tap:x has no port groups",
        ),
        ('image = "hello"\n[timing]\nheartbeat = 0', "timing.heartbeat: 0 is not from 1 to"),
        ('image = "hello"\n[timing]\nheart = 0', "timing.heart: there is no such key; the nearest"),
        ('image = "hello"\n[test]\nstop = "entry:5"', "test.stop: "),
        ('image = "hello"\n[test]\ncrash = "a"\npause = "b"', "test.pause: a replica crashes or"),
        ('image = "hello"\nrole = "x"', "role: 'x' is no role"),
        ('image = "hello"\narbiter = "x"', "arbiter: only a guest that is protected has that"),
        ('image = "hello"\nimage = "hello"', " is no TOML: "),
        ("\udcff", " is no TOML: "),
        (f"a = {'[' * 5000}", " is no TOML: "),
    ],
)
def test_what_is_wrong_in_a_file_is_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "guest.toml"
    path.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(UsageError) as refused:
        read_spec(path)
    assert str(refused.value).startswith(str(path))
    assert message in str(refused.value)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.toml")
    for path in (tmp_path, tmp_path / "none.toml", tmp_path / "fifo.toml"):
        with pytest.raises(HostError, match=f"cannot read {path}: "):
            read_spec(path)
    huge = tmp_path / "huge.toml"
    huge.write_bytes(b"#" * ((1 << 20) + 1))
    with pytest.raises(UsageError, match="is no specification: it is longer than 64 KiB"):
        read_spec(huge)


_VALUES = st.recursive(
    st.one_of(st.booleans(), st.integers(), st.floats(), st.text(max_size=9)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=5,
)


@given(st.sampled_from(["image", "disk", "nic", "timing", "test", "arguments", "memory"]), _VALUES)
def test_any_value_of_a_key_is_taken_or_refused(key: str, value: Any) -> None:
    from vlockstep.supervise.specfile import _Reader

    try:
        ReplicaSpec(**{"image": "hello", **_Reader(Path("/")).replica({key: value})})
    except VlockstepError as error:
        assert error.key[0] in (key, "test", "timing")
