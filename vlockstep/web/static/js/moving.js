// A migration while it runs: its steps, what is sent and still to be sent, how long the guest would stand.

import { h, icon, say } from "./dom.js";
import { bytes, milliseconds, plural, rate, span } from "./format.js";
import { Live } from "./lines.js";

const STEPS = { connecting: "reach it", checking: "check", disks: "disks", memory: "memory", catching_up: "catch up", switching: "hand over", leaving: "leave" };
const STANDING = "standing"; // in the place of catching up, by precopy
const LINE = 60;

export class Moving {
  #seen = new Set();
  #lefts = [];
  #last = null;
  #key = "";

  constructor() {
    this.phase = h("span", { class: "soft", role: "status" });
    this.steps = h("ol", { class: "passes", "aria-label": "Steps" });
    this.facts = h("dl", { class: "moves" });
    this.line = new Live({ role: "img", "aria-label": "What was left to send during the last while" });
    this.node = h("section", { class: "card moving", "aria-label": "Migration", hidden: true },
      h("header", {}, icon("arrow"), h("h2", { text: "Migration" }), this.phase), h("div", { class: "body" }, this.steps, this.facts, this.line.node));
  }

  draw(moving) {
    this.node.hidden = !moving;
    if (!moving) {
      this.#seen.clear();
      this.#lefts = [];
      return;
    }
    if (moving === this.#last) return;
    this.#last = moving;
    this.#seen.add(moving.phase);
    if (moving.left !== null) this.#lefts = [...this.#lefts, moving.left].slice(-LINE);
    const what = moving.role === "secondary" ? "its secondary, " : "";
    say(this.phase, `${what}${moving.to ? `to ${moving.to}: ` : ""}${moving.text || moving.phase}`);
    this.#drawSteps(moving);
    this.#drawFacts(moving);
    this.line.draw(this.#lefts, { full: 1, count: LINE });
  }

  #drawSteps({ phase, rounds, role }) {
    const skipped = { disks: !this.#seen.has("disks"), switching: role === "secondary" };
    const names = Object.keys(STEPS).filter((name) => !skipped[name]);
    const now = names.indexOf(phase === STANDING ? "catching_up" : phase);
    const steps = names.flatMap((name, index) => {
      const state = index < now ? "over" : index === now ? "now" : "";
      if (name === "memory" && state) return passes(rounds + 1, state);
      return [[name === "catching_up" && phase === STANDING ? "stand" : STEPS[name], state]];
    });
    const key = JSON.stringify(steps);
    if (key === this.#key) return;
    this.#key = key;
    this.steps.replaceChildren(...steps.map(([name, state]) => h("li", { class: state, "aria-current": state === "now" ? "step" : null },
      state === "over" ? icon("good", "done") : icon(state ? "spin" : "plain"), name)));
  }

  #drawFacts(moving) {
    const { left, bytes_per_s: speed } = moving;
    const soon = left !== null && speed > 0 && moving.phase === "memory" ? `, ${span(left / speed)}` : "";
    const facts = [["sent", bytes(moving.bytes)], ["rate", rate(speed)], ["left in this pass", left === null ? "–" : `${bytes(left)}${soon}`],
      ["expected pause", milliseconds(moving.pause_ms)], ["behind", plural(moving.lag_entries, "entry", "entries")], ["slowed by", `${moving.throttle} %`]];
    if (!this.facts.children.length) this.facts.append(...facts.map(([name]) => h("div", {}, h("dt", { text: name }), h("dd"))));
    facts.forEach(([, value], index) => say(this.facts.children[index].lastChild, value));
  }
}

/** The last three of so many, and those before as one; `state` is the last one's. */
function passes(count, state) {
  const first = Math.max(1, count - 2);
  const shown = Array.from({ length: count - first + 1 }, (_, at) => [`pass ${first + at}`, first + at < count ? "over" : state]);
  if (first === 1) return shown;
  return [[first === 2 ? "pass 1" : `passes 1 to ${first - 1}`, "over"], ...shown];
}
