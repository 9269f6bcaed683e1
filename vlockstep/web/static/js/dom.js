// Elements. What comes from outside is only ever text: nothing here parses markup.

const SVG = "http://www.w3.org/2000/svg";

/** An element: `on` has listeners, `style` goes by property, `text` is text. */
export function h(tag, props = {}, ...children) {
  const node = document.createElement(tag);
  for (const [key, value] of Object.entries(props)) {
    if (value === undefined || value === null || value === false) continue;
    if (key === "on") for (const [name, call] of Object.entries(value)) node.addEventListener(name, call);
    else if (key === "style") for (const [name, each] of Object.entries(value)) node.style.setProperty(name, each);
    else if (key === "text") node.textContent = value;
    else if (key === "class") node.className = value;
    else node.setAttribute(key, value === true ? "" : value);
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

export function svg(tag, props = {}, ...children) {
  const node = document.createElementNS(SVG, tag);
  for (const [key, value] of Object.entries(props)) node.setAttribute(key, value);
  node.append(...children);
  return node;
}

// Each level has a shape of its own, so that no colour is needed to tell them apart.
const ICONS = {
  good: ["M8 1.2a6.8 6.8 0 1 0 0 13.6A6.8 6.8 0 0 0 8 1.2Z", "M4.9 8.2l2.2 2.2 4-4.6"],
  plain: [null, "M8 2.2a5.8 5.8 0 1 0 0 11.6A5.8 5.8 0 0 0 8 2.2Z"],
  warn: ["M8 1.4 15.4 14.4H.6Z", "M8 6v4M8 12.1v.1"],
  bad: ["M5 .8h6L15.2 5v6L11 15.2H5L.8 11V5Z", "M5.4 5.4l5.2 5.2M10.6 5.4l-5.2 5.2"],
  crown: ["M1.5 4.5 5 7l3-5 3 5 3.5-2.5L13 13H3Z", null],
  arrow: [null, "M2 8h11M9 4l4 4-4 4"],
  swap: [null, "M2 5h11M10 2l3 3-3 3M14 11H3M6 8l-3 3 3 3"],
  shield: [null, "M8 1.5 13.5 3.5v4c0 3.4-2.3 5.8-5.5 7-3.2-1.2-5.5-3.6-5.5-7v-4Z"],
  play: ["M4 2.5 13 8 4 13.5Z", null],
  stop: ["M3.5 3.5h9v9h-9Z", null],
  drill: [null, "M9 1.5 3.5 9H8l-1 5.5L12.5 7H8Z"],
  disk: [null, "M2 4c0-3 12-3 12 0v8c0 3-12 3-12 0ZM2 4c0 3 12 3 12 0"],
  clock: [null, "M8 1.8a6.2 6.2 0 1 0 0 12.4A6.2 6.2 0 0 0 8 1.8ZM8 4.5V8l2.5 1.8"],
  key: [null, "M8 1.5 14.5 8 8 14.5 1.5 8Z"],
  copy: [null, "M5.5 5.5h8v8h-8ZM3 10.5H2.5v-8h8V3"],
  close: [null, "M4 4l8 8M12 4l-8 8"],
  fold: [null, "M3 6l5 5 5-5"],
  dot: ["M8 5a3 3 0 1 0 0 6A3 3 0 0 0 8 5Z", null],
  spin: [null, "M8 2a6 6 0 1 1-5.6 3.8"],
};

/** A sign; what it means is told by text beside it, or by `label`. */
export function icon(name, label = "") {
  const [filled, drawn] = ICONS[name] ?? ICONS.plain;
  const made = svg("svg", { viewBox: "0 0 16 16", class: `icon ${name}`, "data-sign": name });
  if (label) made.append(svg("title", {}, label));
  made.setAttribute(label ? "role" : "aria-hidden", label ? "img" : "true");
  if (filled) made.append(svg("path", { d: filled, fill: "currentColor" }));
  if (drawn) {
    const stroke = filled ? "var(--surface)" : "currentColor";
    made.append(svg("path", { d: drawn, fill: "none", stroke, "stroke-width": 1.7, "stroke-linecap": "round", "stroke-linejoin": "round" }));
  }
  return made;
}

export function pill(level, text) {
  return h("span", { class: `pill ${level}` }, icon(level), text);
}

/** Change a text only if it is another, so that nothing is drawn for nothing. */
export function say(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

const byAction = (action, within = document) => within.querySelector(`[data-action="${CSS.escape(action)}"]`);

/** What is in a node becomes this. A control that has the focus keeps it if it comes again, which its
 * `data-action` tells; otherwise the page has it. */
export function redraw(node, ...children) {
  const held = node.contains(document.activeElement) ? document.activeElement : null;
  node.replaceChildren(...children.flat());
  if (held && !held.isConnected) (byAction(held.dataset.action ?? "", node) ?? document.getElementById("main")).focus({ preventScroll: true });
}

/** Gives the focus to what has come in the place of a control. */
export function giveBack({ dataset }) {
  (byAction(dataset.action ?? "") ?? document.getElementById("main")).focus();
}

/** Without it; the page has the focus if a control in it had. */
function discard(node) {
  const held = node.contains(document.activeElement);
  node.remove();
  if (held) document.getElementById("main").focus({ preventScroll: true });
}

export function toast(text, level = "plain") {
  const node = h("div", { class: "toast" }, icon(level), h("span", { text }));
  const shelf = document.getElementById("toasts");
  node.append(h("button", { "aria-label": "Dismiss", on: { click: () => discard(node) } }, icon("close")));
  shelf.append(node);
  while (shelf.children.length > 4) discard(shelf.firstChild);
  setTimeout(() => discard(node), level === "bad" ? 12000 : 5000);
}

const colours = new Map();
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => colours.clear());

/** One of base.css, for what is drawn. */
export function colour(name) {
  let found = colours.get(name);
  if (found === undefined) {
    found = getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
    colours.set(name, found);
  }
  return found;
}

/** A canvas's context, as fine as the screen is, cleared; with its size in CSS pixels, which is
 * looked at where it is not known: that takes a while. */
export function sheet(canvas, [width, height] = [canvas.clientWidth, canvas.clientHeight]) {
  const ratio = devicePixelRatio || 1;
  if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
  }
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  return { context, width, height };
}
