"""`vlockstep cpu`: the CPU models that guests may be given, and which hosts take which."""

from __future__ import annotations

from typing import Annotated

import typer

from vlockstep.cli import options, output
from vlockstep.cli.command import Command, Group
from vlockstep.machine import cpumodels

cpu = typer.Typer(
    cls=Group,
    no_args_is_help=True,
    help="Look at the CPU models that guests may be given.",
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Example: vlockstep cpu list --cpu-limit westmere",
)

JsonOption = Annotated[bool, typer.Option("--json", help="Print a line of JSON.")]
LimitOption = Annotated[
    str | None,
    typer.Option(
        "--cpu-limit",
        metavar="MODEL",
        autocompletion=options.cpu_models,
        help="The limit of a host, as `run` and others get it.",
        show_default=False,
    ),
]


@cpu.command("list", cls=Command, epilog="Example: vlockstep cpu list --cpu-limit westmere")
def list_models(limit: LimitOption = None, as_json: JsonOption = False) -> None:
    """List the CPU models, those with most features last, and what each has beyond the others.

    A guest can go wherever its own model is within the limit of the host.
    """
    fitting = cpumodels.within(limit) if limit is not None else list(cpumodels.MODELS)
    if as_json:
        output.emit([_facts(name) | {"fits": name in fitting} for name in cpumodels.MODELS])
        return
    beyond = f"features beyond the {len(cpumodels.COMMON)} of all"
    headers = ("model", "fits", "included in", beyond)
    output.table(headers, [_row(name, name in fitting) for name in cpumodels.MODELS])


@cpu.command(cls=Command, epilog="Example: vlockstep cpu show westmere")
def show(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            autocompletion=options.cpu_models,
            help="One of `vlockstep cpu list`.",
            show_default=False,
        ),
    ],
    as_json: JsonOption = False,
) -> None:
    """Show the features that CPUID tells a guest of, by what they are for."""
    cpumodels.check_model(model, ())
    if as_json:
        output.emit(_facts(model))
        return
    features = cpumodels.MODELS[model]
    groups = [
        (group, " ".join(name for name in names if name in features))
        for group, names in cpumodels.GROUPS.items()
        if features & {*names}
    ]
    output.fields([("model", model), ("included in", _others(model)), *groups])


@cpu.command(
    cls=Command, epilog="Example: vlockstep cpu check --cpu westmere --cpu-limit sandybridge"
)
def check(
    model: Annotated[
        str,
        typer.Option(
            "--cpu",
            metavar="MODEL",
            autocompletion=options.cpu_models,
            help="The model of a guest.",
        ),
    ] = options.DEFAULT_CPU,
    limit: LimitOption = None,
    as_json: JsonOption = False,
) -> None:
    """Tell whether a guest with this model can run on a host with this limit.

    The exit status is 1 if it cannot.
    """
    cpumodels.check_model(model)
    lacking = [] if limit is None else cpumodels.missing(model, limit)
    if as_json:
        output.emit({"cpu": model, "cpu_limit": limit, "fits": not lacking, "missing": lacking})
    elif limit is None:
        print(f"a guest with {model} can run on every host that has no limit")
    elif lacking:
        fitting = ", ".join(cpumodels.within(limit))
        print(f"a guest with {model} cannot run on a host with the limit {limit}")
        output.fields([("missing", " ".join(lacking)), ("these can", fitting)])
    else:
        print(f"a guest with {model} can run on a host with the limit {limit}")
    raise typer.Exit(1 if lacking else 0)


def _facts(model: str) -> dict[str, object]:
    features = cpumodels.MODELS[model]
    return {
        "model": model,
        "default": model == options.DEFAULT_CPU,
        "included_in": _including(model),
        "features": [n for names in cpumodels.GROUPS.values() for n in names if n in features],
    }


def _row(model: str, fits: bool) -> tuple[str, str, str, str]:
    default = " (default)" if model == options.DEFAULT_CPU else ""
    beyond = sorted(cpumodels.MODELS[model] - cpumodels.COMMON)
    return model + default, "yes" if fits else "no", _others(model), " ".join(beyond)


def _including(model: str) -> list[str]:
    """The others that have all features of this one."""
    return [name for name in cpumodels.MODELS if name != model and model in cpumodels.within(name)]


def _others(model: str) -> str:
    return ", ".join(_including(model)) or "-"
