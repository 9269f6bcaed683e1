"""What executes a guest, and how it is chosen."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cli_command import Command
from support import needs_kvm

from vlockstep.machine.bundled import open_image
from vlockstep.machine.kvm import device
from vlockstep.supervise.specfile import read_spec

READS = ("--", "--reads=50")


def test_engines_are_told_with_what_speaks_against_them(vlockstep: Command) -> None:
    unicorn, kvm = json.loads(vlockstep("engines", "--json").out)
    assert (unicorn["engine"], unicorn["offered"]) == ("unicorn", True)
    assert kvm["engine"] == "kvm" and kvm["offered"] == (not device.why_not())
    told = kvm["runs"] or kvm["why_not"]
    lines = vlockstep("engines").out.splitlines()
    assert lines[1].split()[:2] == ["unicorn", "yes"] and told in lines[2]


@needs_kvm
def test_a_model_that_the_processor_lacks_is_none_for_kvm(
    vlockstep: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device, "_processor", lambda: {"flags": "cx16"})
    told = json.loads(vlockstep("engines", "--cpu", "phenom", "--json").out)[1]
    assert not told["offered"] and "this processor lacks cmov, lahf_lm, popcnt" in told["why_not"]


def test_an_image_is_shown_with_its_traps(vlockstep: Command, tmp_path: Path) -> None:
    text = vlockstep("image", "show", "clock").out
    assert text.count("rdtsc in guest_main") == 4 and "segment     0x100000 to " in text
    assert "none needed" in vlockstep("image", "show", "hello").out
    copy = tmp_path / "clock.hvt"
    copy.write_bytes(open_image("clock").content)
    shown = json.loads(vlockstep("image", "show", copy, "--json").out)
    assert [site["kind"] for site in shown["sites"]] == ["rdtsc"] * 4
    assert shown["segments"][0]["access"] == "rx" and not shown["not_for_kvm"]


def test_an_engine_that_there_is_not(vlockstep: Command) -> None:
    refused = vlockstep("run", "hello", "--engine", "qemu")
    assert (refused.status, refused.out) == (2, "")
    assert "no engine 'qemu'; there are auto, unicorn, kvm" in refused.err


@needs_kvm
@pytest.mark.parametrize("engine", ["auto", "unicorn", "kvm"])
def test_what_kvm_has_recorded_any_engine_replays(
    vlockstep: Command, tmp_path: Path, engine: str
) -> None:
    log = tmp_path / "clock.vlog"
    done = vlockstep("record", "clock", "-o", log, "--engine", "kvm", *READS)
    assert done.status == 0 and "clock tsc reads=50" in done.out
    assert f"processor {device.processor()}" in vlockstep("log", "show", log).out
    again = vlockstep("replay", log, "--engine", engine, "--json")
    assert (again.status, json.loads(again.out)["end"]) == (0, "halt")


def test_what_was_not_prepared_for_kvm_is_refused(vlockstep: Command, tmp_path: Path) -> None:
    log = tmp_path / "clock.vlog"
    assert vlockstep("record", "clock", "-o", log, *READS).status == 0
    refused = vlockstep("replay", log, "--engine", "kvm")
    assert refused.status == 2 and "this guest was not prepared for the engine kvm" in refused.err


@needs_kvm
def test_a_guest_that_needs_unicorn_says_so(vlockstep: Command) -> None:
    failed = vlockstep("run", "preempt", "--engine", "kvm")
    assert (failed.status, failed.out) == (1, "")
    assert "start the guest on the engine unicorn" in failed.err


def test_a_file_chooses_it(tmp_path: Path) -> None:
    file = tmp_path / "guest.toml"
    file.write_text('image = "hello"\nengine = "kvm"\n')
    assert read_spec(file).engine == "kvm"
