// A hub of the tests' own: the built program in a temporary DATA_DIR, on free ports.
import { spawn } from "node:child_process";
import { chmodSync, mkdtempSync, openSync, readFileSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

const ROOT = resolve(dirname(fileURLToPath(import.meta.url)), "../..");
export const BINARY = process.env.PORTCULLIS_BIN ?? join(ROOT, "target/debug/portcullis");
export const PICTURES = join(ROOT, "target/dashboard");
/** A slow, loaded machine is given this long for whatever is waited for. */
export const PATIENCE = 60_000;

/** Waits until something is true, and says what was waited for if it never is. */
export async function until(what, ask, patience = PATIENCE) {
  const end = Date.now() + patience;
  for (let last; ; await new Promise((done) => setTimeout(done, 50))) {
    try {
      last = await ask();
      if (last) return last;
    } catch (error) {
      last = error;
    }
    if (Date.now() > end) throw new Error(`waited in vain until ${what}: ${last?.stack ?? JSON.stringify(last)}`);
  }
}

async function freePort() {
  for (;;) {
    // Below those that the system gives to outgoing connections.
    const port = 20_000 + Math.floor(Math.random() * 12_000);
    const server = createServer();
    const free = await new Promise((done) => server.once("error", () => done(false)).listen(port, "127.0.0.1", () => done(true)));
    if (free) {
      await new Promise((done) => server.close(done));
      return port;
    }
  }
}

export class Hub {
  /** `ready`: what says that it is, where one of its parts is to be missing. */
  static async start({ ready = "/readyz", ...settings } = {}) {
    const hub = new Hub();
    hub.ready = ready;
    hub.folder = mkdtempSync("/tmp/pc-web-");
    // PostgreSQL runs as another user, which must reach it.
    chmodSync(hub.folder, 0o755);
    hub.settings = settings;
    hub.port = await freePort();
    hub.mqttPort = await freePort();
    hub.url = `http://127.0.0.1:${hub.port}`;
    await hub.run();
    hub.password = readFileSync(join(hub.folder, "data/admin-password"), "utf8").trim();
    return hub;
  }

  environment() {
    const { PATH, HOME, LANG, TMPDIR } = process.env;
    const all = {
      PATH, HOME, ...(LANG ? { LANG } : {}), ...(TMPDIR ? { TMPDIR } : {}),
      DATA_DIR: join(this.folder, "data"), HOST: "127.0.0.1", PORT: String(this.port), MQTT_PORT: String(this.mqttPort),
      RUST_LOG: "info", GPIO_SIMULATED: "true", LOCK_OPEN_SECONDS: "4", ...this.settings,
    };
    return Object.fromEntries(Object.entries(all).filter(([, value]) => value !== undefined));
  }

  async run() {
    const log = openSync(join(this.folder, "log"), "a");
    const child = spawn(BINARY, ["serve"], { cwd: this.folder, env: this.environment(), stdio: ["ignore", log, log] });
    this.process = child;
    this.ended = new Promise((done) => child.once("exit", done));
    await until("the hub is ready", async () => {
      if (child.exitCode !== null) throw new Error(`the hub ended:\n${this.log()}`);
      if (!(await fetch(this.url + this.ready)).ok) return false;
      return this.ready === "/readyz" || (await (await fetch(`${this.url}/readyz`)).json()).parts.every(({ name, up }) => up || /^lock (worker|agent)$/.test(name));
    });
  }

  log() {
    return readFileSync(join(this.folder, "log"), "utf8").slice(-6_000);
  }

  async kill(signal = "SIGKILL") {
    this.process.kill(signal);
    await this.ended;
  }

  /** Ends the hub with its PostgreSQL, and removes its folder. */
  async remove() {
    if (this.process.exitCode !== null || this.process.signalCode !== null) await this.run();
    await this.kill("SIGINT");
    rmSync(this.folder, { recursive: true, force: true });
  }

  command(args, input = "") {
    const child = spawn(BINARY, args, { cwd: this.folder, env: this.environment(), stdio: ["pipe", "pipe", "pipe"] });
    let said = "";
    child.stdout.on("data", (bytes) => (said += bytes));
    child.stderr.on("data", (bytes) => (said += bytes));
    child.stdin.end(input);
    return new Promise((done, fail) => child.once("exit", (code) => (code === 0 ? done(said) : fail(new Error(said)))));
  }

  /** A user for the tests; all have the same password. */
  async user(name, role, password = "only-for-the-tests") {
    await this.command(["user", "add", name, "--email", `${name}@example.org`, "--role", role], `${password}\n`);
    return password;
  }

  async token(username = "admin", password = this.password) {
    const answer = await this.call("POST", "/auth/login", { username, password }, null);
    return answer.access_token;
  }

  async call(method, path, body, token) {
    const shown = token === undefined ? (this.adminToken ??= await this.token()) : token;
    const headers = { "content-type": "application/json", ...(shown ? { authorization: `Bearer ${shown}` } : {}) };
    const answer = await fetch(this.url + path, { method, headers, body: body === undefined ? undefined : JSON.stringify(body) });
    const text = await answer.text();
    if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${text}`);
    return JSON.parse(text);
  }

  /** A detection with its picture, as an engine sends both at once. */
  async detectWith(picture, cameraId, more = {}) {
    const form = new FormData();
    form.append("event", new Blob([JSON.stringify({ cameraId, personCount: 1, confidence: 0.9, ...more })], { type: "application/json" }));
    form.append("snapshot", new Blob([picture], { type: "image/jpeg" }), "seen.jpg");
    const headers = { authorization: `Bearer ${(this.adminToken ??= await this.token())}` };
    const answer = await fetch(`${this.url}/api/events`, { method: "POST", headers, body: form });
    const text = await answer.text();
    if (!answer.ok) throw new Error(`POST /api/events: ${answer.status} ${text}`);
    return JSON.parse(text);
  }

  detect(cameraId, more = {}) {
    return this.call("POST", "/api/events", { cameraId, personCount: 1, confidence: 0.9, ...more });
  }
}
