"""`vlockstep switch`."""

from __future__ import annotations

import signal
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from vlockstep.cli import output
from vlockstep.cli.command import OTHER, PORTS, UPLINKS
from vlockstep.errors import UsageError

if TYPE_CHECKING:
    from vlockstep.net.passt import PasstNetwork
    from vlockstep.switch.uplinks import Uplink

DEFAULT_ENDPOINT = "tcp://127.0.0.1:7710"
_MAX_AGEING = 10**6
_PASST, _TRUNK, _GROUP = "passt", "trunk:", ",group="
_EVENTS = {
    "listening": "listening on {endpoint}",
    "port-connected": "{mac} connected from {name}",
    "port-disconnected": "{mac} disconnected from {name}",
    "port-refused": "refused: {reason}",
    "trunk-connected": "{name} connected",
    "trunk-disconnected": "{name} disconnected",
    "uplink": "the uplink {name} is up",
    "uplink-lost": "the uplink {name} is lost: {reason}",
    "uplink-refused": "the uplink {name} is refused: {reason}",
    "address-conflict": "two guests have the MAC address {mac}: {guest} and {other}",
}
"""For people."""


def switch(
    listen: Annotated[
        str,
        typer.Option(
            "--listen",
            metavar="ENDPOINT",
            rich_help_panel=PORTS,
            help="tcp://HOST:PORT or ipc://PATH.",
        ),
    ] = DEFAULT_ENDPOINT,
    keys: Annotated[
        Path | None,
        typer.Option(
            "--keys",
            metavar="DIR",
            rich_help_panel=PORTS,
            help="Encrypt, and take only replicas and switches with keys from `vlockstep keys "
            "new`; needed for any address that is not of this machine alone.",
            show_default=False,
        ),
    ] = None,
    uplinks: Annotated[
        list[str] | None,
        typer.Option(
            "--uplink",
            metavar="UPLINK",
            rich_help_panel=UPLINKS,
            help="A network outside: tap:IFACE, or passt for the host's own (one guest at most), "
            "with ,group=NAME for another port group; or one trunk:ENDPOINT, to a switch that "
            "stands for the physical network, with all port groups. May be repeated.",
            show_default=False,
        ),
    ] = None,
    forwards: Annotated[
        list[str] | None,
        typer.Option(
            "--forward",
            metavar="HOSTPORT:GUESTPORT",
            rich_help_panel=UPLINKS,
            help="With --uplink passt: lead a port of this host's 127.0.0.1 to the guest; /udp "
            "behind it for UDP. May be repeated.",
            show_default=False,
        ),
    ] = None,
    guest_ip: Annotated[
        str | None,
        typer.Option(
            "--guest-ip",
            metavar="ADDR/LEN",
            rich_help_panel=UPLINKS,
            help="With --uplink passt: the guest's address, 10.0.2.15/24 if not given.",
            show_default=False,
        ),
    ] = None,
    gateway: Annotated[
        str | None,
        typer.Option(
            "--gateway",
            metavar="ADDR",
            rich_help_panel=UPLINKS,
            help="With --uplink passt: the guest's gateway, 10.0.2.2 if not given.",
            show_default=False,
        ),
    ] = None,
    ageing: Annotated[
        float,
        typer.Option(
            "--ageing",
            metavar="S",
            rich_help_panel=PORTS,
            help="Forget a MAC address silent for so long.",
        ),
    ] = 300,
    as_json: Annotated[
        bool,
        typer.Option(
            "--json", rich_help_panel=OTHER, help="Events and counters as JSON lines on stderr."
        ),
    ] = False,
) -> None:
    """Connect the NICs of guests with each other, and with networks outside.

    Give --net NAME=switch:ENDPOINT to all replicas of a guest, on each host that of its switch.
    Ctrl-C ends the switch, which then prints its counters.
    """
    from vlockstep.switch.fabric import Fabric
    from vlockstep.switch.switch import SECOND, Switch
    from vlockstep.wire import keys as key_files
    from vlockstep.wire.endpoint import check_endpoint

    if not 0 < ageing <= _MAX_AGEING:
        raise UsageError(f"--ageing is from above 0 to {_MAX_AGEING} seconds, not {ageing:g}")
    check_endpoint(listen, keys is not None)
    wanted, parent = _read_uplinks(uplinks or [])
    used = any(uplink.network == _PASST for uplink in wanted)
    network = _passt_network(used, forwards, guest_ip, gateway)
    loaded = None if keys is None else key_files.load(keys, key_files.Party.SWITCH)
    events = output.observer(_EVENTS, as_json)
    with ExitStack() as stack:
        opened = [_open_uplink(uplink, network, stack) for uplink in wanted]
        fabric = Fabric(int(ageing * SECOND))
        running = Switch(listen, loaded, fabric, opened, events.observe, as_json, parent)
        stack.callback(running.close)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: running.stop())
        running.run()
        if not as_json:
            _print_counters(running.ports())


class _Wanted(NamedTuple):
    """`--uplink NETWORK[,group=GROUP]`."""

    network: str
    group: str


def _read_uplinks(texts: list[str]) -> tuple[list[_Wanted], str | None]:
    """Those to networks, and the endpoint of the trunk if there is one."""
    from vlockstep.net.portmessages import check_group

    trunks = [text.removeprefix(_TRUNK) for text in texts if text.startswith(_TRUNK)]
    if len(trunks) > 1:
        raise UsageError(
            f"a switch has one trunk, for two could close a loop: let --uplink {_TRUNK}{trunks[1]} "
            "be one of the other switch, or leave it out"
        )
    if trunks and _GROUP in trunks[0]:
        raise UsageError(f"--uplink {_TRUNK}{trunks[0]}: a trunk has all port groups; name none")
    wanted: list[_Wanted] = []
    for text in texts:
        if text.startswith(_TRUNK):
            continue
        network, grouped, group = text.partition(_GROUP)
        kind, _, device = network.partition(":")
        if network != _PASST and (kind != "tap" or not device):
            raise UsageError(
                f"{text!r} is no uplink: write --uplink tap:IFACE, --uplink passt or "
                f"--uplink {_TRUNK}ENDPOINT"
            )
        if grouped and not group:
            raise UsageError(f"--uplink {text} names no port group")
        check_group(group)
        if network in [other.network for other in wanted]:
            raise UsageError(f"--uplink {network} is given twice")
        wanted.append(_Wanted(network, group))
    return wanted, trunks[0] if trunks else None


def _passt_network(
    used: bool, forwards: list[str] | None, guest_ip: str | None, gateway: str | None
) -> PasstNetwork | None:
    from vlockstep.net.passt import DEFAULT_GATEWAY, DEFAULT_GUEST, PasstNetwork

    if used:
        return PasstNetwork.parse(
            DEFAULT_GUEST if guest_ip is None else guest_ip,
            DEFAULT_GATEWAY if gateway is None else gateway,
            forwards or (),
        )
    given = (("--forward", forwards), ("--guest-ip", guest_ip), ("--gateway", gateway))
    for option, value in given:
        if value:
            raise UsageError(f"{option} is for passt: give --uplink passt as well")
    return None


def _open_uplink(wanted: _Wanted, network: PasstNetwork | None, stack: ExitStack) -> Uplink:
    from vlockstep.switch.uplinks import Uplink

    name, group = wanted.network, wanted.group.encode()
    if name == _PASST:
        from vlockstep.net.passt import Passt

        assert network is not None
        passt = Passt(network)
        stack.callback(passt.close)
        return Uplink(name, passt, passt.explain, passt.introduce, group)
    from vlockstep.net.tap import Tap

    tap = Tap(name.removeprefix("tap:"))
    stack.callback(tap.close)
    return Uplink(name, tap, tap.disconnection, group=group)


def _print_counters(ports: list[dict[str, Any]]) -> None:
    headers = (
        "port",
        "MAC",
        "group",
        "frames in",
        "bytes in",
        "frames out",
        "bytes out",
        "dropped",
        "moves",
    )
    names = ("received", "received_bytes", "sent", "sent_bytes")
    rows = [
        (
            port["name"] if port["up"] else f"{port['name']} (gone)",
            port["mac"] or "-",
            port["group"] or "-",
            *(str(port[name]) for name in names),
            str(port["malformed"] + port["overflowed"]),
            str(port["moves"]),
        )
        for port in ports
    ]
    if rows:
        output.table(headers, rows)
