"""What the models are said to have is what a guest sees, and the order of models is theirs."""

from __future__ import annotations

import struct
from itertools import product

import pytest
from support import DATA, ScriptedWorld, config_for, halt, machine_of, make_image

from vlockstep.errors import UsageError
from vlockstep.machine.cpumodels import COMMON, GROUPS, MODELS, check_limit, missing, within

EAX, EBX, ECX, EDX = range(4)
WORDS: dict[tuple[int, int, int], dict[int, str]] = {
    (1, 0, ECX): {
        0: "sse3", 1: "pclmulqdq", 3: "monitor", 9: "ssse3", 13: "cx16", 19: "sse4.1",
        20: "sse4.2", 23: "popcnt", 25: "aes", 26: "xsave", 30: "rdrand", 31: "hypervisor",
    },
    (1, 0, EDX): {
        0: "fpu", 2: "de", 3: "pse", 4: "tsc", 5: "msr", 6: "pae", 7: "mce", 8: "cx8", 9: "apic",
        11: "sep", 12: "mtrr", 13: "pge", 14: "mca", 15: "cmov", 16: "pat", 17: "pse36",
        19: "clflush", 22: "acpi", 23: "mmx", 24: "fxsr", 25: "sse", 26: "sse2", 27: "ss",
    },
    (6, 0, EAX): {2: "arat"},
    (7, 0, EBX): {18: "rdseed"},
    (7, 0, ECX): {},
    (7, 0, EDX): {},
    (0xD, 1, EAX): {0: "xsaveopt"},
    (0x80000001, 0, ECX): {0: "lahf_lm", 2: "svm", 5: "abm", 6: "sse4a"},
    (0x80000001, 0, EDX): {
        11: "syscall", 20: "nx", 22: "mmxext", 26: "pdpe1gb", 27: "rdtscp", 29: "lm",
        30: "3dnowext", 31: "3dnow",
    },
    (0x80000007, 0, EDX): {},
    (0x80000008, 0, EBX): {},
    (0x8000000A, 0, EDX): {0: "npt"},
}  # fmt: skip
"""Words of features by leaf, subleaf and register, as the manuals of Intel and AMD name their bits:
Intel SDM volume 2, CPUID; AMD APM volume 3, appendix E."""
REPEATED = sum(1 << bit for bit in (*range(10), *range(12, 18), 23, 24))
"""What AMD's leaf 80000001h says again in EDX that leaf 1 says there."""
LEAVES = [(0, 0), (0x80000000, 0), *sorted({(leaf, sub) for leaf, sub, _ in WORDS})]


def cpuid(model: str) -> dict[tuple[int, int], tuple[int, ...]]:
    """What a guest sees that executes it, by leaf and subleaf."""
    code = b""
    for at, (leaf, sub) in enumerate(LEAVES):
        code += b"\xb8" + struct.pack("<I", leaf) + b"\xb9" + struct.pack("<I", sub) + b"\x0f\xa2"
        for word, store in enumerate(("890425", "891c25", "890c25", "891425")):
            code += bytes.fromhex(store) + struct.pack("<I", DATA + 16 * at + 4 * word)
    image = make_image(code + halt())
    with machine_of(image, config_for(image, cpu=model)) as machine:
        machine.run(ScriptedWorld())
        rows = struct.iter_unpack("<4I", machine.memory.ram[DATA : DATA + 16 * len(LEAVES)])
        return dict(zip(LEAVES, rows, strict=True))


def seen(model: str) -> set[str]:
    """Every feature must have a name; of a leaf that the model does not have nothing is read."""
    words = cpuid(model)
    last = {False: words[0, 0][EAX], True: words[0x80000000, 0][EAX]}
    found = set()
    for (leaf, sub, register), names in WORDS.items():
        if leaf > last[leaf >= 0x80000000]:
            continue
        word = words[leaf, sub][register]
        if (leaf, register) == (0x80000001, EDX):
            again = word & REPEATED
            assert again == 0 or again == words[1, 0][EDX] & REPEATED
            word &= ~REPEATED
        found |= {names[bit] for bit in range(32) if word >> bit & 1}
    return found


@pytest.mark.parametrize("model", MODELS)
def test_a_model_has_what_its_guest_sees(model: str) -> None:
    assert seen(model) == MODELS[model]


def test_every_feature_is_in_one_group() -> None:
    grouped = [name for names in GROUPS.values() for name in names]
    assert len(grouped) == len({*grouped})
    assert {*grouped} == frozenset().union(*MODELS.values())
    assert frozenset.intersection(*MODELS.values()) == COMMON


def test_the_order_of_models() -> None:
    less = {(a, b) for a, b in product(MODELS, MODELS) if a != b and MODELS[a] <= MODELS[b]}
    assert less == {
        ("nehalem", "westmere"),
        ("nehalem", "sandybridge"),
        ("westmere", "sandybridge"),
        *((model, "ivybridge") for model in ("nehalem", "westmere", "sandybridge")),
        *((model, "broadwell") for model in ("nehalem", "westmere", "sandybridge", "ivybridge")),
        ("qemu64", "opteron_g3"),
        ("qemu64", "phenom"),
        ("opteron_g3", "phenom"),
    }
    sizes = [len(features) for features in MODELS.values()]
    assert sizes == sorted(sizes)


@pytest.mark.parametrize("baseline", MODELS)
def test_within_is_what_misses_nothing(baseline: str) -> None:
    fitting = within(baseline)
    assert baseline in fitting
    for model in MODELS:
        lacking = missing(model, baseline)
        assert {*lacking} == MODELS[model] - MODELS[baseline]
        assert (model in fitting) == (not lacking)
        if not lacking:
            check_limit(model, baseline, ("cpu",))
            continue
        with pytest.raises(UsageError, match=", ".join(lacking)) as refused:
            check_limit(model, baseline, ("cpu",))
        assert refused.value.key == ("cpu",)


def test_models_that_there_are_not() -> None:
    for call in (
        lambda: missing("z80", "qemu64"),
        lambda: missing("qemu64", "z80"),
        lambda: within("z80"),
    ):
        with pytest.raises(UsageError, match="no CPU model 'z80'; there are qemu64, "):
            call()
