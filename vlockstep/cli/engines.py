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
    from vlockstep.machine.kvm.device import processor

    cpumodels.check_model(cpu)
    why_not = known.why_not(cpu)
    facts = [
        {"engine": known.UNICORN, "offered": True, "why_not": "", "runs": "every guest, anywhere"},
        {
            "engine": known.KVM,
            "offered": not why_not,
            "why_not": why_not,
            "runs": f"guests without a timer, on this {processor()}" if not why_not else "",
        },
    ]
    if as_json:
        output.emit(facts)
        return
    output.table(
        ("engine", "offered", "what it runs, or why it is not offered"),
        [
            (str(f["engine"]), "yes" if f["offered"] else "no", str(f["runs"] or f["why_not"]))
            for f in facts
        ],
    )
