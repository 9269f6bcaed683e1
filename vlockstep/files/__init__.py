"""Files that a process has for itself: locked, grown by whole pieces, known by their owner.

atomicfile  AtomicFile, sync: one that is there whole, or not at all
locks       FileLock, open_locked, occupy, InUse: one writer; who comes second is told of the first
appearing   appearing: a file that is there when it is whole, or not at all
piecefile   PieceFile: a file that grows by whole pieces, or not at all
tables      read_toml, take: TOML files that are read strictly
processes   command_line, identity, runs, processor_time: which process a number means
"""
