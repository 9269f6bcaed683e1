"""What is on the wire between replicas, and between a switch and its ports, is what it was."""

from __future__ import annotations

import pytest
from golden import HOW, PORTS, REPLICAS, Messages

FAMILIES = pytest.mark.parametrize("family", [REPLICAS, PORTS], ids=["replicas", "ports"])


@FAMILIES
def test_each_kind_of_message_has_its_bytes(family: Messages) -> None:
    assert family.path.exists(), HOW
    assert family.path.read_text().splitlines() == family.lines(), HOW


@FAMILIES
def test_the_bytes_are_read_as_what_was_said(family: Messages) -> None:
    said = {type(sample).__name__: sample for sample in family.samples()}
    for line in family.path.read_text().splitlines():
        name, digits = line.split()
        assert family.decode(bytes.fromhex(digits)) == said[name], HOW
