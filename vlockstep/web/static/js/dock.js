// Tasks and events: below every page.

import { part } from "./api.js";
import { act } from "./dialogs.js";
import { h, icon, redraw, say } from "./dom.js";
import { clock, matches, plural, whole } from "./format.js";
import { VirtualList } from "./virtual.js";

const ROW = 26;
const SIGNS = { queued: "clock", running: "spin", done: "good", failed: "bad", canceled: "plain" };
const LEVELS = { bad: "trouble", warn: "look at", good: "fine" };

export class Dock {
  #shown = "";

  constructor(box, app) {
    this.app = app;
    this.box = box;
    this.tasks = this.#pane("Tasks", { make: () => this.#task(), fill: (node, task) => this.#fillTask(node, task), open: (task) => this.#open(task.target) });
    this.events = this.#pane("Events", { make: () => this.#event(), fill: (node, event) => this.#fillEvent(node, event), open: (event) => this.#open(event.guest) });
    this.folder = h("button", { class: "button quiet small folder", "aria-label": "Fold tasks and events", title: "Fold (d)", on: { click: () => this.fold() } }, icon("fold"));
    // Where there is room for one of them alone.
    this.which = h("div", { class: "which", role: "group", "aria-label": "What is shown" }, [this.tasks, this.events].map((pane) => pane.chooser));
    box.replaceChildren(this.which, this.tasks.node, this.events.node, this.folder);
    this.#choose(this.events);
    this.fold(matchMedia("(max-height: 500px)").matches);
  }

  get folded() {
    return this.box.classList.contains("folded");
  }

  fold(on = !this.folded) {
    this.box.classList.toggle("folded", on);
    this.folder.setAttribute("aria-expanded", String(!on));
  }

  #choose(chosen) {
    for (const pane of [this.tasks, this.events]) {
      pane.node.classList.toggle("other", pane !== chosen);
      pane.chooser.setAttribute("aria-pressed", String(pane === chosen));
    }
    this.fold(false);
  }

  draw() {
    const { view } = this.app;
    const key = [view.revision, this.tasks.field.value, this.events.field.value].join("\0");
    if (key === this.#shown) return;
    this.#shown = key;
    const tasks = Object.values(view.tasks).sort((a, b) => b.number - a.number);
    this.#show(this.tasks, tasks, (task) => [task.kind, task.target, task.state, task.by, task.progress, task.reason], "task");
    const events = view.events.toReversed();
    this.#show(this.events, events, (event) => [event.kind, event.text, event.guest, event.host], "event");
  }

  #show(pane, items, texts, what) {
    const filter = pane.field.value;
    const found = filter ? items.filter((item) => matches(filter, ...texts(item))) : items;
    pane.list.items = found;
    say(pane.chooser, `${pane.title} ${whole(items.length)}`);
    say(pane.count, filter ? `${found.length} of ${plural(items.length, what)}` : plural(items.length, what));
  }

  #open(guest) {
    if (this.app.view.guests[guest]) location.hash = `#/guests/${part(guest)}`;
  }

  #pane(title, rows) {
    const field = h("input", { class: "field", type: "search", placeholder: "Filter", "aria-label": `Filter ${title.toLowerCase()}`, on: { input: () => this.draw() } });
    const count = h("span", { class: "count" });
    const box = h("div", { class: "list", role: "grid", "aria-label": title, "aria-description": "Arrow keys choose, Enter opens the guest", tabindex: "0" });
    const node = h("section", { class: "pane", "aria-label": title }, h("header", {}, h("h2", { text: title }), count, field), box);
    const chooser = h("button", { class: "button small quiet", text: title, on: { click: () => this.#choose(pane) } });
    const pane = { title, node, field, count, chooser, list: new VirtualList(box, box, ROW, { ...rows, key: ({ number }) => number }) };
    return pane;
  }

  #task() {
    const cells = ["number", "what", "state", "progress", "by", "act"].map((name) => h("span", { class: name, role: "gridcell" }));
    return h("div", { class: "task", role: "row" }, cells);
  }

  #fillTask(node, task) {
    const key = JSON.stringify(task);
    if (node.shown === key) return;
    node.shown = key;
    const [number, what, state, progress, by, button] = node.children;
    say(number, String(task.number));
    what.replaceChildren(`${task.kind} `, subject(this.app, task.target));
    state.className = `state ${{ done: "good", failed: "bad", running: "", queued: "plain" }[task.state] ?? "plain"}`;
    state.replaceChildren(icon(SIGNS[task.state] ?? "plain"), task.state);
    say(progress, task.reason || task.progress);
    progress.title = `${task.reason || task.progress}\nasked by ${task.by}`;
    by.replaceChildren(h("time", { text: clock(task.ended ?? task.begun ?? task.created), title: `asked ${clock(task.created)} by ${task.by}` }));
    const over = !["queued", "running"].includes(task.state) || task.cancel;
    redraw(button, over || !this.app.acts ? "" : h("button", { class: "button small quiet", text: "Cancel", "data-action": `cancel ${task.number}`, "aria-label": `Cancel task ${task.number}`, on: { click: () => act(`tasks/${part(task.number)}/cancel`, {}, `cancel task ${task.number}`) } }));
  }

  #event() {
    const cell = (...inside) => h("span", { role: "gridcell" }, ...inside);
    return h("div", { class: "event", role: "row" }, cell(h("time")), cell(), cell(), cell());
  }

  #fillEvent(node, event) {
    if (node.shown === event) return;
    node.shown = event;
    const [time, sign, about, text] = node.children;
    const level = event.level === "plain" ? "dot" : event.level;
    say(time.firstChild, clock(event.time));
    sign.replaceChildren(icon(level, LEVELS[level]));
    about.replaceChildren(subject(this.app, event.guest ?? event.host ?? ""));
    say(text, event.text);
    text.title = event.text;
  }
}

function subject(app, name) {
  return app.view.guests[name] ? h("a", { href: `#/guests/${part(name)}`, tabindex: "-1", text: name }) : name;
}
