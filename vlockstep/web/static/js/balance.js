// How evenly load is spread, and what would spread it better.

import { h, icon, pill, redraw, say } from "./dom.js";
import { act, confirm } from "./dialogs.js";
import { plural } from "./format.js";
import { Live } from "./lines.js";

const URGENCY = { 1: "bad", 2: "warn" };

export class Balance {
  #key = "";

  constructor(app) {
    this.app = app;
    this.now = h("strong");
    this.aim = h("span", { class: "soft" });
    this.state = h("span", { class: "push" });
    this.level = h("i", { class: "level" });
    this.target = h("i", { class: "target" });
    this.gauge = h("div", { class: "gauge", role: "meter", "aria-label": "Imbalance", "aria-valuemin": 0 }, h("div", { class: "scale" }, this.level, this.target), this.mark = h("span", { class: "aim" }));
    this.line = new Live({ role: "img", "aria-label": "Imbalance during the last minute" });
    this.list = h("ol", { class: "advice", "aria-label": "Recommendations" });
    this.mode = h("p", { class: "soft" });
    this.head = h("h2", { text: "Recommendations" });
    this.all = h("button", { class: "button small push", text: "Apply all", on: { click: () => this.#apply(Object.keys(app.view.recommendations)) } });
    this.node = h("section", { class: "card balance", "aria-label": "Balance of load" },
      h("header", {}, h("h2", { text: "Balance of load" }), this.state),
      h("div", { class: "body" }, h("div", { class: "figure" }, this.now, this.aim), this.gauge, this.line.node, this.mode),
      h("header", { class: "second" }, this.head, this.all), this.list);
  }

  draw() {
    const { cluster, recommendations } = this.app.view;
    const now = cluster.status?.imbalance ?? null;
    this.#drawGauge(now, cluster.target, cluster.drs);
    say(this.mode, cluster.drs ? `Automation ${cluster.automation}, threshold ${cluster.threshold}` : "Load is not balanced: drs=off");
    if (this.sampled !== this.app.store.samples) this.line.draw(this.app.store.imbalances, { full: Math.max(0.05, (cluster.target ?? 0) * 1.4) });
    this.sampled = this.app.store.samples;
    const key = JSON.stringify([recommendations, this.app.acts]);
    if (key === this.#key) return;
    this.#key = key;
    const found = Object.values(recommendations).sort((a, b) => a.priority - b.priority);
    this.all.hidden = found.length < 2 || !this.app.acts;
    const none = h("li", { class: "empty", text: cluster.drs ? "Nothing would make it better." : "None." });
    redraw(this.list, found.length ? found.map((each) => this.#item(each)) : none);
  }

  #drawGauge(now, target, on) {
    const full = Math.max(0.3, (target ?? 0) * 2, (now ?? 0) * 1.15);
    const share = (value) => `${Math.min(100, (100 * (value ?? 0)) / full)}%`;
    say(this.now, now === null ? "–" : now.toFixed(3));
    say(this.aim, target === null ? "no target" : `imbalance now, target ${target.toFixed(3)}`);
    this.level.style.width = share(now);
    this.target.style.left = this.mark.style.left = share(target);
    this.target.hidden = this.mark.hidden = target === null;
    say(this.mark, "target");
    const over = target !== null && now !== null && now > target;
    this.level.classList.toggle("over", over);
    this.gauge.setAttribute("aria-valuenow", now ?? 0);
    this.gauge.setAttribute("aria-valuemax", full.toFixed(3));
    this.gauge.setAttribute("aria-valuetext", `${now ?? "unknown"}, target ${target ?? "none"}`);
    const state = !on ? ["plain", "off"] : over ? ["warn", "uneven"] : ["good", "balanced"];
    if (this.stated !== state[1]) this.state.replaceChildren(pill(...state));
    this.stated = state[1];
  }

  #item(each) {
    const moves = each.moves.map((move) => h("div", { class: "move" }, h("a", { href: `#/guests/${encodeURIComponent(move.guest)}`, text: move.guest }),
      h("span", { class: "soft", text: move.role === "secondary" ? " (secondary) " : " " }), h("span", { text: move.from }), icon("arrow", "to"), h("span", { text: move.to })));
    const figures = [["gain", each.gain], ["cost", each.cost], ["risk", each.risk]].filter(([, value]) => value !== undefined && value !== null);
    return h("li", {}, h("div", { class: "urgency" }, pill(URGENCY[each.priority] ?? "plain", `priority ${each.priority}`)),
      h("div", { class: "what" }, moves, h("p", { text: each.reason }),
        h("p", { class: "soft" }, figures.map(([name, value]) => `${name} ${Number(value).toFixed(3)}`).join(" · "), each.prerequisites.length ? ` · after ${each.prerequisites.join(", ")}` : "")),
      this.app.acts ? h("button", { class: "button small", text: "Apply", "data-action": `apply ${each.key}`, "aria-label": `Apply ${each.moves.map((move) => `${move.guest} to ${move.to}`).join(", ")}`, on: { click: () => this.#apply([each.key]) } }) : null);
  }

  #apply(keys) {
    const moves = keys.flatMap((key) => this.app.view.recommendations[key]?.moves ?? []);
    const what = moves.map((move) => `${move.guest} from ${move.from} to ${move.to}`).join("; ");
    confirm("Apply recommendations", `${plural(moves.length, "guest")} will migrate while running: ${what}. What they need is done before.`, "Apply", () => act("recommendations/apply", { keys }, `apply ${plural(keys.length, "recommendation")}`));
  }
}
