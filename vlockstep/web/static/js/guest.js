// A guest: how it is, who ruled it when, its rates, its text, and what can be done with it.

import { get, part } from "./api.js";
import { Chart } from "./charts.js";
import { ConsoleText } from "./console.js";
import { act, confirm, copy, migrate, protect } from "./dialogs.js";
import { h, icon, pill, redraw, say } from "./dom.js";
import { bytes, lag, milliseconds, rate, whole } from "./format.js";
import { Moving } from "./moving.js";
import { Reigns } from "./reigns.js";
import { primaryOf } from "./store.js";

const AGAIN = 2000;
const KEPT = 600;
const PEERS = 4;

/** What can be asked for: name, sign, and what a person should know before. */
const ACTIONS = [
  ["start", "Start", "play", null],
  ["switchover", "Switch over", "swap", (name) => `The secondary of ${name} takes over, and what is primary now follows it. Connections go on.`],
  ["migrate", "Migrate", "arrow", null],
  ["protect", "Protect", "shield", null],
  ["unprotect", "Unprotect", "shield", (name) => `${name} loses its secondary: if its host fails, it is gone until it is started again.`],
  ["stop", "Stop", "stop", (name) => `${name} is ended, wherever it has replicas. What speaks to it is cut off.`],
];
const DRILLS = [
  ["test-failover", "Test failover", "A drill: its primary is made to fail, and its secondary takes over. Clients should notice nothing."],
  ["test-restart-secondary", "Test restart of the secondary", "A drill: its secondary is made to fail, and another one takes its place."],
];

export class GuestPage {
  section = "overview";
  #shown = "";
  #buttons = "";
  #left = false;
  #samples = [];

  constructor(app, name) {
    Object.assign(this, { app, name, title: name, details: null, generations: [], peers: [] });
    app.main.classList.add("guest");
    this.head = h("div", { class: "guest-head" });
    this.actions = h("div", { class: "actions", role: "group", "aria-label": `Actions on ${name}` });
    this.moving = new Moving();
    this.reigns = new Reigns();
    this.charts = [new Chart("Lag", milliseconds, "k0"), new Chart("Log", rate, "k1"), new Chart("Disks", rate, "k2"), new Chart("Network", (value) => `${value < 10 ? Number(value.toFixed(1)) : whole(value)} frames/s`, "k3")];
    this.text = new ConsoleText(app, name);
    this.replicas = h("div", { class: "replicas" });
    this.parts = h("dl", { class: "facts" });
    this.drills = h("div", { class: "drills" });
    this.secondary = h("code", { class: "command" });
    this.joining = h("section", { class: "card joining", "aria-label": "A secondary for it", hidden: true }, h("header", {}, icon("shield"), h("h2", { text: "A secondary for it" }), h("span", { class: "soft", text: "start it by this command, here or where its files are shared" })),
      h("div", { class: "body" }, this.secondary, h("button", { class: "button small", on: { click: () => copy(this.secondary.textContent) } }, "Copy")));
    app.main.append(h("nav", { class: "crumbs", "aria-label": "Where" }, h("a", { href: "#/", text: "Overview" }), " / ", name),
      this.head, this.actions, this.joining, this.moving.node, this.reigns.node,
      h("div", { class: "charts" }, this.charts.map((chart) => chart.node)),
      h("div", { class: "halves" }, this.text.node, h("div", { class: "stack" },
        box("Replicas", this.replicas), box("Disks, networks, arguments", this.parts), box("Drills", this.drills))));
    this.#ask();
  }

  leave() {
    this.#left = true;
    clearTimeout(this.timer);
    this.text.end();
    this.charts.forEach((chart) => chart.end());
  }

  async #ask() {
    try {
      const told = await get(`guests/${part(this.name)}`);
      const reigns = await this.#reigns(told);
      if (this.#left) return;
      Object.assign(this, { details: told, generations: reigns });
      this.#merge(told.samples);
      this.text.begin(told.console);
    } catch (error) {
      if (this.#left) return;
      if (error.status === 404) this.details = null;
    }
    this.draw();
    this.timer = setTimeout(() => this.#ask(), AGAIN);
  }

  /** Without a cluster each process knows of its own reigns: those of the others here, too. */
  async #reigns(told) {
    const peers = this.app.view.guests[this.name]?.peers ?? [];
    const others = await Promise.allSettled(peers.slice(0, PEERS).map((peer) => get(`guests/${part(peer)}`)));
    const all = [...told.generations, ...others.flatMap(({ value }) => value?.generations ?? [])];
    const found = new Map(all.sort((a, b) => a.since - b.since).map((each) => [each.generation, each]));
    return [...found.values()].sort((a, b) => a.generation - b.generation);
  }

  #merge(samples) {
    const last = this.#samples.at(-1)?.time ?? -Infinity;
    this.#samples = [...this.#samples, ...samples.filter((sample) => sample.time > last)].slice(-KEPT);
    const times = this.#samples.map((sample) => sample.time);
    const column = (name) => this.#samples.map((sample) => sample[name]);
    const entries = this.#samples.length > 0 && this.#samples.every((sample) => sample.lag_ms === null);
    this.charts[0].format = entries ? (value) => `${whole(value)} entries` : milliseconds;
    ["lag_ms", "log_bytes_per_s", "disk_bytes_per_s", "network_frames_per_s"].forEach((name, index) =>
      this.charts[index].draw(times, column(index === 0 && entries ? "lag_entries" : name)));
  }

  draw() {
    const guest = this.app.view.guests[this.name];
    this.#drawHead(guest);
    this.#drawActions(guest);
    this.moving.draw(guest?.migration ?? null);
    this.joining.hidden = !guest || !this.details?.secondary || guest.protection === "protected";
    say(this.secondary, this.details?.secondary ?? "");
    if (!guest) return;
    this.peers = guest.peers;
    this.reigns.draw(this.generations, guest);
    this.#drawReplicas(guest);
  }

  #drawHead(guest) {
    const primary = guest ? primaryOf(guest) : null;
    const others = guest ? [] : this.peers.filter((name) => name in this.app.view.guests);
    const key = JSON.stringify([others, guest?.protection, guest?.level, guest?.image, guest?.host, guest?.pending, primary?.state_text, primary?.generation, primary?.members]);
    if (this.#shown !== key) {
      this.#shown = key;
      this.lagText = h("strong");
      const fact = (name, value) => h("span", { class: "fact" }, h("span", { class: "soft", text: name }), value);
      this.head.replaceChildren(h("h1", {}, this.name), guest ? pill(guest.level, guest.protection) : pill("plain", "gone"),
        ...(guest ? [fact("image", h("b", { text: guest.image })), guest.host ? fact("on", h("b", { text: guest.host })) : "",
          primary ? fact("generation", h("b", { text: String(primary.generation) })) : "", primary?.members ? fact("members", h("b", { text: String(primary.members) })) : "", fact("lag", this.lagText),
          guest.pending ? h("span", { class: "bad", text: `waits: ${guest.pending}` }) : ""] : [h("span", { class: "soft", text: "It does not run here any more." }),
          ...others.map((name) => h("span", { class: "fact" }, h("span", { class: "soft", text: "another replica of it:" }), h("a", { href: `#/guests/${part(name)}`, text: name })))]));
    }
    say(this.lagText, primary && primary.members > 1 ? lag(primary) : "–");
  }

  #drawActions(guest) {
    const refused = this.details?.actions ?? {};
    const key = JSON.stringify([refused, Boolean(guest), this.app.acts]);
    if (key === this.#buttons) return;
    this.#buttons = key;
    const why = (name) => (!guest ? "it is gone" : !this.app.acts ? "this token may only look" : (refused[name] ?? ""));
    const offered = (name) => name in refused;
    redraw(this.actions, ACTIONS.filter(([name]) => offered(name)).map(([name, label, sign, text]) => this.#button(name, label, sign, text?.(this.name), why(name))));
    redraw(this.drills, h("p", { class: "soft", text: "Practise what must work on the day. Killing a host is not offered: do that at the host." }),
      DRILLS.filter(([name]) => offered(name)).map(([name, label, text]) => h("div", { class: "drill" }, this.#button(name, label, "drill", text, why(name)), h("span", { class: "soft", text: why(name) || text }))));
  }

  #button(name, label, sign, text, why) {
    const go = () => act(`guests/${part(this.name)}/${name}`, {}, `${label.toLowerCase()} ${this.name}`).then(() => this.#soon());
    const press = (event) => {
      if (event.currentTarget.getAttribute("aria-disabled") === "true") return;
      if (name === "migrate") migrate(this.app, this.name, this.details);
      else if (name === "protect" && this.app.view.kind === "guests") protect(this.name, () => this.#soon());
      else if (text) confirm(`${label}: ${this.name}`, text, label, go);
      else go();
    };
    return h("button", { class: "button", "data-action": name, "aria-disabled": why ? "true" : null, title: why ? `Not now: ${why}` : null, "aria-description": why || null, on: { click: press } }, icon(sign), label);
  }

  #soon() {
    clearTimeout(this.timer);
    this.#ask();
  }

  #drawReplicas(guest) {
    const found = Object.entries(guest.replicas);
    const key = JSON.stringify([found.map(([host, each]) => [host, each.role, each.life, each.state_text, each.endpoint]), guest.peers, this.details?.disks, this.details?.nics, this.details?.arguments]);
    if (key !== this.replicas.key) {
      this.replicas.key = key;
      redraw(this.replicas, found.map(([host, each]) => h("div", { class: "replica" }, h("span", { class: `block ${each.role ?? "none"}` }, h("b", { text: each.role ?? each.life })), h("b", { text: host }), h("span", { text: each.state_text }), h("code", { class: "soft", text: each.endpoint }))),
        guest.peers.map((name) => h("div", { class: "replica" }, icon("swap"), h("a", { "data-action": `look at ${name}`, href: `#/guests/${part(name)}`, text: name }), h("span", { class: "soft", text: "another replica of it, here" }))),
        found.length ? [] : h("p", { class: "soft", text: "None runs." }));
      this.parts.replaceChildren(...this.#facts());
    }
  }

  #facts() {
    const { disks = {}, nics = {}, arguments: words = [] } = this.details ?? {};
    const told = (each) => Object.entries(each).map(([name, value]) => `${name.replaceAll("_", " ")} ${/read|written|bytes/.test(name) ? bytes(value) : typeof value === "object" ? JSON.stringify(value) : value}`).join(", ");
    const rows = [...Object.entries(disks).map(([name, each]) => [`disk ${name}`, told(each)]), ...Object.entries(nics).map(([name, each]) => [`NIC ${name}`, told(each)]), ["arguments", h("code", { text: words.join(" ") || "none" })]];
    return rows.flatMap(([name, value]) => [h("dt", { text: name }), h("dd", {}, value)]);
  }
}

const box = (title, child) => h("section", { class: "card", "aria-label": title }, h("header", {}, h("h2", { text: title })), h("div", { class: "body" }, child));
