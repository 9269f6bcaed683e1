"""What a guest computes does not depend on how long its host was busy with something else."""

from __future__ import annotations

import ctypes
import struct
import subprocess
import time
from functools import cache
from pathlib import Path

import pytest
from support import DATA, ScriptedWorld, halt, machine_of, make_image

from vlockstep.errors import HostError
from vlockstep.machine import hostclock
from vlockstep.machine.hostclock import stop_clock
from vlockstep.machine.image import Image
from vlockstep.machine.world import Outcome

PML4, PDPT, PD, PT, WINDOW_PT = (DATA + 0x1000 * n for n in range(1, 6))
WINDOW, PAGES = 0x400000, 512
_TABLE, _LARGE = 0x63, 0xE3

RELOAD = bytes.fromhex("0f20d8 0f22d8")  # mov rax, cr3; mov cr3, rax
RDTSC = b"\x0f\x31"


def touch(pages: int) -> bytes:
    """mov esi, WINDOW; mov ecx, pages; L: mov al, [rsi]; add rsi, 0x1000; dec ecx; jnz L"""
    start = b"\xbe" + struct.pack("<I", WINDOW) + b"\xb9" + struct.pack("<I", pages)
    return start + bytes.fromhex("8a06 4881c600100000 ffc9 75f1")


# mov edi, WINDOW_PT; mov ecx, PAGES; L: and qword [rdi], ~0x20; add rdi, 8; dec ecx; jnz L
FORGET = b"\xbf" + struct.pack("<II", WINDOW_PT, 0)[:4] + b"\xb9" + struct.pack("<I", PAGES)
FORGET += bytes.fromhex("488327df 4883c708 ffc9 75f4")


def careless() -> Image:
    """A guest that clears accessed bits without INVLPG, and so sees what is still in the TLB."""
    code = b"\xb8" + struct.pack("<I", PML4) + b"\x0f\x22\xd8"  # mov eax, PML4; mov cr3, rax
    for pages in (PAGES, PAGES, 8, 8):
        code += RDTSC + touch(pages) + RELOAD
    code += RDTSC + touch(256) + FORGET + RDTSC + touch(256) + halt()
    tables = {
        PML4: struct.pack("<Q", PDPT | _TABLE),
        PDPT: struct.pack("<Q", PD | _TABLE),
        PD: struct.pack("<QQQ", PT | _TABLE, 0x200000 | _LARGE, WINDOW_PT | _TABLE),
        PT: struct.pack(f"<{PAGES}Q", *(n * 0x1000 | _TABLE for n in range(PAGES))),
        WINDOW_PT: struct.pack(f"<{PAGES}Q", *(WINDOW + n * 0x1000 | 3 for n in range(PAGES))),
    }
    return make_image(code, {**tables, DATA + 0xE100: struct.pack("<Qi", 0, 0)})


class SlowWorld(ScriptedWorld):
    """Makes the guest wait in some of its exits."""

    def __init__(self, *slow: int) -> None:
        super().__init__()
        self.slow = slow

    def cycles(self, at: int) -> int:
        if at in self.slow:
            time.sleep(0.11)  # longer than the period after which Unicorn would shrink its TLB
        return super().cycles(at)


def run(*slow: int) -> Outcome:
    with machine_of(careless()) as machine:
        return machine.run(SlowWorld(*slow))


@pytest.mark.parametrize("slow", [(n,) for n in range(6)] + [tuple(range(6))])
def test_results_do_not_depend_on_pauses_of_the_host(slow: tuple[int, ...]) -> None:
    assert run(*slow) == run()


SOURCE = """
#include <sys/time.h>
long long now(void)
{
    struct timeval t;
    gettimeofday(&t, 0);
    return t.tv_sec * 1000000LL + t.tv_usec;
}
"""


def library(folder: Path, source: str, *flags: str) -> ctypes.CDLL:
    (folder / "clock.c").write_text(source)
    command = ["gcc", "-shared", "-fPIC", *flags, "clock.c", "-o", "clock.so"]
    subprocess.run(command, cwd=folder, check=True)
    return ctypes.CDLL(str(folder / "clock.so"))


@pytest.mark.external("gcc")
@pytest.mark.parametrize("native", [True, False])
@pytest.mark.parametrize("flags", ["-Wl,-z,lazy", "-Wl,-z,now,-z,relro", "-fno-plt -Wl,-z,now"])
def test_the_clock_of_one_library_stands_still(
    flags: str, native: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However it was linked, and whatever the host's processor."""
    if not native:
        monkeypatch.setattr(hostclock, "executable", lambda **_: None)
    monkeypatch.setattr(hostclock, "_still_clock", cache(hostclock._still_clock.__wrapped__))
    stopped = library(tmp_path, SOURCE, *flags.split())
    now = ctypes.CFUNCTYPE(ctypes.c_int64)(("now", stopped))
    assert now() > 0
    stop_clock(stopped)
    assert now() == 0
    assert time.time() > 0


@pytest.mark.external("gcc")
def test_a_library_that_reads_no_known_clock_is_refused(tmp_path: Path) -> None:
    with pytest.raises(HostError, match=r"does not call gettimeofday.*pyproject.toml"):
        stop_clock(library(tmp_path, "int one(void) { return 1; }"))
