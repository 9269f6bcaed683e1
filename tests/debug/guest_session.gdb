# One session with a guest's recording. The file that begins a batch sets FUNCTION, the name of one
# that the guest calls late, and ANSWER, the path of a file for all that was seen, as JSON.
python
import gdb, json, re

seen = []

def note(name, told=""):
    where = gdb.execute("when", to_string=True)
    mark = re.match(r"(exits:\S+), before entry", where)[1]
    registers = {each: int(gdb.parse_and_eval("$" + each)) & (1 << 64) - 1
                 for each in ("rip", "rsp", "rax", "rbx")}
    registers["rflags"] = int(
        gdb.execute("info registers eflags", to_string=True).split()[1], 16)
    stack = bytes(gdb.selected_inferior().read_memory(registers["rsp"], 8)).hex()
    seen.append({"name": name, "mark": mark, "registers": registers, "stack": stack, "told": told})
    return registers

def do(command, name=None):
    return note(name or command, gdb.execute(command, to_string=True))

do("seek begin", "begin")
do("reverse-stepi", "before the beginning")
gdb.execute("tbreak guest_main")
do("continue", "guest_main")
for n in range(3):
    do("stepi", "step %d" % n)
do("reverse-stepi", "step 1 again")
do("why-ended")
do("continue", "behind the end")
for n in range(3):
    do("reverse-stepi", "back %d" % n)
gdb.execute("break " + FUNCTION)
function = do("reverse-continue", "function")
watched = function["rsp"]
gdb.execute("delete")
do("stepi", "in the function")
gdb.execute("watch -l *(long *) %d" % watched)
do("reverse-continue", "writer")
gdb.execute("delete")
do("reverse-stepi", "before the writer")
do("stepi", "writer again")
gdb.execute("watch -l *(long *) %d" % watched)
do("continue", "behind the writer")
gdb.execute("delete")
do("seek end")
json.dump({"seen": seen, "watched": watched}, open(ANSWER, "w"))
end
