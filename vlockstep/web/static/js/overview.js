// The first page: what is wrong, how it stands, hosts and guests, the balance of load.

import { Balance } from "./balance.js";
import { h, icon, redraw, say } from "./dom.js";
import { plural, milliseconds } from "./format.js";
import { Live } from "./lines.js";
import { rowsOf, Score } from "./score.js";
import { lagOf } from "./store.js";

const SHOWN_PROBLEMS = 3;

export class Overview {
  title = "Overview";
  section = "overview";
  #problems = "";

  constructor(app) {
    this.app = app;
    app.main.className = "fill overview";
    this.problems = h("section", { class: "problems", "aria-label": "Problems", "aria-live": "polite" });
    this.cards = h("section", { class: "cards", "aria-label": "In short" });
    this.score = new Score(app);
    this.balance = app.view.cluster ? new Balance(app) : null;
    this.#makeCards();
    app.main.append(h("h1", { class: "sr", text: "Overview" }), this.problems, this.cards,
      h("div", { class: "stage" }, this.score.node, this.balance?.node));
  }

  /** From a guest: keys go on where it is. */
  arrive({ name }) {
    if (!name) return false;
    this.score.go(name);
    return true;
  }

  leave() {
    this.score.leave();
  }

  draw() {
    this.#drawProblems();
    this.#drawCards();
    this.score.draw();
    this.balance?.draw();
  }

  #drawProblems() {
    const found = this.app.view.problems;
    const key = JSON.stringify([found, this.all]);
    if (key === this.#problems) return;
    this.#problems = key;
    const shown = this.all ? found : found.slice(0, SHOWN_PROBLEMS);
    this.problems.hidden = !found.length;
    const more = found.length <= SHOWN_PROBLEMS ? [] : h("button", { class: "button small quiet more", "data-action": "more problems", text: this.all ? "Show less" : `Show ${plural(found.length - SHOWN_PROBLEMS, "more problem")}`, on: { click: () => ((this.all = !this.all), this.draw()) } });
    redraw(this.problems, shown.map((problem) => this.#problem(problem)), more);
  }

  #problem({ what, cause, target, do: advice }) {
    const [kind, name] = [target.split("/")[0], target.split("/").slice(1).join("/")];
    const go = kind === "guests" && this.app.view.guests[name] ? h("a", { class: "button small", "data-action": `look at ${target}`, href: `#/guests/${encodeURIComponent(name)}`, text: `Look at ${name}` })
      : kind === "hosts" && this.app.view.cluster && this.app.view.hosts[name] ? h("button", { class: "button small", "data-action": `look at ${target}`, text: `Look at ${name}`, on: { click: () => this.score.show(name) } }) : h("span");
    return h("div", { class: "problem" }, icon("bad", "problem"),
      h("span", {}, h("b", { text: what }), cause ? ` — ${cause}` : "", advice ? h("span", { class: "do", text: ` ${advice}` }) : null), go);
  }

  #makeCards() {
    this.tally = new Tally();
    this.worst = h("strong");
    this.worstOf = h("span", { class: "soft" });
    this.line = new Live({ "aria-label": "The largest lag of the last minute", role: "img" });
    const cards = [
      card("Guests", this.tally.node),
      card("Largest lag", h("div", { class: "figure" }, this.worst, this.worstOf), this.line.node),
    ];
    if (this.app.view.cluster) {
      this.ha = h("dl", { class: "facts" });
      this.stores = h("ul", { class: "stores" });
      cards.push(card("High availability", this.ha), card("Heartbeat datastores", this.stores));
    }
    this.cards.replaceChildren(...cards);
  }

  #drawCards() {
    const { view, store } = this.app;
    if (this.drawn === view.revision && this.sampled === store.samples) return;
    this.drawn = view.revision;
    const guests = rowsOf(view).map((row) => row.guest);
    this.tally.draw(guests);
    let worst = null;
    for (const guest of guests) {
      const value = lagOf(guest);
      if (value !== null && (worst === null || value > worst.value)) worst = { value, guest };
    }
    const counts = worst !== null && Object.values(worst.guest.replicas).every((each) => each.lag_ms === null);
    say(this.worst, worst === null ? "–" : counts ? plural(worst.value, "entry", "entries") : milliseconds(worst.value));
    say(this.worstOf, worst === null ? "no guest has a secondary" : worst.guest.name);
    if (this.sampled !== store.samples) this.#drawLargest(store);
    if (view.cluster) this.#drawCluster(view);
  }

  #drawLargest(store) {
    this.sampled = store.samples;
    const kept = [...store.lags.values()];
    const length = Math.max(0, ...kept.map((each) => each.length));
    const largest = new Array(length).fill(0);
    for (const each of kept) each.forEach((value, index) => {
      const at = index + length - each.length;
      if (value > largest[at]) largest[at] = value;
    });
    this.line.draw(largest);
  }

  #drawCluster({ cluster, hosts }) {
    const all = Object.values(hosts);
    const up = all.filter((host) => host.level === "good").length;
    const master = cluster.status?.master;
    const rows = [
      ["HA", cluster.ha ? "on" : "off"], ["Master", master ? h("span", { class: "crowned" }, icon("crown", "master"), master) : "none yet"],
      ["Hosts", `${up} of ${all.length} are fine`], ["Admission", admission(cluster.admission)],
    ];
    const key = JSON.stringify([cluster.ha, master, up, all.length, cluster.admission, cluster.datastores]);
    if (this.ha.shown === key) return;
    this.ha.shown = key;
    this.ha.replaceChildren(...rows.flatMap(([name, value]) => [h("dt", { text: name }), h("dd", {}, value)]));
    this.stores.replaceChildren(...Object.entries(cluster.datastores).map(([name, seen]) => h("li", {},
      icon("disk"), h("b", { text: name }), h("span", { class: seen.length < all.length ? "warn" : "soft", text: seen.length < all.length ? `only ${seen.length} of ${all.length} hosts` : `all ${all.length} hosts` }))));
    if (!Object.keys(cluster.datastores).length) this.stores.append(h("li", { class: "soft", text: "none" }));
  }
}

function admission(settings) {
  const { policy, ...rest } = settings ?? {};
  if (!policy) return Object.keys(rest).length ? JSON.stringify(rest) : "off";
  const details = Object.entries(rest).map(([name, value]) => `${name} ${value}`).join(", ");
  return details ? `${policy} (${details})` : policy;
}

const card = (title, ...children) => h("section", { class: "card stat", "aria-label": title }, h("h2", { text: title }), ...children);

const KINDS = [["bad", "in trouble"], ["warn", "look at"], ["good", "fine"], ["plain", "other"]];

/** How many guests stand how: a bar, and numbers. */
class Tally {
  constructor() {
    this.total = h("strong");
    this.bar = h("div", { class: "tally", "aria-hidden": "true" });
    this.words = h("ul", { class: "legend" });
    this.node = h("div", {}, h("div", { class: "figure" }, this.total), this.bar, this.words);
  }

  draw(guests) {
    const counts = {};
    for (const { protection, level } of guests) (counts[protection] ??= { level, count: 0 }).count++;
    const rank = KINDS.map(([level]) => level);
    const found = Object.entries(counts).sort(([, a], [, b]) => rank.indexOf(a.level) - rank.indexOf(b.level) || b.count - a.count);
    const key = JSON.stringify(found);
    if (key === this.shown) return;
    this.shown = key;
    say(this.total, guests.length.toLocaleString("en"));
    this.bar.replaceChildren(...found.map(([, { level, count }]) => h("i", { class: level, style: { "flex-grow": count } })));
    this.words.replaceChildren(...found.map(([protection, { level, count }]) => h("li", { class: level }, icon(level), `${count.toLocaleString("en")} ${protection}`)));
  }
}
