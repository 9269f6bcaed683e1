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


# Together with those of a file


def test_an_option_replaces_the_device_of_its_name() -> None:
    before = [DiskSpec("a", Path("a")), DiskSpec("b", Path("b"))]
    assert disks(["a=x,local"], before) == (before[1], DiskSpec("a", Path("x"), True))
    assert disk("a=x=y,local,local") == DiskSpec("a", Path("x=y,local"), True)
    nic_before = NicSpec("net", "tap:tap0", mac="02:00:00:00:00:01")
    assert nics([], ["net=02:00:00:00:00:02"], [nic_before])[0].mac == "02:00:00:00:00:02"
    assert nics(["net=tap:tap1"], [], [nic_before]) == (NicSpec("net", "tap:tap1"),)


@pytest.mark.parametrize("given_macs", [["c=02:00:00:00:00:01"], ["=02:00:00:00:00:01"]])
def test_an_address_of_no_nic(given_macs: list[str]) -> None:
    with pytest.raises(UsageError, match="--net-mac"):
        nics(["a=tap:tap0"], given_macs)
