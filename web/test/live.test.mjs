// What happens is on screen, once, whatever happens to the hub or the network; and the door opens when it is meant to.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { after, before, test } from "node:test";
import { promisify } from "node:util";
import { launch, Person } from "./browser.mjs";
import { Hub, until } from "./hub.mjs";

/** LOCK_OPEN_SECONDS of the tests' hubs. */
const OPEN_SECONDS = 4;
const PASSWORD = "only-for-the-tests";
const LOST = [/ERR_CONNECTION|ERR_INTERNET|WebSocket|Failed to load resource|ERR_EMPTY_RESPONSE|ERR_SOCKET/];
let hub, browser, token;

before(async () => {
  hub = await Hub.start();
  await hub.user("the-operator", "OPERATOR", PASSWORD);
  token = await hub.token("the-operator", PASSWORD);
  browser = await launch();
});
after(async () => {
  await browser?.close();
  await hub?.remove();
});

const live = (person) => person.page.locator(".line-state.is-live").first().waitFor({ state: "attached" });
const status = () => hub.call("GET", "/api/lock/status");
/** Waits until the stream holds exactly what the hub has stored, each event once and newest first. */
const same = (person) =>
  until("each event is on screen once", async () => {
    const stored = (await hub.call("GET", "/api/events?limit=500")).map(({ id }) => id);
    const shown = await person.shown();
    assert.deepEqual(shown, stored.slice(0, shown.length));
    return shown.length === Math.min(stored.length, shown.length) && shown.length > 0 && shown[0] === stored[0];
  });

test("a detection by HTTP and one by MQTT are on screen as they come, and the tile of their camera says so", async () => {
  const person = await Person.come(browser, hub, { token });
  await live(person);
  const byHttp = await hub.detect(1);
  await person.page.locator(`article[data-event="${byHttp.id}"]`).waitFor();
  const device = await hub.call("POST", "/api/devices", { name: "front", role: "camera", cameraId: 2 });
  await promisify(execFile)("mosquitto_pub", ["-h", "127.0.0.1", "-p", String(hub.mqttPort), "-q", "1", "-u", "front", "-P", device.password, "-t", "camera/2/detections", "-m", '{"personCount": 3, "confidence": 0.8}']);
  await person.page.locator("article", { hasText: "3 people" }).waitFor();
  const camera = (await hub.call("GET", "/api/cameras/2")).name;
  await person.page.locator(".tile", { hasText: camera }).getByText("3 people").waitFor();
  await same(person);
  // Resolved by the row's button: done for everybody.
  await person.page.locator(`article[data-event="${byHttp.id}"] .resolve`).click();
  await until("it is resolved", async () => (await hub.call("GET", `/api/events/${byHttp.id}`)).isResolved);
  await person.picture("stream");
  await person.leave();
});

test("press and hold opens the door, a touch does not; the seconds count down until it is locked again", async () => {
  const person = await Person.come(browser, hub, { token });
  const { page } = person;
  await live(person);
  await page.locator('.door[data-state="locked"]').waitFor();
  const button = page.getByRole("button", { name: "Hold to open" });
  await button.click();
  await page.getByText("Keep holding").waitFor();
  assert.equal((await status()).status, "CLOSED");
  assert.equal((await hub.call("GET", "/api/lock/history")).length, 0, "a touch asks for nothing");
  const box = await page.locator(".hold-button").boundingBox();
  await page.mouse.move(box.x + box.width / 2, box.y + box.height / 2);
  await page.mouse.down();
  await page.locator('.door[data-state="open"]').waitFor();
  await page.mouse.up();
  const seconds = async () => Number(/Closes in (\d+)/.exec(await page.locator(".door-more").innerText())?.[1] ?? NaN);
  const first = await until("the seconds are shown", seconds);
  assert.ok(first >= 1 && first <= OPEN_SECONDS, String(first));
  await person.isAccessible("an open door");
  await person.picture("door-open");
  await until("they count down", async () => (await seconds()) < first || (await page.locator('.door[data-state="locked"]').count()) > 0);
  await page.locator('.door[data-state="locked"]').waitFor();
  await page.getByText(/Last opened by you/).waitFor();
  const [attempt] = await hub.call("GET", "/api/lock/history");
  assert.deepEqual([attempt.action, attempt.outcome, attempt.channel], ["open", "done", "http"]);
  await person.leave();
});

test("with the keyboard: a key that is held opens, a short one does not; what only clicks is asked once more", async () => {
  const person = await Person.come(browser, hub, { token });
  const { page } = person;
  await live(person);
  await page.locator('.door[data-state="locked"]').waitFor();
  await page.locator(".hold-button").focus();
  await page.keyboard.press("Enter");
  await page.getByText("Keep holding").waitFor();
  assert.equal((await status()).status, "CLOSED");
  await page.keyboard.down(" ");
  await page.locator('.door[data-state="open"]').waitFor();
  await page.keyboard.up(" ");
  await page.getByRole("button", { name: "Close now" }).click();
  await page.locator('.door[data-state="locked"]').waitFor();
  // As a screen reader does: a click without a pointer and without a key.
  await page.locator(".hold-button").evaluate((button) => button.click());
  await page.getByRole("dialog", { name: "Open the door?" }).waitFor();
  await person.isAccessible("the question");
  assert.equal((await status()).status, "CLOSED");
  await page.getByRole("button", { name: "Open the door" }).click();
  await page.locator('.door[data-state="open"]').waitFor();
  await page.locator('.door[data-state="locked"]').waitFor();
  await person.leave();
});

test("what becomes of a command is said as it is: refused, out of reach, not confirmed, too often", async () => {
  const person = await Person.come(browser, hub, { token, allow: [/Failed to load resource/] });
  const { page } = person;
  await live(person);
  const cases = [
    [409, { message: "The clock of the lock agent is not set" }, "the lock agent refused. The clock of the lock agent is not set"],
    [503, { message: "No lock agent is connected" }, "Not done: No lock agent is connected. The door is as it was."],
    [504, { message: "No confirmation" }, "No answer from the lock agent in time"],
    [429, { message: "Too often" }, "Too many tries"],
  ];
  for (const [code, body, said] of cases) {
    // The hub's own answers, which need a lock agent that fails in each of these ways.
    await page.route("**/api/lock/open", (route) => route.fulfill({ status: code, contentType: "application/json", body: JSON.stringify({ statusCode: code, ...body }) }));
    await page.locator('.door[data-state="locked"]').waitFor();
    await page.locator(".hold-button").focus();
    await page.keyboard.down(" ");
    await page.locator(".door-said.bad", { hasText: said }).waitFor();
    await page.keyboard.up(" ");
    await page.unroute("**/api/lock/open");
  }
  assert.equal((await status()).status, "CLOSED");
  await person.leave();
});

test("the network is cut: it says so, and what came meanwhile is there once it is back, each event once", async () => {
  const person = await Person.come(browser, hub, { token, allow: LOST });
  await live(person);
  await same(person);
  await person.context.setOffline(true);
  await person.page.getByText("The hub cannot be heard.").waitFor();
  await person.page.locator('.door[data-state="unknown"]').waitFor();
  await person.isAccessible("without a connection");
  await person.picture("no-connection");
  for (let count = 0; count < 6; count++) await hub.detect(1 + (count % 2));
  await person.context.setOffline(false);
  await live(person);
  assert.match(await person.page.locator(".toast", { hasText: "Connected again" }).innerText(), /6 events that came meanwhile are here now/);
  await same(person);
  await person.leave();
});

test("the hub is killed and started again: no event is lost on screen, and none is there twice", async () => {
  const person = await Person.come(browser, hub, { token, allow: LOST });
  const listed = await Person.come(browser, hub, { token, path: "/events", allow: LOST });
  await live(person);
  await live(listed);
  await same(listed);
  const last = await hub.detect(1);
  await person.page.locator(`article[data-event="${last.id}"]`).waitFor();
  await hub.kill();
  await person.page.getByText("The hub cannot be heard.").waitFor();
  // Nobody comes back before these are stored.
  await person.context.setOffline(true);
  await listed.context.setOffline(true);
  await hub.run();
  for (let count = 0; count < 4; count++) await hub.detect(2);
  await person.context.setOffline(false);
  await listed.context.setOffline(false);
  await live(person);
  await live(listed);
  await hub.detect(1);
  await same(person);
  await same(listed);
  await person.page.locator('.door[data-state="locked"]').waitFor();
  await person.leave();
  await listed.leave();
});

test("thousands of events scroll to the end with few of them drawn", async () => {
  const count = 1_200;
  for (let begun = 0; begun < count; begun += 20) await Promise.all(Array.from({ length: 20 }, () => hub.detect(1)));
  const person = await Person.come(browser, hub, { token, path: "/events" });
  await live(person);
  await person.page.locator("article[data-event]").first().waitFor();
  await until("the end is reached", async () => {
    await person.page.mouse.wheel(0, 20_000);
    assert.ok((await person.shown()).length < 80, "only what is in view is drawn");
    return (await person.page.getByText(/That was all/).count()) > 0;
  });
  const total = (await hub.call("GET", "/api/events/stats")).total;
  assert.match(await person.page.locator(".list-end").innerText(), new RegExp(`${total.toLocaleString("en-GB")} events`));
  await person.leave();
});

test("without a lock agent the door is out of reach, and nobody can press", async () => {
  const alone = await Hub.start({ LOCK_AGENT: "remote", GPIO_SIMULATED: undefined, LOCK_OPEN_SECONDS: undefined, ready: "/healthz" });
  try {
    const person = await Person.come(browser, alone, { token: await alone.token() });
    await person.page.locator('.door[data-state="away"]').waitFor();
    await person.page.getByText("Out of reach").waitFor();
    assert.ok(await person.page.getByRole("button", { name: "Hold to open" }).isDisabled());
    await person.isAccessible("out of reach");
    await person.picture("door-out-of-reach");
    await person.leave();
  } finally {
    await alone.remove();
  }
});
