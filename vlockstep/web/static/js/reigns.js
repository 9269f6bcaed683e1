// Who ruled a guest when: generations as bars on a line of time, and why each began.

import { h, icon, redraw } from "./dom.js";
import { clock, span } from "./format.js";

const LEAST = 4; // percent of the width: a short reign is seen, too

export class Reigns {
  #key = "";

  constructor() {
    this.bars = h("ol", { class: "reigns" });
    this.node = h("section", { class: "card", "aria-label": "Generations" }, h("header", {}, h("h2", { text: "Who ruled when" }), h("span", { class: "soft", text: "a generation each: exactly one replica speaks to the world" })), h("div", { class: "body" }, this.bars));
  }

  draw(generations, guest) {
    const now = Date.now() / 1000;
    const key = JSON.stringify([generations, Math.round(now / 5), guest.level]);
    if (key === this.#key) return;
    this.#key = key;
    const shown = generations.slice(-12);
    if (!shown.length) return void this.bars.replaceChildren(h("li", { class: "soft none", text: "Nobody has ruled it since this server looks." }));
    const rulers = [...new Set(generations.map((each) => each.ruler))];
    redraw(this.bars, shown.map((each, index) => {
      const end = shown[index + 1]?.since ?? now;
      const seconds = Math.max(0, end - each.since);
      const last = index === shown.length - 1;
      const made = h("li", { class: `reign r${rulers.indexOf(each.ruler) % 4}${last ? " last" : ""}`, tabindex: "0", "data-action": `generation ${each.generation}` },
        h("div", { class: "bar" }, h("b", { text: `${each.generation}` }), h("span", { text: each.ruler }), each.members > 1 ? h("span", { class: "members", title: `${each.members} members` }, "●".repeat(Math.min(4, each.members))) : h("span", { class: "members" }, icon("warn", "alone"))),
        h("div", { class: "why" }, h("time", { text: clock(each.since) }), ` ${each.reason}`, h("span", { class: "soft", text: last ? ` · for ${span(seconds)}` : ` · ${span(seconds)}` })));
      // Long reigns would hide the others: their widths grow as the root of their time.
      made.style.flexGrow = Math.max(LEAST, Math.sqrt(seconds));
      return made;
    }));
  }
}
