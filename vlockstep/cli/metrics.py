"""`vlockstep metrics`."""

from __future__ import annotations

from contextlib import closing

from vlockstep.cli.running import DirectoryOption, NameArgument, connect


def metrics(
    name: NameArgument,
    directory: DirectoryOption = None,
) -> None:
    """Print a guest's metrics as Prometheus reads them, such as from a file by node_exporter.

    `vlockstep dashboard` serves those of all guests, or of a cluster, at /metrics.
    """
    from vlockstep.supervise.client import facts
    from vlockstep.web.metrics import of_replica

    with closing(connect(directory, name)) as guest:
        status, about = facts(guest.ask("status")), facts(guest.hello)
    print(of_replica(name, about, status), end="")
