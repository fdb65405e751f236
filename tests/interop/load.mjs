// Load for measure.py: one task as JSON in the first argument, what was found as JSON on standard output. Raw sockets and
// frames, so that a client library is not what is measured.

import { createConnection } from "node:net";
import { performance } from "node:perf_hooks";
import { WebSocket } from "ws";

function percentile(sorted, part) {
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))];
}

function spread(times) {
  const sorted = Float64Array.from(times).sort();
  return { median: percentile(sorted, 0.5), p99: percentile(sorted, 0.99), longest: sorted[sorted.length - 1] };
}

// The detection of a number: the number is its id, so that whoever hears of it knows which it is.
function detection(number) {
  const id = `00000000-0000-4000-8000-${String(number).padStart(12, "0")}`;
  return JSON.stringify({ cameraId: 1, personCount: 1, confidence: 0.9, description: "measured", detectionId: id });
}

function request({ method, path, token }, body) {
  const length = body === undefined ? "" : `content-type: application/json\r\ncontent-length: ${Buffer.byteLength(body)}\r\n`;
  return `${method} ${path} HTTP/1.1\r\nhost: hub\r\nauthorization: Bearer ${token}\r\n${length}\r\n${body ?? ""}`;
}

// A connection that asks one request after the other; `next` gives the requests, `heard` gets the statuses.
function connection(port, next, heard) {
  const socket = createConnection({ port, host: "127.0.0.1", noDelay: true });
  let kept = Buffer.alloc(0);
  const ask = () => {
    const wanted = next();
    if (wanted === null) socket.end();
    else socket.write(wanted);
  };
  socket.on("connect", ask);
  socket.on("data", (bytes) => {
    kept = kept.length ? Buffer.concat([kept, bytes]) : bytes;
    const head = kept.indexOf("\r\n\r\n");
    if (head < 0) return;
    const text = kept.toString("latin1", 0, head);
    const length = Number(/\r\ncontent-length: (\d+)/i.exec(text)[1]);
    if (kept.length < head + 4 + length) return;
    kept = Buffer.alloc(0);
    heard(Number(text.slice(9, 12)));
    ask();
  });
  return new Promise((resolve, reject) => socket.on("close", resolve).on("error", reject));
}

async function requests({ port, connections, seconds, first, wanted, ...asked }) {
  const times = [];
  const others = {};
  const begun = performance.now();
  let number = first;
  const one = () => {
    let since;
    const next = () => {
      since = performance.now();
      if (since - begun > seconds * 1000) return null;
      return request(asked, asked.method === "POST" ? detection(number++) : undefined);
    };
    const heard = (status) => {
      times.push(performance.now() - since);
      if (status !== wanted) others[status] = (others[status] ?? 0) + 1;
    };
    return connection(port, next, heard);
  };
  await Promise.all(Array.from({ length: connections }, one));
  return { rate: times.length / ((performance.now() - begun) / 1000), ...spread(times), others };
}

// A Socket.io client on a WebSocket; `heard` gets the number of each detection. Ready when it has joined the namespace.
function dashboard(port, token, heard) {
  const socket = new WebSocket(`ws://127.0.0.1:${port}/socket.io/?EIO=4&transport=websocket`, { perMessageDeflate: false });
  return new Promise((resolve, reject) => {
    socket.on("error", reject).on("close", () => reject(new Error("a dashboard was closed")));
    socket.on("message", (bytes) => {
      const packet = bytes.toString("latin1", 0, 20);
      if (packet === "2") socket.send("3");
      else if (packet.startsWith("0")) socket.send(`40${JSON.stringify({ token })}`);
      else if (packet.startsWith("40")) resolve(socket);
      else if (packet.startsWith('42["event:detected"')) {
        const id = bytes.indexOf('"detectionId":"') + '"detectionId":"'.length;
        heard(Number(bytes.toString("latin1", id + 24, id + 36)));
      }
    });
  });
}

// Detections at a fixed rate, whatever becomes of them, to many dashboards: from the sending to each dashboard's ear.
async function fanout({ port, token, reporter, sockets, rate, seconds, first }) {
  const sent = new Map();
  const times = [];
  const heard = (number) => {
    const at = sent.get(number);
    if (at !== undefined) times.push(performance.now() - at);
  };
  const dashboards = [];
  for (let at = 0; at < sockets; at += 50) {
    const some = Array.from({ length: Math.min(50, sockets - at) }, () => dashboard(port, token, heard));
    dashboards.push(...(await Promise.all(some)));
  }
  process.stdout.write("joined\n");
  await new Promise((resolve) => process.stdin.once("data", resolve));
  const count = rate * seconds;
  const begun = performance.now();
  // A connection for each report, so that a slow one holds up no other.
  const report = (body) => {
    const asked = [request({ method: "POST", path: "/api/events", token: reporter }, body)];
    return connection(port, () => asked.shift() ?? null, () => {});
  };
  const under = [];
  for (let number = 0; number < count; number++) {
    const due = begun + (number * 1000) / rate;
    const wait = due - performance.now();
    if (wait > 0) await new Promise((resolve) => setTimeout(resolve, wait));
    sent.set(first + number, performance.now());
    under.push(report(detection(first + number)));
  }
  await Promise.all(under);
  const deadline = performance.now() + 30_000;
  while (times.length < count * sockets && performance.now() < deadline) {
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  dashboards.forEach((socket) => socket.removeAllListeners("close").terminate());
  return { wanted: count * sockets, heard: times.length, ...spread(times) };
}

const { task, ...given } = JSON.parse(process.argv[2]);
const found = await { requests, fanout }[task](given);
process.stdout.write(JSON.stringify(found) + "\n");
process.exit(0);
