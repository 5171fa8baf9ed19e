// The page of the admin listener. It is told by `events` what happens, draws it, and keeps nothing. What comes from clients, paths above
// all, is only ever put into text.

const byId = (id) => document.getElementById(id);
const SVG = "http://www.w3.org/2000/svg";

// Seconds that plots show.
const SPAN = 120;
// A request that is in flight for longer is worth a look.
const LONG = 5;

const TONES = {
  serving: "good", upgrading: "warn", reloading: "warn", booting: "warn", degraded: "bad", paused: "off", stopping: "off",
  accepting: "good", ready: "warn", draining: "off", failed: "bad", hung: "bad", killed: "bad",
};

// What each kind of event is called, and whether it is good news.
const KINDS = {
  started: ["started", "good"], reloaded: ["reload", "good"], reload_failed: ["reload failed", "bad"],
  upgraded: ["upgrade", "good"], upgrade_failed: ["upgrade failed", "bad"], scaled: ["scaled", "warn"], paused: ["paused", "off"],
  stopping: ["stopping", "off"], worker_died: ["worker died", "bad"], worker_replaced: ["replaced", "warn"],
  degraded: ["degraded", "bad"], recovered: ["recovered", "good"], ordered: ["order", "off"],
};

const NONE = "–";
const plain = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });
const compact = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });
const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });

function number(value) {
  if (value === null || value === undefined) return NONE;
  if (value >= 100000) return compact.format(value);
  return value >= 100 ? whole.format(value) : plain.format(value);
}

// A short time as [number, unit].
function short(seconds) {
  if (seconds === null || seconds === undefined) return [NONE, ""];
  if (seconds < 0.001) return [whole.format(seconds * 1e6), "µs"];
  if (seconds < 0.1) return [plain.format(seconds * 1e3), "ms"];
  if (seconds < 1) return [whole.format(seconds * 1e3), "ms"];
  return [new Intl.NumberFormat("en", { maximumFractionDigits: 2 }).format(seconds), "s"];
}

// The age of a request, which grows while one looks.
function age(seconds) {
  if (seconds >= 60) return long(seconds);
  return seconds < 1 ? short(seconds).join(" ") : `${seconds.toFixed(1)} s`;
}

// A long time: the two largest units.
function long(seconds) {
  let rest = Math.floor(seconds);
  const parts = [];
  for (const [unit, size] of [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]]) {
    const count = Math.floor(rest / size);
    rest -= count * size;
    if (count > 0 || (unit === "s" && parts.length === 0)) parts.push(`${count} ${unit}`);
    else if (parts.length > 0) break;
  }
  return parts.slice(0, 2).join(" ");
}

function bytes(value) {
  if (value === null || value === undefined) return NONE;
  const mebibytes = value / 1048576;
  return mebibytes >= 1024 ? `${plain.format(mebibytes / 1024)} GiB` : `${number(mebibytes)} MiB`;
}

function set(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

function make(name, className, ...children) {
  const node = document.createElement(name);
  if (className) node.className = className;
  node.append(...children);
  return node;
}

function draw(name, attributes) {
  const node = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  return node;
}

// ---- The tiles, each with its plot.

const history = [];
let events = [];

const TILES = [
  {
    label: "Requests", of: (it) => it.requests_per_second, show: (value) => [number(value), "/s"], marks: true,
    more: (it) => `${number(it.connections)} ${it.connections === 1 ? "connection" : "connections"}`,
  },
  { label: "Half within", hint: "p50", of: (it) => it.p50, show: short, more: () => "p50 of 10 s" },
  { label: "99 % within", hint: "p99", of: (it) => it.p99, show: short, more: () => "p99 of 10 s" },
  {
    label: "Errors", of: (it) => (it.error_ratio === null ? null : it.error_ratio * 100), show: (value) => [number(value), "%"],
    more: () => "5xx of 10 s", alarm: (value) => value > 0, least: 1,
  },
  {
    label: "In flight", of: (it) => it.in_flight, show: (value) => [number(value), ""], least: 4,
    more: (it) => `${number(it.queued)} queued`,
  },
];

for (const tile of TILES) {
  tile.value = make("span");
  tile.unit = make("span", "unit");
  tile.about = make("p", "more");
  tile.plot = draw("svg", { viewBox: `0 0 ${SPAN} 40`, preserveAspectRatio: "none", class: "plot", role: "img" });
  tile.area = draw("path", { class: "area" });
  tile.line = draw("path", { class: "line" });
  tile.events = draw("g", {});
  tile.plot.append(tile.area, tile.line, tile.events);
  set(tile.value, NONE);
  tile.item = make("li", "", make("p", "label", tile.label), make("p", "value", tile.value, tile.unit), tile.about, tile.plot);
  byId("tiles").append(tile.item);
}

function drawTile(tile, sample) {
  const value = tile.of(sample);
  const [text, unit] = tile.show(value);
  set(tile.value, text);
  set(tile.unit, unit);
  tile.item.classList.toggle("alarm", Boolean(tile.alarm && value !== null && tile.alarm(value)));
  const points = history.map((it) => [it.now, tile.of(it)]).filter(([, it]) => it !== null && it !== undefined);
  const peak = Math.max(0, ...points.map(([, it]) => it));
  const peakText = tile.show(peak).filter(Boolean).join(" ");
  set(tile.about, points.length > 1 ? `${tile.more(sample)}, peak ${peakText}` : tile.more(sample));
  tile.item.title = tile.hint ? `${tile.hint}, of the requests of the last 10 seconds` : "";
  const top = Math.max(peak, tile.least ?? 0) * 1.1 || 1;
  const at = (now) => (SPAN - (sample.now - now)).toFixed(2);
  const height = (it) => (39 - (it / top) * 37).toFixed(2);
  // A gap where nothing was seen.
  const runs = [];
  for (const point of points) {
    const run = runs.at(-1);
    if (run && point[0] - run.at(-1)[0] < 5) run.push(point);
    else runs.push([point]);
  }
  const line = runs.map((run) => run.map(([now, it], index) => `${index ? "L" : "M"}${at(now)} ${height(it)}`).join("")).join("");
  const area = runs.map((run) =>
    `M${at(run[0][0])} 40${run.map(([now, it]) => `L${at(now)} ${height(it)}`).join("")}L${at(run.at(-1)[0])} 40Z`).join("");
  tile.line.setAttribute("d", line);
  tile.area.setAttribute("d", area);
  tile.plot.setAttribute("aria-label", `${tile.label}, the last two minutes: now ${text} ${unit}, at most ${peakText}`);
  if (tile.marks) {
    const recent = events.filter((event) => sample.now - event.at < SPAN);
    tile.events.replaceChildren(...recent.map((event) => {
      const x = at(event.at);
      const mark = draw("line", { x1: x, x2: x, y1: 0, y2: 40, class: `mark ${kind(event)[1]}` });
      const title = draw("title", {});
      title.textContent = kind(event)[0];
      mark.append(title);
      return mark;
    }));
  }
}

// ---- The workers.

const rows = new Map();
const before = new Map();

const COLUMNS = [
  ["Worker", "number", (it) => String(it.worker)],
  ["State", "state-cell", null],
  ["Slot", "number", (it) => String(it.slot)],
  ["PID", "number", (it) => String(it.pid)],
  ["Generation", "number", (it) => String(it.generation)],
  ["Up", "number", (it) => long(it.uptime)],
  ["Requests/s", "number", (it) => number(it.rate)],
  ["Requests", "number", (it) => number(it.requests)],
  ["CPU", "number", (it) => (it.processors === null ? NONE : `${whole.format(it.processors * 100)} %`)],
  ["Memory", "number", (it) => bytes(it.rss)],
  ["In flight", "number", (it) => (it.queued > 0 ? `${it.in_flight} (${it.queued} wait)` : String(it.in_flight))],
];

function makeRow(worker) {
  const row = make("tr");
  row.setAttribute("role", "row");
  const cells = COLUMNS.map(([label, className]) => {
    const cell = make("td", className);
    cell.setAttribute("role", "cell");
    cell.dataset.label = label;
    return cell;
  });
  const pill = make("span", "pill");
  cells[1].append(pill);
  const path = make("span", "path");
  const age = make("span", "age");
  const oldest = make("td", "oldest", path, " ", age);
  oldest.setAttribute("role", "cell");
  oldest.dataset.label = "Oldest request in flight";
  row.append(...cells, oldest);
  return { row, cells, pill, path, age, oldest, id: worker.worker };
}

function drawWorkers(sample) {
  const seen = new Set();
  for (const worker of sample.workers) {
    seen.add(worker.worker);
    const last = before.get(worker.worker);
    const elapsed = last ? sample.now - last.now : 0;
    worker.rate = elapsed > 0 ? Math.max(0, worker.requests - last.requests) / elapsed : null;
    before.set(worker.worker, { now: sample.now, requests: worker.requests });
    let row = rows.get(worker.worker);
    if (!row) {
      row = makeRow(worker);
      rows.set(worker.worker, row);
    }
    COLUMNS.forEach(([, , text], index) => {
      if (text) set(row.cells[index], text(worker));
    });
    set(row.pill, worker.state);
    row.pill.dataset.tone = TONES[worker.state] ?? "off";
    const { oldest } = worker;
    const request = oldest ? `${oldest.method} ${oldest.path}` : "";
    set(row.path, request);
    row.oldest.title = request;
    set(row.age, oldest ? age(oldest.age) : NONE);
    row.age.classList.toggle("long", Boolean(oldest && oldest.age > LONG));
  }
  for (const [worker, { row }] of rows) {
    if (!seen.has(worker)) {
      row.remove();
      rows.delete(worker);
      before.delete(worker);
    }
  }
  // By slot, and the older one of a slot first.
  const sorted = [...sample.workers].sort((a, b) => a.slot - b.slot || a.worker - b.worker).map((it) => rows.get(it.worker).row);
  const body = byId("workers");
  if (sorted.some((row, index) => body.children[index] !== row)) body.append(...sorted);
  byId("no-workers").hidden = sorted.length > 0;
  const accepting = sample.workers.filter((it) => it.state === "accepting").length;
  set(byId("workers-count"), `${accepting} of ${sample.workers_wanted} take connections`);
}

// ---- What has happened.

function kind(event) {
  return KINDS[event.kind] ?? [event.kind, "off"];
}

const items = new Map();

function drawTimeline() {
  const list = byId("timeline");
  const known = new Set(events.map((event) => event.number));
  for (const [id, { item }] of items) {
    if (!known.has(id)) {
      item.remove();
      items.delete(id);
    }
  }
  for (const event of events) {
    if (items.has(event.number)) continue;
    const [word, tone] = kind(event);
    const badge = make("span", "kind pill", word);
    badge.dataset.tone = tone;
    const time = make("time");
    const date = new Date(event.at * 1000);
    time.dateTime = date.toISOString();
    time.title = date.toLocaleString();
    const where = event.worker === null ? "" : `worker ${event.worker}, slot ${event.slot}: `;
    const what = make("span", "what", make("span", "where", where), event.message);
    const item = make("li", "", time, badge, what);
    items.set(event.number, { item, time, at: event.at });
    list.prepend(item);
  }
  byId("no-events").hidden = events.length > 0;
  set(byId("timeline-count"), events.length > 0 ? `the last ${events.length}, the newest first` : "");
}

function drawAges(now) {
  for (const { time, at } of items.values()) set(time, `${long(Math.max(0, now - at))} ago`);
}

// ---- The head of the page.

function drawHead(sample) {
  const { state, readiness } = sample;
  const reasons = readiness.reasons.map((reason) => reason.message);
  const tone = reasons.length > 0 ? "bad" : TONES[state] ?? "off";
  byId("state").dataset.tone = tone;
  set(byId("state-word"), reasons.length > 0 && state === "serving" ? "not ready" : state);
  const generation = sample.generation === null ? "no generation serves yet" : `generation ${sample.generation}, for ${long(sample.generation_age ?? 0)}`;
  set(byId("facts"), `${sample.version}, pid ${sample.master}, up ${long(sample.uptime)}; ${generation}`);
  const title = state === "serving" && reasons.length === 0 ? "destrier" : `${state}: destrier`;
  if (document.title !== title) document.title = title;
  tell(reasons.join("; "), "bad");
}

function tell(text, tone) {
  const notice = byId("notice");
  if (notice.hidden !== !text) notice.hidden = !text;
  notice.dataset.tone = tone;
  set(notice, text);
}

function setLive(isLive, word) {
  byId("live").dataset.live = isLive ? "yes" : "no";
  set(byId("live-word"), word);
}

function take(sample) {
  setLive(true, "live");
  if (sample.silent) {
    byId("state").dataset.tone = "bad";
    set(byId("state-word"), "silent");
    tell("The master has not answered within a second. Workers may still serve.", "bad");
    return;
  }
  history.push(sample);
  while (history.length > 0 && sample.now - history[0].now > SPAN + 2) history.shift();
  drawHead(sample);
  TILES.forEach((tile) => drawTile(tile, sample));
  drawWorkers(sample);
  drawOrders(sample);
  drawAges(sample.now);
}

const HEARD = {
  sample: (data) => take(JSON.parse(data)),
  timeline: (data) => {
    events = JSON.parse(data);
    drawTimeline();
    drawAges(history.at(-1)?.now ?? Date.now() / 1000);
  },
};

// ---- Orders, where whoever looks may give them.

let allowed = [];
let isOrdering = false;

async function askWhatIsAllowed(signal) {
  const options = { headers: authorization(), signal, cache: "no-store", credentials: "omit" };
  const answer = await fetch("control", options).then((it) => it.json()).catch(() => null);
  // Where there is no answer, what was allowed before may be so still: an order says if not.
  if (answer === null) return;
  allowed = answer.orders ?? [];
  drawOrders(history.at(-1));
}

function drawOrders(sample) {
  byId("orders").hidden = allowed.length === 0 || !sample;
  if (!sample) return;
  const isPaused = sample.state === "paused";
  for (const name of ["scale", "pause", "reload"]) byId(name).hidden = !allowed.includes(name);
  byId("pause").hidden ||= isPaused;
  set(byId("reload"), isPaused ? "Resume" : "Reload");
  set(byId("scale-count"), String(sample.workers_wanted));
  // They keep the focus of the keyboard, which `disabled` would take.
  const setOff = (id, isOff) => byId(id).setAttribute("aria-disabled", String(isOff));
  for (const id of ["reload", "pause"]) setOff(id, isOrdering);
  setOff("scale-up", isOrdering || isPaused);
  setOff("scale-down", isOrdering || isPaused || sample.workers_wanted <= 1);
}

function tellOutcome(text, tone) {
  byId("outcome").dataset.tone = tone;
  set(byId("outcome"), text);
}

// What came of an order in words, and whether that is good.
async function give(name, body) {
  const headers = { ...authorization(), "X-Destrier-Order": "1", "Content-Type": "application/json" };
  try {
    const answer = await fetch(`control/${name}`, { method: "POST", headers, body: JSON.stringify(body), cache: "no-store", credentials: "omit" });
    const told = await answer.json().catch(() => ({}));
    if (answer.ok) return [told.done, "good"];
    if (answer.status === 503) return [told.detail, "warn"];
    return [told.failed ?? told.detail ?? `status ${answer.status}`, "bad"];
  } catch {
    return ["The connection ended before it was told what came of it: see what has happened.", "warn"];
  }
}

async function order(name, body, doing) {
  isOrdering = true;
  drawOrders(history.at(-1));
  tellOutcome(doing, "off");
  tellOutcome(...(await give(name, body)));
  isOrdering = false;
  drawOrders(history.at(-1));
}

// Asks whoever looks first.
const CONFIRMED = {
  reload: {
    title: "Reload?", yes: "Reload", doing: "Reloading…",
    text: "The configuration on disk is put into force by new workers. If it cannot be, everything stays as it is, and you are told why.",
  },
  resume: { title: "Resume?", yes: "Resume", doing: "Resuming…", text: "Workers with the configuration on disk serve again." },
  pause: {
    title: "Pause?", yes: "Pause", doing: "Pausing…",
    text: "All workers finish what is in flight and go. The ports stay open, and connections wait until you resume: clients get no answer meanwhile.",
  },
};
let confirmed = null;

function confirmFirst(name, words) {
  confirmed = () => order(name, {}, words.doing);
  set(byId("confirm-title"), words.title);
  set(byId("confirm-text"), words.text);
  set(byId("confirm-yes"), words.yes);
  byId("confirm").showModal();
}

function onClick(id, act) {
  byId(id).addEventListener("click", () => {
    if (byId(id).getAttribute("aria-disabled") !== "true") act();
  });
}

onClick("reload", () => confirmFirst("reload", history.at(-1).state === "paused" ? CONFIRMED.resume : CONFIRMED.reload));
onClick("pause", () => confirmFirst("pause", CONFIRMED.pause));
onClick("scale-up", () => order("scale", { by: 1 }, "Scaling up…"));
onClick("scale-down", () => order("scale", { by: -1 }, "Scaling down…"));
onClick("confirm-no", () => byId("confirm").close());
onClick("confirm-yes", () => {
  byId("confirm").close();
  confirmed();
});

// ---- The stream. An EventSource cannot send a token.

let token = null;
let stream = null;
let wait = 1;
let timer = 0;

function again(word) {
  setLive(false, word);
  clearTimeout(timer);
  if (!document.hidden) timer = setTimeout(watch, wait * 1000);
  wait = Math.min(wait * 2, 15);
}

async function watch() {
  clearTimeout(timer);
  stream?.abort();
  const own = new AbortController();
  stream = own;
  try {
    const answer = await fetch("events", { headers: authorization(), signal: own.signal, cache: "no-store", credentials: "omit" });
    if (answer.status === 401 || answer.status === 403) return await askForToken(answer);
    if (!answer.ok) return again(answer.status === 503 ? "too many watch, trying again" : `status ${answer.status}, trying again`);
    byId("token-form").hidden = true;
    askWhatIsAllowed(own.signal);
    await hear(answer.body.pipeThrough(new TextDecoderStream()).getReader());
    wait = 1;
    again("connecting again");
  } catch (error) {
    if (!own.signal.aborted) again("not connected, trying again");
  }
}

async function hear(reader) {
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    wait = 1;
    rest += value;
    const blocks = rest.split("\n\n");
    rest = blocks.pop();
    for (const block of blocks) {
      const fields = Object.fromEntries(block.split("\n").map((line) => {
        const colon = line.indexOf(":");
        return [line.slice(0, colon), line.slice(colon + 1).trimStart()];
      }));
      HEARD[fields.event]?.(fields.data);
    }
  }
}

function authorization() {
  return token === null ? {} : { Authorization: `Bearer ${token}` };
}

async function askForToken(answer) {
  const reason = await answer.json().catch(() => ({}));
  setLive(false, "a token is needed");
  byId("state").dataset.tone = "off";
  set(byId("state-word"), "unknown");
  set(byId("token-why"), token === null ? "Whoever watches this server must show a token of `admin.issuer`." : `It was refused: ${reason.detail ?? answer.status}`);
  token = null;
  allowed = [];
  drawOrders(history.at(-1));
  byId("token-form").hidden = false;
  byId("token").focus();
}

byId("token-form").addEventListener("submit", (event) => {
  event.preventDefault();
  token = byId("token").value.trim();
  byId("token").value = "";
  watch();
});

// Nobody looks at a page that is hidden, so nobody need sample for it.
document.addEventListener("visibilitychange", () => {
  if (document.hidden) {
    stream?.abort();
    setLive(false, "paused while hidden");
  } else if (byId("token-form").hidden) {
    wait = 1;
    watch();
  }
});

watch();
