// The WebSocket of the WHATWG, as Node.js and browsers have it, against the demo.
const [address] = process.argv.slice(2);

function open(path, protocols) {
  const socket = new WebSocket(`ws://${address}${path}`, protocols);
  socket.binaryType = "arraybuffer";
  return socket;
}

function next(socket, kind) {
  return new Promise((resolve, reject) => {
    socket.addEventListener(kind, resolve, { once: true });
    if (kind !== "close") socket.addEventListener("error", reject, { once: true });
  });
}

function assert(holds, what) {
  if (!holds) throw new Error(what);
}

const echo = open("/ws/echo", ["chat", "other"]);
await next(echo, "open");
assert(echo.protocol === "chat", `protocol: ${echo.protocol}`);
assert(echo.extensions === "", `extensions: ${echo.extensions}`);
for (const text of ["", "κόσμε 𝄞", "x".repeat(300000)]) {
  echo.send(text);
  assert((await next(echo, "message")).data === text, "a text came back otherwise");
}
echo.send(new Uint8Array([255, 0]));
assert(new Uint8Array((await next(echo, "message")).data).join() === "255,0", "bytes came back otherwise");
echo.close(4000, "enough");
const closed = await next(echo, "close");
assert(closed.wasClean && closed.code === 4000, `closed with ${closed.code}`);
const told = await next(open("/ws/close?code=3001&reason=why"), "close");
assert(told.wasClean && told.code === 3001 && told.reason === "why", `closed with ${told.code}`);
console.log("node: messages and codes");
process.exit(0);
