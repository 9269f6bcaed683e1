// Dialogs: keys, questions before something is done, a migration with what was checked for it.

import { get, part, post } from "./api.js";
import { giveBack, h, icon, toast } from "./dom.js";

/** A dialog, which keeps the focus while it is open, and is gone when it is closed. */
export function open(title, body, footer) {
  const before = document.activeElement;
  const name = `dialog-${Math.random().toString(36).slice(2)}`;
  const dialog = h("dialog", { "aria-labelledby": name, on: { close: () => (dialog.remove(), document.activeElement === document.body && giveBack(before)), keydown: (event) => event.key === "Tab" && turn(event, dialog) } },
    h("h1", { id: name, text: title }), h("div", { class: "body" }, body), h("footer", {}, footer));
  document.body.append(dialog);
  dialog.showModal();
  return dialog;
}

/** At its end Tab goes to its beginning, and back. */
function turn(event, dialog) {
  const passed = (stop) => stop.type === "radio" && !stop.checked && dialog.querySelector(`input[name="${stop.name}"]:checked`);
  const stops = [...dialog.querySelectorAll("button, input, select, a[href]")].filter((stop) => !passed(stop));
  const [from, to] = event.shiftKey ? [stops[0], stops.at(-1)] : [stops.at(-1), stops[0]];
  if (document.activeElement !== from) return;
  event.preventDefault();
  to.focus();
}

export const closer = (text = "Cancel") => h("button", { class: "button", text, on: { click: (event) => event.target.closest("dialog").close() } });

export function help() {
  const keys = [["/", "filter"], ["↑ ↓", "from guest to guest, event to event"], ["Enter", "open it"], ["Esc", "back to the overview"], ["d", "fold tasks and events"], ["+ −", "zoom a recording"], ["← →", "along a recording"], ["?", "this"]];
  open("Keys", h("div", { class: "keys" }, keys.flatMap(([key, what]) => [h("kbd", { text: key }), h("span", { text: what })])), closer("Close"));
}

/** Do it, and tell what came of it or why it is refused. */
export async function act(path, body, what) {
  try {
    const { task } = await post(path, body);
    if (task.state === "failed") throw new Error(task.reason);
    toast(`${what}: ${task.state === "done" ? "done" : `task ${task.number}`}`, "good");
    return true;
  } catch (error) {
    toast(`${what}: ${error.message}`, "bad");
    return false;
  }
}

/** Ask before; `call` does it. */
export function confirm(title, text, verb, call) {
  const go = h("button", { class: "button main", text: verb, on: { click: () => (dialog.close(), call()) } });
  const dialog = open(title, h("p", { text }), [closer(), go]);
  go.focus();
}

/** Choose where to, see what is checked for it, and start. */
export function migrate(app, name, details) {
  const cluster = app.view.kind === "cluster";
  const checks = h("ul", { class: "checks", "aria-live": "polite" });
  const go = h("button", { class: "button main", text: "Migrate", "aria-disabled": "true" });
  let [wanted, role] = [null, "primary"];
  const allow = (yes) => go.setAttribute("aria-disabled", String(!yes));
  const choose = async (host) => {
    wanted = host;
    const asked = role;
    allow(false);
    checks.replaceChildren(h("li", {}, icon("spin"), `${host} is looked at`));
    try {
      const found = await get(`guests/${part(name)}/migrate?host=${part(host)}&role=${role}`);
      if (wanted !== host || asked !== role) return;
      checks.replaceChildren(...found.checks.map(([what, why]) => h("li", {},
        icon(why ? "bad" : "good", why ? "in the way" : "fine"), h("span", {}, what, why ? h("b", { class: "bad", text: `: ${why}` }) : null))));
      allow(found.possible);
    } catch (error) {
      if (wanted === host && asked === role) checks.replaceChildren(h("li", {}, icon("bad"), error.message));
    }
  };
  const endpoint = h("input", { class: "field mono", placeholder: "tcp://host:7702", "aria-label": "Endpoint where vlockstep receive waits", on: { input: () => ((wanted = endpoint.value), allow(wanted.includes("://"))) } });
  const replicas = Object.values(app.view.guests[name]?.replicas ?? {});
  const there = ["primary", "secondary"].map((each) => replicas.find((replica) => replica.role === each && replica.life === "running"));
  const which = cluster && there.every(Boolean) ? [h("h2", { text: "What moves" }), h("div", { class: "choices", role: "radiogroup", "aria-label": "Which replica" }, there.map((replica) => h("label", { class: "choice" },
    h("input", { type: "radio", name: "role", value: replica.role, checked: replica.role === role, on: { change: () => ((role = replica.role), wanted && choose(wanted)) } }), `the ${replica.role}`,
    h("span", { class: "soft", text: `from ${replica.host}` })))), h("h2", { text: "To which host" })] : [];
  const choices = cluster
    ? h("div", { class: "choices", role: "radiogroup", "aria-label": "To host" }, details.hosts.map((host) => h("label", { class: "choice" },
        h("input", { type: "radio", name: "host", value: host, on: { change: () => choose(host) } }), host,
        h("span", { class: "soft", text: load(app.view.hosts[host]) }))))
    : h("div", {}, h("p", { class: "soft", text: "The guest moves to where vlockstep receive waits for it, and goes on there." }), endpoint);
  go.addEventListener("click", async () => {
    if (go.getAttribute("aria-disabled") === "true") return;
    dialog.close();
    await act(`guests/${part(name)}/migrate`, cluster ? { host: wanted, role } : { to: wanted }, `migrate ${name} to ${wanted}`);
  });
  const dialog = open(`Migrate ${name}`, [...which, choices, checks], [closer(), go]);
}

/** Where its replicas will meet, outside a cluster. `done` is called when it was asked for. */
export function protect(name, done) {
  const field = (label, props) => {
    const input = h("input", { class: "field mono", spellcheck: "false", ...props });
    return [input, h("label", { class: "asked" }, h("span", { text: label }), input)];
  };
  const [arbiter, one] = field("Arbiter: a new directory that all replicas will share", { placeholder: "/srv/pair/arbiter", required: "" });
  const [listen, two] = field("Endpoint where they join", { placeholder: "tcp://127.0.0.1:7700" });
  const [misses, three] = field("Heartbeats of 50 ms without which one counts as dead", { placeholder: "5", type: "number", min: "2", step: "1" });
  const wrong = h("p", { class: "bad", role: "alert" });
  const go = h("button", { class: "button main", text: "Protect", form: "protect" });
  const form = h("form", { id: "protect", class: "asks", on: { submit: (event) => (event.preventDefault(), send()) } }, h("p", { class: "soft", text: "It runs on, as a primary that replicas may join. Then a command is told that starts one." }), one, two, three, wrong);
  const dialog = open(`Protect ${name}`, form, [closer(), go]);
  arbiter.focus();

  async function send() {
    const given = { arbiter: arbiter.value, listen: listen.value || null, misses: misses.value ? Number(misses.value) : null };
    try {
      const { task } = await post(`guests/${part(name)}/protect`, given);
      dialog.close();
      toast(`protect ${name}: task ${task.number}`, "good");
      done();
    } catch (error) {
      wrong.textContent = error.message;
    }
  }
}

/** To the clipboard, which a page has only where its address is secure or its own computer's. */
export async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    toast("copied", "good");
  } catch {
    toast("this browser does not let the page copy: mark it, and copy it by hand", "bad");
  }
}

const load = (host) => (host?.report && host.cpu ? `CPU ${Math.round((100 * host.report.cpu) / host.cpu)} %, memory ${Math.round((100 * host.report.memory) / host.memory)} %` : "");
