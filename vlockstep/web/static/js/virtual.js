// A list of which only what is seen is in the page.

import { h } from "./dom.js";

const SPARE = 4;

/** `make()` gives a node for a row, `fill(node, item, index)` shows an item in it. */
export class VirtualList {
  #items = [];
  #nodes = new Map();
  #free = [];

  constructor(box, height, make, fill) {
    Object.assign(this, { box, height, make, fill });
    this.space = h("div", { class: "space", role: "presentation" });
    box.append(this.space);
    box.addEventListener("scroll", () => this.draw(false), { passive: true });
    this.watcher = new ResizeObserver(() => this.draw());
    this.watcher.observe(box);
  }

  set items(items) {
    this.#items = items;
    this.space.style.height = `${items.length * this.height}px`;
    this.draw();
  }

  get items() {
    return this.#items;
  }

  /** Let each row be so high from now on. */
  resize(height) {
    if (height === this.height) return;
    this.height = height;
    for (const [index, node] of this.#nodes) node.style.transform = `translateY(${index * height}px)`;
    this.items = this.#items;
  }

  /** All rows that are seen, or just those that were not before. */
  draw(all = true) {
    const first = Math.max(0, Math.floor(this.box.scrollTop / this.height) - SPARE);
    const last = Math.min(this.#items.length, Math.ceil((this.box.scrollTop + this.box.clientHeight) / this.height) + SPARE);
    for (const [index, node] of this.#nodes)
      if (index < first || index >= last) {
        this.#nodes.delete(index);
        this.#free.push(node);
      }
    for (let index = first; index < last; index++) {
      let node = this.#nodes.get(index);
      if (node && !all) continue;
      if (!node) {
        node = this.#free.pop() ?? this.make();
        node.style.transform = `translateY(${index * this.height}px)`;
        node.hidden = false;
        if (!node.isConnected) this.space.append(node);
        this.#nodes.set(index, node);
      }
      this.fill(node, this.#items[index], index);
    }
    for (const node of this.#free) node.hidden = true;
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
}
