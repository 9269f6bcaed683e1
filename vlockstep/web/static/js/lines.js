// Small lines that move: a minute of one number, on a canvas.

import { colour, h, sheet } from "./dom.js";

/** Draws values from the right to the left, the newest with a dot. */
export function spark(canvas, values, { full = 10, count = 60, tone = "accent", fill = true, size } = {}) {
  const { context, width, height } = sheet(canvas, size);
  if (values.length < 2 || !width) return;
  const top = Math.max(full, ...values) * 1.1;
  const step = (width - 6) / (count - 1);
  const x = (index) => width - 4 - (values.length - 1 - index) * step;
  const y = (value) => height - 2.5 - (Math.max(0, value) / top) * (height - 6);
  context.beginPath();
  values.forEach((value, index) => context.lineTo(x(index), y(value)));
  context.strokeStyle = context.fillStyle = colour(tone);
  context.lineWidth = 1.5;
  context.lineJoin = "round";
  context.stroke();
  const end = [x(values.length - 1), y(values.at(-1))];
  if (fill) {
    context.globalAlpha = 0.12;
    context.lineTo(end[0], height);
    context.lineTo(x(0), height);
    context.fill();
    context.globalAlpha = 1;
  }
  context.beginPath();
  context.arc(...end, 2.2, 0, 7);
  context.fill();
}

export class Live {
  constructor(props = {}) {
    this.node = h("canvas", { class: "live", ...props });
  }

  draw(values, options) {
    spark(this.node, values, options);
  }
}
