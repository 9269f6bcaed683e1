"""The logging channel."""

from __future__ import annotations

import select
import subprocess
import sys
from contextlib import closing

from vlockstep.ft.channel import Arrived, Channel, listen
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
