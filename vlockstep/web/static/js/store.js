// The view as it is now, and how it has been for a minute: everything that pages draw from.

const SAMPLES = 60;
const EVENTS = 1000;

export class Store {
  view = null;
  session = null;
  link = { live: false };
  /** By guest: the last lags, oldest first. */
  lags = new Map();
  imbalances = [];
  /** How often it was sampled, so that who draws knows whether it must. */
  samples = 0;
  #followers = new Set();
  #due = false;

  /** Calls after changes, at most once a frame; what it returns ends that. */
  follow(call) {
    this.#followers.add(call);
    return () => this.#followers.delete(call);
  }

  touch() {
    if (this.#due) return;
    this.#due = true;
    requestAnimationFrame(() => {
      this.#due = false;
      for (const call of [...this.#followers]) call();
    });
  }

  take(kind, data) {
    if (kind === "view") this.view = data;
    else if (kind === "change" && this.view) this.#change(data);
    else return;
    this.touch();
  }

  /** What came since, for lines that move. Called once a second. */
  sample() {
    if (!this.view || !this.link.live) return;
    for (const name of this.lags.keys()) if (!(name in this.view.guests)) this.lags.delete(name);
    for (const guest of Object.values(this.view.guests)) {
      const value = lagOf(guest);
      if (value === null) {
        this.lags.delete(guest.name);
        continue;
      }
      const kept = this.lags.get(guest.name) ?? [];
      kept.push(value);
      if (kept.length > SAMPLES) kept.shift();
      this.lags.set(guest.name, kept);
    }
    const imbalance = this.view.cluster?.status?.imbalance;
    if (imbalance !== undefined) this.imbalances = [...this.imbalances, imbalance].slice(-SAMPLES);
    this.samples++;
    this.touch();
  }

  /** What has changed, and all that holds it, are other objects then: who draws need not look into those that are the same. */
  #change({ revision, set = [], unset = [], events = [] }) {
    const mine = new Set();
    this.view = { ...this.view, revision };
    for (const path of unset) {
      const [holder, key] = this.#reach(path, mine);
      if (holder) delete holder[key];
    }
    for (const [path, value] of set) {
      const [holder, key] = this.#reach(path, mine);
      if (holder) holder[key] = value;
    }
    if (events.length) this.view.events = [...this.view.events, ...events].slice(-EVENTS);
  }

  /** What holds the end of the path, of which all are copies that are in `mine` then. */
  #reach(path, mine) {
    let holder = this.view;
    for (const key of path.slice(0, -1)) {
      if (!Object.hasOwn(holder, key) || holder[key] === null) return [null, ""];
      if (!mine.has(holder[key])) mine.add((holder[key] = { ...holder[key] }));
      holder = holder[key];
    }
    return [holder, path.at(-1)];
  }
}

export const replicasOf = (guest) => Object.values(guest.replicas);

export const primaryOf = (guest) => replicasOf(guest).find((each) => each.role === "primary" || each.role === "unprotected") ?? null;

export const secondariesOf = (guest) => replicasOf(guest).filter((each) => each.role === "secondary");

/** Milliseconds, or entries where time is not known; null without a secondary. */
export function lagOf(guest) {
  const primary = primaryOf(guest);
  if (!primary || primary.role !== "primary" || primary.members < 2) return null;
  return primary.lag_ms ?? primary.lag_entries ?? null;
}

export const RANK = { bad: 0, warn: 1, plain: 2, good: 3 };
