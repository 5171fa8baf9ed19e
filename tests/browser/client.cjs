// Chromium against the demo, as tests/browser/run starts it.
const { chromium } = require("playwright-core");
const { run, assert, same } = require("./server.cjs");

// What pages have at hand.
const inPage = () => {
  window.next = (target, kind) =>
    new Promise((resolve, reject) => {
      target.addEventListener(kind, resolve, { once: true });
      if (kind !== "error") target.addEventListener("error", () => reject(new Error(`error before ${kind}`)), { once: true });
    });
  window.ask = async (path, init) => {
    const answer = await fetch(path, init);
    return { status: answer.status, text: await answer.text() };
  };
};

async function main() {
  const { listeners } = JSON.parse(run("status", "--json"));
  // Two sites: browsers compare addresses whole.
  const secure = `https://${listeners.find(({ address }) => address.startsWith("127.0.0.2")).address}`;
  const plain = `http://${listeners.find(({ address }) => address.startsWith("127.0.0.1")).address}`;
  const token = run("token", "issue", "--sub", "alice");
  const browser = await chromium.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
  });
  try {
    // Its own certificate is nobody's word.
    const strict = await browser.newPage();
    const refused = await strict.goto(`${secure}/hello`).catch((error) => error);
    assert(/ERR_CERT_AUTHORITY_INVALID/.test(String(refused)), `a certificate that signs itself was believed: ${refused}`);
    const context = await browser.newContext({ ignoreHTTPSErrors: true });
    await context.addInitScript(inPage);
    const page = await context.newPage();
    await requests(page, secure, token);
    await cookies(context, secure, plain, token);
    await sockets(page, secure, token);
    await reload(page, token);
    await overPlain(context, plain, token);
    await stop(page);
  } finally {
    await browser.close();
  }
}

async function requests(page, secure, token) {
  await page.goto(`${secure}/hello`);
  const protocol = await page.evaluate(() => performance.getEntriesByType("navigation")[0].nextHopProtocol);
  same(protocol, "h2", "spoken over TLS");
  const statuses = await page.evaluate(async (token) => {
    const authorization = { Authorization: `Bearer ${token}` };
    const me = await ask("/me", { headers: authorization });
    const bytes = new Uint8Array(5_000_000).fill(120);
    const uploaded = await ask("/count", { method: "POST", body: bytes, headers: authorization });
    // Without a length: HTTP/2 has data frames, and only they tell.
    const streamed = await ask("/count", {
      method: "POST",
      headers: authorization,
      duplex: "half",
      body: new ReadableStream({
        pull(controller) {
          this.left = (this.left ?? 20) - 1;
          controller.enqueue(new Uint8Array(10_000));
          if (this.left === 0) controller.close();
        },
      }),
    });
    const many = await Promise.all(Array.from({ length: 60 }, () => ask("/me", { headers: authorization })));
    const large = await fetch("/big?n=20000000", { headers: authorization });
    return {
      stranger: (await ask("/me")).status,
      forged: (await ask("/me", { headers: { Authorization: "Bearer a.b.c" } })).status,
      subject: JSON.parse(me.text).subject,
      uploaded: JSON.parse(uploaded.text),
      streamed: JSON.parse(streamed.text),
      many: many.every((answer) => answer.status === 200),
      large: (await large.arrayBuffer()).byteLength,
    };
  }, token);
  same(
    { ...statuses, uploaded: statuses.uploaded.length, streamed: statuses.streamed.length },
    { stranger: 401, forged: 401, subject: "alice", uploaded: 5_000_000, streamed: 200_000, many: true, large: 20_000_000 },
    "requests of a page",
  );
}

// A cookie comes along with what any site has a browser ask for.
async function cookies(context, secure, plain, token) {
  await context.addCookies([{ name: "at", value: token, url: secure, sameSite: "None", secure: true }]);
  const own = await context.newPage();
  await own.goto(`${secure}/hello`);
  const answers = await own.evaluate(async () => [(await ask("/me")).status, (await ask("/echo", { method: "POST", body: "x" })).status]);
  same(answers, [200, 200], "a page of the site itself, with its cookie");
  const foreign = await context.newPage();
  await foreign.goto(`${plain}/hello`);
  const [posted] = await Promise.all([
    foreign.waitForNavigation(),
    foreign.evaluate((action) => {
      const form = document.createElement("form");
      form.method = "post";
      form.action = action;
      document.body.append(form);
      form.submit();
    }, `${secure}/echo`),
  ]);
  same(posted.status(), 403, "a form of another site");
  await foreign.goto(`${plain}/hello`);
  const opened = await foreign.evaluate(
    (address) =>
      new Promise((resolve) => {
        const socket = new WebSocket(address);
        socket.onopen = () => resolve("open");
        socket.onerror = () => resolve("refused");
      }),
    `${secure.replace("https", "wss")}/ws/echo`,
  );
  same(opened, "refused", "a WebSocket of another site");
  await own.close();
  await foreign.close();
  await context.clearCookies();
}

async function sockets(page, secure, token) {
  const found = await page.evaluate(
    async ([address, token]) => {
      const refused = await new Promise((resolve) => {
        const stranger = new WebSocket(`${address}/ws/echo`, ["chat"]);
        stranger.onopen = () => resolve("open");
        stranger.onerror = () => resolve("refused");
      });
      const socket = new WebSocket(`${address}/ws/echo`, ["chat", "bearer", token]);
      await next(socket, "open");
      const texts = ["", "κόσμε 𝄞", "x".repeat(1_000_000)];
      const came = [];
      for (const text of texts) {
        socket.send(text);
        came.push((await next(socket, "message")).data === text);
      }
      socket.close(4001, "enough");
      const closed = await next(socket, "close");
      return { refused, protocol: socket.protocol, came, code: closed.code, clean: closed.wasClean };
    },
    [secure.replace("https", "wss"), token],
  );
  same(found, { refused: "refused", protocol: "chat", came: [true, true, true], code: 4001, clean: true }, "a WebSocket");
}

// With its token in a cookie alone: a request with two tokens is refused. What a page has open when its workers are replaced: it connects again by itself, and no request is lost.
async function reload(page, token) {
  await page.evaluate(async (token) => {
    document.cookie = `at=${token}; Secure; SameSite=Strict`;
    window.events = new EventSource("/events?ms=20");
    window.opened = 0;
    events.addEventListener("open", () => (window.opened += 1));
    await next(events, "message");
    window.socket = new WebSocket(`${location.origin.replace("https", "wss")}/ws/events?ms=20`);
    await next(socket, "message");
    window.ended = next(socket, "close");
    window.failures = [];
    window.answered = 0;
    window.asking = (async () => {
      while (!window.enough) {
        const status = await fetch("/me").then((answer) => answer.status, String);
        if (status !== 200) failures.push(status);
        answered += 1;
      }
    })();
  }, token);
  for (let generation = 2; generation < 6; generation += 1) {
    same(run("reload"), `generation ${generation} serves`, "reload");
  }
  await page.waitForFunction(() => window.opened > 1);
  const seen = await page.evaluate(async () => {
    const { code, wasClean } = await ended;
    const before = answered;
    while (answered < before + 20) await new Promise((resolve) => setTimeout(resolve));
    window.enough = true;
    await asking;
    events.close();
    return { code, wasClean, failures };
  });
  same(seen, { code: 1001, wasClean: true, failures: [] }, "four reloads under a page");
}

async function overPlain(context, plain, token) {
  const page = await context.newPage();
  await page.goto(`${plain}/hello`);
  const [protocol, status] = await page.evaluate(async (token) => {
    const { status } = await ask("/me", { headers: { Authorization: `Bearer ${token}` } });
    return [performance.getEntriesByType("resource").at(-1).nextHopProtocol, status];
  }, token);
  same([protocol, status], ["http/1.1", 200], "without TLS");
  await page.close();
}

async function stop(page) {
  await page.evaluate(async () => {
    window.slow = ask("/slow?ms=700");
    const socket = new WebSocket(`${location.origin.replace("https", "wss")}/ws/echo`);
    await next(socket, "open");
    window.ended = next(socket, "close");
  });
  // The request is on its way before the order is.
  while (!/\/slow/.test(run("status"))) {
    /* again */
  }
  same(run("stop"), "stopped", "stop");
  const seen = await page.evaluate(async () => [(await slow).status, (await ended).code]);
  same(seen, [200, 1001], "a stop under a page");
}

main().then(
  () => console.log("chromium: requests, cookies, WebSockets, reloads and a stop"),
  (error) => {
    console.error(error);
    process.exitCode = 1;
  },
);
