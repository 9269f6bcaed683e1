"""Which engine executes a guest."""

from __future__ import annotations

from vlockstep.errors import Key, UsageError
from vlockstep.machine.boot import BootState
from vlockstep.machine.config import GuestConfig
from vlockstep.machine.engine import Engine, Exits
from vlockstep.machine.memory import Memory
from vlockstep.machine.unicornengine import UnicornEngine

AUTO, UNICORN, KVM = "auto", "unicorn", "kvm"
ENGINES = (UNICORN, KVM)
CHOICES = (AUTO, *ENGINES)


def choose(choice: str, config: GuestConfig, key: Key = ("engine",)) -> str:
    """The engine for a guest, of `CHOICES`. `auto` is Unicorn, unless the guest has traps and this
    host can do without it. Raises `UsageError` if a guest without traps is to run on KVM."""
    if choice not in CHOICES:
        raise UsageError(f"no engine {choice!r}; there are {', '.join(CHOICES)}", key=key)
    if choice == KVM and config.sites is None:
        raise UsageError(
            "this guest was not prepared for the engine kvm: start it, or record it, with "
            "--engine kvm in the first place",
            key=key,
        )
    if choice != AUTO:
        return choice
    return KVM if config.sites is not None and why_not(config.cpu) == "" else UNICORN


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
