"""What NICs are connected to: what is understood, and what is refused."""

from __future__ import annotations

import os
import re
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlockstep.errors import HostError, UsageError
from vlockstep.host.background import BackgroundThread
from vlockstep.net.attach import NicSpec, addresses, connect, default_mac
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


def nics(*names: str) -> list[NicSpec]:
    return [NicSpec(name, "tap:tap0") for name in names]


def test_each_nic_has_the_given_address_or_its_default() -> None:
    specs = [*nics("a"), NicSpec("b", "tap:tap0", mac="02:00:00:00:00:0A")]
    assert addresses("echo", specs) == {
        "a": default_mac("echo", "a"),
        "b": "02:00:00:00:00:0a",
    }
    assert addresses("echo", []) == {}


@pytest.mark.parametrize(
    ("specs", "message", "key"),
    [
        (nics("a", "a"), "the NIC 'a' is given twice: drop one", ("nic", "a")),
        (
            [NicSpec(name, "tap:tap0", mac="02:00:00:00:00:0a") for name in "ab"],
            "the NICs 'a' and 'b' have one MAC, 02:00:00:00:00:0a",
            ("nic", "b", "mac"),
        ),
        (
            [*nics("a"), NicSpec("b", "tap:tap0", mac=default_mac("echo", "a"))],
            "have one MAC",
            ("nic", "b", "mac"),
        ),
    ],
)
def test_no_set_of_nics(specs: list[NicSpec], message: str, key: tuple[str, ...]) -> None:
    with pytest.raises(UsageError, match=re.escape(message)) as refused:
        addresses("echo", specs)
    assert refused.value.key == key


@given(HOSTILE, HOSTILE, HOSTILE)
def test_any_texts_are_a_nic_or_a_usage_error_with_its_key(
    name: str, backend: str, mac: str
) -> None:
    try:
        spec = NicSpec(name, f"tap:{backend}", mac=mac)
    except UsageError as error:
        assert error.key[:2] == ("nic", name)
    else:
        assert (spec.kind, spec.target) == ("tap", backend)
        assert not spec.mac or MAC.fullmatch(spec.mac)


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
    nic = NicSpec("net", backend)
    with pytest.raises(error, match="NIC 'net': "):
        connect([nic], {"net": "02:00:00:00:00:01"}, "guest", None, BackgroundThread)
