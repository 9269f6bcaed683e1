"""The logging channel."""

from __future__ import annotations

import select
import socket
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
import zmq

from vlockstep import keys
from vlockstep.errors import HostError
from vlockstep.ft.channel import Arrived, Channel, connect, listen
from vlockstep.keys import Party
from vlockstep.testing.process import TIMEOUT, environment

SIZE = 1 << 20
"""What fits into the buffers of a connection, and is not there at once."""
SENDER = f"""
import os, select, sys
from vlockstep.ft.channel import Connected, connect
channel = connect(sys.argv[1], None)
while Connected() not in channel.events():
    select.select(channel.descriptors, [], [])
assert channel.send(bytes({SIZE}), b"")
channel.close()
os._exit(0)
"""


def receive(channel: Channel) -> bytes:
    while True:
        for event in channel.events():
            if isinstance(event, Arrived):
                return event.data
        assert any(select.select(channel.descriptors, [], [], TIMEOUT)), "nothing came"


def test_the_last_word_of_a_process_arrives() -> None:
    """However abruptly it ends after closing."""
    with closing(listen("tcp://127.0.0.1:0", None)) as channel:
        command = [sys.executable, "-c", SENDER, channel.endpoint]
        with subprocess.Popen(command, env=environment()) as sender:
            assert len(receive(channel)) == SIZE
            assert sender.wait(TIMEOUT) == 0


@pytest.mark.parametrize("encrypted", [False, True])
def test_ipv6(ipv6: str, encrypted: bool, tmp_path: Path) -> None:
    own = others = None
    if encrypted:
        keys.create(tmp_path / "keys")
        own = keys.load(tmp_path / "keys", Party.PRIMARY)
        others = keys.load(tmp_path / "keys", Party.SECONDARY)
    with closing(listen(ipv6, own)) as channel:
        assert channel.endpoint.startswith("tcp://[::1]:")
        with closing(connect(channel.endpoint, others)) as peer:
            assert any(select.select(peer.descriptors, [], [], TIMEOUT))
            while not peer.send(b"hello", b""):
                select.select(peer.descriptors, [], [], 0.01)
            assert receive(channel) == b"hello"


def test_a_peer_that_is_not_read_has_to_wait(tmp_path: Path) -> None:
    most = 10_000
    with (
        closing(listen(f"ipc://{tmp_path}/channel", None)) as channel,
        zmq.Context() as context,
        context.socket(zmq.DEALER) as flood,
    ):
        flood.setsockopt(zmq.SNDTIMEO, 1000)
        flood.connect(channel.endpoint)
        sent = 0
        with pytest.raises(zmq.Again):
            while sent < most:
                flood.send(bytes(1024))
                sent += 1
        for _ in range(sent):
            assert len(receive(channel)) == 1024


def test_only_a_dead_socket_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "channel"
    endpoint = f"ipc://{path}"
    path.write_text("precious")
    with pytest.raises(HostError, match=f"{path} exists and is no socket; choose another path"):
        listen(endpoint, None)
    assert path.read_text() == "precious"
    path.unlink()
    (tmp_path / "precious").touch()
    path.symlink_to(tmp_path / "precious")
    with pytest.raises(HostError, match="is no socket"):
        listen(endpoint, None)
    path.unlink()
    with closing(socket.socket(socket.AF_UNIX)) as living:
        living.bind(str(path))
        living.listen(0)
        for _ in range(3):  # more than it takes without being asked
            with pytest.raises(HostError, match=f"{path} is already in use"):
                listen(endpoint, None)
    with closing(listen(endpoint, None)):
        pass


def test_an_address_that_cannot_be_bound() -> None:
    with closing(listen("tcp://127.0.0.1:0", None)) as channel:
        wanted = f"^cannot listen on {channel.endpoint}: Address already in use$"
        with pytest.raises(HostError, match=wanted):
            listen(channel.endpoint, None)
