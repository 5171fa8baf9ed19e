// Orders on the page of the admin listener in Chromium, as tests/browser/run starts it: through a tunnel to its Unix socket, as ssh makes one, and
// over TCP with tokens.
const fs = require("node:fs");
const net = require("node:net");
const { chromium } = require("playwright-core");
const { config, run, status, assert, same } = require("./server.cjs");
const shots = "target/browser";

function adminAt(start) {
  return status().admin.map(({ address }) => address).find((address) => address.startsWith(start));
}

const complaints = [];
const inPage = () => {
  document.addEventListener("securitypolicyviolation", (event) => console.error(`CSP: ${event.violatedDirective} ${event.blockedURI}`));
};

async function open(browser, address, options = {}) {
  const context = await browser.newContext(options);
  await context.addInitScript(inPage);
  const page = await context.newPage();
  page.setDefaultTimeout(20_000);
  page.on("console", (message) => {
    // A browser complains of each answer that is not good.
    if (["error", "warning"].includes(message.type()) && !/status of (401|409)|ERR_INCOMPLETE_CHUNKED_ENCODING|ERR_CONNECTION/.test(message.text())) complaints.push(message.text());
  });
  page.on("pageerror", (error) => complaints.push(String(error)));
  await page.goto(address);
  return page;
}

// What `ssh -L` does: whoever connects is, for the socket at its end, who runs it.
async function tunnel(path) {
  const server = net.createServer((near) => {
    const far = net.connect(path);
    for (const [from, to] of [[near, far], [far, near]]) {
      from.on("error", () => to.destroy());
      from.on("close", () => to.destroy());
      from.pipe(to);
    }
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  return server;
}

const isShown = (page, id) => page.locator(`#${id}`).isVisible();
const shownRows = (page, count) => page.waitForFunction((count) => document.querySelectorAll("#workers tr").length === count, count);
const outcome = (page, pattern) => page.waitForFunction((source) => new RegExp(source).test(document.querySelector("#outcome").textContent), pattern);
const focused = (page) => page.evaluate(() => document.activeElement.id);

// With the keyboard alone.
async function reloads(page) {
  const before = status().generation;
  await page.locator("#reload").waitFor();
  await page.locator("#workers-title").focus();
  const stops = [];
  for (let press = 0; press < 4; press += 1) {
    await page.keyboard.press("Tab");
    stops.push(await focused(page));
  }
  same(stops, ["scale-down", "scale-up", "pause", "reload"], "the stops of Tab");
  await page.keyboard.press("Enter");
  assert(await isShown(page, "confirm"), "the page does not ask first");
  same(await focused(page), "confirm-no", "the first choice");
  await page.keyboard.press("Escape");
  assert(!(await isShown(page, "confirm")), "Escape does not close");
  same([status().generation, await focused(page)], [before, "reload"], "nothing was confirmed");
  await page.keyboard.press("Enter");
  await page.keyboard.press("Tab");
  await page.keyboard.press("Enter");
  await outcome(page, `^generation ${before + 1} serves$`);
  await page.waitForFunction((generation) => document.querySelector("#facts").textContent.includes(`generation ${generation},`), before + 1);
  same(await focused(page), "reload", "the focus after an order");
  await page.waitForFunction(() => /reload on the admin listener, by uid/.test(document.querySelector("#timeline").innerText));
}

async function isRefused(page) {
  const good = fs.readFileSync(config, "utf8");
  const before = status().generation;
  fs.writeFileSync(config, good.replace("count = 2", "count = 0"));
  await page.locator("#reload").click();
  await page.locator("#confirm-yes").click();
  await outcome(page, "`workers.count` must be 1 to 512");
  same(await page.locator("#outcome").getAttribute("data-tone"), "bad", "the tone of a refusal");
  await page.screenshot({ path: `${shots}/orders-refused.png` });
  fs.writeFileSync(config, good);
  same(status().generation, before, "what serves");
}

async function scales(page) {
  await page.locator("#scale-up").click();
  await outcome(page, "^3 workers serve");
  await shownRows(page, 3);
  same(await page.locator("#scale-count").innerText(), "3", "the number of workers");
  await page.locator("#scale-down").click();
  await outcome(page, "^2 workers serve");
  await shownRows(page, 2);
}

async function pauses(page) {
  await page.locator("#pause").click();
  await page.screenshot({ path: `${shots}/orders-confirm.png` });
  await page.locator("#confirm-yes").click();
  await outcome(page, "^paused: ");
  await shownRows(page, 0);
  await page.waitForFunction(() => document.querySelector("#reload").textContent === "Resume");
  assert(!(await isShown(page, "pause")), "a pause in a pause");
  await page.locator("#reload").click();
  await page.locator("#confirm-yes").click();
  await outcome(page, "^generation \\d+ serves$");
  await shownRows(page, 2);
  await page.waitForFunction(() => document.querySelector("#reload").textContent === "Reload");
}

async function others(browser, address) {
  for (const [name, options] of [
    ["dark", { viewport: { width: 1280, height: 500 }, colorScheme: "dark" }],
    ["phone", { viewport: { width: 390, height: 844 }, deviceScaleFactor: 2, isMobile: true, hasTouch: true, colorScheme: "light" }],
  ]) {
    const page = await open(browser, address, options);
    await shownRows(page, 2);
    await page.locator("#reload").waitFor();
    await page.locator("#reload").scrollIntoViewIfNeeded();
    const [wide, room] = await page.evaluate(() => [document.documentElement.scrollWidth, document.documentElement.clientWidth]);
    assert(wide <= room, `${name}: ${wide} of ${room} pixels`);
    await page.screenshot({ path: `${shots}/orders-${name}.png` });
    await page.context().close();
  }
}

async function tokens(browser, address) {
  const page = await open(browser, address);
  const show = async (token) => {
    await page.locator("#token").fill(token);
    await page.keyboard.press("Enter");
  };
  await page.locator("#token-form").waitFor();
  assert(!(await isShown(page, "orders")), "buttons without a token");
  await show("a.b.c");
  await page.waitForFunction(() => /^It was refused/.test(document.querySelector("#token-why").textContent));
  await show(run("token", "issue", "--sub", "reader", "--scope", "metrics"));
  await shownRows(page, 2);
  assert(!(await isShown(page, "orders")), "buttons for whoever may only read");
  await page.reload();
  await page.locator("#token-form").waitFor();
  await show(run("token", "issue", "--sub", "operator", "--scope", "metrics control"));
  const before = status().generation;
  await page.locator("#reload").click();
  await page.locator("#confirm-yes").click();
  // Another agent answers from here on.
  await outcome(page, `^generation ${before + 1} serves$`);
  await page.waitForFunction((generation) => document.querySelector("#facts").textContent.includes(`generation ${generation},`), before + 1);
  await page.waitForFunction(() => /by a token of `operator`/.test(document.querySelector("#timeline").innerText));
  await page.context().close();
}

// A page of another origin, with the tunnel open.
async function stranger(browser, address, evil) {
  const page = await open(browser, evil);
  const before = status().events[0].number;
  const [simple, asked] = await page.evaluate(async (address) => {
    const give = (init) => fetch(`${address}control/reload`, { method: "POST", ...init }).then(({ status }) => status, () => "refused");
    return [await give({ mode: "no-cors" }), await give({ headers: { "X-Destrier-Order": "1" } })];
  }, address);
  // What it was answered it does not see: an opaque answer is 0.
  same([simple, asked], [0, "refused"], "a page of another origin");
  same(status().events[0].number, before, "what has happened");
  await page.context().close();
}

async function main() {
  const relay = await tunnel(adminAt("unix:").slice("unix:".length));
  const address = `http://localhost:${relay.address().port}/`;
  const overTcp = `http://${adminAt("127.0.0.1:")}/`;
  const browser = await chromium.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    args: ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
  });
  try {
    const page = await open(browser, address, { viewport: { width: 1280, height: 900 }, colorScheme: "light" });
    await shownRows(page, 2);
    await reloads(page);
    await scales(page);
    await isRefused(page);
    await pauses(page);
    await page.context().close();
    await others(browser, address);
    await tokens(browser, overTcp);
    same(complaints, [], "what the pages complained of");
    await stranger(browser, address, `http://${status().listeners.find(({ address }) => address.startsWith("127.0.0.1")).address}/hello`);
  } finally {
    await browser.close();
    relay.close();
  }
}

main().then(
  () => console.log("chromium: orders on the dashboard, through a tunnel and with tokens; screenshots in target/browser"),
  (error) => {
    console.error(error, complaints);
    process.exitCode = 1;
  },
);
