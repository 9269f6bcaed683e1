// A grid of which only the rows that are seen are in the page, in their order. Keys choose among all.

import { h } from "./dom.js";

const SPARE = 4;
let made = 0;

/** In `grid` a `box` that scrolls, with rows that are `height` pixels high. `make()` gives a node for
 * a row, `fill(node, item)` shows an item in it, which it keeps as long as it is seen, wherever that
 * goes: `key(item, index)` tells items apart. `open(item)` is for Enter, `chose(item)` for the keys
 * that choose; `heads` rows are above. */
export class VirtualList {
  #items = [];
  #nodes = new Map();
  #free = [];
  #chosen = null;
  #at = 0;

  constructor(grid, box, height, { make, fill, key, open = () => {}, chose = () => {}, heads = 0 }) {
    Object.assign(this, { grid, box, height, make, fill, key, open, chose, heads });
    this.space = h("div", { class: "space", role: "presentation" });
    box.append(this.space);
    box.addEventListener("scroll", () => this.draw(false), { passive: true });
    grid.addEventListener("keydown", (event) => this.#key(event));
    grid.addEventListener("focus", () => this.#focused());
    this.watcher = new ResizeObserver(() => this.draw());
    this.watcher.observe(box);
  }

  set items(items) {
    this.#items = items;
    this.space.style.height = `${items.length * this.height}px`;
    this.grid.setAttribute("aria-rowcount", items.length + this.heads);
    this.draw();
  }

  get items() {
    return this.#items;
  }

  /** Let each row be so high from now on. */
  resize(height) {
    if (height === this.height) return;
    this.height = height;
    for (const node of this.#nodes.values()) node.index = null;
    this.items = this.#items;
  }

  /** All rows that are seen, or just those that were not before. */
  draw(all = true) {
    const { box, height } = this;
    const first = Math.max(0, Math.floor(box.scrollTop / height) - SPARE);
    const last = Math.min(this.#items.length, Math.ceil((box.scrollTop + box.clientHeight) / height) + SPARE);
    const wanted = new Map();
    for (let index = first; index < last; index++) wanted.set(this.key(this.#items[index], index), index);
    for (const [key, node] of this.#nodes)
      if (!wanted.has(key)) {
        this.#nodes.delete(key);
        this.#free.push(node);
        node.hidden = true;
      }
    let place = this.space.firstChild;
    for (const [key, index] of wanted) {
      const known = this.#nodes.get(key);
      const node = known ?? this.#another(key);
      while (place?.hidden) place = place.nextSibling;
      if (node === place) place = node.nextSibling;
      else this.space.insertBefore(node, place);
      if (node.index !== index) this.#put(node, index);
      if (all || !known) this.fill(node, this.#items[index], index);
      node.classList.toggle("chosen", key === this.#chosen);
    }
    this.#point();
  }

  #another(key) {
    const node = this.#free.pop() ?? Object.assign(this.make(), { id: `row-${made++}` });
    node.hidden = false;
    node.index = null;
    this.#nodes.set(key, node);
    return node;
  }

  #put(node, index) {
    node.index = index;
    node.style.transform = `translateY(${index * this.height}px)`;
    node.setAttribute("aria-rowindex", index + 1 + this.heads);
  }

  #point() {
    const node = this.#nodes.get(this.#chosen);
    if (node) this.grid.setAttribute("aria-activedescendant", node.id);
    else this.grid.removeAttribute("aria-activedescendant");
  }

  /** Where the chosen one is, or was. */
  get chosen() {
    const index = this.#chosen === null ? -1 : this.#items.findIndex((item, each) => this.key(item, each) === this.#chosen);
    return index >= 0 ? index : Math.min(this.#at, this.#items.length - 1);
  }

  choose(index) {
    if (!this.#items.length) return;
    this.#at = Math.min(this.#items.length - 1, Math.max(0, index));
    this.#chosen = this.key(this.#items[this.#at], this.#at);
    this.reveal(this.#at);
  }

  reveal(index) {
    const { box, height } = this;
    if (index * height < box.scrollTop) box.scrollTop = index * height;
    else if ((index + 1) * height > box.scrollTop + box.clientHeight) box.scrollTop = (index + 1) * height - box.clientHeight;
    this.draw();
  }

  end() {
    this.watcher.disconnect();
  }

  /** By keys: by a pointer the list stays as it is under it. */
  #focused() {
    if (this.grid.matches(":focus-visible")) this.choose(this.#chosen === null ? Math.ceil(this.box.scrollTop / this.height) : this.chosen);
  }

  #key(event) {
    if (![this.grid, this.box].includes(event.target) || event.ctrlKey || event.metaKey || event.altKey) return;
    const page = Math.max(1, Math.floor(this.box.clientHeight / this.height) - 1);
    const step = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -Infinity, End: Infinity, j: 1, k: -1 }[event.key];
    const chosen = this.#items[this.chosen];
    if (!chosen || !(step || event.key === "Enter")) return;
    event.preventDefault();
    if (!step) return void this.open(chosen);
    this.choose(this.#chosen === null ? this.chosen : this.chosen + step);
    this.chose(this.#items[this.#at]);
  }
}
