"""Which engine executes a guest."""

from __future__ import annotations

from vlockstep.errors import Key, UsageError
from vlockstep.machine.boot import BootState
from vlockstep.machine.config import GuestConfig
from vlockstep.machine.cpumodels import check_model
from vlockstep.machine.engine import Engine, Exits
from vlockstep.machine.memory import Memory
from vlockstep.machine.unicornengine import UnicornEngine

AUTO, UNICORN, KVM = "auto", "unicorn", "kvm"
ENGINES = (UNICORN, KVM)
CHOICES = (AUTO, *ENGINES)


def check(choice: str, key: Key = ("engine",)) -> None:
    """Raises `UsageError` if that is none of `CHOICES`."""
    if choice not in CHOICES:
        raise UsageError(f"no engine {choice!r}; there are {', '.join(CHOICES)}", key=key)


def choose(choice: str, config: GuestConfig, count_blocks: bool = False) -> str:
    """The engine for a guest, of `CHOICES`. `auto` is Unicorn, unless the guest has traps, nobody
    counts its blocks and this host can do without it. Raises `UsageError` for `kvm` where that
    cannot be."""
    check(choice)
    check_model(config.cpu)
    if choice == KVM and config.sites is None:
        raise UsageError(
            "this guest was not prepared for the engine kvm: choose that when it is first started",
            key=("engine",),
        )
    if choice == KVM and count_blocks:
        raise UsageError(
            "on the engine kvm there are no positions between exits: use unicorn", key=("engine",)
        )
    if choice != AUTO:
        return choice
    able = config.sites is not None and not count_blocks and why_not(config.cpu) == ""
    return KVM if able else UNICORN


def processor(choice: str) -> str:
    """Whose results the guests have that are prepared for KVM and get this engine here; "" if they
    get Unicorn's."""
    from vlockstep.machine.kvm import device

    check(choice)
    return "" if choice == UNICORN or device.why_not() else device.processor()


def why_not(model: str) -> str:
    """Why this host cannot run a guest with this CPU model on KVM; "" if it can."""
    from vlockstep.machine.kvm import device

    if why := device.why_not():
        return why
    lacking = ", ".join(device.missing(model))
    return f"this processor lacks {lacking}" if lacking else ""


def make(
    engine: str, memory: Memory, model: str, start: BootState, exits: Exits, native: bool
) -> Engine:
    """One of `ENGINES`. Raises `HostError` if this host does not offer it."""
    if engine == KVM:
        from vlockstep.machine.kvm.engine import KvmEngine

        return KvmEngine(memory, model, start, exits)
    return UnicornEngine(memory, model, start, exits, native)
