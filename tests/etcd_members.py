"""An etcd of real members, which can be killed and started again."""

from __future__ import annotations

import os
import socket
import subprocess
from pathlib import Path

from commands import wait_until

from vlockstep.cluster.store import Store, StoreError, open_store


class Etcd:
    """So many members, with their files in `folder`. `certificates` are a CA's, a server's and that
    one's key, by which members talk to clients, of which they want certificates, too."""

    def __init__(self, folder: Path, count: int, *certificates: Path) -> None:
        self._folder = folder
        self._certificates = certificates
        ports = _free_ports(2 * count)
        self.client_ports, self._peer_ports = ports[:count], ports[count:]
        self._members: list[subprocess.Popen[bytes] | None] = [None] * count
        for number in range(count):
            self.start(number)

    @property
    def endpoints(self) -> str:
        return ",".join(f"127.0.0.1:{port}" for port in self.client_ports)

    def start(self, number: int) -> None:
        client = f"{'https' if self._certificates else 'http'}://127.0.0.1"
        client = f"{client}:{self.client_ports[number]}"
        peers = [f"http://127.0.0.1:{port}" for port in self._peer_ports]
        cluster = ",".join(f"m{n}={peer}" for n, peer in enumerate(peers))
        command = ["etcd", "--name", f"m{number}", "--data-dir", f"m{number}"]
        command += ["--listen-client-urls", client, "--advertise-client-urls", client]
        command += ["--listen-peer-urls", peers[number]]
        command += ["--initial-advertise-peer-urls", peers[number], "--initial-cluster", cluster]
        if self._certificates:
            ca, cert, key = map(str, self._certificates)
            command += ["--cert-file", cert, "--key-file", key]
            command += ["--trusted-ca-file", ca, "--client-cert-auth"]
        environment = {k: v for k, v in os.environ.items() if not k.startswith("ETCD_")}
        with (self._folder / f"m{number}.log").open("ab") as log:
            self._members[number] = subprocess.Popen(
                command, cwd=self._folder, env=environment, stdout=log, stderr=log
            )

    def kill(self, number: int) -> None:
        member = self._members[number]
        if member is not None:
            member.kill()
            member.wait()
            self._members[number] = None

    def stop(self) -> None:
        for number in range(len(self._members)):
            self.kill(number)


def wait_for(address: str) -> None:
    """Until it answers."""
    store = open_store(address)
    wait_until(lambda: answers(store))
    store.close()


def answers(store: Store) -> bool:
    try:
        store.get("k")
    except StoreError:
        return False
    return True


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [listening.getsockname()[1] for listening in sockets]
    for listening in sockets:
        listening.close()
    return ports
