// Numbers and times for people.

export function bytes(count) {
  if (count === null || count === undefined) return "–";
  const units = ["B", "kB", "MB", "GB", "TB"];
  let at = 0;
  while (Math.abs(count) >= 1000 && at < units.length - 1) [count, at] = [count / 1000, at + 1];
  return `${at && Math.abs(count) < 100 ? count.toFixed(1) : Math.round(count)} ${units[at]}`;
}

export const rate = (count) => (count === null || count === undefined ? "–" : `${bytes(count)}/s`);

export const whole = (count) => (count === null || count === undefined ? "–" : Math.round(count).toLocaleString("en"));

export function milliseconds(value) {
  if (value === null || value === undefined) return "–";
  if (value < 10) return `${value.toFixed(1)} ms`;
  return value < 10000 ? `${Math.round(value)} ms` : `${(value / 1000).toFixed(1)} s`;
}

/** How far a guest's secondary is behind: by time, or where that is not known by entries. */
export function lag(replica) {
  if (!replica) return "–";
  if (replica.lag_ms !== null && replica.lag_ms !== undefined) return milliseconds(replica.lag_ms);
  return replica.lag_entries === null || replica.lag_entries === undefined ? "–" : `${whole(replica.lag_entries)} entries`;
}

export const clock = (seconds) => new Date(seconds * 1000).toLocaleTimeString("en-GB");

export function span(seconds) {
  if (seconds < 1) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 60) return `${seconds.toFixed(seconds < 10 ? 1 : 0)} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min ${Math.round(seconds % 60)} s`;
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

export const plural = (count, one, many = `${one}s`) => `${whole(count)} ${count === 1 ? one : many}`;

/** Whether a text has all words of a filter; a word with `!` in front must not be there. */
export function matches(filter, ...texts) {
  const text = texts.join(" ").toLowerCase();
  return filter.toLowerCase().split(/\s+/).every((word) =>
    word.startsWith("!") && word.length > 1 ? !text.includes(word.slice(1)) : text.includes(word));
}
