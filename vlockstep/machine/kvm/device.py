"""/dev/kvm, and what it offers."""

from __future__ import annotations

import errno
import os
import platform
import sys
from contextlib import suppress
from fcntl import ioctl
from functools import cache
from pathlib import Path
from typing import Any

from vlockstep.errors import HostError
from vlockstep.machine.cpumodels import GROUPS, MODELS
from vlockstep.machine.kvm import abi

PATH = "/dev/kvm"
_WANTED = {
    "KVM_CAP_XSAVE": abi.CAP_XSAVE,
    "KVM_CAP_SYNC_REGS": abi.CAP_SYNC_REGS,
    "KVM_CAP_IMMEDIATE_EXIT": abi.CAP_IMMEDIATE_EXIT,
}
_WHY = {
    errno.ENOENT: "there is no {path}: it takes Linux with KVM, and a processor whose "
    "virtualization is on in its firmware",
    errno.EACCES: "{path} may not be opened: add the user to the group kvm",
    errno.EPERM: "{path} may not be opened: add the user to the group kvm",
    errno.ENODEV: "{path} has no module behind it: load kvm_intel or kvm_amd",
    errno.ENXIO: "{path} has no module behind it: load kvm_intel or kvm_amd",
}
_EXECUTED = {
    "cmov": "cmov", "cx16": "cx16", "lahf_lm": "lahf_lm", "popcnt": "popcnt", "abm": "abm",
    "mmx": "mmx", "sse": "sse", "sse2": "sse2", "sse3": "pni", "ssse3": "ssse3",
    "sse4.1": "sse4_1", "sse4.2": "sse4_2", "sse4a": "sse4a", "mmxext": "mmxext",
    "3dnow": "3dnow", "3dnowext": "3dnowext", "aes": "aes", "pclmulqdq": "pclmulqdq",
}  # fmt: skip
"""Features whose instructions the processor itself executes for a guest, by Linux' names."""
_NUMBERS = ("family", "model", "stepping")
_PROCESSORS = Path("/proc/cpuinfo")
_SOFTWARE = Path("/sys/module/kvm_pvm")


def why_not() -> str:
    """Why guests cannot run on KVM here; "" if they can."""
    try:
        open_device()
    except HostError as error:
        return str(error)
    return ""


def call(descriptor: int, request: int, argument: Any = 0) -> int:
    """`ioctl`, which somebody else's signal does not end."""
    while True:
        with suppress(InterruptedError):
            answer: int = ioctl(descriptor, request, argument)
            return answer


@cache
def open_device() -> int:
    """Its descriptor. Raises `HostError` if guests cannot run on it."""
    if sys.platform != "linux" or platform.machine() != "x86_64":
        raise HostError("the engine kvm takes Linux on x86-64")
    try:
        device = os.open(PATH, os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        why = _WHY.get(error.errno or 0, "{path} cannot be opened: " + str(error.strerror))
        raise HostError(why.format(path=PATH)) from error
    try:
        version = call(device, abi.GET_API_VERSION)
        lacking = [n for n, c in _WANTED.items() if not call(device, abi.CHECK_EXTENSION, c)]
    except OSError as error:
        os.close(device)
        raise HostError(f"{PATH} does not answer as KVM does ({error.strerror})") from error
    if version != abi.API_VERSION or lacking:
        os.close(device)
        what = ", ".join(lacking) or f"version {abi.API_VERSION} of its interface"
        raise HostError(f"{PATH} lacks {what}: it takes a newer Linux")
    return device


def missing(model: str) -> list[str]:
    """The features of a CPU model that this processor does not execute, by name."""
    flags = _processor().get("flags", "").split()
    lacking = {f for f, flag in _EXECUTED.items() if f in MODELS[model] and flag not in flags}
    return [name for group in GROUPS.values() for name in group if name in lacking]


def models() -> tuple[str, ...]:
    """The CPU models of which guests can run here."""
    return () if why_not() else tuple(model for model in MODELS if not missing(model))


def processor() -> str:
    """What two processors that have all results alike are both called: vendor, family, model and
    stepping. ASCII, at most 100 characters."""
    found = _processor()
    numbers = (
        f"{name} {found.get(f'cpu {name}', found.get(name, 'unknown'))}" for name in _NUMBERS
    )
    return " ".join((found.get("vendor_id", "unknown"), *numbers))[:100]


def in_software() -> bool:
    """Whether this KVM does without the processor's help."""
    return _SOFTWARE.exists()


def hindrance() -> str:
    """What makes exits dear here; "" if nothing does."""
    if in_software():
        return "this KVM is in software (kvm_pvm): an exit takes 30 µs and more"
    if "hypervisor" in _processor().get("flags", "").split():
        return "this host is a virtual machine itself: exits take longer than on a real one"
    return ""


@cache
def _processor() -> dict[str, str]:
    """What Linux tells of the first one."""
    block = _PROCESSORS.read_text("ascii", "ignore").partition("\n\n")[0]
    rows = (line.partition(":") for line in block.splitlines())
    return {name.strip(): value.strip() for name, _, value in rows}
