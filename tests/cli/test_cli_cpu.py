"""CPU models, and which hosts take which."""

from __future__ import annotations

import json

from cli_command import Command

from vlockstep.machine.cpumodels import COMMON, MODELS


def test_the_models_and_what_fits(vlockstep: Command) -> None:
    lines = vlockstep("cpu", "list", "--cpu-limit", "westmere").out.splitlines()[1:]
    assert [line.split()[0] for line in lines] == list(MODELS)
    assert [line.split()[0] for line in lines if " yes " in line] == ["nehalem", "westmere"]
    assert " no " not in vlockstep("cpu", "list").out
    rows = json.loads(vlockstep("cpu", "list", "--json", "--cpu-limit", "phenom").out)
    assert {row["model"]: {*row["features"]} for row in rows} == MODELS
    fitting = {row["model"] for row in rows if row["fits"]}
    assert fitting == {"phenom"} | {r["model"] for r in rows if "phenom" in r["included_in"]}
    assert [row["model"] for row in rows if row["default"]] == ["westmere"]


def test_a_model_shows_its_features(vlockstep: Command) -> None:
    text = vlockstep("cpu", "show", "nehalem").out
    assert "\nincluded in westmere, sandybridge, ivybridge, broadwell\n" in text
    assert "\nvectors     mmx sse sse2 sse3 ssse3 sse4.1 sse4.2\n" in text
    assert "ciphers" not in text, "it has none"
    shown = {word for line in text.splitlines()[2:] for word in line.split()[1:]}
    assert shown == MODELS["nehalem"] > COMMON
    assert {*json.loads(vlockstep("cpu", "show", "nehalem", "--json").out)["features"]} == shown


def test_a_check_says_what_is_missing(vlockstep: Command) -> None:
    refused = vlockstep("cpu", "check", "--cpu", "sandybridge", "--cpu-limit", "westmere")
    assert (refused.status, refused.err) == (1, "")
    assert "a guest with sandybridge cannot run on a host with the limit westmere" in refused.out
    assert "\nmissing     xsave xsaveopt rdtscp\nthese can   nehalem, westmere\n" in refused.out
    told = vlockstep("cpu", "check", "--cpu", "phenom", "--cpu-limit", "opteron_g3", "--json")
    assert told.status == 1
    assert json.loads(told.out) == {
        "cpu": "phenom",
        "cpu_limit": "opteron_g3",
        "fits": False,
        "missing": ["mmxext", "3dnow", "3dnowext", "pdpe1gb", "npt"],
    }
    fits = vlockstep("cpu", "check", "--cpu-limit", "sandybridge")
    assert (fits.status, "can run on a host with the limit sandybridge" in fits.out) == (0, True)
    assert vlockstep("cpu", "check", "--cpu", "phenom").status == 0


def test_models_that_there_are_not(vlockstep: Command) -> None:
    for words in (["show", "z80"], ["list", "--cpu-limit", "z80"], ["check", "--cpu", "z80"]):
        refused = vlockstep("cpu", *words)
        assert (refused.status, refused.out) == (2, "")
        assert "no CPU model 'z80'; there are qemu64, " in refused.err


def test_a_limit_bounds_what_starts(vlockstep: Command) -> None:
    limited = ["--mem", 8, "--cpu-limit", "westmere"]
    assert vlockstep("run", "hello", *limited).status == 0
    for words in (["run", "hello"], ["record", "hello", "-o", "hello.vlog"]):
        refused = vlockstep(*words, *limited, "--cpu", "sandybridge")
        assert (refused.status, refused.out) == (2, "")
        assert "has xsave, xsaveopt, rdtscp, which a host with the limit westmere" in refused.err
        assert "(nehalem, westmere), or raise the limit (--cpu MODEL)" in refused.err
