// The stream of changes: read for ever, and taken up again where it ended.

import { ask } from "./api.js";

const SILENCE = 20000;
const LONGEST = 5000;

/** What the server tells is no JSON. */
class Unreadable extends Error {}

/** Tells `heard(kind, data)` of each event and `changed({ live, wait, refused, unreadable })` of the connection. */
export class Stream {
  #last = null;
  #console = null;
  #abort = null;
  #restart = false;
  #ended = false;
  /** Until something can be read again. */
  #unreadable = false;

  constructor(heard, changed) {
    this.heard = heard;
    this.changed = changed;
  }

  /** Have a guest's console text, too, from this byte on; null for none any more. */
  watch(guest, from = 0) {
    this.#console = guest === null ? null : { guest, from };
    this.#again();
  }

  /** Forget where it was: the view comes anew. */
  refresh() {
    this.#last = null;
    this.#again();
  }

  end() {
    this.#ended = true;
    this.#abort?.abort();
  }

  #again() {
    this.#restart = true;
    this.#abort?.abort();
  }

  async run() {
    let wait = 250;
    while (!this.#ended) {
      this.#restart = false;
      try {
        await this.#read(() => {
          wait = 250;
          this.changed({ live: true });
        });
      } catch (error) {
        if (error.status === 401) return this.changed({ live: false, refused: true });
        this.#unreadable = error instanceof Unreadable;
        if (this.#unreadable) this.#last = null;
      }
      if (this.#ended) return null;
      if (this.#restart) continue;
      this.changed({ live: false, wait, unreadable: this.#unreadable });
      await Promise.race([
        new Promise((done) => setTimeout(done, wait)),
        new Promise((done) => addEventListener("online", done, { once: true })),
      ]);
      wait = Math.min(wait * 2, LONGEST);
    }
    return null;
  }

  async #read(begun) {
    const abort = (this.#abort = new AbortController());
    const query = new URLSearchParams();
    if (this.#console) {
      query.set("console", this.#console.guest);
      query.set("from", this.#console.from);
    }
    const headers = { Accept: "text/event-stream" };
    if (this.#last !== null) headers["Last-Event-ID"] = this.#last;
    let alarm = setTimeout(() => abort.abort(), SILENCE);
    try {
      const response = await ask(`stream?${query}`, { headers, signal: abort.signal });
      if (!response.ok) throw Object.assign(new Error("refused"), { status: response.status });
      if (!this.#unreadable) begun();
      const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
      let rest = "";
      for (;;) {
        const { value, done } = await reader.read();
        clearTimeout(alarm);
        if (done) return;
        alarm = setTimeout(() => abort.abort(), SILENCE);
        const blocks = (rest + value).replaceAll("\r\n", "\n").split("\n\n");
        rest = blocks.pop();
        for (const block of blocks) {
          if (!this.#take(block) || !this.#unreadable) continue;
          this.#unreadable = false;
          begun();
        }
      }
    } finally {
      clearTimeout(alarm);
      abort.abort(); // what cannot be read is not taken any more
    }
  }

  /** Whether it has told anything. */
  #take(block) {
    let [kind, data] = ["message", ""];
    for (const line of block.split("\n")) {
      const [, name, value] = /^([^:]*):? ?(.*)$/s.exec(line);
      if (name === "event") kind = value;
      else if (name === "data") data += value;
      else if (name === "id") this.#last = value;
    }
    if (!data) return false;
    const told = parsed(data);
    if (kind === "console" && this.#console?.guest === told.guest) this.#console.from = told.next;
    this.heard(kind, told);
    return true;
  }
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    throw new Unreadable();
  }
}
