"""CPU models as named sets of features, and their order: what vSphere calls EVC.

A guest may use whatever CPUID shows it, for as long as it lives. So a host that is to take guests
over from others needs a limit that all of them share: a model, the *baseline*, of which a guest's
own model may have a part or all, but nothing besides. That order is the one of sets, and partial:
of `core2duo` and `nehalem` neither is within the other.

The sets are what a guest sees that executes CPUID in this machine, not what processors of that
name have; a test compares the two. Names are those of QEMU.
"""

from __future__ import annotations

from vlockstep.errors import Key, UsageError

GROUPS = {
    "computing": ("lm", "fpu", "cmov", "cx8", "cx16", "lahf_lm", "popcnt", "abm"),
    "vectors": (
        "mmx", "sse", "sse2", "sse3", "ssse3", "sse4.1", "sse4.2", "sse4a", "mmxext", "3dnow",
        "3dnowext",
    ),
    "ciphers": ("aes", "pclmulqdq"),
    "state": ("fxsr", "xsave", "xsaveopt"),
    "memory": (
        "pse", "pse36", "pae", "pge", "pdpe1gb", "nx", "pat", "mtrr", "clflush", "ss", "monitor",
    ),
    "system": ("de", "msr", "mce", "mca", "sep", "syscall", "apic", "arat", "acpi"),
    "time": ("tsc", "rdtscp"),
    "randomness": ("rdrand", "rdseed"),
    "virtual": ("hypervisor", "svm", "npt"),
}  # fmt: skip
"""All features that any model has, by what they are for."""

COMMON = frozenset({
    "lm", "fpu", "cmov", "cx8", "cx16", "lahf_lm", "mmx", "sse", "sse2", "sse3", "fxsr", "pse",
    "pse36", "pae", "pge", "nx", "pat", "mtrr", "clflush", "de", "msr", "mce", "mca", "sep",
    "syscall", "apic", "tsc", "hypervisor",
})  # fmt: skip
"""What every model has."""
_NEHALEM = COMMON | {"popcnt", "ssse3", "sse4.1", "sse4.2"}
_WESTMERE = _NEHALEM | {"aes", "pclmulqdq", "arat"}
_SANDYBRIDGE = _WESTMERE | {"xsave", "xsaveopt", "rdtscp"}
_OPTERON_G3 = COMMON | {"popcnt", "abm", "sse4a", "monitor", "rdtscp", "svm"}

MODELS: dict[str, frozenset[str]] = {
    "qemu64": COMMON | {"svm"},
    "core2duo": COMMON | {"ssse3", "ss", "monitor", "acpi"},
    "nehalem": _NEHALEM,
    "opteron_g3": _OPTERON_G3,
    "westmere": _WESTMERE,
    "sandybridge": _SANDYBRIDGE,
    "ivybridge": _SANDYBRIDGE | {"rdrand"},
    "phenom": _OPTERON_G3 | {"mmxext", "3dnow", "3dnowext", "pdpe1gb", "npt"},
    "broadwell": _SANDYBRIDGE | {"rdrand", "rdseed"},
}
"""The features of each model that a guest may be given, those with most of them last."""

UNICORNS = {"ivybridge": "sandybridge", "broadwell": "sandybridge"}
"""Which of Unicorn's models each is that is not one of its own: without RDRAND and RDSEED, since
Unicorn's answers could not be repeated. These two are `randomness`'s."""
ANNOUNCED = {"rdrand": (1, "rcx", 30), "rdseed": (7, "rbx", 18)}
"""Where CPUID tells of the features that Unicorn's models lack: leaf, register, bit."""


def check_model(model: str, key: Key = ("cpu",)) -> None:
    """Raises `UsageError` with this `key` if there is no such model."""
    if model not in MODELS:
        raise UsageError(f"no CPU model {model!r}; there are {', '.join(MODELS)}", key=key)


def within(baseline: str) -> list[str]:
    """The models of which a host with this limit runs guests."""
    check_model(baseline, ("cpu_limit",))
    return [name for name, features in MODELS.items() if features <= MODELS[baseline]]


def missing(model: str, baseline: str) -> list[str]:
    """The features that a guest of this model would miss within the `baseline`, in the order of
    `GROUPS`."""
    check_model(model)
    check_model(baseline, ("cpu_limit",))
    lacking = MODELS[model] - MODELS[baseline]
    return [name for group in GROUPS.values() for name in group if name in lacking]


def check_limit(model: str, baseline: str, key: Key) -> None:
    """Raises `UsageError` with this `key` if a guest of this model needs more."""
    if lacking := missing(model, baseline):
        raise UsageError(
            f"the guest's CPU model {model} has {', '.join(lacking)}, which a host with "
            f"the limit {baseline} does not offer: start the guest with a model within it "
            f"({', '.join(within(baseline))}), or raise the limit",
            key=key,
        )
