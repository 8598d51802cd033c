// The demo page: asks for videos as the Activity's own client does, and shows where each answer came from.
// It asks only when someone does something; data from answers enters the page as text, never as markup.

const SOURCES = {
  gateway: "live from the gateway",
  cache: "a live answer, kept",
  stale: "an older live answer",
  kaltura: "straight from Kaltura",
  activity: "the Activity server’s own",
  canned: "a sample in the gateway’s place",
  direct: "the Activity server’s own",
  sidecar: "the sidecar’s own",
  error: "no answer to show",
};
const FAULTS = [
  ["none", "None", {}],
  ["slow", "Slow, 5 s", { routes: { latency: 5 } }],
  ["500", "500 errors", { routes: { status: 500 } }],
  ["429", "429, wait 3 s", { routes: { status: 429, retry_after: 3 } }],
  ["html", "HTML for JSON", { routes: { answer: "html" } }],
  ["truncated", "Cut short", { routes: { answer: "truncated" } }],
  ["reset", "Connection reset", { routes: { answer: "reset" } }],
  ["shell", "Shell videos", { routes: { answer: "shell" } }],
  ["half", "Every other fails", { routes: { status: 502, rate: 0.5 } }],
  ["token", "No tokens", { auth: { status: 503 } }],
];
const LOG_LENGTH = 100;

const $ = (id) => document.getElementById(id);
const state = { query: "", page: 1, open: null, tally: new Map(), asking: null, watching: null };

function element(name, { text, ...properties } = {}, children = []) {
  const made = Object.assign(document.createElement(name), properties);
  if (text !== undefined) made.textContent = text;
  made.append(...children);
  return made;
}

// --- asking ---------------------------------------------------------------------------------------

async function ask(method, path, { body, signal } = {}) {
  const started = performance.now();
  const options = { method, signal, cache: "no-store", headers: { Accept: "application/json" } };
  if (body !== undefined) {
    options.body = JSON.stringify(body);
    options.headers["Content-Type"] = "application/json";
  }
  const got = { method, path, status: 0, source: "error", data: null, headers: new Headers() };
  try {
    const response = await fetch(path, options);
    const words = await response.text();
    got.status = response.status;
    got.headers = response.headers;
    got.data = parsed(words);
    got.source = sourceOf(response, got.data);
  } catch (problem) {
    if (problem.name === "AbortError") return null;
    got.data = { error: "No answer", message: String(problem.message) };
  }
  got.ms = Math.round(performance.now() - started);
  const has = got.data !== null && typeof got.data === "object";
  got.ok = got.status === 204 || (got.status >= 200 && got.status < 300 && has);
  return got;
}

function parsed(words) {
  try {
    return JSON.parse(words);
  } catch {
    if (!words) return null;
    return { error: words.startsWith("<") ? "A page in place of JSON" : "The answer is not JSON" };
  }
}

function sourceOf(response, data) {
  const named = response.headers.get("Activity-Proxy-Source");
  if (Object.hasOwn(SOURCES, named)) return named;
  if (response.status === 204) return "sidecar";
  return response.ok && data !== null ? "direct" : "error";
}

async function call(method, path, what, options) {
  const got = await ask(method, path, options);
  if (got !== null) log(got, got.ok ? what(got.data) : complaint(got));
  return got;
}

function complaint(got) {
  const { error, message, code } = got.data ?? {};
  return [error ?? `HTTP ${got.status}`, message, code && `(${code})`].filter(Boolean).join(" · ");
}

// --- where an answer came from --------------------------------------------------------------------

function badge(source) {
  const made = element("span", { className: "badge", text: source });
  made.dataset.source = source;
  return made;
}

function origin(got) {
  const timing = `${got.status || "no status"} in ${got.ms} ms`;
  return [badge(got.source), element("span", { text: `${SOURCES[got.source]} · ${timing}` })];
}

function log(got, said) {
  const status = element("span", { className: "status", text: got.status || "none" });
  status.classList.toggle("failed", !got.ok);
  const entry = element("li", { className: "entry" }, [
    element("div", { className: "entry-head" }, [
      badge(got.source),
      status,
      element("span", { className: "ms", text: `${got.ms} ms` }),
    ]),
    element("div", { className: "call mono", text: `${got.method} /${got.path}` }),
    element("div", { className: "said", text: said }),
  ]);
  entry.dataset.source = got.source;
  for (const name of ["Cache-Status", "Proxy-Status", "Retry-After", "X-Request-Id"]) {
    const value = got.headers.get(name);
    if (value) entry.append(element("div", { className: "trail mono", text: `${name}: ${value}` }));
  }
  $("entries").prepend(entry);
  while ($("entries").children.length > LOG_LENGTH) $("entries").lastElementChild.remove();
  state.tally.set(got.source, (state.tally.get(got.source) ?? 0) + 1);
  showTally();
  showPath(got);
}

function showTally() {
  const seen = Object.keys(SOURCES).filter((source) => state.tally.has(source));
  $("tally").replaceChildren(...seen.map((source) => {
    const part = element("span");
    part.dataset.source = source;
    part.style.flexGrow = state.tally.get(source);
    return part;
  }));
  $("legend").replaceChildren(...seen.map((source) => {
    const item = element("li", { text: `${source} ${state.tally.get(source)}` });
    item.dataset.source = source;
    return item;
  }));
}

function showPath(got) {
  if (got.headers.has("Activity-Proxy-Source")) {
    $("path").dataset.state = "good";
    $("path-text").textContent = "Through the sidecar";
  } else if (got.source === "direct") {
    $("path").dataset.state = "unknown";
    $("path-text").textContent = "Direct, no sidecar";
  }
}

// --- videos ---------------------------------------------------------------------------------------

function art(id, seconds) {
  const hash = scattered(String(id));
  const picture = element("span", { className: "art" });
  picture.style.setProperty("--hue", hash % 360);
  picture.style.setProperty("--hue-2", (hash % 360) + 40 + (hash >>> 9) % 60);
  const svg = shape("svg", { viewBox: "0 0 160 90", preserveAspectRatio: "xMidYMid slice", "aria-hidden": "true" });
  svg.append(
    shape("circle", { class: "shape", cx: 10 + (hash >>> 3) % 140, cy: (hash >>> 7) % 90, r: 22 + (hash >>> 5) % 30 }),
    shape("circle", { class: "shape", cx: (hash >>> 11) % 160, cy: 20 + (hash >>> 13) % 70, r: 14 + (hash >>> 15) % 40 }),
    shape("path", { class: "shape", d: `M0 ${60 + (hash >>> 17) % 20} Q40 ${30 + (hash >>> 19) % 40} 80 ${55 + (hash >>> 21) % 20} T160 ${45 + (hash >>> 23) % 30} V90 H0Z` }),
    shape("path", { class: "play", d: "M73 35.5v19l16-9.5z" }),
  );
  picture.append(svg);
  if (Number.isFinite(seconds)) picture.append(element("span", { className: "time", text: clock(seconds) }));
  return picture;
}

function scattered(words) {
  let hash = 2166136261;
  for (const character of words) hash = Math.imul(hash ^ character.codePointAt(0), 16777619);
  hash = Math.imul(hash ^ (hash >>> 16), 2246822507);
  hash = Math.imul(hash ^ (hash >>> 13), 3266489909);
  return (hash ^ (hash >>> 16)) >>> 0;
}

function shape(name, attributes) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

function clock(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  const [hours, minutes, rest] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  const padded = [minutes, rest].map((part) => String(part).padStart(2, "0"));
  return hours ? `${hours}:${padded.join(":")}` : `${minutes}:${padded[1]}`;
}

function day(value) {
  const date = new Date(value ?? NaN);
  return Number.isNaN(date.getTime()) ? "no date" : date.toISOString().slice(0, 10);
}

function views(value) {
  return Number.isFinite(value) ? `${value.toLocaleString("en")} views` : "no views";
}

function card(video) {
  const made = element("button", { className: "card", type: "button" }, [
    art(video.id, video.duration),
    element("span", { className: "card-text" }, [
      element("span", { className: "card-title", text: String(video.title ?? video.id) }),
      element("span", { className: "card-meta" }, [
        element("span", { text: views(video.views) }),
        element("span", { text: day(video.createdAt) }),
      ]),
    ]),
  ]);
  made.dataset.id = video.id;
  if (video.id === state.open) made.setAttribute("aria-current", "true");
  made.addEventListener("click", () => openVideo(String(video.id)));
  return element("li", {}, [made]);
}

async function showVideos() {
  state.asking?.abort();
  const asking = state.asking = new AbortController();
  const size = Number($("page-size").value);
  const parameters = new URLSearchParams({ page: state.page, pageSize: size });
  if (state.query) parameters.set("query", state.query);
  const path = `api/kaltura/videos${state.query ? "/search" : ""}?${parameters}`;
  $("grid").setAttribute("aria-busy", "true");
  $("library-origin").replaceChildren("asking …");
  const got = await call("GET", path, (data) => `${data.videos?.length ?? 0} videos`, { signal: asking.signal });
  if (got === null || asking.signal.aborted) return;
  const videos = got.ok && Array.isArray(got.data.videos) ? got.data.videos : [];
  $("library-title").textContent = state.query ? `Videos for “${state.query}”` : "Videos";
  $("library-origin").replaceChildren(...origin(got));
  $("library").dataset.source = got.source;
  $("grid").replaceChildren(...(videos.length ? videos.map(card) : [nothing(got)]));
  $("grid").setAttribute("aria-busy", "false");
  $("page").textContent = `Page ${state.page}`;
  $("previous").disabled = state.page <= 1;
  $("next").disabled = videos.length < size;
  $("show-all").hidden = !state.query;
}

function nothing(got) {
  const title = got.ok ? "No videos here" : "The list could not be had";
  const advice = got.ok ? "Try another search or an earlier page." : complaint(got);
  return element("li", { className: "empty" }, [element("strong", { text: title }), advice]);
}

// --- one video ------------------------------------------------------------------------------------

async function openVideo(id) {
  const another = state.open !== id;
  state.open = id;
  state.watching?.abort();
  const watching = state.watching = new AbortController();
  for (const one of document.querySelectorAll(".card")) {
    if (one.dataset.id === id) one.setAttribute("aria-current", "true");
    else one.removeAttribute("aria-current");
  }
  $("detail").hidden = false;
  $("detail-origin").replaceChildren("asking …");
  if (another) {
    $("detail-title").textContent = id;
    $("detail-results").replaceChildren();
    $("detail-art").replaceChildren(art(id));
    $("detail-description").textContent = "";
    $("detail-fields").replaceChildren();
    $("detail").focus();
  }
  const path = `api/kaltura/video/${encodeURIComponent(id)}`;
  const got = await call("GET", path, (data) => String(data.title ?? data.id), { signal: watching.signal });
  if (got === null || watching.signal.aborted) return;
  $("detail-origin").replaceChildren(...origin(got));
  $("detail").dataset.source = got.source;
  if (!got.ok) {
    $("detail-description").textContent = complaint(got);
    $("detail-fields").replaceChildren();
    return;
  }
  const video = got.data;
  $("detail-title").textContent = String(video.title ?? id);
  $("detail-art").replaceChildren(art(id, video.duration));
  $("detail-description").textContent = String(video.description ?? "");
  const fields = [["Id", video.id], ["Recorded", day(video.createdAt)], ["Length", Number.isFinite(video.duration) ? clock(video.duration) : ""],
    ["Views", views(video.views)], ["By", video.userId], ["Partner", video.partnerId]];
  $("detail-fields").replaceChildren(...fields.filter(([, value]) => (value ?? "") !== "").map(([name, value]) =>
    element("div", {}, [element("dt", { text: name }), element("dd", { text: String(value) })])));
}

function closeVideo() {
  const card = document.querySelector('.card[aria-current="true"]');
  state.open = null;
  state.watching?.abort();
  $("detail").hidden = true;
  card?.removeAttribute("aria-current");
  card?.focus();
}

async function askFor(button, name, method, path, body, value) {
  const id = state.open;
  button.disabled = true;
  const got = await call(method, path, () => `${name} for ${id}`, { body });
  button.disabled = false;
  if (state.open !== id) return;
  const result = element("div", { className: "result" }, [
    element("p", { className: "origin" }, [element("strong", { text: name }), ...origin(got)]),
    element("code", { text: got.ok ? String(value(got.data)) : complaint(got) }),
  ]);
  if (got.ok) result.append(element("p", { className: "origin", text: madeFor(String(value(got.data))) }));
  result.dataset.result = name;
  for (const old of $("detail-results").children) if (old.dataset.result === name) old.remove();
  $("detail-results").prepend(result);
}

// --- who is signed in -----------------------------------------------------------------------------
// The cookie is the sidecar's and no script's to read: what is remembered here is the name to show.

async function signIn() {
  const { value: code, selectedOptions } = $("code");
  const got = await call("POST", "api/token", ({ api_token, api_error }) =>
    api_token ? "Discord’s tokens, and the gateway’s for this viewer" : `Discord’s tokens, but ${api_error?.code ?? "no more"}`, { body: { code } });
  if (!got.ok) return showViewer(null, complaint(got));
  const { api_token, api_error } = got.data;
  const known = Boolean(api_token) || Boolean(api_error?.code.startsWith("gateway"));
  showViewer(known ? selectedOptions[0].text : null, api_error && `${api_error.message} (${api_error.code})`);
}

async function signOut() {
  const got = await call("POST", "api/logout", () => "signed out");
  if (got.ok) showViewer(null);
}

function showViewer(name, problem) {
  if (name === null) sessionStorage.removeItem("viewer");
  else sessionStorage.setItem("viewer", name);
  $("who").dataset.state = problem ? "faulty" : name === null ? "unknown" : "good";
  $("who-text").textContent = name === null ? "Nobody signed in" : `Signed in: ${name}`;
  $("sign-out").hidden = name === null;
  const usual = name === null ? "Sessions and play URLs are the service’s own." : `Sessions and play URLs are ${name}’s own.`;
  $("viewer-note").textContent = problem || usual;
}

function madeFor(secret) {
  const found = /\|discord_([\w-]+)\|/.exec(secret);
  if (found === null) return "a sample, good for nothing";
  if (/^\d+$/.test(found[1])) return `made for the Discord user ${found[1]}`;
  if (sessionStorage.getItem("viewer") !== null) showViewer(null, "The sidecar does not know you any more.");
  return "made for the service";
}

// --- switches of the sandbox ----------------------------------------------------------------------

async function control(method, path, body) {
  const got = await ask(method, `sandbox/${path}`, { body });
  $("switches-problem").hidden = got.ok;
  if (!got.ok) $("switches-problem").textContent = `The sandbox did not take it: ${complaint(got)}`;
  return got.ok ? got.data : null;
}

async function setFaults() {
  const chosen = document.querySelector("#faults input:checked").value;
  const [, , faults] = FAULTS.find(([name]) => name === chosen);
  showFaults(await control("PUT", "faults", { ...faults, offline: !$("online").checked }));
  askAgain();
}

async function setDiscord() {
  showDiscord(await control("PUT", "discord/faults", { offline: !$("discord-online").checked }));
}

function showDiscord(faults) {
  if (faults !== null) $("discord-online").checked = !faults.offline;
}

async function setKaltura() {
  showKaltura(await control("PUT", "kaltura/faults", { offline: !$("kaltura-online").checked }));
  askAgain();
}

function showKaltura(faults) {
  if (faults !== null) $("kaltura-online").checked = !faults.offline;
}

function showFaults(faults) {
  if (faults === null) return;
  const same = FAULTS.find(([, , wanted]) => fits(wanted, faults));
  for (const choice of document.querySelectorAll("#faults input")) choice.checked = choice.value === same?.[0];
  $("online").checked = !faults.offline;
  $("online-note").textContent = faults.offline ? "refuses connections" : "takes connections";
  const faulty = same?.[0] !== "none";
  $("gateway").dataset.state = faults.offline ? "bad" : faulty ? "faulty" : "good";
  const trouble = same ? same[1].toLowerCase() : "faults of your own";
  $("gateway-text").textContent = faults.offline ? "Gateway offline" : faulty ? `Gateway: ${trouble}` : "Gateway online";
}

function fits(wanted, faults) {
  const none = { latency: 0, status: null, retry_after: null, answer: "normal", rate: 1 };
  return ["all", "auth", "routes"].every((name) => {
    const expected = { ...none, ...wanted[name] };
    return Object.keys(expected).every((key) => faults[name]?.[key] === expected[key]);
  });
}

function askAgain() {
  showVideos();
  if (state.open !== null) openVideo(state.open);
}

// --- wiring ---------------------------------------------------------------------------------------

function goTo(page, query = state.query) {
  state.page = page;
  state.query = query;
  showVideos();
}

function wire() {
  for (const [value, text] of FAULTS) {
    const input = element("input", { type: "radio", name: "fault", value, checked: value === "none" });
    $("faults").append(element("label", {}, [input, element("span", { text })]));
  }
  $("search").addEventListener("submit", (event) => {
    event.preventDefault();
    goTo(1, $("query").value.trim());
  });
  $("show-all").addEventListener("click", () => {
    $("query").value = "";
    goTo(1, "");
    $("query").focus();
  });
  $("page-size").addEventListener("change", () => goTo(1));
  $("previous").addEventListener("click", () => goTo(state.page - 1));
  $("next").addEventListener("click", () => goTo(state.page + 1));
  $("reload").addEventListener("click", askAgain);
  $("detail-close").addEventListener("click", closeVideo);
  $("detail").addEventListener("keydown", (event) => event.key === "Escape" && closeVideo());
  $("ask-session").addEventListener("click", ({ currentTarget }) =>
    askFor(currentTarget, "Session", "POST", "api/kaltura/session", { videoId: state.open }, (data) => data.ks));
  $("ask-play").addEventListener("click", ({ currentTarget }) =>
    askFor(currentTarget, "Play URL", "POST", `api/kaltura/video/${encodeURIComponent(state.open)}/play`, {}, (data) => data.playUrl));
  $("sign-in").addEventListener("click", signIn);
  $("sign-out").addEventListener("click", signOut);
  $("clear").addEventListener("click", () => {
    $("entries").replaceChildren();
    state.tally.clear();
    showTally();
  });
  $("faults").addEventListener("change", setFaults);
  $("online").addEventListener("change", setFaults);
  $("kaltura-online").addEventListener("change", setKaltura);
  $("discord-online").addEventListener("change", setDiscord);
  $("manner").addEventListener("change", async () => {
    await control("PUT", "manner", { manner: $("manner").value });
    askAgain();
  });
  $("revoke").addEventListener("click", async () => {
    await control("POST", "revoke");
    askAgain();
  });
}

async function start() {
  wire();
  showViewer(sessionStorage.getItem("viewer"));
  showVideos();
  showFaults(await control("GET", "faults"));
  showKaltura(await control("GET", "kaltura/faults"));
  showDiscord(await control("GET", "discord/faults"));
  const manner = await control("GET", "manner");
  if (manner !== null) $("manner").value = manner.manner;
}

start();
