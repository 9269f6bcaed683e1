// The demonstration: two replicas and the log between them, or hosts; what clients see, and the proof.

import { colour, h, icon, pill, say, sheet, svg } from "./dom.js";
import { HostStory } from "./hoststory.js";
import { milliseconds, plural, rate, whole } from "./format.js";

const SECONDS = 20; // that are shown of what the world sees
const SECONDS_OF_HOSTS = 40;
const ROLES = { primary: "speaks to the world", secondary: "executes the same, unheard" };

export class StoryPage {
  title = "Story";
  section = "story";
  #moments = 0;
  #proof = "";

  constructor(app) {
    this.app = app;
    app.main.classList.add("story");
    this.title1 = h("h1");
    this.sub = h("p", { class: "soft" });
    this.act = h("div", { class: "ahead", role: "status" });
    this.a = new Player("A");
    this.b = new Player("B");
    this.flow = new Flow();
    this.pair = h("section", { class: "pair", "aria-label": "The two replicas" }, this.a.node, this.flow.node, this.b.node);
    this.hosts = new HostStory();
    this.pair.hidden = this.hosts.node.hidden = true;
    this.lanes = h("canvas", { class: "answers", role: "img" });
    this.legend = h("ul", { class: "lane-names" });
    this.lines = h("pre", { class: "said", "aria-label": "What the guest said last" });
    this.moments = h("ol", { class: "moments", role: "log", "aria-label": "What happened" });
    this.proof = h("ol", { class: "proof", "aria-live": "polite" });
    this.verdict = h("div", { class: "verdict", role: "status", hidden: true });
    app.main.append(
      h("header", { class: "story-head" }, h("div", {}, this.title1, this.sub), this.act), this.verdict,
      this.pair, this.hosts.node,
      h("section", { class: "card", "aria-label": "What the world sees" }, h("header", {}, h("h2", { text: "What the world sees" }), this.hint = h("span", { class: "soft" })), h("div", { class: "strip" }, this.legend, this.lanes)),
      h("div", { class: "thirds" },
        h("section", { class: "card", "aria-label": "Guest" }, h("header", {}, h("h2", { text: "The guest" })), this.lines),
        h("section", { class: "card", "aria-label": "Events" }, h("header", {}, h("h2", { text: "What happened" })), this.moments),
        h("section", { class: "card", "aria-label": "Proof" }, h("header", {}, h("h2", { text: "The proof" })), this.proof)));
    app.dock.box.hidden = true;
  }

  leave() {
    this.app.dock.box.hidden = false;
  }

  draw() {
    const { story } = this.app.view;
    if (!story) {
      say(this.title1, "The demonstration begins");
      return;
    }
    say(this.title1, story.title[0] ?? "");
    say(this.sub, story.title.slice(1).join(" "));
    this.#drawAhead(story);
    const hosts = story.hosts.length > 0;
    this.hosts.node.hidden = !hosts;
    this.pair.hidden = !story.players.A;
    if (hosts) this.hosts.draw(story);
    else {
      this.a.draw(story.players.A, story);
      this.b.draw(story.players.B, story);
      this.flow.draw(story);
    }
    this.#drawLanes(story);
    say(this.lines, story.lines.join("\n"));
    this.#drawMoments(story.moments);
    this.#drawProof(story);
  }

  #drawAhead(story) {
    const taken = story.failover_ms !== null ? `B took over ${milliseconds(story.failover_ms)} later` : story.hosts.length && story.live !== null ? "its guest with clients goes on elsewhere" : "";
    const text = story.struck !== null ? taken || `${struckOne(story)} was ${story.deed}` : story.ahead || "it begins";
    const level = story.live !== null ? "good" : story.struck !== null ? "bad" : "warn";
    if (this.act.key === text) return;
    this.act.key = text;
    this.act.replaceChildren(pill(level, text));
  }

  #drawLanes(story) {
    const { answers, seconds, struck, live, deed } = story;
    const key = answers.map((each) => `${each.name}${each.count}${each.trouble}`).join();
    if (this.legend.key !== key) {
      this.legend.key = key;
      say(this.hint, story.hosts.length ? "a tick whenever clients had answers" : answers.some((each) => each.name !== "console") ? "a tick for each answer that a client had" : "a tick whenever its text was seen to grow");
      this.legend.replaceChildren(...answers.map((each) => h("li", {}, h("b", { text: each.name }), h("span", { class: each.trouble ? "bad" : "soft", text: each.trouble || (each.name === "console" ? `${whole(each.count)} bytes` : plural(each.count, "answer")) }))));
      this.lanes.style.height = `${Math.max(1, answers.length) * 30 + 22}px`;
    }
    this.lanes.setAttribute("aria-label", answers.map((each) => `${each.name}: ${each.count}`).join(", "));
    const { context, width, height } = sheet(this.lanes);
    const from = Math.max(0, seconds - (story.hosts.length ? SECONDS_OF_HOSTS : SECONDS));
    const x = (time) => ((time - from) / Math.max(4, seconds - from)) * (width - 12) + 4;
    context.font = "11px sans-serif";
    if (struck !== null && live !== null) {
      context.fillStyle = colour("bad-soft");
      context.fillRect(x(struck), 0, Math.max(2, x(live) - x(struck)), height - 20);
    }
    answers.forEach((each, row) => {
      context.fillStyle = colour("line");
      context.fillRect(0, row * 30 + 29, width, 1);
      for (const time of each.times) {
        if (time < from) continue;
        context.fillStyle = colour(struck !== null && time > struck ? "good" : "accent");
        context.fillRect(x(time) - 0.75, row * 30 + 8, 1.5, 18);
      }
    });
    const mark = (time, tone, text) => {
      if (time === null || time < from) return;
      context.fillStyle = colour(tone);
      context.fillRect(x(time) - 1, 0, 2, height - 16);
      const right = tone === "bad";
      context.textAlign = right ? "right" : "left";
      context.fillText(text, x(time) + (right ? 3 : -3), height - 4);
    };
    mark(struck, "bad", `✕ ${struckOne(story)} is ${deed}`);
    mark(live, "good", story.hosts.length ? "✓ a secondary is live" : "✓ B is live");
  }

  #drawMoments(moments) {
    if (moments.length === this.#moments) return;
    this.#moments = moments.length;
    this.moments.replaceChildren(...moments.map(({ seconds, text, tone }) => h("li", { class: tone }, h("time", { text: `${seconds.toFixed(3)} s` }), icon(tone || "dot"), h("span", { text }))));
    this.moments.scrollTop = this.moments.scrollHeight;
  }

  #drawProof({ checks, verdict, over }) {
    const key = JSON.stringify([checks, verdict, over]);
    if (key === this.#proof) return;
    this.#proof = key;
    const waiting = over ? "What is left is looked at …" : "Made when the guest has ended, from nothing but the files that are left.";
    this.proof.replaceChildren(...(checks.length ? checks.map(({ name, ok, text }) => h("li", {}, icon(ok ? "good" : "bad", ok ? "holds" : "FAILED"), h("b", { text: name }), h("span", { text }))) : [h("li", { class: "soft", text: waiting })]));
    this.verdict.hidden = !verdict;
    if (!verdict) return;
    this.verdict.className = `verdict ${verdict.ok ? "ok" : "failed"}`;
    this.verdict.replaceChildren(icon(verdict.ok ? "good" : "bad"), h("div", {}, h("b", { text: verdict.text }), ...verdict.notes.map((note) => h("p", { class: "soft", text: note }))));
  }
}

/** Who it happens to. */
const struckOne = ({ hosts }) => (hosts.length ? `host ${hosts.find(({ struck }) => struck)?.name ?? ""}` : "A");

class Player {
  constructor(name) {
    this.name = name;
    this.role = h("span");
    this.state = h("b");
    this.figures = h("dl", { class: "facts" });
    this.node = h("article", { class: "player", "aria-label": `Replica ${name}` }, h("header", {}, h("span", { class: "letter", text: name }), h("div", {}, this.state, this.role)), this.figures);
  }

  draw(player, story) {
    if (!player) return say(this.state, "not there yet");
    this.node.className = `player ${player.gone ? "gone" : player.role}`;
    const over = player.gone || ["finished", "ended"].includes(player.state);
    say(this.state, over ? player.state : `${player.role || "…"}: ${player.state}`);
    say(this.role, over ? "" : (ROLES[player.role] ?? ""));
    const rows = [["process", String(player.pid || "–")], ["generation", String(player.generation || "–")], ["position", player.position || "–"], ["entries", whole(player.entries)], ["log", player.log_bytes_per_s === null ? "–" : rate(player.log_bytes_per_s)]];
    if (this.name === "B") rows.push(["behind", story.lag_ms === null ? "–" : `${plural(story.lag_entries, "entry", "entries")}, ${milliseconds(story.lag_ms)}`]);
    if (this.figures.children.length !== 2 * rows.length) this.figures.replaceChildren(...rows.flatMap(([name]) => [h("dt", { text: name }), h("dd")]));
    rows.forEach(([, value], index) => say(this.figures.children[2 * index + 1], value));
    return null;
  }
}

/** The logging channel: entries one way, acknowledgements back, or a cut. */
class Flow {
  constructor() {
    this.text = h("b");
    this.note = h("span", { class: "soft" });
    const lane = (d, kind) => svg("path", { d, class: kind, fill: "none" });
    this.drawing = svg("svg", { viewBox: "0 0 200 60", preserveAspectRatio: "none", "aria-hidden": "true" }, lane("M4 20H196", "entries-lane"), lane("M196 42H4", "acks-lane"));
    this.cut = icon("bad");
    this.node = h("div", { class: "flow" }, this.text, h("div", { class: "wire" }, this.drawing, this.cut), this.note);
  }

  draw(story) {
    const state = story.struck !== null || story.over ? "cut" : story.lag_entries !== null ? "flows" : "waits";
    this.node.className = `flow ${state}`;
    say(this.text, { cut: story.struck !== null ? "no log any more" : "the guest has ended", flows: "log →", waits: "not connected yet" }[state]);
    say(this.note, { cut: story.struck !== null ? "B has all that A let out" : "", flows: "← acknowledged: only then A's outputs leave", waits: "" }[state]);
  }
}
