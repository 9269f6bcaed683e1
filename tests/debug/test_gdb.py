"""Real gdb, with the commands that a recording adds to it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from recordings import Interrupting, write_recording

SESSION = """\
break guest_main
continue
bt
stepi
stepi
reverse-stepi
delete
why-ended
reverse-finish
console
checkpoint
tbreak guest_main
reverse-continue
when
who-wrote $rsp
seek checkpoint:1
back
seek nowhere-at-all
"""
PREEMPT = """\
break tick
continue
continue
reverse-continue
info threads
delete
watch -l *(long *) $rsp
reverse-continue
delete
break race if $rdi == 12345
reverse-continue
"""


AGAIN = """\
why-ended
start
checkpoint
info checkpoints
break print
echo run\\n
run
who-wrote $rsp
who-wrote (char*)$rsp
starti
when
echo refused\\n
"""
REFUSED = {
    "print $rax = 5": "a recording cannot be changed",
    "print *(long *) $rsp = 0": "Writing to memory is not allowed",
    "run --lines=3": "the guest's arguments are in the recording",
    "seek": "a word is missing; seek PLACE: go to exits:N",
}


LEFT = "[Inferior 1 (Remote target) detached]\n"


def gdb(log: Path, commands: str) -> str:
    batch = log.with_suffix(".gdb")
    batch.write_text(commands)
    words = [sys.executable, "-m", "vlockstep", "debug", str(log), "--batch", str(batch)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=100)
    return done.stdout + done.stderr


@pytest.mark.external("gdb")
def test_gdb_goes_forwards_and_backwards(tmp_path: Path) -> None:
    told = gdb(write_recording(tmp_path / "hello.vlog", "hello"), SESSION)
    lines = told.splitlines()
    assert "Breakpoint 1, 0x" in told and "#2 " in told, told
    stepped = [line for line in lines if line.endswith("in guest_main ()") and line[:2] == "0x"]
    assert len(stepped) == 3 and stepped[0] == stepped[2] != stepped[1], told
    assert "the guest ended with status 0" in told and "Hello from vlockstep" in told
    assert "checkpoint:1 is exits:" in told and "Temporary breakpoint 2, " in told
    assert "call" in next(line for line in lines if line.startswith("=> ") and "call" in line)
    assert "Error in sourced command file:\n'nowhere-at-all' is no place" in told


@pytest.mark.external("gdb")
def test_gdb_meets_interrupts_and_the_beginning(tmp_path: Path) -> None:
    world = Interrupting(211)
    log = write_recording(tmp_path / "preempt.vlog", "preempt", "--work=40", world=world)
    told = gdb(log, PREEMPT)
    assert told.count("Breakpoint 1, 0x") == 3, told
    assert "Thread 1" in told and "Hardware watchpoint 2: " in told and "Old value = " in told
    assert "No more reverse-execution history" in told


@pytest.mark.external("gdb")
def test_a_run_begins_again(tmp_path: Path) -> None:
    told = gdb(write_recording(tmp_path / "hello.vlog", "hello"), AGAIN)
    before, _, behind = told.partition("run\n")
    assert "Temporary breakpoint 1, " in before and "in guest_main ()" in before, told
    assert before.count("checkpoint:1 is exits:0+") == 2, told
    assert "Breakpoint 2, " in behind and "in print ()" in behind, told
    written = re.findall("^(?:Old|New) value = (.*)$", behind, re.M)
    assert len(written) == 4 and len(written[1]) > len(written[3]) == 4, told
    assert behind.endswith("exits:0+0.0, before entry 0\nrefused\n" + LEFT), told


@pytest.mark.external("gdb")
@pytest.mark.parametrize("command", REFUSED)
def test_what_cannot_be_done_is_told(command: str, tmp_path: Path) -> None:
    told = gdb(write_recording(tmp_path / "hello.vlog", "hello"), command + "\n")
    assert REFUSED[command] in told


@pytest.mark.external("gdb")
def test_gdb_steps_over_a_loop_without_lines(tmp_path: Path) -> None:
    """Hundreds of thousands of instructions, in some tens of packets."""
    log = tmp_path / "sort.vlog"
    words = ["record", "sort", "-o", log, "--", "--n=20000", "--rounds=1"]
    subprocess.run([sys.executable, "-m", "vlockstep", *words], check=True)
    told = gdb(log, "break guest_main\ncontinue\nnext\nnext\nnext\nconsole\n")
    assert told.count("Single stepping until exit from function") == 3, told
    assert "in runtime_start ()\nsort n=20000 rounds=1 hash=" in told, told


def test_what_cannot_be_debugged_is_refused(tmp_path: Path) -> None:
    log = write_recording(tmp_path / "hello.vlog", "hello")
    both = ["--port", "0", "--batch", str(log)]
    for words, status in (([str(log), *both], 2), (["nowhere.vlog", "--port", "0"], 1)):
        command = [sys.executable, "-m", "vlockstep", "debug", *words]
        done = subprocess.run(command, capture_output=True, text=True)
        assert (done.returncode, done.stdout) == (status, "") and "Traceback" not in done.stderr
