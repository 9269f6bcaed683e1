"""Recordings to walk in, forwards and backwards, and to be debugged by gdb.

mark        Mark: where, instruction by instruction
recording   Recording, Entries: a log whose entries and keyframes are found by number
pages       Pages: RAM at many positions, each page once
ring        Ring, Moment: states, dense near where somebody looks
stops       Breakpoint, Watchpoint, Why: where somebody wants to be stopped
watches     Watches: stops, watched for while a machine runs
ticker      Ticker: something that is done from time to time
player      Player: the guest, replayed from boundary to boundary
walker      Walker: through one block, in an overlay of RAM
view        View: the guest at a mark, to look at
timeline    Timeline, open_recording: all of that, to go in
places      parse_place: how people name a place
difference  part, parting: where two recordings part
diverged    Report, parse_report, examine: what a replica reported that diverged
calls       Function, functions, Calls: which functions a guest is in
tracer      Tracer, Edge, Event, What: its calls, hypercalls and interrupts
chrome      ChromeTrace: those, for Perfetto

gdb

packets     Deframer, framed: bytes to packets and back
target      REGISTERS, encode, description: what gdb is told of the CPU
agent       condition, evaluate: conditions of breakpoints, as gdb sends them
stub        Stub: the end of gdb's remote protocol that is the guest
commands    Commands: what gdb's own commands do not do
server      Server: the socket at which gdb comes
gdb         command_line: gdb itself, with our commands
"""
