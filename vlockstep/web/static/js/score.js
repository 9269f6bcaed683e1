// Guests by host, written as a score: a row a guest, a column a host, its replicas linked.

import { part } from "./api.js";
import { colour, h, icon, say, sheet } from "./dom.js";
import { lag, matches, plural, rate, whole } from "./format.js";
import { showHost } from "./hosts.js";
import { spark } from "./lines.js";
import { lagOf, primaryOf, RANK, replicasOf, secondariesOf } from "./store.js";
import { VirtualList } from "./virtual.js";

const ROW = 34;
const STACKED = 60;
const COLUMN = 70; // pixels that a host needs at least, and what is beside hosts
const BESIDE = 388;
const NARROW = matchMedia("(max-width: 900px)");
const ORDERS = {
  "worst first": (a, b) => RANK[a.guest.level] - RANK[b.guest.level] || byName(a, b),
  name: (a, b) => byName(a, b),
  lag: (a, b) => (lagOf(b.guest) ?? -1) - (lagOf(a.guest) ?? -1) || byName(a, b),
  "log rate": (a, b) => b.rate - a.rate || byName(a, b),
};
const ALPHABET = new Intl.Collator("en", { numeric: true });
const byName = (a, b) => ALPHABET.compare(a.guest.name, b.guest.name);
const LINE = [56, 24];

export class Score {
  #order = "worst first";
  #shape = "";
  #sorted = { key: "", at: 0 };

  constructor(app) {
    this.app = app;
    this.field = h("input", { class: "field", type: "search", placeholder: "Filter guests, hosts, states", "aria-label": "Filter guests", on: { input: () => this.draw(true) } });
    this.sorter = h("select", { class: "field", "aria-label": "Order", on: { change: () => ((this.#order = this.sorter.value), this.draw(true)) } },
      Object.keys(ORDERS).map((name) => h("option", { value: name, text: name })));
    this.count = h("span", { class: "soft", role: "status" });
    this.head = h("div", { class: "score-head", role: "row", "aria-rowindex": 1 });
    this.body = h("div", { class: "score-body", role: "rowgroup", tabindex: "-1" });
    this.grid = h("div", { class: "score-grid", role: "grid", tabindex: "0", "aria-label": "Guests by host", "aria-description": "Arrow keys choose, Enter opens" }, h("div", { role: "rowgroup" }, this.head), this.body);
    this.none = h("p", { class: "empty", hidden: true });
    this.node = h("section", { class: "card score", "aria-label": "Hosts and guests" },
      h("header", {}, h("h2", { text: app.view.kind === "cluster" ? "Hosts and guests" : "Guests of this computer" }), this.count, h("span", { class: "push" }), this.field, this.sorter),
      this.grid, this.none);
    this.list = new VirtualList(this.grid, this.body, ROW, { heads: 1, make: () => this.#make(), fill: (node, item) => this.#fill(node, item), key: ({ guest }) => guest.name, open: (item) => this.#open(item) });
    this.watcher = new ResizeObserver(() => this.columns && this.#fit());
    this.watcher.observe(this.node);
  }

  leave() {
    this.watcher.disconnect();
    this.list.end();
  }

  draw(now = false) {
    const { view } = this.app;
    if (!now && this.drawn === view.revision) return this.list.draw();
    this.drawn = view.revision;
    this.columns = columnsOf(view);
    this.#drawHead(view);
    const all = rowsOf(view);
    const filter = this.field.value;
    const rows = filter ? all.filter(({ guest, cells }) => matches(filter, guest.name, guest.protection, guest.image, ...cells.map((cell) => `${cell.column} ${cell.replica.state_text} ${cell.name}`))) : all;
    rows.sort(ORDERS[this.#order]);
    this.#settle(rows, now);
    say(this.count, filter ? `${whole(rows.length)} of ${plural(all.length, "guest")}` : plural(all.length, "guest"));
    this.none.hidden = rows.length > 0;
    say(this.none, filter ? "No guest is like that." : "No guest runs here. Start one: vlockstep primary hello --arbiter /tmp/arbiter");
    this.list.items = rows;
    return null;
  }

  /** Lags and rates change all the time: rows keep their places for two seconds, to be read. */
  #settle(rows, now) {
    const key = `${this.#order}\0${this.field.value}\0${rows.map(({ guest }) => guest.name).sort().join("\0")}`;
    const moving = this.#order === "lag" || this.#order === "log rate";
    if (!now && moving && key === this.#sorted.key && performance.now() - this.#sorted.at < 2000) {
      const place = this.#sorted.places;
      rows.sort((a, b) => place.get(a.guest.name) - place.get(b.guest.name));
      return;
    }
    this.#sorted = { key, at: performance.now(), places: new Map(rows.map(({ guest }, index) => [guest.name, index])) };
  }

  #drawHead(view) {
    const shape = this.columns.map(({ name }) => name).join("\0");
    if (shape !== this.#shape) {
      this.#shape = shape;
      this.node.style.setProperty("--columns", this.columns.length);
      this.node.style.setProperty("--least", `${this.#least}px`);
      this.node.classList.toggle("dense", this.columns.length > 5);
      const count = this.columns.length;
      const column = (text, kind, index) => h("div", { class: kind, role: "columnheader", "aria-colindex": index, text });
      this.hosts = this.columns.map(({ name, about }, index) => new HostHead(name, about, index + 2, () => this.show(name)));
      this.head.replaceChildren(column("Guest", "name", 1), h("div", { class: "tracks", role: "presentation" }, this.hosts.map((host) => host.node)), column("Lag", "lag", count + 2), column("Log", "rate", count + 3));
      this.grid.setAttribute("aria-colcount", count + 3);
      this.#fit();
    }
    const bar = this.body.offsetWidth - this.body.clientWidth; // a scroll bar may take room
    this.head.style.paddingRight = this.stacked ? 0 : `${16 + bar}px`;
    const dots = dotsOf(view);
    this.hosts.forEach((head, index) => head.draw(view.hosts[this.columns[index].name], dots.get(this.columns[index].name) ?? []));
  }

  get #least() {
    return this.columns.length * COLUMN + BESIDE;
  }

  /** On a narrow screen that has no room for columns each row has two lines, which name its hosts. */
  #fit() {
    this.stacked = NARROW.matches && this.node.clientWidth < this.#least;
    this.node.classList.toggle("stacked", this.stacked);
    this.list.resize(this.stacked ? STACKED : ROW);
    for (const host of this.hosts) host.drawn = "";
    this.drawn = null;
    this.app.store.touch();
  }

  /** A host, in a dialog. */
  show(name) {
    showHost(this.app, name, (words) => {
      this.field.value = words;
      this.draw(true);
      this.field.focus();
    });
  }

  #make() {
    const canvas = h("canvas", { class: "live", "aria-hidden": "true" });
    const lagText = h("span");
    const node = h("div", { class: "row", role: "row", on: { click: (event) => event.target.closest("a") || this.#open(node.item) } },
      h("div", { class: "name", role: "gridcell", "aria-colindex": 1 }), h("div", { class: "tracks", role: "gridcell", "aria-colindex": 2 }),
      h("div", { class: "lag", role: "gridcell" }, canvas, lagText), h("div", { class: "rate num", role: "gridcell" }));
    Object.assign(node, { canvas, lagText });
    return node;
  }

  #fill(node, item) {
    const { guest, cells } = item;
    node.item = item;
    const key = JSON.stringify([guest.name, guest.level, guest.protection, guest.pending, guest.migration?.phase, this.#shape, cells.map(({ column, name, replica }) => [column, name, replica.role, replica.state_text, replica.life])]);
    if (node.key !== key) {
      node.key = key;
      node.className = `row ${guest.level}`;
      node.setAttribute("aria-label", spoken(item));
      node.children[0].replaceChildren(icon(guest.level), h("a", { href: `#/guests/${part(guest.name)}`, tabindex: "-1", text: guest.name, title: guest.name }),
        h("span", { class: "state", text: guest.migration ? "migrating" : guest.protection, title: guest.pending || guest.protection }));
      const [, tracks, lags, log] = node.children;
      tracks.replaceChildren(...this.#tracks(item));
      tracks.setAttribute("aria-label", places(item) || "nowhere");
      tracks.setAttribute("aria-colspan", this.columns.length);
      lags.setAttribute("aria-colindex", this.columns.length + 2);
      log.setAttribute("aria-colindex", this.columns.length + 3);
    }
    const primary = primaryOf(guest);
    const followed = lagOf(guest) !== null;
    say(node.lagText, followed ? lag(primary) : "");
    say(node.children[3], followed ? rate(item.rate) : "");
    const sampled = `${guest.name}\0${this.app.store.samples}`;
    if (node.sampled === sampled) return;
    node.sampled = sampled;
    spark(node.canvas, this.app.store.lags.get(guest.name) ?? [], { fill: false, size: LINE, tone: guest.level === "good" ? "accent" : "warn" });
  }

  #tracks({ guest, cells }) {
    const places = cells.map(({ column }) => this.columns.findIndex(({ name }) => name === column)).map((place) => place + 1);
    const nodes = [];
    const first = cells.findIndex(({ replica }) => replica.role !== "secondary");
    cells.forEach(({ replica }, index) => {
      if (replica.role !== "secondary" || first < 0 || places[index] === places[first]) return;
      const [from, to] = [Math.min(places[first], places[index]), Math.max(places[first], places[index])];
      const link = h("i", { class: `tie${places[index] < places[first] ? " back" : ""}`, "aria-hidden": "true" });
      link.style.gridColumn = `${from} / ${to + 1}`;
      link.style.setProperty("--span", to - from + 1);
      nodes.push(link);
    });
    cells.forEach(({ column, name, replica }, index) => {
      const text = replica.life === "starting" ? "starting" : replica.role === "unprotected" ? "running" : (replica.role ?? replica.state_text);
      const block = h("span", { class: `block ${replica.role ?? "none"}`, "data-host": column, title: `${name === guest.name ? "" : `${name}: `}${replica.role ?? ""} ${replica.state_text}`.trim() }, h("b", { text: name === guest.name ? text : name }));
      block.style.gridColumn = places[index];
      nodes.push(block);
    });
    if (!cells.length && guest.host) {
      const place = this.columns.findIndex(({ name }) => name === guest.host) + 1;
      const block = h("span", { class: "block off", "data-host": guest.host, title: guest.pending || guest.protection }, h("b", { text: guest.power === "on" ? "waits" : "off" }));
      block.style.gridColumn = Math.max(1, place);
      nodes.push(block);
    }
    return nodes;
  }

  /** Choose a guest for the keys. */
  go(name) {
    const index = this.list.items.findIndex(({ guest }) => guest.name === name);
    if (index >= 0) this.list.choose(index);
    this.grid.focus({ preventScroll: true });
  }

  #open({ guest }) {
    location.hash = `#/guests/${part(guest.name)}`;
  }
}

/** A host on top of its column: how it is, its load, and each of its guests as a dot. */
class HostHead {
  /** `about` a column that is no host; otherwise `show()` tells more of it. */
  constructor(name, about, index, show) {
    this.name = name;
    const label = h("b", { text: name, title: name });
    this.sign = h("span");
    this.title = h("div", { class: "host-name" }, this.sign, about ? label : h("button", { "aria-haspopup": "dialog", "data-action": `host ${name}`, on: { click: show } }, label));
    this.about = h("div", { class: "host-about soft", text: about ?? "" });
    this.meters = about ? [] : ["CPU", "RAM"].map((what) => h("div", { class: "meter", role: "meter", "aria-label": `${what} of ${name}`, "aria-valuemin": 0, "aria-valuemax": 100 }, h("span", { text: what }), h("i", {}, h("b")), h("em")));
    this.dots = h("canvas", { class: "dots", role: "img" });
    this.node = h("div", { class: "host", role: "columnheader", "aria-colindex": index }, this.title, this.about, this.meters, about ? null : this.dots);
  }

  draw(host, dots) {
    const key = JSON.stringify([host?.level, host?.state, host?.explanation, host?.master, host?.maintenance]);
    if (key !== this.key) {
      this.key = key;
      const level = host?.level ?? "plain";
      this.sign.replaceChildren(...(host ? [icon(level, level)] : []));
      if (host) {
        const text = host.maintenance ? "maintenance" : host.explanation || (level === "good" ? "" : host.state);
        this.about.replaceChildren(...(text ? [text] : host.master ? [icon("crown"), "master"] : []));
        this.about.title = text;
        this.node.className = `host ${level}`;
      }
    }
    if (!this.meters.length) return;
    this.#meter(0, host.report?.cpu ?? 0, host.cpu, "MIPS");
    this.#meter(1, host.report?.memory ?? 0, host.memory, "MiB");
    this.#drawDots(dots);
  }

  #meter(index, used, all, unit) {
    const meter = this.meters[index];
    const share = all ? Math.round((100 * used) / all) : 0;
    if (meter.share === share) return;
    meter.share = share;
    meter.setAttribute("aria-valuenow", share);
    meter.title = `${whole(used)} of ${whole(all)} ${unit}`;
    meter.classList.toggle("high", share >= 85);
    meter.children[1].firstChild.style.width = `${Math.min(100, share)}%`;
    say(meter.children[2], `${share}%`);
  }

  #drawDots(found) {
    const key = found.map(([guest, replica]) => `${guest.level}${replica.role}`).join() + colour("accent");
    if (key === this.drawn) return;
    this.drawn = key;
    const secondaries = found.filter(([, replica]) => replica.role === "secondary").length;
    const wrong = found.filter(([guest]) => guest.level === "bad").length;
    this.dots.setAttribute("aria-label", `${this.name}: ${plural(found.length - secondaries, "primary", "primaries")}, ${plural(secondaries, "secondary", "secondaries")}, ${wrong} in trouble`);
    this.dots.title = this.dots.getAttribute("aria-label");
    const { context, width, height } = sheet(this.dots);
    let pitch = 9;
    while (pitch > 3 && Math.floor(width / pitch) * Math.floor(height / pitch) < found.length) pitch -= 0.5;
    const across = Math.max(1, Math.floor(width / pitch));
    const size = Math.max(2, pitch - 2.5);
    found.forEach(([guest, replica], index) => {
      const [x, y] = [(index % across) * pitch, Math.floor(index / across) * pitch];
      context.strokeStyle = context.fillStyle = colour(guest.level === "bad" ? "bad" : guest.level === "warn" ? "warn" : "accent");
      if (guest.level === "bad") {
        context.lineWidth = 1.6;
        context.beginPath();
        context.moveTo(x, y);
        context.lineTo(x + size, y + size);
        context.moveTo(x + size, y);
        context.lineTo(x, y + size);
        context.stroke();
      } else if (replica.role === "secondary") {
        context.lineWidth = 1;
        context.strokeRect(x + 0.5, y + 0.5, size - 1, size - 1);
      } else context.fillRect(x, y, size, size);
    });
  }
}

function columnsOf(view) {
  if (view.kind === "cluster") return Object.keys(view.hosts).sort((a, b) => a.localeCompare(b, "en", { numeric: true })).map((name) => ({ name }));
  return [{ name: "runs", about: "they speak to the world" }, { name: "follows", about: "a moment behind, unheard" }];
}

/** A row a guest: without a cluster, a guest is all its processes here. */
export function rowsOf(view) {
  const guests = Object.values(view.guests);
  if (view.kind === "cluster")
    return guests.map((guest) => ({ guest, rate: primaryOf(guest)?.log_bytes_per_s ?? 0, cells: Object.entries(guest.replicas).filter(([, replica]) => replica.life !== "ended").map(([column, replica]) => ({ column, name: guest.name, replica })) }));
  const cell = (guest, replica) => ({ column: replica.role === "secondary" ? "follows" : "runs", name: guest.name, replica });
  const leads = (guest) => !secondariesOf(guest).length;
  const led = new Set(guests.filter(leads).flatMap((guest) => guest.peers));
  return guests.filter((guest) => leads(guest) || !led.has(guest.name)).map((guest) => {
    const party = [guest, ...(leads(guest) ? guest.peers.map((name) => view.guests[name]).filter((peer) => peer && !leads(peer)) : [])];
    return { guest, rate: primaryOf(guest)?.log_bytes_per_s ?? 0, cells: party.flatMap((each) => replicasOf(each).map((replica) => cell(each, replica))) };
  });
}

/** By host, the guests that have a replica there, the worst first. */
function dotsOf(view) {
  const found = new Map();
  const guests = Object.values(view.guests).sort((a, b) => RANK[a.level] - RANK[b.level]);
  for (const guest of guests) for (const [host, replica] of Object.entries(guest.replicas)) {
    if (!found.has(host)) found.set(host, []);
    found.get(host).push([guest, replica]);
  }
  return found;
}

/** Where it has replicas, in words. */
const places = ({ guest, cells }) => cells.map(({ column, name, replica }) => `${name === guest.name ? "" : `${name} `}${replica.role ?? replica.state_text} on ${column}`).join(", ");

function spoken(item) {
  const where = places(item);
  return `${item.guest.name}: ${item.guest.protection}${where ? `, ${where}` : ""}`;
}
