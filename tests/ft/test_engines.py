"""What executes a replica's guest, beside those of others."""

from __future__ import annotations

from dataclasses import replace

import pytest
from support import Console, sample

from vlockstep.ft.runtime import Setting

OURS = "V family 6 model 1"
HERE = {"unicorn": "2", "processor": OURS}
SETTING = Setting(sample("hello"), Console(), {}, {}, basis=HERE)


@pytest.mark.parametrize(
    ("processor", "engine"),
    [
        (None, "auto"),
        ("", "auto"),
        (7, "auto"),
        (OURS, "auto"),
        ("V family 6 model 2", "auto"),
        ("V family 7 model 1", "unicorn"),
        ("W family 6 model 1", "unicorn"),
    ],
)
def test_auto_is_unicorn_beside_an_unlike_processor(processor: object, engine: str) -> None:
    assert SETTING.engine_beside(processor) == engine
    assert replace(SETTING, engine="kvm").engine_beside(processor) == "kvm"
    elsewhere = replace(SETTING, basis={"unicorn": "2"})
    assert elsewhere.engine_beside(processor) == "auto"


def test_who_may_have_either_engine_tells_a_processor_that_others_need_not_have() -> None:
    assert SETTING.first_basis == {"unicorn": "2", "candidate": OURS}
    assert replace(SETTING, engine="kvm").first_basis == HERE
