"""`vlockstep hvt`: the command line of solo5-hvt, word for word."""

from __future__ import annotations

from pathlib import Path

import pytest
from cli_command import Command
from hypothesis import given
from hypothesis import strategies as st
from support import IMAGES

from vlockstep.cli import tender

LINES = ["--lines=2", "--pause=0"]


@pytest.mark.parametrize(
    ("word", "words"),
    [
        ("--net:service=tap0", ["--net", "service=tap:tap0"]),
        ("--net:service=switch:ipc://x", ["--net", "service=switch:ipc://x"]),
        ("--net:service=", ["--net", "service="]),
        ("--net:=tap0", ["--net", "=tap:tap0"]),
        ("--net-mac:service=02:00:00:00:00:01", ["--net-mac", "service=02:00:00:00:00:01"]),
        ("--block:data=/a=b:c", ["--block", "data=/a=b:c"]),
        ("--block-sector-size:data=4096", ["--block-sector-size", "data=4096"]),
        ("--net:service", ["--net:service"]),
        ("--disk:data=x", ["--disk:data=x"]),
        ("--net=a:b=c", ["--net=a:b=c"]),
        ("--mem=64", ["--mem=64"]),
        ("net:service=tap0", ["net:service=tap0"]),
    ],
)
def test_a_word_of_that_command_line(word: str, words: list[str]) -> None:
    assert tender.translated(word) == words


@pytest.mark.parametrize(
    ("line", "own", "guest"),
    [
        ("u.hvt", "u.hvt", ""),
        ("-- u.hvt", "u.hvt", ""),
        ("--mem=64 u.hvt --mem=32 -- x", "--mem=64 u.hvt", "--mem=32 -- x"),
        ("--mem=64 -- u.hvt --mem=32 -- x", "--mem=64 u.hvt", "--mem=32 -- x"),
        ("--mem 64 u.hvt x", "--mem 64 u.hvt", "x"),
        ("--json u.hvt x", "--json u.hvt", "x"),
        ("--mem=64", "--mem=64", ""),
        ("--mem=64 --", "--mem=64", ""),
        ("--mem", "--mem", ""),
        ("", "", ""),
    ],
)
def test_what_is_behind_the_image_is_the_guests(line: str, own: str, guest: str) -> None:
    options = {"--mem": True, "--json": False}
    assert tender.split(line.split(), options) == (own.split(), guest.split())


@given(st.lists(st.sampled_from(["--", "--mem", "--json", "-x", "u.hvt", "", "-", "--mem=1"])))
def test_no_word_is_lost(words: list[str]) -> None:
    own, guest = tender.split(words, {"--mem": True, "--json": False})
    one_less = ([*words[:at], *words[at + 1 :]] for at, word in enumerate(words) if word == "--")
    assert [*own, *guest] in (words, *one_less)


@pytest.mark.parametrize("dashes", [[], ["--"]])
def test_the_guest_gets_its_words_and_gives_its_status(
    vlockstep: Command, dashes: list[str]
) -> None:
    words = ["--status=3", "--mem=x", "--", "-h", "", "--net:a=b"]
    result = vlockstep("hvt", "--mem=16", *dashes, IMAGES / "hello.hvt", *words)
    assert (result.status, result.err) == (3, "")
    assert result.out == f"Hello from vlockstep\n{' '.join(words)}\n"


def test_a_disk_with_larger_blocks(vlockstep: Command, disk: Path) -> None:
    """The guest writes blocks of 512 bytes, whatever it is told."""
    words = [f"--block:disk={disk}", "--block-sector-size:disk=4096"]
    result = vlockstep("hvt", *words, IMAGES / "ledger.hvt", *LINES)
    assert result.status == 1 and "block 1 cannot be written: result 2" in result.out


def test_a_disk_of_no_whole_blocks(vlockstep: Command, disk: Path) -> None:
    disk.write_bytes(bytes(1024))
    words = [f"--block:disk={disk}", "--block-sector-size:disk=4096"]
    result = vlockstep("hvt", *words, IMAGES / "ledger.hvt")
    assert result.status == 2
    assert "is 1024 bytes; a disk has some multiple of 4096: round it up with" in result.err


@pytest.mark.parametrize("command", ["run", "record"])
def test_other_commands_take_its_words_for_devices(
    vlockstep: Command, disk: Path, command: str
) -> None:
    log = ["-o", "x.vlog"] if command == "record" else []
    done = vlockstep(command, "ledger", *log, f"--block:disk={disk}", "--", *LINES)
    assert done.status == 0 and disk.read_bytes()[:1024:512] == b"VV"


@pytest.mark.parametrize(("given", "memory"), [(17, 16), (1, 2)])
def test_memory_is_adjusted_as_there(vlockstep: Command, given: int, memory: int) -> None:
    result = vlockstep("hvt", f"--mem={given}", "hello")
    assert (result.status, result.out) == (0, "Hello from vlockstep\n")
    assert result.err.startswith(f"vlockstep: --mem={given} becomes {memory} MB")


def test_a_core(vlockstep: Command, tmp_path: Path) -> None:
    result = vlockstep("hvt", "--mem=16", f"--dumpcore={tmp_path}", "fault", "--kind=ud")
    assert result.status == 255
    (core,) = tmp_path.glob("core.fault.hvt.*")
    assert result.err == f"vlockstep: core written to {core}\n"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "Missing argument 'IMAGE'"),
        (["--mem=64"], "Missing argument 'IMAGE'"),
        (["--gdb", "hello", "x"], "write it behind the image: vlockstep hvt hello --gdb x"),
        (["--block:", "hello"], "No such option: --block:"),
        (["--block:disk=", "hello"], "'disk=' names no disk: write --block NAME=PATH"),
        (["--block:disk=/nowhere", "hello"], "hello.hvt declares no block device 'disk'"),
        (["--block:disk=/nowhere", "ledger"], "(--block disk=PATH)"),
        (["--net:net=", "hello"], "is no network: write --net NAME=tap:IFACE"),
        (["--net:net=nowhere", "hello"], "hello.hvt declares no NIC 'net'"),
        (["--net:net=nowhere", "echo"], "there is no network device nowhere"),
        (["--net-mac:net=02:00:00:00:00:01", "echo"], "which no --net connects"),
        (["--block-sector-size:disk=512", "ledger"], "which no --block connects"),
        (["ledger"], "ledger.hvt needs the device 'disk'"),
        (["--mem=3000000", "hello"], "give a multiple of 2 from 2 to 4096 (--mem MB)"),
        (["--mem=0", "hello"], "give a multiple of 2 from 2 to 4096 (--mem MB)"),
        (["--mem=x", "hello"], "Invalid value for '--mem'"),
        (["/nowhere.hvt"], "cannot read image /nowhere.hvt"),
    ],
)
def test_errors_name_the_option(vlockstep: Command, words: list[str], says: str) -> None:
    result = vlockstep("hvt", *words)
    assert result.status in (1, 2) and result.out == ""
    assert says in " ".join(result.err.split()) and "Traceback" not in result.err


def test_its_help(vlockstep: Command) -> None:
    text = vlockstep("hvt", "--help").out
    assert text.startswith("Usage: vlockstep hvt [OPTIONS] [--] IMAGE [ARGS]\n")
    assert "[ARGS]" in text and "behind --." not in text
