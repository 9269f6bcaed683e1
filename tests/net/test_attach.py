"""From options to NICs: what is understood, and what is refused."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlockstep.errors import HostError, UsageError
from vlockstep.host.background import BackgroundThread
from vlockstep.net.attach import NetOption, addresses, connect, default_mac, parse_mac
from vlockstep.wire.endpoint import check_endpoint

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
        ("net=tap:tap0", NetOption("net", "tap", "tap0")),
        ("net=tap:a=b:c", NetOption("net", "tap", "a=b:c")),
        ("a b=tap:x,y", NetOption("a b", "tap", "x,y")),
        ("net=tap:tap0,pcap=a.pcap", NetOption("net", "tap", "tap0", Path("a.pcap"))),
        ("net=tap:tap0,pcap=/a,b=c", NetOption("net", "tap", "tap0", Path("/a,b=c"))),
        ("net=switch:ipc://sock", NetOption("net", "switch", "ipc://sock")),
        (
            "net=switch:tcp://[::1]:7800,pcap=x",
            NetOption("net", "switch", "tcp://[::1]:7800", Path("x")),
        ),
    ],
)
def test_networks(text: str, option: NetOption) -> None:
    assert NetOption.parse(text) == option


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
        NetOption.parse(text)


@given(HOSTILE)
def test_any_text_is_a_network_or_a_usage_error(text: str) -> None:
    option = only_usage_errors(lambda: NetOption.parse(text))
    assert option is None or isinstance(option, NetOption)
    if isinstance(option, NetOption):
        assert text.startswith(f"{option.name}={option.kind}:{option.target}")


@given(HOSTILE, st.booleans())
def test_any_text_is_an_endpoint_or_a_usage_error(text: str, encrypted: bool) -> None:
    for endpoint in (text, f"tcp://{text}", f"ipc://{text}", f"tcp://[{text}"):
        only_usage_errors(lambda endpoint=endpoint: check_endpoint(endpoint, encrypted))


@pytest.mark.parametrize(
    "endpoint",
    [
        "tcp://127.0.0.1:7705/x",
        "tcp://127.0.0.1:7705/",
        "tcp://127.0.0.1:7705?x",
        "tcp://127.0.0.1:7705#",
        "tcp://user@127.0.0.1:7705",
        "tcp://user:word@127.0.0.1:7705",
        "tcp://127.0.0.1:77\n05",
        "TCP://127.0.0.1:7705",
    ],
)
def test_an_address_has_nothing_but_host_and_port(endpoint: str) -> None:
    with pytest.raises(UsageError, match=r"is no address: write tcp://HOST:PORT or ipc://PATH"):
        check_endpoint(endpoint, True)


def test_only_loopback_needs_no_keys() -> None:
    for endpoint in (
        "tcp://127.0.0.1:1",
        "tcp://127.1.2.3:1",
        "tcp://localhost:1",
        "tcp://[::1]:1",
    ):
        check_endpoint(endpoint, False)
    for endpoint in ("tcp://[::]:1", "tcp://[fe80::1]:1", "tcp://[2001:db8::1]:1", "tcp://*:1"):
        check_endpoint(endpoint, True)
        with pytest.raises(UsageError, match="is not an address of this machine alone"):
            check_endpoint(endpoint, False)


# --net-mac


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("net=02:00:00:00:00:01", ("net", "02:00:00:00:00:01")),
        ("net=FE:Ab:cD:EF:09:10", ("net", "fe:ab:cd:ef:09:10")),
    ],
)
def test_addresses_as_given(text: str, parsed: tuple[str, str]) -> None:
    assert parse_mac(text) == parsed


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "write --net-mac NAME=MAC, such as net=02:00:00:00:00:01"),
        ("02:00:00:00:00:01", "write --net-mac"),
        ("=02:00:00:00:00:01", "write --net-mac"),
        ("net=", "write --net-mac"),
        ("net=02:00:00:00:00", "write --net-mac"),
        ("net=02:00:00:00:00:01:02", "write --net-mac"),
        ("net=02:00:00:00:00:01\n", "write --net-mac"),
        ("net= 02:00:00:00:00:01", "write --net-mac"),
        ("net=2:0:0:0:0:1", "write --net-mac"),
        ("net=02-00-00-00-00-01", "write --net-mac"),
        ("net=02:00:00:00:00:0g", "write --net-mac"),
        ("net=٠٢:00:00:00:00:01", "write --net-mac"),
        ("net=01:00:5e:00:00:01", "01:00:5e:00:00:01 addresses a group or nobody"),
        ("net=FF:FF:FF:FF:FF:FF", "addresses a group or nobody"),
    ],
)
def test_no_addresses(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=re.escape(message)):
        parse_mac(text)


@given(HOSTILE)
def test_any_text_is_an_address_or_a_usage_error(text: str) -> None:
    for given_text in (text, f"net={text}"):
        parsed = only_usage_errors(lambda text=given_text: parse_mac(text))
        assert parsed is None or (isinstance(parsed, tuple) and MAC.fullmatch(parsed[1]))


def test_the_default_is_the_same_on_every_machine() -> None:
    """Both replicas of a guest, of any version, have to find the same."""
    assert default_mac("echo", "net") == "ee:c5:7b:b0:cc:70"


@given(HOSTILE, st.text())
def test_defaults_are_locally_administered_addresses_of_one_nic(guest: str, name: str) -> None:
    mac = default_mac(guest, name)
    assert MAC.fullmatch(mac)
    assert int(mac[:2], 16) & 3 == 2
    assert default_mac(guest, name) == mac
    assert default_mac(guest, name + "0") != mac != default_mac(guest + "0", name)


# Both together


def options(*names: str) -> list[NetOption]:
    return [NetOption(name, "tap", "tap0") for name in names]


def test_each_nic_has_the_given_address_or_its_default() -> None:
    assert addresses("echo", options("a", "b"), ["b=02:00:00:00:00:0A"]) == {
        "a": default_mac("echo", "a"),
        "b": "02:00:00:00:00:0a",
    }
    assert addresses("echo", [], []) == {}


@pytest.mark.parametrize(
    ("names", "given", "message"),
    [
        ("aa", [], "the NIC 'a' is given twice: drop one --net"),
        ("ab", ["c=02:00:00:00:00:01"], "names the NIC 'c', which no --net connects"),
        ("", ["a=02:00:00:00:00:01"], "names the NIC 'a', which no --net connects"),
        (
            "ab",
            ["a=02:00:00:00:00:0a", "b=02:00:00:00:00:0A"],
            "the NICs 'a' and 'b' have one MAC, 02:00:00:00:00:0a",
        ),
        ("ab", [f"b={default_mac('echo', 'a')}"], "have one MAC"),
        ("a", ["a=junk"], "write --net-mac"),
    ],
)
def test_no_set_of_nics(names: str, given: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=re.escape(message)):
        addresses("echo", options(*names), given)


@given(st.lists(HOSTILE, max_size=4), st.lists(HOSTILE, max_size=4))
def test_any_options_are_addresses_or_a_usage_error(names: list[str], given: list[str]) -> None:
    macs = only_usage_errors(lambda: addresses("echo", options(*names), given))
    assert macs is None or (isinstance(macs, dict) and list(macs) == names)


@pytest.mark.parametrize(
    ("backend", "error"),
    [
        ("tap:no-such-device", HostError),
        ("tap:a-name-that-is-too-long", UsageError),
        ("switch:nonsense", UsageError),
        ("switch:tcp://[", UsageError),
        ("switch:tcp://192.0.2.1:7800", UsageError),
        ("switch:ipc://" + "x" * 200, UsageError),
    ],
)
def test_an_error_names_the_nic(backend: str, error: type[Exception]) -> None:
    option = NetOption.parse(f"net={backend}")
    with pytest.raises(error, match="NIC 'net': "):
        connect([option], {"net": "02:00:00:00:00:01"}, "guest", None, BackgroundThread)
