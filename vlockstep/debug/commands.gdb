# Commands that a recording adds to gdb, in gdb's own Python.
# Nothing can be changed, so nothing is lost by leaving.
set may-write-memory off
define hook-quit
set confirm off
end
python
import gdb

NAMES = ("when", "seek", "entries", "console", "checkpoint", "checkpoints", "back", "forward",
         "who-wrote", "why-ended")
MOVES = ("seek", "back", "forward", "who-wrote", "why-ended")
DOCUMENTS = {
    "when": "Tell where in the recording this is.",
    "seek": "Go to a place: exits:N, exits:N+BLOCKS, a mark that `when` told, entry:N, time:S,\n"
    "console:N, checkpoint:N, begin or end.",
    "entries": "Show the log's entries around this place; with N, so many.",
    "console": "Show the console text that the guest had printed.",
    "checkpoint": "Give this place a number, to seek as checkpoint:N.",
    "checkpoints": "List the places that `checkpoint` gave numbers.",
    "back": "Go where one was before the last seek.",
    "forward": "Undo a `back`.",
    "who-wrote": "Go back to the last write to an address: who-wrote EXPRESSION [LENGTH].\n"
    "Of a variable, name it: who-wrote &counter",
    "why-ended": "Tell how the recording ends, what was printed last, and where the last exception of the\n"
    "CPU was taken, if that was shortly before; and go there.",
    "run": "Go to the beginning of the recording, and on from there.",
    "start": "Go to the beginning of the recording, and on to the guest's main function.",
    "starti": "Go to the beginning of the recording, as `seek begin`.",
}
MAINS = ("guest_main", "solo5_app_main", "main")

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
    kind = value.type.strip_typedefs()
    if kind.code == gdb.TYPE_CODE_PTR and not length:
        target = kind.target().strip_typedefs()
        length = 0 if target.code == gdb.TYPE_CODE_VOID else target.sizeof
    return "%#x %d" % (int(value) & (1 << 64) - 1, length or 8)

class Ours(gdb.Command):
    def __init__(self, name, prefix=""):
        self.__doc__ = DOCUMENTS[name]
        self.name = name
        super().__init__(prefix + name, gdb.COMMAND_RUNNING)

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

class Again(gdb.Command):
    """What starts a program otherwise."""

    def __init__(self, name):
        self.__doc__ = DOCUMENTS[name]
        self.name = name
        super().__init__(name, gdb.COMMAND_RUNNING)

    def invoke(self, argument, from_tty):
        if argument:
            raise gdb.GdbError("the guest's arguments are in the recording: %s takes none" % self.name)
        gdb.execute("seek begin")
        if self.name == "start":
            gdb.execute("tbreak " + self.main())
        if self.name != "starti":
            gdb.execute("continue")

    def main(self):
        for name in MAINS:
            try:
                gdb.parse_and_eval("&" + name)
            except gdb.error:
                continue
            return name
        raise gdb.GdbError("the image has no function %s" % " or ".join(MAINS))

for each in NAMES:
    Ours(each)
Ours("checkpoints", "info ")
for each in ("run", "start", "starti"):
    Again(each)
end
