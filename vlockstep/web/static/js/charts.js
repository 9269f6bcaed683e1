// Charts over time, by uPlot, in the page's colours.

import { colour, h } from "./dom.js";

const DARK = matchMedia("(prefers-color-scheme: dark)");

/** One number over time: `draw(times, values)`, seconds since the epoch. */
export class Chart {
  #plot = null;
  #data = [[], []];

  constructor(title, format, tone) {
    Object.assign(this, { title, format, tone });
    this.now = h("strong");
    this.box = h("div", { class: "plot", role: "img" });
    this.node = h("section", { class: "card chart", "aria-label": title }, h("header", {}, h("h2", { text: title }), this.now), this.box);
    this.watcher = new ResizeObserver(() => this.#fit());
    this.watcher.observe(this.box);
    this.recolour = () => this.#make();
    DARK.addEventListener("change", this.recolour);
  }

  draw(times, values) {
    this.#data = [times, values];
    const last = values.at(-1) ?? null;
    this.now.textContent = last === null ? "–" : this.format(last);
    this.box.setAttribute("aria-label", `${this.title} of the last minutes, now ${this.now.textContent}`);
    if (!this.#plot) this.#make();
    else this.#plot.setData(this.#data);
  }

  end() {
    this.watcher.disconnect();
    DARK.removeEventListener("change", this.recolour);
    this.#plot?.destroy();
  }

  #fit() {
    if (this.#plot && this.box.clientWidth) this.#plot.setSize({ width: this.box.clientWidth, height: this.box.clientHeight });
  }

  #make() {
    this.#plot?.destroy();
    this.#plot = null;
    if (!this.box.clientWidth) return;
    const [line, soft, tone] = [colour("line"), colour("soft"), colour(this.tone)];
    const axis = { stroke: soft, font: "11px sans-serif", grid: { stroke: line, width: 1 }, ticks: { show: false } };
    this.#plot = new uPlot({
      width: this.box.clientWidth,
      height: this.box.clientHeight,
      padding: [8, 12, 0, 0],
      legend: { show: false },
      cursor: { y: false, drag: { x: false, y: false }, points: { size: 6 } },
      scales: { y: { range: (_, low, high) => [0, Math.max(high || 0, 1) * 1.15] } },
      axes: [{ ...axis, grid: { show: false }, space: 70, size: 24, values: (_, ticks) => ticks.map((tick) => new Date(tick * 1000).toLocaleTimeString("en-GB")) },
        { ...axis, size: 62, space: 28, values: (_, ticks) => ticks.map((tick) => this.format(tick)) }],
      series: [{}, { stroke: tone, fill: `${tone}1f`, width: 1.6, spanGaps: false, points: { show: false } }],
      hooks: { setCursor: [(plot) => this.#point(plot)] },
    }, this.#data, this.box);
  }

  #point(plot) {
    const value = plot.data[1][plot.cursor.idx ?? plot.data[1].length - 1];
    this.now.textContent = value === null || value === undefined ? "–" : this.format(value);
  }
}
