// The frame of all pages: the stream, the bar on top, which page is shown, keys.

import { get, keepToken, takeToken } from "./api.js";
import { Dock } from "./dock.js";
import { h, icon, say, svg, toast } from "./dom.js";
import { help } from "./dialogs.js";
import { GuestPage } from "./guest.js";
import { Overview } from "./overview.js";
import { RecordingPage, RecordingsPage } from "./recording.js";
import { Store } from "./store.js";
import { StoryPage } from "./story.js";
import { Stream } from "./stream.js";

const ROUTES = [
  [/^#\/guests\/(.+)$/, (app, name) => new GuestPage(app, name)],
  [/^#\/recordings\/(\d+)$/, (app, id) => new RecordingPage(app, Number(id))],
  [/^#\/recordings$/, (app) => new RecordingsPage(app)],
  [/^/, (app) => new Overview(app)],
];

class App {
  store = new Store();
  main = document.getElementById("main");
  #page = null;
  #listeners = new Set();

  constructor() {
    this.stream = new Stream((kind, data) => this.#heard(kind, data), (link) => this.#linked(link));
  }

  get view() {
    return this.store.view;
  }

  /** Whether the token allows to change anything. */
  get acts() {
    return this.store.session?.rights.includes("act") ?? false;
  }

  /** Calls with each piece of console text; what it returns ends that. */
  onConsole(call) {
    this.#listeners.add(call);
    return () => this.#listeners.delete(call);
  }

  async start() {
    takeToken();
    try {
      this.store.session = await get("session");
    } catch (error) {
      if (error.status === 401) return this.#gate();
      toast(`${error.message}: it is asked again`, "bad");
      setTimeout(() => this.start(), 2000);
      return null;
    }
    this.#bar();
    this.dock = new Dock(document.getElementById("dock"), this);
    this.store.follow(() => this.#tick());
    addEventListener("hashchange", () => (takeToken(), this.#route()));
    addEventListener("keydown", (event) => this.#key(event));
    document.querySelector(".skip").addEventListener("click", (event) => (event.preventDefault(), this.main.focus()));
    setInterval(() => this.store.sample(), 1000);
    this.stream.run();
    return null;
  }

  #heard(kind, data) {
    if (kind === "console") for (const call of this.#listeners) call(data);
    else this.store.take(kind, data);
  }

  #linked(link) {
    if (link.refused) return this.#gate();
    this.store.link = link;
    const lost = link.unreadable ? "what the server tells cannot be read" : "connection lost";
    const text = link.live ? "live" : `${lost}: tried again in ${(link.wait / 1000).toFixed(1)} s`;
    this.link.className = link.live ? "link-state" : "link-state lost";
    this.link.replaceChildren(icon(link.live ? "dot" : "warn"), text);
    return null;
  }

  #tick() {
    if (!this.#page) this.#route();
    else this.#page.draw();
    this.dock.draw();
    const { cluster, kind } = this.view;
    say(this.where, cluster ? cluster.name : kind === "guests" ? "this computer" : "vlockstep demo");
  }

  #route() {
    if (!this.view) return;
    const told = this.view.kind === "story"; // a demonstration has no other page
    const from = this.#page;
    from?.leave?.();
    this.main.className = "";
    this.main.replaceChildren();
    const [pattern, make] = ROUTES.find(([each]) => each.test(location.hash));
    this.#page = told ? new StoryPage(this) : make(this, ...pattern.exec(location.hash).slice(1).map(decodeURIComponent));
    this.nav.hidden = told;
    document.title = `${this.#page.title} · vlockstep`;
    for (const link of this.nav.children) {
      const here = link.dataset.page === this.#page.section;
      here ? link.setAttribute("aria-current", "page") : link.removeAttribute("aria-current");
    }
    this.#page.draw();
    this.main.scrollTop = 0;
    if (from && !this.#page.arrive?.(from)) this.main.focus({ preventScroll: true });
  }

  #bar() {
    const logo = svg("svg", { viewBox: "0 0 32 32", "aria-hidden": "true" });
    logo.append(
      svg("rect", { width: 32, height: 32, rx: 7, fill: "var(--accent)" }),
      svg("path", { d: "M6 12h8l4-5h8", fill: "none", stroke: "var(--on-accent)", "stroke-width": 3, "stroke-linecap": "round", "stroke-linejoin": "round" }),
      svg("path", { d: "M6 24h8l4-5h8", fill: "none", stroke: "var(--on-accent)", "stroke-width": 3, "stroke-linecap": "round", "stroke-linejoin": "round", "stroke-dasharray": "5 4", opacity: 0.7 }),
    );
    const page = (name, href, text) => h("a", { href, "data-page": name, text });
    this.nav = h("nav", { "aria-label": "Pages" }, page("overview", "#/", "Overview"), page("recordings", "#/recordings", "Recordings"));
    this.link = h("span", { class: "link-state", role: "status" }, icon("spin"), "connecting");
    this.where = h("b");
    const { source, rights } = this.store.session;
    document.getElementById("top").replaceChildren(
      h("a", { class: "brand", href: "#/" }, logo, "vlockstep"),
      h("span", { class: "where", title: source }, this.where, h("span", { text: ` · ${source}` })),
      this.nav,
      h("span", { class: "end" }, rights.includes("act") || this.store.session.kind === "story" ? null : h("span", { class: "pill" }, "may only look"), this.link,
        h("button", { class: "button quiet small", "aria-label": "Keys", title: "Keys (?)", text: "?", on: { click: help } })),
    );
  }

  #gate() {
    const field = h("input", { class: "field mono", type: "password", autocomplete: "off", "aria-label": "Token" });
    const form = h("form", { class: "card gate", on: { submit: (event) => (event.preventDefault(), keepToken(field.value), location.reload()) } },
      h("h1", { text: "A token, please" }),
      h("p", { class: "soft", text: "It stands in the address that vlockstep dashboard printed, behind #token=." }),
      field, h("button", { class: "button main", type: "submit", text: "Open" }));
    this.main.replaceChildren(form);
    field.focus();
    return null;
  }

  #key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
    const typing = event.target.matches("input, textarea, select");
    if (event.key === "Escape") {
      if (typing) event.target.blur();
      else if (location.hash !== "#/") location.hash = "#/";
      return;
    }
    if (typing) return;
    if (event.key === "?") help();
    else if (event.key === "d") this.dock.fold();
    else if (event.key === "/") {
      const field = this.main.querySelector("input[type=search]") ?? document.querySelector("#dock input");
      field?.focus();
      event.preventDefault();
    }
  }
}

new App().start();
