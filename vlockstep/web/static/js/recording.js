// A recording: its entries over time, its text, and the guest as it was at any of them.

import { get, part } from "./api.js";
import { h, icon, pill, say, toast } from "./dom.js";
import { bytes, plural, whole } from "./format.js";
import { Timeline } from "./timeline.js";
import { VirtualList } from "./virtual.js";

const ROW = 24;
const KINDS = ["console", "disk", "network", "keyframe", "interrupt"];

export class RecordingsPage {
  title = "Recordings";
  section = "recordings";

  constructor(app) {
    this.list = h("ul", { class: "recordings" });
    app.main.append(h("h1", { text: "Recordings" }), h("p", { class: "soft lead", text: "Logs that were named when the server was started." }), this.list);
    this.#fill();
  }

  draw() {}

  async #fill() {
    try {
      const found = await get("recordings");
      this.list.replaceChildren(...found.map((each) => h("li", {}, h("a", { class: "card", href: `#/recordings/${each.id}` }, h("b", { text: each.name }), h("span", { class: "soft", text: each.reading ? "" : facts(each) }), standing(each)))));
      if (found.some((each) => each.reading)) setTimeout(() => this.list.isConnected && this.#fill(), 1000);
      if (!found.length) this.list.append(h("li", { class: "card empty" }, "None was named. Make one and open it: ", h("code", { text: "vlockstep record clock -o clock.vlog && vlockstep dashboard clock.vlog" })));
    } catch (error) {
      this.list.replaceChildren(h("li", { class: "bad", text: error.message }));
    }
  }
}

const facts = (each) => `${each.image} · ${plural(each.entries, "entry", "entries")} · ${plural(each.exits, "exit")} · ${bytes(each.bytes)}`;
const standing = (each) => (each.reading ? pill("plain", "it is being read") : each.problem ? pill("bad", each.problem) : each.complete ? pill("good", "complete") : pill("warn", "not to its end"));

export class RecordingPage {
  section = "recordings";
  title = "Recording";
  #kind = "console";
  #asked = 0;
  #left = false;

  constructor(app, id) {
    Object.assign(this, { app, id });
    app.main.className = "fill record";
    this.folded = app.dock.folded;
    app.dock.fold(true);
    this.head = h("div", { class: "guest-head" });
    this.timeline = new Timeline((first, last, count) => get(`recordings/${id}/bins?first=${first}&last=${last}&bins=${count}`), (first, last) => this.#moved(first, last), (entry) => this.#near(entry));
    this.count = h("span", { class: "soft", role: "status" });
    this.kinds = h("div", { class: "kinds", role: "group", "aria-label": "What is listed" }, KINDS.map((kind) => h("button", { class: "button small", "aria-pressed": String(kind === "console"), "data-kind": kind, text: kind, on: { click: () => this.#choose(kind) } })));
    this.box = h("div", { class: "marks", role: "grid", tabindex: "0", "aria-label": "Marks", "aria-description": "Arrow keys choose, Enter looks there" });
    this.marks = new VirtualList(this.box, this.box, ROW, { make: () => this.#row(), fill: (node, mark) => this.#fill(node, mark), key: (_, index) => `${this.#asked} ${index}`, open: (mark) => this.#pick(mark), chose: (mark) => this.timeline.point(mark.entry) });
    this.look = h("div", { class: "look body", "aria-live": "polite" }, h("p", { class: "soft", text: "Choose a line: its position, the registers there, and how to look there yourself." }));
    app.main.append(h("nav", { class: "crumbs", "aria-label": "Where" }, h("a", { href: "#/recordings", text: "Recordings" })), this.head, this.timeline.node,
      h("div", { class: "halves" }, h("section", { class: "card listing", "aria-label": "Marks" }, h("header", {}, this.kinds, this.count), this.box),
        h("section", { class: "card looking", "aria-label": "The guest there" }, h("header", {}, h("h2", { text: "The guest there" })), this.look)));
    this.#begin();
  }

  draw() {}

  leave() {
    this.#left = true;
    this.app.dock.fold(this.folded);
    this.marks.end();
    this.timeline.end();
  }

  async #begin() {
    try {
      const told = await get(`recordings/${this.id}`);
      if (this.#left) return;
      document.title = `${told.name} · vlockstep`;
      this.head.replaceChildren(h("h1", { text: told.name }), standing(told), h("span", { class: "soft", text: facts(told) }));
      this.timeline.open(told.entries);
    } catch (error) {
      this.head.replaceChildren(h("h1", { text: "Recording" }), pill("bad", error.message));
    }
  }

  #choose(kind) {
    this.#kind = kind;
    for (const button of this.kinds.children) button.setAttribute("aria-pressed", String(button.dataset.kind === kind));
    this.#moved(this.timeline.first, this.timeline.last);
  }

  async #moved(first, last) {
    const asked = ++this.#asked;
    try {
      const { marks, more, problem } = await get(`recordings/${this.id}/marks?kind=${this.#kind}&first=${first}&last=${last}`);
      if (this.#left || asked !== this.#asked) return;
      this.marks.items = marks;
      const count = more ? `the first ${plural(marks.length, "mark")}: zoom in for the others` : plural(marks.length, "mark");
      say(this.count, problem ? `${count}; ${problem}` : count);
    } catch (error) {
      if (asked === this.#asked) say(this.count, error.message);
    }
  }

  #row() {
    const cell = (kind) => h("span", { class: kind, role: "gridcell" });
    const node = h("div", { class: "mark", role: "row", on: { click: () => (this.marks.choose(node.index), this.#pick(node.mark)) } }, cell("soft mono num"), cell("mono what"), cell("soft mono num"));
    return node;
  }

  #fill(node, mark) {
    if (node.mark === mark) return;
    node.mark = mark;
    say(node.children[0], whole(mark.entry));
    say(node.children[1], mark.text || mark.kind);
    node.children[1].title = mark.text;
    say(node.children[2], mark.kind === "console" ? mark.position : `${mark.bytes ? `${bytes(mark.bytes)} ` : ""}${mark.position}`);
  }

  #near(entry) {
    const found = this.marks.items.findIndex((mark) => mark.entry >= entry);
    if (found < 0) return;
    this.marks.choose(found);
    this.#pick(this.marks.items[found]);
  }

  async #pick(mark) {
    this.timeline.point(mark.entry);
    const wanted = (this.wanted = mark.position);
    this.look.replaceChildren(h("h3", { class: "mono", text: mark.position }), h("p", { class: "soft" }, icon("spin"), " the guest is executed up to there"));
    try {
      const told = await get(`recordings/${this.id}/at?position=${part(mark.position)}`);
      if (this.#left || wanted !== this.wanted) return;
      this.#show(mark, told);
    } catch (error) {
      if (wanted === this.wanted) this.look.replaceChildren(h("h3", { class: "mono", text: mark.position }), h("p", { class: "bad", text: error.message }));
    }
  }

  #show(mark, { position, registers, code, commands }) {
    const value = (each) => (typeof each === "number" ? `0x${each.toString(16)}` : typeof each === "string" ? each : JSON.stringify(each));
    const parts = [
      h("h3", { class: "mono", text: position }), h("p", { class: "soft", text: `entry ${whole(mark.entry)}: ${mark.kind}` }),
      mark.text ? h("pre", { class: "quote", text: mark.text }) : null,
      h("h2", { text: "Look there yourself" }),
      commands.map((command) => h("div", { class: "command" }, command.startsWith("vlockstep") ? null : h("span", { class: "soft", text: "(gdb)" }), h("code", { text: command }), h("button", { class: "button small quiet", "aria-label": `Copy ${command}`, on: { click: () => copy(command) } }, icon("copy")))),
      h("h2", { text: "Registers" }),
      h("dl", { class: "registers mono" }, Object.entries(registers).map(([name, each]) => h("div", {}, h("dt", { text: name }), h("dd", { text: value(each), title: value(each) })))),
      code ? h("pre", { class: "code", text: code }) : null,
    ];
    this.look.replaceChildren(...parts.flat().filter(Boolean));
  }
}

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    toast("copied", "good");
  } catch {
    toast("this browser does not let a page copy here: select the text");
  }
}
