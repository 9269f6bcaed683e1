"""Recordings to walk in, forwards and backwards, and to be debugged by gdb.

mark        Mark: where, instruction by instruction
recording   Recording, Entries: a log whose entries and keyframes are found by number
pages       Pages: RAM at many positions, each page once
ring        Ring, Moment: states, dense near where somebody looks
stops       Breakpoint, Watchpoint, Run: where somebody wants to be stopped
watches     Watches: stops, watched for while a machine runs
ticker      Ticker: something that is done from time to time
player      Player: the guest, replayed from boundary to boundary
walker      Walker: through one block, in an overlay of RAM
timeline    Timeline, open_recording: all of that
"""
