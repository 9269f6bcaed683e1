// The demonstration of a cluster: its hosts, what runs on each, and where each guest was when.

import { colour, h, icon, pill, say, sheet } from "./dom.js";

const ROW = 34;
const TONES = ["k0", "k1", "k2", "k3", "k4", "k5"];

export class HostStory {
  #key = "";

  constructor() {
    this.hosts = h("div", { class: "hosts" });
    this.names = h("ul", { class: "lane-names" });
    this.lanes = h("canvas", { class: "answers", role: "img" });
    this.node = h("div", { class: "host-story" },
      h("section", { "aria-label": "Hosts" }, this.hosts),
      h("section", { class: "card", "aria-label": "Where guests run" }, h("header", {}, h("h2", { text: "Where guests run" }), h("span", { class: "soft", text: "above who is primary, below who is secondary, each with its host" })), h("div", { class: "strip" }, this.names, this.lanes)));
  }

  draw(story) {
    const key = JSON.stringify([story.hosts, story.deed]);
    if (key !== this.#key) {
      this.#key = key;
      this.hosts.replaceChildren(...story.hosts.map((host) => card(host, story.deed)));
    }
    this.#drawLanes(story);
  }

  #drawLanes({ hosts, spans, seconds, struck }) {
    const guests = [...new Set(spans.map((span) => span.guest))].sort();
    const wanted = guests.join("\0");
    if (this.names.key !== wanted) {
      this.names.key = wanted;
      this.names.replaceChildren(...guests.map((guest) => h("li", { class: "guest-lane" }, h("b", { text: guest }))));
      this.lanes.style.height = `${Math.max(1, guests.length) * ROW}px`;
    }
    const now = spans.filter(({ end }) => end === null);
    this.lanes.setAttribute("aria-label", now.map(({ guest, role, host }) => `${guest}: ${role} on ${host}`).join(", ") || "Nothing runs yet");
    const { context, width } = sheet(this.lanes);
    const x = (time) => (time / Math.max(4, seconds)) * width;
    context.font = "600 11px sans-serif";
    context.textBaseline = "middle";
    for (const { guest, host, role, begin, end } of spans) {
      if (end === 0) continue; // before the clients came
      const primary = role === "primary";
      const [left, top] = [x(begin), guests.indexOf(guest) * ROW + (primary ? 4 : 19)];
      const [wide, tall] = [Math.max(2, x(end ?? seconds) - left), primary ? 14 : 11];
      const tone = colour(TONES[hosts.findIndex(({ name }) => name === host) % TONES.length]);
      context.fillStyle = context.strokeStyle = tone;
      if (primary) context.fillRect(left, top, wide - 1, tall);
      else context.strokeRect(left + 0.5, top + 0.5, Math.max(1, wide - 2), tall - 1);
      if (primary) context.fillStyle = colour("surface");
      if (wide > 18) context.fillText(host, left + 5, top + tall / 2 + 0.5);
    }
    context.fillStyle = colour("bad");
    if (struck !== null) context.fillRect(x(struck) - 1, 0, 2, guests.length * ROW);
  }
}

function card({ name, state, master, struck, replicas }, deed) {
  const about = struck ? pill("bad", deed) : master ? h("span", { class: "crowned" }, icon("crown"), "master") : h("span", { class: "soft", text: state === "connectedToMaster" ? "" : state });
  return h("article", { class: `player${struck ? " gone" : ""}`, "aria-label": `Host ${name}` },
    h("header", {}, h("span", { class: "letter", text: name }), h("div", {}, h("b", { text: `host ${name}` }), about)),
    h("ul", { class: "placed" }, replicas.map(({ guest, role }) => h("li", {}, h("span", { class: `block ${role}` }, h("b", { text: guest })), h("span", { class: "soft", text: role }))),
      replicas.length ? null : h("li", { class: "soft", text: "runs nothing" })));
}
