"""`vlockstep engines`: what can execute guests on this host."""

from __future__ import annotations

from typing import Annotated

import typer

from vlockstep.cli import options, output


def engines(
    cpu: options.CpuOption = options.DEFAULT_CPU,
    as_json: Annotated[bool, typer.Option("--json", help="Print a line of JSON.")] = False,
) -> None:
    """List the engines that execute guests, and what this host offers of them.

    A guest with a timer or page tables of its own needs unicorn. One that is to run on kvm is
    started with --engine kvm; its other replicas may then have either.
    """
    from vlockstep.machine import cpumodels
    from vlockstep.machine import engines as known
    from vlockstep.machine.kvm.device import hindrance, processor

    cpumodels.check_model(cpu)
    why_not = known.why_not(cpu)
    runs = "" if why_not else f"guests without a timer, on this {processor()}"
    slow = "" if why_not else hindrance()
    rows = [
        (known.UNICORN, "", "every guest, anywhere", ""),
        (known.KVM, why_not, runs, slow),
    ]
    if as_json:
        names = ("engine", "why_not", "runs", "hindrance")
        output.emit([dict(zip(names, row, strict=True)) | {"offered": not row[1]} for row in rows])
        return
    output.table(
        ("engine", "offered", "what it runs, or why it is not offered"),
        [(name, "no" if why else "yes", what or why) for name, why, what, _ in rows],
    )
    if slow:
        output.note(slow)
