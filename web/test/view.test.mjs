// A camera's live view: what a browser can play is played, what it cannot is said, and the page talks to no other host.
//
// The WHEP server speaks the HTTP part here; the media come from a second page of the same Chromium, by real WebRTC.
import assert from "node:assert/strict";
import { createServer } from "node:http";
import { after, before, test } from "node:test";
import { launch, Person } from "./browser.mjs";
import { Hub, until } from "./hub.mjs";

const PASSWORD = "only-for-the-tests";
const LOUD = [/Failed to load resource|blocked by CORS policy|ERR_/];
let hub, browser, server, publisher, token;
/** What was asked of the camera's server. */
let asked = [];

before(async () => {
  hub = await Hub.start();
  await hub.user("the-operator", "OPERATOR", PASSWORD);
  token = await hub.token("the-operator", PASSWORD);
  browser = await launch();
  publisher = await (await browser.newContext()).newPage();
  server = await camera();
});
after(async () => {
  server?.closeAllConnections();
  server?.close();
  await browser?.close();
  await hub?.remove();
});

/** Answers an offer with a picture that is red, and moves. */
const answered = (sdp) =>
  publisher.evaluate(async (sdp) => {
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [320, 180];
    const pen = canvas.getContext("2d");
    let count = 0;
    setInterval(() => {
      pen.fillStyle = "rgb(200 0 0)";
      pen.fillRect(0, 0, 320, 180);
      pen.fillStyle = "rgb(220 0 0)";
      pen.fillRect((count++ * 7) % 320, 0, 20, 20);
    }, 50);
    const connection = new RTCPeerConnection();
    (globalThis.connections ??= []).push(connection);
    await connection.setRemoteDescription({ type: "offer", sdp });
    for (const track of canvas.captureStream(20).getTracks()) connection.addTrack(track);
    await connection.setLocalDescription(await connection.createAnswer());
    if (connection.iceGatheringState !== "complete") await new Promise((done) => (connection.onicegatheringstatechange = () => connection.iceGatheringState === "complete" && done()));
    return connection.localDescription.sdp;
  }, sdp);

/** A server as cameras have one: WHEP with and without a password, MJPEG, and a page that is neither. */
async function camera() {
  const picture = Buffer.from(
    await publisher.evaluate(() => {
      const canvas = document.createElement("canvas");
      [canvas.width, canvas.height] = [320, 180];
      const pen = canvas.getContext("2d");
      pen.fillStyle = "rgb(0 0 200)";
      pen.fillRect(0, 0, 320, 180);
      return canvas.toDataURL("image/jpeg").split(",")[1];
    }),
    "base64",
  );
  const made = createServer(async (request, answer) => {
    const path = request.url;
    asked.push({ method: request.method, path, origin: request.headers.origin, authorization: request.headers.authorization });
    const open = { "access-control-allow-origin": hub.url, "access-control-allow-headers": "content-type, authorization", "access-control-allow-methods": "POST, DELETE", "access-control-expose-headers": "location" };
    if (path === "/mjpeg") {
      answer.writeHead(200, { "content-type": "multipart/x-mixed-replace; boundary=frame" });
      const timer = setInterval(() => answer.write(Buffer.concat([Buffer.from(`--frame\r\nContent-Type: image/jpeg\r\nContent-Length: ${picture.length}\r\n\r\n`), picture, Buffer.from("\r\n")])), 50);
      request.on("close", () => clearInterval(timer));
      return;
    }
    const headers = path.startsWith("/closed") ? {} : open;
    if (request.method === "OPTIONS") return void answer.writeHead(204, headers).end();
    if (request.method === "DELETE") return void answer.writeHead(200, headers).end();
    if (path === "/locked/whep" && request.headers.authorization !== `Basic ${Buffer.from("uma:p@ss").toString("base64")}`) return void answer.writeHead(401, headers).end();
    if (request.method !== "POST" || !path.endsWith("/whep")) return void answer.writeHead(404, headers).end();
    let sdp = "";
    for await (const part of request) sdp += part;
    answer.writeHead(201, { ...headers, "content-type": "application/sdp", location: `${path}/sessions/7` }).end(await answered(sdp));
  });
  await new Promise((done) => made.listen(0, "127.0.0.1", done));
  return made;
}

const host = () => `127.0.0.1:${server.address().port}`;
const set = (urls) => hub.call("PUT", "/api/cameras/1", { webrtcUrl: null, streamUrl: null, ...urls });

/** Opens the live view of the first camera. */
async function view(urls, more = {}) {
  await set(urls);
  asked = [];
  const person = await Person.come(browser, hub, { token, others: [host()], ...more });
  await person.page.locator(".line-state.is-live").first().waitFor({ state: "attached" });
  await person.page.locator('.tile[data-camera="1"]').getByRole("button", { name: /^Live view of/ }).click();
  return person;
}

/** The colour in the middle of what is shown in the frame. */
const colour = (person, name) =>
  until("a picture is shown", async () => {
    const frame = person.page.frames().find((one) => one.url().endsWith("/live-view"));
    return frame?.evaluate((name) => {
      const element = document.querySelector(name);
      const [width, height] = [element?.videoWidth ?? element?.naturalWidth, element?.videoHeight ?? element?.naturalHeight];
      if (!width) return null;
      if (name === "img") return [width, height];
      const canvas = document.createElement("canvas");
      const pen = canvas.getContext("2d");
      pen.drawImage(element, 0, 0, 300, 150);
      return [...pen.getImageData(150, 75, 1, 1).data];
    }, name);
  });

test("WHEP is played in a frame that may talk to that server alone, and the server is told when one leaves", async () => {
  const person = await view({ webrtcUrl: `http://${host()}/front/whep` });
  await person.page.getByText("Live by WebRTC").waitFor();
  const shown = await until("the picture is red", async () => {
    const [red, green, blue] = await colour(person, "video");
    return red > 120 && green < 60 && blue < 60;
  });
  assert.ok(shown);
  await person.isAccessible("a live view");
  await person.picture("live-view");
  assert.deepEqual(asked.filter(({ method }) => method === "POST").map(({ path, origin }) => [path, origin]), [["/front/whep", hub.url]]);
  // The door is opened from here too.
  await person.page.getByRole("dialog").getByRole("button", { name: "Hold to open" }).waitFor();
  await person.page.getByRole("dialog").getByRole("button", { name: "Close" }).click();
  await until("the server is told", () => asked.some(({ method, path }) => method === "DELETE" && path === "/front/whep/sessions/7"));
  await person.leave();
});

test("user and password of an address are sent as such, and shown nowhere", async () => {
  const person = await view({ webrtcUrl: `http://uma:p%40ss@${host()}/locked/whep` });
  await person.page.getByText("Live by WebRTC").waitFor();
  assert.ok(asked.every(({ path }) => !path.includes("uma")));
  await person.leave();
});

test("MJPEG is shown, also where WebRTC fails first", async () => {
  const person = await view({ webrtcUrl: `http://${host()}/no-such`, streamUrl: `http://${host()}/mjpeg` }, { allow: LOUD });
  await person.page.getByText("Live by MJPEG").waitFor();
  assert.deepEqual(await colour(person, "img"), [320, 180]);
  await person.picture("live-view-mjpeg");
  await person.leave();
});

test("what cannot be played is said, with what to do", async () => {
  const cases = [
    [{ streamUrl: "rtsp://192.168.1.20/stream1" }, /play no RTSP.*go2rtc or MediaMTX/],
    [{ webrtcUrl: "ws://192.168.1.20/api/ws" }, /A WebSocket address is no WHEP address/],
    [{ streamUrl: "http://uma:secret@192.168.1.20/video.cgi" }, /a user name and a password/],
    [{ webrtcUrl: "http://[fe80::1]:8889/whep" }, /IPv6/],
    [{ webrtcUrl: `http://${host()}/no-such` }, /answered with status 404.*Is it a WHEP address/],
    [{ webrtcUrl: `http://${host()}/closed/whep` }, /must allow the origin http:\/\/127\.0\.0\.1:\d+ \(CORS\)/],
    [{ webrtcUrl: `http://${host()}/locked/whep` }, /wants a user name and a password/],
    [{ streamUrl: `http://${host()}/no-pictures` }, /sends no pictures that a browser knows/],
  ];
  for (const [urls, said] of cases) {
    const person = await view(urls, { allow: LOUD });
    await person.page.getByText("No live view here").waitFor();
    assert.match(await person.page.locator(".no-view").innerText(), said);
    await person.leave();
  }
  const phone = await view({ streamUrl: "rtsp://192.168.1.20/stream1" }, { width: 360, height: 780, hasTouch: true, colorScheme: "dark" });
  await phone.page.getByText("No live view here").waitFor();
  await phone.fits("a live view");
  await phone.isAccessible("no live view");
  await phone.picture("live-view-none-360");
  await phone.leave();
});

test("the frame's policy names the camera's servers and no others, and a stranger learns of none", async () => {
  await set({ webrtcUrl: "http://cam.example:8889/front/whep?token=secret", streamUrl: "https://uma:pw@pictures.example/x.m3u8" });
  const ask = (form) => fetch(`${hub.url}/live-view`, { method: "POST", body: new URLSearchParams(form) });
  const page = await ask({ token, camera: "1" });
  assert.equal(page.status, 200);
  const policy = page.headers.get("content-security-policy");
  assert.match(policy, /connect-src http:\/\/cam\.example:8889; img-src https:\/\/pictures\.example; media-src https:\/\/pictures\.example;/);
  assert.ok(!/unsafe|secret|uma|\*/.test(policy), policy);
  assert.match(policy, /frame-ancestors 'self'/);
  assert.deepEqual(["x-frame-options", "cache-control", "x-content-type-options"].map((name) => page.headers.get(name)), ["SAMEORIGIN", "no-store", "nosniff"]);
  const device = await hub.call("POST", "/api/devices", { name: "front", role: "camera", cameraId: 1 });
  for (const [form, status] of [[{ camera: "1" }, 401], [{ token: "nonsense", camera: "1" }, 401], [{ token: device.token, camera: "1" }, 401], [{ token, camera: "99" }, 404], [{ token, camera: "x" }, 404], [{ token }, 404]]) {
    const refused = await ask(form);
    assert.equal(refused.status, status, JSON.stringify(form));
    assert.ok(!/example/.test(JSON.stringify([...refused.headers]) + (await refused.text())));
  }
  assert.equal((await fetch(`${hub.url}/live-view`)).status, 405);
});
