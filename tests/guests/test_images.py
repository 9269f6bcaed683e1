"""The bundled images: what their sources say, laid out as the ABI asks."""

from __future__ import annotations

import io
import re
import struct
import subprocess
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile
from support import IMAGES, sample

from vlockstep.machine.image import DeviceKind

GUESTS = Path(__file__).parents[2] / "guests"
NAMES = sorted(path.stem for path in IMAGES.glob("*.hvt"))
BUILT_WITH = "gcc (Debian 12.2.0-14+deb12u1) 12.2.0"
"""The compiler of the images in vlockstep/images: they carry no .comment."""


def elf(name: str) -> ELFFile:
    return ELFFile(io.BytesIO(sample(name).content))


def test_every_guest_has_an_image_and_every_image_a_source() -> None:
    assert sorted(path.stem for path in GUESTS.glob("*.c")) == NAMES
    assert {"abi", "clock", "fault", "hello", "ledger", "preempt", "sort"} <= set(NAMES)


@pytest.mark.external("gcc", "make")
def test_images_are_rebuilt_to_the_same_bytes(tmp_path: Path) -> None:
    version = subprocess.run(["gcc", "--version"], capture_output=True, text=True, check=True)
    found = version.stdout.splitlines()[0]
    if found != BUILT_WITH:
        pytest.skip(f"images were built with {BUILT_WITH}, this is {found}")
    command = ["make", "-C", str(GUESTS), f"OUT={tmp_path}"]
    subprocess.run(command, capture_output=True, check=True)
    assert sorted(path.stem for path in tmp_path.glob("*.hvt")) == NAMES
    different = [n for n in NAMES if (tmp_path / f"{n}.hvt").read_bytes() != sample(n).content]
    assert not different, "build the images again: make -C guests"


@pytest.mark.parametrize("name", NAMES)
def test_segments_are_page_aligned_and_none_is_writable_code(name: str) -> None:
    header = elf(name).header
    assert (header["e_type"], header["e_machine"]) == ("ET_EXEC", "EM_X86_64")
    loads = [s.header for s in elf(name).iter_segments() if s["p_type"] == "PT_LOAD"]
    assert sorted(s["p_flags"] for s in loads) == [4, 5, 6]
    for segment in loads:
        assert segment["p_vaddr"] % 0x1000 == segment["p_offset"] % 0x1000
        assert segment["p_vaddr"] >= 0x100000 and segment["p_memsz"] >= segment["p_filesz"]
    pages = [p for s in loads for p in {s["p_vaddr"] >> 12, s["p_vaddr"] + s["p_memsz"] - 1 >> 12}]
    assert len(pages) == len(set(pages))


@pytest.mark.parametrize("name", NAMES)
def test_notes_and_interpreter_are_those_of_solo5(name: str) -> None:
    notes = [n for s in elf(name).iter_segments() if s["p_type"] == "PT_NOTE" for n in [s.data()]]
    kinds = {struct.unpack_from("<III6s", n)[2]: n for n in notes}
    assert all(struct.unpack_from("<I4x4x6s", n) == (6, b"Solo5\0") for n in notes)
    assert set(kinds) == {0x31494241, 0x3154464D}
    assert kinds[0x31494241][20:] == struct.pack("<IIII", 1, 2, 0, 0)
    assert struct.unpack_from("<4xI", kinds[0x3154464D], 20) == (1,)
    (interpreter,) = [s for s in elf(name).iter_segments() if s["p_type"] == "PT_INTERP"]
    assert interpreter.data() == b"/nonexistent/solo5/\0"


@pytest.mark.parametrize("name", NAMES)
def test_devices_are_those_of_the_source(name: str) -> None:
    source = (GUESTS / f"{name}.c").read_text()
    (manifest,) = re.findall(r"GUEST_MANIFEST\((.*?)\);", source)
    declared = re.findall(r'(BLOCK|NET)_DEVICE\("(\w+)"\)', manifest)
    found = [(d.name, d.kind) for d in sample(name).devices]
    assert found == [("", DeviceKind.RESERVED), *((n, DeviceKind[kind]) for kind, n in declared)]


@pytest.mark.parametrize("name", NAMES)
def test_images_name_no_path_of_the_machine_that_built_them(name: str) -> None:
    content = sample(name).content
    for word in (b"/work", b"/home", b"/root", b"/tmp", b"GCC: ("):
        assert word not in content


@pytest.mark.parametrize("name", NAMES)
def test_symbols_name_the_code(name: str) -> None:
    image = sample(name)
    assert image.symbol(image.entry) is not None
    assert "guest_main" in {symbol for _, symbol in image.symbols}
    assert image.symbol(image.end) is None and image.symbol(0) is None
