"""Executions as logs: entries, the files that keep them, and the Worlds that write and read them.

entry       Kind, Checkpoint, End: what a log is made of
codec       encode, decode: batches of entries as bytes, for files and for the logging channel
frames      FrameReader, frame: pieces of a file, each with checksums
logfile     LogWriter, LogReader: `*.vlog`
keyframe    Keyframe: the complete state at a position, kept inside a log
pieces      pack, Unpacker: what RAM and disks hold, compressed
snapshot    Snapshot, SnapshotReader, encode: the complete state of a guest, in a file
lastlog     LastLog: the last minutes of a guest, in two files
keyframes   KeyframeMaker, begin_near, Passing: keyframes made, begun from, compared with
recorder    Recorder: a World that passes everything through and logs it
replayer    Replayer, Sequence, Divergence: a World whose inputs come from a log
script      Script, new_machine, parse_goal: a log that is followed to its end, or to a place
recorded    find_image: the image of a log's guest or a snapshot's, found again
"""
