// The server that a test of the browser is started for, and what all of them say of what they find.
const { execFileSync } = require("node:child_process");
const [destrier, config] = process.argv.slice(2);

function run(...args) {
  return execFileSync(destrier, [...args, "-c", config], { encoding: "utf8" }).trim();
}

function status() {
  return JSON.parse(run("status", "--json"));
}

function assert(holds, what) {
  if (!holds) throw new Error(what);
}

function same(found, wanted, what) {
  assert(JSON.stringify(found) === JSON.stringify(wanted), `${what}: ${JSON.stringify(found)}`);
}

module.exports = { destrier, config, run, status, assert, same };
