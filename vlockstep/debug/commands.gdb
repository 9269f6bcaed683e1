# Commands that a recording adds to gdb, in gdb's own Python.
python
import gdb

NAMES = ("when", "seek", "entries", "console", "checkpoint", "back", "forward",
         "who-wrote", "why-ended")
MOVES = ("seek", "back", "forward", "who-wrote", "why-ended")
DOCUMENTS = {
    "when": "Tell where in the recording this is.",
    "seek": "Go to a place: exits:N, exits:N+BLOCKS, a mark that `when` told, entry:N, time:S,\n"
    "console:N, checkpoint:N, begin or end.",
    "entries": "Show the log's entries around this place; with N, so many.",
    "console": "Show the console text that the guest had printed.",
    "checkpoint": "Give this place a number, to seek as checkpoint:N.",
    "back": "Go where one was before the last seek.",
    "forward": "Undo a `back`.",
    "who-wrote": "Go back to the last write to an address: who-wrote EXPRESSION [LENGTH].\n"
    "Of a variable, name it: who-wrote &counter",
    "why-ended": "Tell how the recording ends, what was printed last, and where the last exception of the\n"
    "CPU was taken, if that was shortly before; and go there.",
}

FAILED = "error: "

def ask(line):
    told = gdb.execute("monitor " + line, to_string=True)
    if told.startswith(FAILED):
        raise gdb.GdbError(told.removeprefix(FAILED).rstrip())
    return told

def moved():
    """Registers, memory and frames are others now."""
    gdb.execute("maintenance flush register-cache", to_string=True)
    gdb.execute("maintenance flush dcache", to_string=True)
    gdb.execute("frame")

def addressed(argument):
    """An expression of an address, and perhaps a length."""
    words = gdb.string_to_argv(argument)
    if not words:
        raise gdb.GdbError("who-wrote EXPRESSION [LENGTH]")
    value = gdb.parse_and_eval(words[0])
    length = int(gdb.parse_and_eval(words[1])) if len(words) > 1 else 0
    if value.type.strip_typedefs().code == gdb.TYPE_CODE_PTR and not length:
        length = value.type.strip_typedefs().target().sizeof
    return "%#x %d" % (int(value) & (1 << 64) - 1, length or 8)

class Ours(gdb.Command):
    def __init__(self, name):
        self.__doc__ = DOCUMENTS[name]
        self.name = name
        super().__init__(name, gdb.COMMAND_RUNNING)

    def invoke(self, argument, from_tty):
        try:
            self.carry_out(argument)
        except gdb.error as error:
            raise gdb.GdbError(str(error)) from error

    def carry_out(self, argument):
        if self.name == "who-wrote":
            argument = addressed(argument)
        told = ask(self.name + " " + argument)
        gdb.write(told)
        if self.name in MOVES:
            moved()

for each in NAMES:
    Ours(each)
end
