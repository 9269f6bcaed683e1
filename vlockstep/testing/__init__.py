"""What a test author imports: protected guests, crashes, comparisons.

    with Pair("ledger", ["--lines=20"], directory=tmp_path) as pair:
        pair.crash("primary")
        assert pair.wait_finished().secondary == 0
        check_ledger(pair.transcript, pair.disk(), lines=20)

`Pair` is two processes, `LocalPair` the same replicas in virtual time; their docstrings list what
both can do. With pytest, the fixture `make_pair` is there by itself. Names are imported when they
are first used: loading the plugin needs no CPU.

    pair        Pair, Statuses: a protected guest as two real processes
    process     ReplicaProcess, Snapshot, PairError: one of them, whose events can be waited for
    cluster     HostCluster: a cluster of hosts, all real processes
    relay       Relay: the network between them, which a test can break
    local       LocalPair: a pair in this process and in virtual time
    replaying   replay, Replayed: a log, replayed in this process
    plugin      make_pair: the pytest plugin
    faults      FAULTS: real faults on real pairs, as data
    soak        swap_roles, inject_faults: pairs for as long as you like
    counting    Counting: clients that know what the answer must be
    histories   RandomClients: clients that do anything, and whose history is checked
    network     namespace, ip: a network of its own for a test
    usage       Usage: what the system knows of a process
    words       words: lists of words that a test gives
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vlockstep.machine.registers import Registers as Registers
    from vlockstep.sim.ledger import LedgerReport as LedgerReport
    from vlockstep.sim.ledger import check_ledger as check_ledger
    from vlockstep.sim.ledger import inspect_ledger as inspect_ledger
    from vlockstep.sim.linear import HistoryReport as HistoryReport
    from vlockstep.sim.linear import Operation as Operation
    from vlockstep.sim.linear import check_history as check_history
    from vlockstep.sim.linear import inspect_history as inspect_history
    from vlockstep.testing.cluster import HostCluster as HostCluster
    from vlockstep.testing.histories import RandomClients as RandomClients
    from vlockstep.testing.local import LocalPair as LocalPair
    from vlockstep.testing.pair import Pair as Pair
    from vlockstep.testing.pair import Statuses as Statuses
    from vlockstep.testing.process import PairError as PairError
    from vlockstep.testing.process import ReplicaProcess as ReplicaProcess
    from vlockstep.testing.process import Snapshot as Snapshot
    from vlockstep.testing.relay import Relay as Relay
    from vlockstep.testing.replaying import Replayed as Replayed
    from vlockstep.testing.replaying import replay as replay
else:
    _HOMES = {
        "machine.registers": "Registers",
        "sim.ledger": "LedgerReport check_ledger inspect_ledger",
        "sim.linear": "HistoryReport Operation check_history inspect_history",
        "testing.cluster": "HostCluster",
        "testing.histories": "RandomClients",
        "testing.local": "LocalPair",
        "testing.pair": "Pair Statuses",
        "testing.process": "PairError ReplicaProcess Snapshot",
        "testing.relay": "Relay",
        "testing.replaying": "Replayed replay",
    }
    _MODULES = {name: module for module, names in _HOMES.items() for name in names.split()}
    __all__ = sorted(_MODULES)

    def __getattr__(name: str) -> object:
        module = _MODULES.get(name)
        if module is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = globals()[name] = getattr(import_module(f"vlockstep.{module}"), name)
        return value

    def __dir__() -> list[str]:
        return sorted({*globals(), *_MODULES})
