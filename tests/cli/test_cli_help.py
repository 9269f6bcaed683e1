"""Help in groups, plain where it is no terminal's, and what a shell completes."""

from __future__ import annotations

import re
import subprocess

import pytest
from cli_command import Command, argv, environment, in_terminal, run_process

HEADING = re.compile(r"^(\S.*):$", re.M)
GROUPS = {
    "primary": ["Arguments", "Pair", "Guest", "Files", "Timing", "For tests", "Other"],
    "secondary": ["Arguments", "Pair", "Guest", "Files", "Timing", "For tests", "Other"],
    "run": ["Arguments", "Guest", "Files", "Other"],
    "record": ["Arguments", "Files", "Guest", "Other"],
    "replay": ["Arguments", "Replay", "Guest", "Files", "Other"],
    "debug": ["Arguments", "Replay", "Gdb", "Other"],
    "trace": ["Arguments", "Replay", "Files", "Other"],
    "log show": ["Arguments", "Entries", "Replay", "Guest", "Other"],
    "switch": ["Ports", "Uplinks", "Other"],
    "switchover": ["Arguments", "Pair", "Other"],
    "demo pair": ["Arguments", "Guest", "Fault", "Other"],
    "demo figure1": ["Hosts", "Fault", "Other"],
    "host run": ["Arguments", "Host", "Network", "For tests", "Cluster", "Other"],
    "guest create": ["Arguments", "Options", "Guest", "Cluster", "Other"],
}


@pytest.mark.parametrize("command", GROUPS)
def test_options_have_groups(vlockstep: Command, command: str) -> None:
    text = vlockstep(*command.split(), "--help").out
    assert HEADING.findall(text) == GROUPS[command]
    assert text.isascii() and max(map(len, text.splitlines()[:-1])) <= 80
    assert text.rstrip().splitlines()[-1].startswith(f"Example: vlockstep {command} ")
    assert "-h, --help" in text.partition("\nOther:")[2]


def test_an_example_stays_on_its_line(vlockstep: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "50")
    example = (
        "\nExample: vlockstep primary ledger --arbiter /tmp/pair --block disk=/tmp/ledger.img\n"
    )
    assert vlockstep("primary", "--help").out.endswith(example)


def test_commands_have_groups(vlockstep: Command) -> None:
    text = vlockstep("--help").out
    assert HEADING.findall(text) == [
        "Options", "Fault tolerance", "Run and replay", "Running guests", "Network and keys",
        "Clusters of hosts",
    ]  # fmt: skip
    assert "it keeps running when one of them dies" in " ".join(text.split())
    assert "..." not in text.partition("\nFault tolerance:")[2], "no sentence is cut off"


def test_help_in_a_terminal_has_the_same_groups() -> None:
    text = in_terminal("run", "--help").out
    assert re.findall(r"╭─ ([\w ]+) ─", text) == GROUPS["run"]


def test_a_usage_error_is_framed_only_where_it_is_read_in_a_terminal() -> None:
    assert "╭─ Error" in in_terminal("run", "--bogus", "hello").out
    for command in (["run", "--bogus", "hello"], ["log", "nosuch"], ["nosuch"]):
        piped = in_terminal(*command, stderr=False)
        assert (piped.status, piped.out) == (2, "")
        assert piped.err.isascii() and "\nError: " in piped.err


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("vlockstep re", ["receive", "record", "replay", "resume"]),
        ("vlockstep run he", ["hello"]),
        ("vlockstep run hello -- --st", []),
        ("vlockstep secondary kv", ["kv", "kv-disk"]),
        ("vlockstep demo --guest le", ["ledger"]),
        ("vlockstep run --cons", ["--console"]),
        ("vlockstep log s", ["show"]),
        ("vlockstep disk c", ["create", "convert"]),
        ("vlockstep disk info --from vh", ["vhd", "vhdx"]),
        ("vlockstep run --cpu w", ["westmere"]),
        ("vlockstep cpu show ne", ["nehalem"]),
        ("vlockstep cpu check --cpu-limit q", ["qemu64"]),
    ],
)
def test_a_shell_completes(line: str, offered: list[str]) -> None:
    completion = {"_VLOCKSTEP_COMPLETE": "complete_bash", "COMP_WORDS": line}
    done = subprocess.run(
        argv(),
        capture_output=True,
        text=True,
        env=environment() | completion | {"COMP_CWORD": str(len(line.split()) - 1)},
    )
    assert (done.stdout.split(), done.stderr) == (offered, "")


def test_completion_can_be_installed() -> None:
    help_text = run_process("--help").out
    assert "--install-completion" in help_text and "--show-completion" in help_text
