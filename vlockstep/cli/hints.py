"""Errors speak of what is wrong in the words of their layer; here of the option that mends it."""

from __future__ import annotations

from vlockstep.errors import Key, VlockstepError

_NEW_KEYS = "`vlockstep keys new DIR` makes keys"
_OPTIONS: dict[Key, str] = {
    ("memory",): "--mem MB",
    ("cpu",): "--cpu MODEL",
    ("cpu_limit",): "--cpu-limit MODEL",
    ("engine",): "--engine ENGINE",
    ("disk", "*"): "--block {}=PATH",
    ("disk", "*", "block_size"): "--block-sector-size {}=N",
    ("nic",): "--net NAME=switch:ENDPOINT",
    ("nic", "*"): "--net {}=BACKEND",
    ("nic", "*", "backend"): "--net {}=BACKEND",
    ("nic", "*", "group"): "--net {}=switch:ENDPOINT,group=NAME",
    ("nic", "*", "mac"): "--net-mac {}=MAC",
    ("nic", "*", "mtu"): "--net {}=BACKEND,mtu=N",
    ("console",): "--console PATH",
    ("log",): "--log FILE",
    ("keyframes",): "--keyframes SECONDS, --log FILE",
    ("on_error",): "--on-error record",
    ("cores",): "--dumpcore DIR",
    ("arbiter",): "--arbiter DIR",
    ("keys",): f"--keys DIR; {_NEW_KEYS}",
    ("respawn",): "--respawn COMMAND",
    ("reached_at",): "--listen ENDPOINT",
    ("test", "crash"): "--crash-at PLACE",
    ("test", "pause"): "--crash-at PLACE or --pause-at PLACE",
    ("test", "stop"): "--stop-at PLACE",
    ("test", "diverge"): "--diverge-at PLACE",
    ("name",): "--name NAME",
    ("run_directory",): "--run-dir DIR",
    ("recorded_image",): "--image IMAGE",
    ("force",): "--force",
    ("disk_format",): "--from raw",
    ("shrink",): "--shrink",
    ("guest-ip",): "--guest-ip ADDR/LEN",
    ("gateway",): "--gateway ADDR",
    ("demo", "lines"): "--lines N",
    ("demo", "guest"): "--guest IMAGE",
    ("demo", "kill"): "--kill PLACE",
}
"""By key; `*` is a device, whose name the option gets."""


def add_hint(error: VlockstepError) -> VlockstepError:
    """Let the error also say which option it is about."""
    kind, *rest = error.key or ("",)
    device = rest[0] if kind in ("disk", "nic") and rest else ""
    option = _OPTIONS.get((kind, "*", *rest[1:]) if device else error.key)
    if option is not None:
        error.args = (f"{error} ({option.format(device)})",)
        error.key = ()
    return error
