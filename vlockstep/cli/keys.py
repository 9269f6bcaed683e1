"""`vlockstep keys`: what a pair needs to trust each other over a network."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vlockstep.cli import output
from vlockstep.cli.command import Command, Group

keys = typer.Typer(
    cls=Group,
    no_args_is_help=True,
    help="Make keys for the logging channel and the switch.",
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Example: vlockstep keys new pair-keys",
)


@keys.callback()
def _group() -> None:
    """Make keys for the logging channel and the switch."""


@keys.command("hosts", cls=Command, epilog="Example: vlockstep keys hosts cluster-keys a b c")
def hosts(
    directory: Annotated[
        Path, typer.Argument(metavar="DIR", help="A new directory, or one with keys of others.")
    ],
    names: Annotated[list[str], typer.Argument(metavar="HOST...", help="What they are called.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print a line of JSON.")] = False,
) -> None:
    """Make a key for each host of a cluster, by which the others know it.

    Copy to each host its own secret key, and the public ones of all: who has no key there does not
    belong to the cluster. Give `host` the directory as --keys.
    """
    from vlockstep.cluster.agent.hostkeys import create_host_keys

    create_host_keys(directory, names)
    copies = {name: [f"{name}.key_secret", "*.key"] for name in names}
    if as_json:
        output.emit({"directory": str(directory), "files": copies})
        return
    print(f"New keys are in {directory}. Copy to each host:\n")
    output.table(("host", "files"), [(who, " ".join(files)) for who, files in copies.items()])
    print("\nThe files *.key_secret are secret: a host needs its own alone.")


@keys.command(cls=Command, epilog="Example: vlockstep keys new pair-keys")
def new(
    directory: Annotated[
        Path,
        typer.Argument(metavar="DIR", help="A directory that is empty or does not exist yet."),
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print a line of JSON.")] = False,
) -> None:
    """Make keys for a pair, its operator and its switch, and tell who needs which.

    Give the directory with the copied files to `primary`, `secondary`, `switchover` and `switch`
    as --keys.
    """
    from vlockstep.wire.keys import Party, create

    create(directory)
    needs = {
        Party.PRIMARY: (Party.SECONDARY, Party.OPERATOR, Party.SWITCH),
        Party.SECONDARY: (Party.PRIMARY, Party.SWITCH),
        Party.OPERATOR: (Party.PRIMARY,),
        Party.SWITCH: (Party.PRIMARY, Party.SECONDARY),
    }
    copies = {
        str(party): [f"{party}.key_secret", *(f"{peer}.key" for peer in peers)]
        for party, peers in needs.items()
    }
    if as_json:
        output.emit({"directory": str(directory), "files": copies})
        return
    print(f"New keys are in {directory}. Copy to where each of them runs:\n")
    output.table(("who", "files"), [(who, " ".join(files)) for who, files in copies.items()])
    print("\nThe files *.key_secret are secret: delete those that a host does not need.")
    print("Then give all of them --keys with that directory.")
