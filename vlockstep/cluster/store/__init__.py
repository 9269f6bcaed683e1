"""The cluster's store: small JSON objects under keys, changed by compare-and-set, watched, leased.

interface    Store, Entry, Change, Watch, Lease, Conflict, Expired, StoreError: what is promised
values       Stored, check_key, check_prefix, within, encode, decode, entry_of, Unreadable,
             entry_or_unreadable: which keys and values there are, and how they are written
polling      PolledWatch, Told, Watchers: watches by looking again and again
memory       Content, MemoryStore: in memory, for the simulator, that fails when it is told to
directory    DirectoryStore: in a directory that all hosts share, without any server
shards       Shards, Shard, Baton: registers in that directory, each changed by a rename
             that only one can do
etcd         EtcdStore: in etcd, which has members of its own
gateway      Gateway, EtcdError: etcd, asked in JSON over HTTP
etcdaddress  Address, Endpoint, parse_address: where that is, and who asks
opening      open_store: from a text to a store
worker       Worker: calls that may hang, for those who wait no longer than a limit
"""

from vlockstep.cluster.store.directory import DirectoryStore
from vlockstep.cluster.store.interface import (
    Change,
    Conflict,
    Entry,
    Expired,
    Lease,
    Store,
    StoreError,
    Watch,
)
from vlockstep.cluster.store.memory import Content, MemoryStore
from vlockstep.cluster.store.opening import open_store

__all__ = [
    "Change",
    "Conflict",
    "Content",
    "DirectoryStore",
    "Entry",
    "Expired",
    "Lease",
    "MemoryStore",
    "Store",
    "StoreError",
    "Watch",
    "open_store",
]
