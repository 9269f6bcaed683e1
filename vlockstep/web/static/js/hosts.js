// A host: how it is, what it has, and maintenance. What is told goes on changing while it is open.

import { part } from "./api.js";
import { act, closer, open } from "./dialogs.js";
import { h, icon, pill, say } from "./dom.js";
import { plural, whole } from "./format.js";

const SILENT = ["hostDown", "fdmUnreachable"];

/** `filter(words)` shows the guests that are there. */
export function showHost(app, name, filter) {
  const state = h("p");
  const facts = h("dl", { class: "facts" });
  const why = h("p", { class: "soft" });
  const toggle = h("button", { class: "button main", on: { click: press } });
  const there = h("button", { class: "button", text: "Show its guests", on: { click: () => (dialog.close(), filter(name)) } });
  const dialog = open(`Host ${name}`, [state, facts, why], [there, closer("Close"), toggle]);
  dialog.addEventListener("close", app.store.follow(draw));
  let shown = "";
  draw();

  function draw() {
    const { hosts, guests, cluster } = app.view;
    const host = hosts[name];
    if (!host) return dialog.close();
    const counted = { primary: 0, secondary: 0, unprotected: 0 };
    for (const guest of Object.values(guests)) {
      const replica = guest.replicas[name];
      if (replica && replica.life !== "ended" && replica.role) counted[replica.role]++;
    }
    const alone = counted.primary + counted.unprotected;
    const used = (now, all, unit) => (SILENT.includes(host.state) || !host.report ? "not known" : `${whole(now)} of ${whole(all)} ${unit}`);
    const rows = [
      ["CPU", used(host.report?.cpu, host.cpu, "MIPS")], ["memory", used(host.report?.memory, host.memory, "MiB")],
      ["datastores", Object.entries(cluster.datastores).filter(([, seen]) => seen.includes(name)).map(([store]) => store).join(", ") || "none"],
      ["guests", `${plural(alone, "runs", "run")} here, ${plural(counted.secondary, "secondary", "secondaries")}`],
    ];
    const key = JSON.stringify([host.level, host.state, host.explanation, host.master, host.maintenance, host.left, rows, app.acts]);
    if (key === shown) return null;
    shown = key;
    const about = host.maintenance ? (host.left ? "in maintenance" : "guests are leaving it") : host.explanation || host.state;
    state.replaceChildren(pill(host.level, about), host.master ? h("span", { class: "crowned" }, icon("crown"), "master") : "");
    facts.replaceChildren(...rows.flatMap(([what, value]) => [h("dt", { text: what }), h("dd", { text: value })]));
    say(why, host.maintenance ? "No guest comes here until maintenance is over." : "Maintenance: all its guests leave it while they run, and none comes until it is over.");
    say(toggle, host.maintenance ? "End maintenance" : "Begin maintenance");
    toggle.setAttribute("aria-disabled", String(!app.acts));
    toggle.title = app.acts ? "" : "Not now: this token may only look";
    return null;
  }

  function press() {
    if (!app.acts) return;
    const on = !app.view.hosts[name].maintenance;
    dialog.close();
    act(`hosts/${part(name)}/maintenance`, { on }, `${on ? "begin" : "end"} maintenance of ${name}`);
  }
}
