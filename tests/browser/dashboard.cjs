// The page of the admin listener in Chromium, as tests/browser/run starts it.
const fs = require("node:fs");
const http = require("node:http");
const { chromium } = require("playwright-core");
const { run, status, assert, same } = require("./server.cjs");
const shots = "target/browser";

// What a page must never do.
const complaints = [];
const inPage = () => {
  window.shifts = 0;
  document.addEventListener("securitypolicyviolation", (event) => console.error(`CSP: ${event.violatedDirective} ${event.blockedURI}`));
  new PerformanceObserver((list) => {
    for (const entry of list.getEntries()) if (!entry.hadRecentInput) window.shifts += entry.value;
  }).observe({ type: "layout-shift", buffered: true });
};

async function open(browser, options) {
  const context = await browser.newContext(options);
  await context.addInitScript(inPage);
  const page = await context.newPage();
  page.on("console", (message) => {
    if (["error", "warning"].includes(message.type())) complaints.push(message.text());
  });
  page.on("pageerror", (error) => complaints.push(String(error)));
  return page;
}

function plainAddress() {
  return `http://${status().listeners.find(({ address }) => address.startsWith("127.0.0.1")).address}`;
}

// A light load for as long as the test runs: some quick requests, and one that stays.
function load(address, token) {
  const agent = new http.Agent({ keepAlive: true, maxSockets: 2 });
  const held = [];
  let isOver = false;
  const get = (path) =>
    new Promise((resolve) => {
      const request = http.get(address + path, { agent: path.startsWith("/slow") ? undefined : agent, headers: { Authorization: `Bearer ${token}` } }, (answer) => {
        answer.resume();
        answer.on("end", resolve);
        answer.on("error", resolve);
      });
      request.on("error", resolve);
      if (path.startsWith("/slow")) held.push(request);
    });
  const one = async () => {
    while (!isOver) {
      await get("/hello");
      await new Promise((resolve) => setTimeout(resolve, 10 + 20 * Math.random()));
    }
  };
  const all = Promise.all([one(), one()]);
  return {
    slow: (query) => get(`/slow?${query}`),
    stop: () => {
      isOver = true;
      held.forEach((request) => request.destroy());
      return all;
    },
  };
}

const rows = (page) => page.locator("#workers tr");
const text = (page, selector) => page.locator(selector).innerText();

async function reads(browser, address, traffic) {
  const page = await open(browser, { viewport: { width: 1280, height: 900 }, colorScheme: "light" });
  const answer = await page.goto(address);
  const fields = answer.headers();
  assert(/default-src 'none'/.test(fields["content-security-policy"]), "no policy");
  same([fields["x-content-type-options"], fields["x-frame-options"]], ["nosniff", "DENY"], "protection");
  await page.waitForFunction(() => document.querySelectorAll("#workers tr").length === 2);
  same(await text(page, "#state-word"), "serving", "state");
  same(await text(page, "#live-word"), "live", "the stream");
  // Figures of a load.
  await page.waitForFunction(() => /^[1-9]/.test(document.querySelector("#tiles .value").textContent));
  await page.waitForFunction(() => [...document.querySelectorAll("#tiles .value")].slice(1, 3).every((it) => /s$/.test(it.textContent)));
  // A request that stays is shown, and nothing of its query.
  traffic.slow("ms=600000");
  await page.waitForFunction(() => /GET \/slow/.test(document.querySelector("#workers").innerText));
  assert(!/ms=|600000/.test(await page.content()), "a query is shown");
  assert(!(await page.locator("#orders").isVisible()), "buttons where nobody may give orders");
  // It has settled: what comes now moves nothing.
  await page.evaluate(() => (window.shifts = 0));
  await page.waitForTimeout(2500);
  const shifts = await page.evaluate(() => window.shifts);
  assert(shifts < 0.01, `the page moves: ${shifts}`);
  await page.keyboard.press("Tab");
  same(await page.evaluate(() => document.activeElement.textContent), "Skip to the workers", "the first stop of Tab");
  const unnamed = await page.evaluate(() => [...document.querySelectorAll("svg[role=img]")].filter((it) => !/now .* at most/.test(it.getAttribute("aria-label"))).length);
  same(unnamed, 0, "plots without words");
  await crash(page);
  return page;
}

async function crash(page) {
  const victim = status().workers.find((worker) => worker.requests_in_flight.length > 0) ?? status().workers[0];
  const began = Date.now();
  process.kill(victim.pid, "SIGKILL");
  await page.waitForFunction(
    (pid) => /killed by SIGKILL/.test(document.querySelector("#timeline li .what")?.textContent) && !document.querySelector("#workers").innerText.includes(pid),
    String(victim.pid),
    { polling: 20 },
  );
  const took = Date.now() - began;
  assert(took < 2000, `a crash was shown after ${took} ms`);
  same(await page.locator("#timeline li .kind").first().innerText(), "worker died", "the kind of event");
  assert((await page.locator("#timeline li .what").first().innerText()).startsWith(`worker ${victim.worker}, slot ${victim.slot}: killed by SIGKILL`), "the reason");
}

// What clients and the application can make a server say is text, whatever it looks like.
async function hostile(browser, address) {
  const page = await open(browser, {});
  const evil = "<img src=x onerror=\"console.error('run')\"><script>console.error('run')</script>";
  const worker = {
    worker: 1, slot: 0, pid: 7, generation: 1, state: evil, uptime: 1, connections: 0, in_flight: 1, queued: 0, requests: 1, rss: null,
    processors: null, oldest: { method: "GET", path: `/${evil}`, age: 3 },
  };
  const sample = {
    now: 1, version: evil, master: 1, uptime: 1, state: evil, generation: 1, generation_age: 1, workers_wanted: 1, connections: 0, in_flight: 1, queued: 0,
    readiness: { reasons: [{ code: "x", message: evil }] }, requests_per_second: 1, error_ratio: 0, p50: 0.1, p99: 0.2, workers: [worker],
  };
  const event = { number: 1, at: 1, kind: evil, reason: null, worker: 1, slot: 0, generation: 1, message: evil };
  const body = `event: timeline\ndata: ${JSON.stringify([event])}\n\nevent: sample\ndata: ${JSON.stringify(sample)}\n\n`;
  await page.route("**/events", (route) => route.fulfill({ contentType: "text/event-stream", body }));
  await page.goto(address);
  await page.waitForFunction(() => document.querySelectorAll("#workers tr").length === 1);
  same(await page.locator("#workers img, #workers script, #timeline img, #timeline script, #notice img").count(), 0, "markup of others");
  same(await page.locator("#workers .path").innerText(), `GET /${evil}`, "a path");
  await page.context().close();
}

async function others(browser, address) {
  for (const [name, options] of [
    ["dark", { viewport: { width: 1280, height: 900 }, colorScheme: "dark" }],
    ["phone", { viewport: { width: 390, height: 844 }, deviceScaleFactor: 2, isMobile: true, colorScheme: "light" }],
  ]) {
    const page = await open(browser, options);
    await page.goto(address);
    await page.waitForFunction(() => document.querySelectorAll("#workers tr").length === 2 && /^\d/.test(document.querySelector("#tiles .value").textContent));
    const [wide, room] = await page.evaluate(() => [document.documentElement.scrollWidth, document.documentElement.clientWidth]);
    assert(wide <= room, `${name}: ${wide} of ${room} pixels`);
    await page.waitForTimeout(3000);
    await page.screenshot({ path: `${shots}/dashboard-${name}.png`, fullPage: name === "phone" });
    await page.context().close();
  }
}

async function main() {
  const address = `http://${status().admin[0].address}/`;
  const traffic = load(plainAddress(), run("token", "issue", "--sub", "alice"));
  const browser = await chromium.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    args: ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
  });
  try {
    // For whoever looks into a failure.
    setTimeout(() => browser.contexts()[0]?.pages()[0]?.screenshot({ path: `${shots}/dashboard-late.png` }), 25_000).unref();
    const page = await reads(browser, address, traffic);
    run("scale", "3");
    run("scale", "2");
    run("reload");
    await page.waitForFunction(() => /reload/.test(document.querySelector("#timeline").innerText) && document.querySelectorAll("#workers tr").length === 2);
    // Only now: a worker that drains might have taken it, and would stay for it.
    traffic.slow("ms=600000");
    await page.waitForFunction(() => /GET \/slow/.test(document.querySelector("#workers").innerText));
    await page.waitForTimeout(Number(process.env.SHOT_AFTER ?? 3000));
    await page.screenshot({ path: `${shots}/dashboard-light.png` });
    await others(browser, address);
    await hostile(browser, address);
    same(complaints, [], "what the pages complained of");
  } finally {
    await browser.close();
    await traffic.stop();
  }
}

main().then(
  () => console.log("chromium: the dashboard, its figures, a crash, hostile texts; screenshots in target/browser"),
  (error) => {
    console.error(error, complaints);
    process.exitCode = 1;
  },
);
