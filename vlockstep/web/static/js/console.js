// What a guest writes, as it writes it: the newest lines, at the end unless somebody has scrolled up.

import { get, part } from "./api.js";
import { h, say } from "./dom.js";
import { bytes } from "./format.js";

const LINES = 2000;

export class ConsoleText {
  #next = null;
  #lines = 0;
  #open = null;
  #begun = false;
  #ended = false;

  constructor(app, name) {
    Object.assign(this, { app, name });
    this.size = h("span", { class: "soft" });
    this.why = h("p", { class: "empty", hidden: true });
    this.box = h("div", { class: "text", role: "log", tabindex: "0", "aria-label": `Console of ${name}`, "aria-live": "off" });
    this.node = h("section", { class: "card console", "aria-label": "Console" }, h("header", {}, h("h2", { text: "Console" }), this.size), this.why, this.box);
  }

  /** From when there is some; `problem` is why there is none yet. */
  async begin(problem) {
    if (this.#begun) return;
    this.why.hidden = !problem;
    say(this.why, problem);
    if (problem) return;
    this.#begun = true;
    try {
      const told = await get(`guests/${part(this.name)}/console`);
      if (this.#ended) return;
      this.#take(told);
      this.unfollow = this.app.onConsole((piece) => piece.guest === this.name && this.#take(piece));
      this.app.stream.watch(this.name, told.next);
    } catch (error) {
      this.#begun = false;
      this.why.hidden = false;
      say(this.why, error.message);
    }
  }

  end() {
    this.#ended = true;
    if (!this.unfollow) return;
    this.unfollow();
    this.app.stream.watch(null);
  }

  #take({ after, next, size, text }) {
    say(this.size, bytes(size));
    if (this.#next !== null && after !== this.#next) this.#line("… some text is not shown …", "soft");
    if (this.#next !== null && next < this.#next) this.#open = null;
    this.#next = next;
    const following = this.box.scrollHeight - this.box.scrollTop - this.box.clientHeight < 30;
    const parts = text.split("\n");
    parts.forEach((piece, index) => {
      this.#open ??= this.#line("");
      this.#open.append(piece);
      if (index < parts.length - 1) this.#open = null;
    });
    if (following) this.box.scrollTop = this.box.scrollHeight;
  }

  #line(text, kind = "") {
    const node = h("div", { class: kind, text });
    this.box.append(node);
    if (++this.#lines > LINES) {
      this.box.firstChild.remove();
      this.#lines--;
    }
    return node;
  }
}
