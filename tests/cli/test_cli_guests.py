"""`vlockstep guests`: what it tells of each bundled guest is true."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from cli_command import ROOT, Command, environment

from vlockstep.machine import bundled
from vlockstep.machine.samples import SAMPLES

ENDLESS = {"echo", "kv", "kv-disk", "stream", "tally", "web"}
"""Guests that serve whoever comes."""


@pytest.fixture
def path_with_vlockstep(tmp_path: Path) -> dict[str, str]:
    """An environment in which a shell finds `vlockstep`."""
    command = tmp_path / "bin" / "vlockstep"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m vlockstep "$@"\n')
    command.chmod(0o755)
    return environment() | {"PATH": f"{command.parent}:{os.environ['PATH']}"}


def facts_of(vlockstep: Command, name: str) -> dict[str, Any]:
    result = vlockstep("guests", name, "--json")
    assert (result.status, result.err) == (0, "")
    found: dict[str, Any] = json.loads(result.out)
    return found


def test_every_image_is_told_of() -> None:
    assert sorted(SAMPLES) == bundled.names()


@pytest.mark.parametrize("name", SAMPLES)
def test_one_guest(vlockstep: Command, name: str) -> None:
    facts = facts_of(vlockstep, name)
    assert facts in json.loads(vlockstep("guests", "--json").out)
    text = vlockstep("guests", name).out
    assert facts["description"] in text and facts["digest"] in text
    for line in facts["example"]:
        assert re.search(rf"^(?:example| ) +{re.escape(line)}$", text, re.M)
    for option in facts["options"]:
        (row,) = (line for line in text.splitlines() if f"  {option['option']} " in line)
        assert option["meaning"] in row
        assert row.endswith(f"(default {option['default']})") == bool(option["default"])


@pytest.mark.parametrize("name", SAMPLES)
def test_the_options_are_those_of_the_source(name: str) -> None:
    source = (ROOT / f"guests/{name}.c").read_text()
    if name.startswith("kv"):
        source += (ROOT / "guests/kv/server.c").read_text()
    if '#include "net.h"' in source:
        source += (ROOT / "guests/net/net.c").read_text()
    defaults = dict(re.findall(r'option_number\("([\w-]+)", (\d+),', source))
    allowed = re.findall(r"OPTIONS_ALLOW\(([^)]*)\)", source)
    net = 'NET_OPTIONS "ipv4", "ipv4-gateway", "tcp-keepalive", "tcp-timeout"'
    assert f"#define {net}" in (ROOT / "guests/net/net.h").read_text()
    names = set(re.findall(r'"([\w-]+)"', "".join(allowed).replace("NET_OPTIONS", net)))
    told = {option.name: option.default for option in SAMPLES[name].options}
    assert set(told) == (names or set(defaults))
    assert {option: default for option, default in told.items() if default} == defaults


@pytest.mark.parametrize("name", sorted(SAMPLES.keys() - ENDLESS))
def test_the_example_works(
    vlockstep: Command, tmp_path: Path, path_with_vlockstep: dict[str, str], name: str
) -> None:
    done = subprocess.run(
        ["/bin/sh", "-e", "-c", "\n".join(facts_of(vlockstep, name)["example"])],
        cwd=tmp_path, env=path_with_vlockstep, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout


@pytest.mark.external("passt")
@pytest.mark.parametrize("name", sorted(ENDLESS))
def test_the_example_with_a_network_works(
    vlockstep: Command, tmp_path: Path, path_with_vlockstep: dict[str, str], name: str
) -> None:
    """With other ports of this host, which may be taken."""
    text = "\n".join(facts_of(vlockstep, name)["example"])
    text = text.replace("tcp://127.0.0.1:7710", f"ipc://{tmp_path}/switch")
    text = text.replace("vlockstep switch", f"vlockstep switch --listen ipc://{tmp_path}/switch")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    text = re.sub(r"--forward \d+:", f"--forward {port}:", text)
    with subprocess.Popen(
        ["/bin/sh", "-e", "-c", text],
        cwd=tmp_path, env=path_with_vlockstep, start_new_session=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    ) as shell:  # fmt: skip
        assert shell.stdout is not None
        try:
            connected = next(line for line in shell.stdout if "connected from" in line)
        finally:
            os.killpg(shell.pid, signal.SIGTERM)
    assert re.match(r"vlockstep: [0-9:]{8} [0-9a-f:]{17} connected from ", connected)


def test_no_guest_of_that_name(vlockstep: Command) -> None:
    result = vlockstep("guests", "nosuch")
    assert (result.status, result.out) == (2, "")
    assert "there is no bundled guest 'nosuch' (abi, clock," in result.err
