"""From options to disks and NICs: what is understood, and what is refused."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlockstep.cli.devices import disk, disks, nic, nics
from vlockstep.errors import UsageError
from vlockstep.host.attach import DiskSpec
from vlockstep.net.attach import NicSpec

HOSTILE = st.one_of(
    st.text("net=tapswich:,pf/0219a[]%é\n", max_size=40),
    st.binary(max_size=40).map(lambda data: os.fsdecode(data.replace(b"\0", b""))),
)
"""What can be an argument of a process, valid UTF-8 or not."""
MAC = re.compile("[0-9a-f]{2}(:[0-9a-f]{2}){5}")


def only_usage_errors(call: Callable[[], object]) -> object:
    """What it gives, or None if it refuses."""
    try:
        return call()
    except UsageError as error:
        assert str(error)
        return None


# --net


@pytest.mark.parametrize(
    ("text", "option"),
    [
        ("net=tap:tap0", NicSpec("net", "tap:tap0")),
        ("net=tap:a=b:c", NicSpec("net", "tap:a=b:c")),
        ("a b=tap:x,y", NicSpec("a b", "tap:x,y")),
        ("net=tap:tap0,pcap=a.pcap", NicSpec("net", "tap:tap0", Path("a.pcap"))),
        ("net=tap:tap0,pcap=/a,b=c", NicSpec("net", "tap:tap0", Path("/a,b=c"))),
        ("net=switch:ipc://sock", NicSpec("net", "switch:ipc://sock")),
        (
            "net=switch:tcp://[::1]:7800,pcap=x",
            NicSpec("net", "switch:tcp://[::1]:7800", Path("x")),
        ),
        ("net=switch:ipc://a,group=blue", NicSpec("net", "switch:ipc://a", group="blue")),
        ("net=tap:tap0,mtu=9000", NicSpec("net", "tap:tap0", mtu=9000)),
        (
            "net=switch:ipc://a,group=b,mtu=68,pcap=x,mtu=y",
            NicSpec("net", "switch:ipc://a", Path("x,mtu=y"), group="b", mtu=68),
        ),
        (
            "net=switch:ipc://a,group=a b,pcap=x,group=y",
            NicSpec("net", "switch:ipc://a", Path("x,group=y"), group="a b"),
        ),
    ],
)
def test_networks(text: str, option: NicSpec) -> None:
    assert nic(text) == option


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is no network: write --net NAME=tap:IFACE or --net NAME=switch:ENDPOINT"),
        ("net", "is no network"),
        ("net=", "is no network"),
        ("=tap:tap0", "is no network"),
        ("net=tap", "is no network"),
        ("net=tap:", "is no network"),
        ("net=tap:,pcap=x", "is no network"),
        ("net=switch:", "is no network"),
        (os.fsdecode(b"net=tap:caf\xe9"), "is not valid UTF-8"),
        ("net=TAP:tap0", "is no network"),
        ("net=bridge:br0", "'net=bridge:br0' is no network"),
        ("net=tap:tap0,pcap=", "names no file for the capture"),
        ("net=switch:ipc://a,group=", "names no port group"),
        ("net=switch:ipc://a,group=,pcap=x", "names no port group"),
        ("net=switch:ipc://a,group=" + "x" * 65, "is no port group: its name has at most 64 bytes"),
        ("net=tap:tap0,mtu=", "names no MTU: write ,mtu=N, behind ,group=NAME"),
        ("net=tap:tap0,mtu=9k", "names no MTU"),
        ("net=switch:ipc://a,mtu=9000,group=x", "names no MTU"),
        ("net=tap:tap0,mtu=67", "an MTU of 67: it must be from 68 to 65535"),
        ("net=tap:tap0,mtu=65536", "an MTU of 65536: it must be"),
        ("net=tap:tap0,group=blue", "tap:tap0 has no port groups, which are of a switch"),
    ],
)
def test_no_networks(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=re.escape(message)):
        nic(text)


@given(HOSTILE)
def test_any_text_is_a_network_or_a_usage_error(text: str) -> None:
    option = only_usage_errors(lambda: nic(text))
    assert option is None or isinstance(option, NicSpec)
    if isinstance(option, NicSpec):
        assert text.startswith(f"{option.name}={option.backend}")


# --net-mac


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("net=02:00:00:00:00:01", ("net", "02:00:00:00:00:01")),
        ("net=FE:Ab:cD:EF:09:10", ("net", "fe:ab:cd:ef:09:10")),
    ],
)
def test_addresses_as_given(text: str, parsed: tuple[str, str]) -> None:
    name, address = parsed
    (found,) = nics([f"{name}=tap:tap0"], [text])
    assert found.mac == address


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "write --net-mac NAME=MAC, such as net=02:00:00:00:00:01"),
        ("02:00:00:00:00:01", "write --net-mac"),
        ("=02:00:00:00:00:01", "write --net-mac"),
        ("net=", "write --net-mac"),
        ("net=02:00:00:00:00", "is no MAC address: write it as"),
        ("net=02:00:00:00:00:01:02", "is no MAC address: write it as"),
        ("net=02:00:00:00:00:01\n", "is no MAC address: write it as"),
        ("net= 02:00:00:00:00:01", "is no MAC address: write it as"),
        ("net=2:0:0:0:0:1", "is no MAC address: write it as"),
        ("net=02-00-00-00-00-01", "is no MAC address: write it as"),
        ("net=02:00:00:00:00:0g", "is no MAC address: write it as"),
        ("net=٠٢:00:00:00:00:01", "is no MAC address: write it as"),
        ("net=01:00:5e:00:00:01", "01:00:5e:00:00:01 addresses a group or nobody"),
        ("net=FF:FF:FF:FF:FF:FF", "addresses a group or nobody"),
    ],
)
def test_no_addresses(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=re.escape(message)):
        nics(["net=tap:tap0"], [text])


@given(HOSTILE)
def test_any_text_is_an_address_or_a_usage_error(text: str) -> None:
    for given_text in (text, f"net={text}"):
        found = only_usage_errors(lambda text=given_text: nics(["net=tap:tap0"], [text]))
        assert found is None or (isinstance(found, tuple) and MAC.fullmatch(found[0].mac))


# --block-sector-size


@pytest.mark.parametrize("size", [512, 4096, 32768])
def test_block_sizes(size: int) -> None:
    (found,) = disks(["disk=a"], [f"disk={size}"])
    assert found == DiskSpec("disk", Path("a"), block_size=size)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "write --block-sector-size NAME=N, such as disk=4096"),
        ("4096", "write --block-sector-size"),
        ("=4096", "write --block-sector-size"),
        ("disk=", "write --block-sector-size"),
        ("disk=4K", "write --block-sector-size"),
        ("disk=-512", "write --block-sector-size"),
        ("disk=\u0661\u0662", "write --block-sector-size"),
        ("disk=0", "blocks of 0 bytes: give a power of two from 512 to 32768"),
        ("disk=256", "blocks of 256 bytes"),
        ("disk=1000", "blocks of 1000 bytes"),
        ("disk=65536", "blocks of 65536 bytes"),
        ("other=512", "--block-sector-size names the disk 'other', which no --block connects"),
    ],
)
def test_no_block_sizes(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=re.escape(message)):
        disks(["disk=a"], [text])


# Together with those of a file


def test_an_option_replaces_the_device_of_its_name() -> None:
    before = [DiskSpec("a", Path("a")), DiskSpec("b", Path("b"))]
    assert disks(["a=x,local"], [], before) == (before[1], DiskSpec("a", Path("x"), True))
    assert disks([], ["b=4096"], before)[1] == DiskSpec("b", Path("b"), block_size=4096)
    assert disk("a=x=y,local,local") == DiskSpec("a", Path("x=y,local"), True)
    nic_before = NicSpec("net", "tap:tap0", mac="02:00:00:00:00:01")
    assert nics([], ["net=02:00:00:00:00:02"], [nic_before])[0].mac == "02:00:00:00:00:02"
    assert nics(["net=tap:tap1"], [], [nic_before]) == (NicSpec("net", "tap:tap1"),)


@pytest.mark.parametrize("given_macs", [["c=02:00:00:00:00:01"], ["=02:00:00:00:00:01"]])
def test_an_address_of_no_nic(given_macs: list[str]) -> None:
    with pytest.raises(UsageError, match="--net-mac"):
        nics(["a=tap:tap0"], given_macs)
