"""Real gdb on a guest that was compiled with DWARF: lines, local variables, frames."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from bundled_guests import record
from support import needs_kvm

from vlockstep.machine.image import Image, load

GUESTS = Path(__file__).parents[2] / "guests"
FLAGS = (
    "-std=c11 -g -O0 -march=x86-64 -ffreestanding -fno-pic -fno-stack-protector -fno-common "
    "-fcf-protection=none -fno-asynchronous-unwind-tables -mno-red-zone -Ilib"
)
"""The linker script drops `.eh_frame`; so frames are told in `.debug_frame`."""
SESSION = """\
break turn_round
continue
echo finish\\n
finish
echo reverse-finish\\n
reverse-finish
delete
tbreak tally.c:64
continue
echo lines\\n
next
next
reverse-next
step
reverse-step
echo end\\n
why-ended
bt
frame function guest_main
print last
watch last
reverse-continue
print last
print request.number
delete
echo chain\\n
reverse-next
who-wrote &chain
"""


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    folder = tmp_path_factory.mktemp("images")
    words = ["make", "-s", "-C", GUESTS, f"OUT={folder}", f"GUEST_CFLAGS={FLAGS}"]
    subprocess.run([*words, folder / "tally.hvt"], check=True)
    return load(folder / "tally.hvt")


@pytest.mark.external("gcc", "make")
@pytest.mark.external("gdb")
@pytest.mark.parametrize("engine", ["unicorn", pytest.param("kvm", marks=needs_kvm)])
def test_lines_and_variables_are_there_in_both_directions(
    image: Image, engine: str, tmp_path: Path
) -> None:
    log = record(tmp_path / "tally.vlog", "tally", image, engine)
    batch = tmp_path / "batch"
    batch.write_text(SESSION)
    words = [sys.executable, "-m", "vlockstep", "debug", str(log), "--batch", str(batch)]
    done = subprocess.run(words, cwd=GUESTS, capture_output=True, text=True, timeout=100)
    told = done.stdout
    assert done.returncode == 0, done
    parts = _parts(told)
    assert "turn_round (frame=" in parts[""] and "at tally.c:35" in parts[""]
    assert "guest_main (boot=0x10000) at tally.c:64" in parts["finish"]
    assert "turn_round (frame=" in parts["reverse-finish"]
    assert _lines(parts["lines"]) == [65, 66, 65, 66, 65]
    assert "#0  " in parts["end"] and "in guest_main (boot=0x10000) at tally.c:53" in parts["end"]
    assert re.findall(r"^\$\d+ = (\d+)$", parts["end"], re.M) == ["3", "2", "3"]
    assert "Old value = 3\nNew value = 2\n" in parts["end"]
    assert _lines(parts["end"])[-1] == 66
    assert _lines(parts["chain"]) == [66, 65]


@pytest.mark.external("gcc", "make")
@pytest.mark.external("gdb")
def test_a_guest_made_for_gdb_shows_its_sources_from_anywhere(tmp_path: Path) -> None:
    words = ["make", "-s", "-C", str(GUESTS), "DEBUG=1", f"OUT={tmp_path}"]
    subprocess.run([*words, str(tmp_path / "tally.hvt")], check=True)
    log = record(tmp_path / "tally.vlog", "tally", load(tmp_path / "tally.hvt"))
    batch = tmp_path / "batch"
    batch.write_text("break turn_round\ncontinue\nprint *frame\nup\n")
    words = [sys.executable, "-m", "vlockstep", "debug", str(log), "--batch", str(batch)]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=100)
    sources = (GUESTS / "tally.c").read_text().splitlines()
    assert done.returncode == 0 and "$1 = {" in done.stdout, done
    calling = _lines(done.stdout)[-1]
    assert "turn_round(" in sources[calling - 1] and sources[calling - 1].strip() in done.stdout


@pytest.mark.external("make")
def test_bundled_images_are_not_made_for_gdb() -> None:
    words = ["make", "-n", "-C", str(GUESTS), "DEBUG=1"]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 2 and "name another folder" in done.stderr


def _parts(told: str) -> dict[str, str]:
    """What was told behind each name that stands alone in a line."""
    found, name = {"": ""}, ""
    for line in told.splitlines(keepends=True):
        if line.strip() in ("finish", "reverse-finish", "lines", "end", "chain"):
            name = line.strip()
            found[name] = ""
        else:
            found[name] += line
    return found


def _lines(told: str) -> list[int]:
    """Of the source, as gdb shows where it is."""
    return [int(number) for number in re.findall(r"^(\d+)\t", told, re.M)]
