"""A guest that sends frames without end stops nothing but itself."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from net.namespace import PATIENT, PRIMARY_NET, SECONDARY_NET, add_pair_network, namespace
from support import DATA, hypercall, make_image

from vlockstep.machine.image import DeviceKind
from vlockstep.testing import Pair

REQUEST, FRAME = DATA + 0x40, DATA + 0x100
LIMIT_MIB = 1

pytestmark = pytest.mark.external("ip")


@pytest.fixture
def flooder(tmp_path: Path) -> Path:
    code = hypercall(6, REQUEST)
    frame = b"\xff" * 6 + b"\x02\0\0\0\0\x01" + b"\x88\xb5"
    image = make_image(
        code + b"\xeb" + struct.pack("b", -len(code) - 2),
        {REQUEST: struct.pack("<QQQi", 1, FRAME, 1514, 0), FRAME: frame.ljust(1514, b"x")},
        [(b"net", DeviceKind.NET)],
    )
    path = tmp_path / "flooder.hvt"
    path.write_bytes(image.content)
    return path


@pytest.mark.executed
def test_a_flooding_guest_is_slowed_and_survives_its_primary(flooder: Path, tmp_path: Path) -> None:
    with namespace():
        add_pair_network()
        with Pair(
            flooder,
            directory=tmp_path / "pair",
            logs=False,
            misses=PATIENT,
            primary_options=[*PRIMARY_NET, "--max-log", LIMIT_MIB],
            secondary_options=SECONDARY_NET,
        ) as pair:
            primary, secondary = pair.process("primary"), pair.process("secondary")
            primary.wait_status(lambda status: status["entries"] > 20_000)
            pair.crash("primary")
            pair.wait_live()
            entries = secondary.wait_status(lambda status: status["role"] == "primary")["entries"]
            secondary.wait_status(lambda status: status["entries"] > entries + 20_000)
            resident = Path(f"/proc/{secondary.pid}/statm").read_text().split()[1]
            assert int(resident) * 4096 < 400 << 20
