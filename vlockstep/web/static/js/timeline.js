// Entries of a recording over its length: how many of each kind, zoomed by wheel, buttons or keys.

import { colour, h, sheet } from "./dom.js";
import { plural, whole } from "./format.js";

const BINS = 240;
const LEAST = 20;
/** Kinds of entries by what they are about, each with a colour and a lane. */
const LANES = [
  ["clock", /cycles|walltime/, "k5"],
  ["poll, random", /poll|random|generation/, "k4"],
  ["interrupt", /interrupt/, "k3"],
  ["network", /net/, "k1"],
  ["disk", /block|disk/, "k2"],
  ["console", /console/, "k0"],
  ["keyframe, end", /keyframe|end/, "ink"],
];

export class Timeline {
  first = 0;
  last = 0;
  #total = 0;
  #bins = [];
  #overview = [];
  #asked = 0;
  #mark = null;

  /** `ask(first, last, count)` gives bins, `moved(first, last)` is told, and `picked(entry)`. */
  constructor(ask, moved, picked) {
    Object.assign(this, { ask, moved, picked });
    const button = (label, text, call) => h("button", { class: "button small", "aria-label": label, title: label, text, on: { click: call } });
    this.range = h("span", { class: "soft", role: "status" });
    this.canvas = h("canvas", { class: "entries", tabindex: "0", role: "img", "aria-label": "Entries by kind", "aria-description": "Plus and minus zoom, arrow keys go along",
      on: { wheel: (event) => this.#wheel(event), pointerdown: (event) => this.#grab(event), pointermove: (event) => this.#over(event), pointerleave: () => this.#over(null), keydown: (event) => this.#key(event) } });
    this.all = h("canvas", { class: "whole", "aria-hidden": "true", on: { pointerdown: (event) => this.#jump(event) } });
    this.tip = h("div", { class: "tip", hidden: true });
    this.node = h("section", { class: "card timeline", "aria-label": "Timeline" },
      h("header", {}, h("h2", { text: "Entries" }), this.range, h("span", { class: "push" }), button("Zoom in", "+", () => this.zoom(0.5)), button("Zoom out", "−", () => this.zoom(2)), button("All of it", "All", () => this.show(0, this.#total))),
      h("div", { class: "lanes" }, h("ul", { class: "names" }, LANES.map(([name, , tone]) => h("li", { class: tone, text: name }))), h("div", { class: "sheets" }, this.canvas, this.all, this.tip)));
    this.watcher = new ResizeObserver(() => this.draw());
    this.watcher.observe(this.canvas);
    this.dark = matchMedia("(prefers-color-scheme: dark)");
    this.recolour = () => this.draw();
    this.dark.addEventListener("change", this.recolour);
  }

  end() {
    this.watcher.disconnect();
    this.dark.removeEventListener("change", this.recolour);
  }

  open(entries) {
    this.#total = entries;
    this.show(0, entries);
  }

  async show(first, last) {
    const length = Math.max(Math.min(LEAST, this.#total), Math.min(last - first, this.#total));
    this.first = Math.max(0, Math.min(Math.round(first), this.#total - Math.round(length)));
    this.last = this.first + Math.round(length);
    const asked = ++this.#asked;
    const { bins } = await this.ask(this.first, this.last, BINS);
    if (asked !== this.#asked) return;
    this.#bins = bins;
    if (this.last - this.first === this.#total) this.#overview = bins;
    this.range.textContent = `${whole(this.first)} to ${whole(this.last)} of ${plural(this.#total, "entry", "entries")}`;
    this.draw();
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.moved(this.first, this.last), 120);
  }

  /** By this factor, around an entry. */
  zoom(factor, around = this.#mark !== null && this.#mark >= this.first && this.#mark < this.last ? this.#mark : (this.first + this.last) / 2) {
    const length = (this.last - this.first) * factor;
    const share = (around - this.first) / (this.last - this.first || 1);
    this.show(around - length * share, around + length * (1 - share));
  }

  point(entry) {
    this.#mark = entry;
    this.draw();
  }

  draw() {
    const { context, width, height } = sheet(this.canvas);
    const lane = height / LANES.length;
    const x = (entry) => ((entry - this.first) / (this.last - this.first || 1)) * width;
    LANES.forEach(([, pattern, tone], row) => {
      const counts = this.#bins.map((bin) => count(bin, pattern));
      const most = Math.max(1, ...counts);
      context.fillStyle = colour("line");
      context.fillRect(0, (row + 1) * lane - 1, width, 1);
      context.fillStyle = colour(tone);
      this.#bins.forEach((bin, index) => {
        if (!counts[index]) return;
        const tall = Math.max(3, (counts[index] / most) * (lane - 6));
        context.fillRect(x(bin.first), (row + 1) * lane - 1 - tall, Math.max(1.5, x(bin.first + bin.count) - x(bin.first) - 0.6), tall);
      });
    });
    context.fillStyle = colour("ink");
    if (this.#mark !== null) context.fillRect(x(this.#mark) - 0.75, 0, 1.5, height);
    this.#drawAll();
  }

  #drawAll() {
    const { context, width, height } = sheet(this.all);
    const most = Math.max(1, ...this.#overview.map((bin) => bin.bytes));
    context.fillStyle = colour("k4");
    const x = (entry) => (entry / (this.#total || 1)) * width;
    for (const bin of this.#overview) {
      const tall = Math.max(1, (bin.bytes / most) * (height - 4));
      context.fillRect(x(bin.first), height - tall, Math.max(1, x(bin.count) - 0.5), tall);
    }
    context.globalAlpha = 0.16;
    context.fillStyle = context.strokeStyle = colour("accent");
    context.fillRect(x(this.first), 0, Math.max(3, x(this.last - this.first)), height);
    context.globalAlpha = 1;
    context.lineWidth = 1.5;
    context.strokeRect(x(this.first) + 0.75, 0.75, Math.max(3, x(this.last - this.first)) - 1.5, height - 1.5);
  }

  #entry(event) {
    return this.first + (event.offsetX / this.canvas.clientWidth) * (this.last - this.first);
  }

  #wheel(event) {
    event.preventDefault();
    this.zoom(event.deltaY < 0 ? 0.7 : 1.4, this.#entry(event));
  }

  #grab(event) {
    const [begun, first, last] = [event.clientX, this.first, this.last];
    this.canvas.setPointerCapture(event.pointerId);
    const move = (now) => {
      const by = ((begun - now.clientX) / this.canvas.clientWidth) * (last - first);
      if (Math.abs(now.clientX - begun) > 4) this.show(first + by, last + by);
    };
    this.canvas.addEventListener("pointermove", move);
    this.canvas.addEventListener("pointerup", (now) => {
      this.canvas.removeEventListener("pointermove", move);
      if (Math.abs(now.clientX - begun) <= 4) this.picked(Math.floor(this.#entry(now)));
    }, { once: true });
  }

  #over(event) {
    const entry = event ? this.#entry(event) : -1;
    const bin = this.#bins.find((each) => entry >= each.first && entry < each.first + each.count);
    this.tip.hidden = !bin;
    if (!bin) return;
    const kinds = Object.entries(bin.kinds).map(([kind, number]) => `${number} ${kind}`).join(", ");
    this.tip.textContent = `entry ${whole(bin.first)}${bin.count > 1 ? ` to ${whole(bin.first + bin.count - 1)}` : ""} · from exit ${whole(bin.exits)} · ${kinds}`;
    this.tip.style.left = `${Math.min(event.offsetX + 12, this.canvas.clientWidth - 240)}px`;
  }

  #jump(event) {
    const middle = (event.offsetX / this.all.clientWidth) * this.#total;
    const half = (this.last - this.first) / 2;
    this.show(middle - half, middle + half);
  }

  #key(event) {
    const length = this.last - this.first;
    const step = { ArrowLeft: -0.2, ArrowRight: 0.2, PageUp: -1, PageDown: 1 }[event.key];
    if (step) this.show(this.first + length * step, this.last + length * step);
    else if (event.key === "+" || event.key === "=") this.zoom(0.5);
    else if (event.key === "-") this.zoom(2);
    else if (event.key === "Home") this.show(0, length);
    else if (event.key === "End") this.show(this.#total - length, this.#total);
    else return;
    event.preventDefault();
  }
}

const count = (bin, pattern) => Object.entries(bin.kinds).reduce((sum, [kind, number]) => (pattern.test(kind.toLowerCase()) ? sum + number : sum), 0);
