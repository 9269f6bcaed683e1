// Questions to the server. The token is kept for this tab alone, and never stands in an address.

const KEPT = "vlockstep-token";

export class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

/** From the fragment, where it is not left, or from before. */
export function takeToken() {
  const given = /^#token=(.+)$/.exec(location.hash);
  if (given) {
    sessionStorage.setItem(KEPT, decodeURIComponent(given[1]));
    history.replaceState(null, "", location.pathname + location.search + "#/");
  }
  return sessionStorage.getItem(KEPT) ?? "";
}

export const keepToken = (token) => sessionStorage.setItem(KEPT, token);

export function ask(path, options = {}) {
  const headers = { ...options.headers };
  const token = sessionStorage.getItem(KEPT);
  if (token) headers.Authorization = `Bearer ${token}`;
  return fetch(`api/${path}`, { ...options, headers, cache: "no-store" });
}

async function answer(response) {
  let said = null;
  try {
    said = await response.json();
  } catch {
    said = null;
  }
  if (!response.ok) throw new Refused(response.status, said?.error ?? `the server answers ${response.status}`);
  return said;
}

export async function get(path, options) {
  return answer(await ask(path, options));
}

export async function post(path, body = {}) {
  return answer(await ask(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) }));
}

export const part = encodeURIComponent;
