"""What results depend on besides inputs is the same for all replicas, or they say what is not."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from vlockstep.machine.basis import basis, disagreement

HERE = {"architecture": "x86_64", "unicorn": "2.1.4", "results": "aa"}
SCRIPT = "from vlockstep.machine.basis import basis; print(basis()['results'])"


def results(**environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({}, ""),
        ({"architecture": "aarch64"}, "a runs on x86_64, b on aarch64: take hosts of one archi"),
        ({"unicorn": "2.1.3"}, "a has Unicorn 2.1.4, b 2.1.3: install the same version"),
        ({"results": "bb"}, "x87 instructions give other results at a (aa) than at b (bb): take"),
    ],
)
def test_what_differs_is_named(change: dict[str, str], reason: str) -> None:
    found = disagreement(HERE, HERE | change, "a", "b")
    assert found.startswith(reason) and bool(found) == bool(reason)


def test_who_does_not_tell_is_not_alike() -> None:
    assert "b on unknown" in disagreement(HERE, {}, "a", "b")
    assert disagreement({}, {}, "a", "b") == ""


def test_a_host_is_like_itself() -> None:
    assert results() == basis()["results"]


def test_a_c_library_without_fma_is_found_out() -> None:
    """Unless the emulated CPU does not use it any more, or it has no such variants."""
    other = results(GLIBC_TUNABLES="glibc.cpu.hwcaps=-AVX2,-FMA,-FMA4")
    if other == results():
        pytest.skip("it gives the same results either way")
    reason = disagreement(basis(), {**basis(), "results": other}, "one", "the other")
    assert reason.startswith("x87 instructions give other results at one")
