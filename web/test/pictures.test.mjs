// Pictures and presence as they come: on a camera's tile, in the stream, on an event's page, in the door's history.
import assert from "node:assert/strict";
import { after, before, test as run } from "node:test";
import { launch, Person } from "./browser.mjs";
import { Hub, until } from "./hub.mjs";

const PASSWORD = "only-for-the-tests";
let hub, browser, painter, token, admin;

/** What this hub can do, by its own words. */
const can = { pictures: false, presence: false };
const need = (what) => (name, body) => run(name, async (context) => (can[what] ? body() : context.skip(`this hub has no ${what}`)));
const test = need("pictures");

before(async () => {
  // Occupied until the engine sees nobody, and not until the time is over.
  hub = await Hub.start({ OCCUPANCY_SECONDS: "600", TIMEZONE: "Europe/Berlin" });
  await hub.user("the-operator", "OPERATOR", PASSWORD);
  token = await hub.token("the-operator", PASSWORD);
  admin = await hub.token();
  browser = await launch();
  painter = await (await browser.newContext()).newPage();
  can.pictures = "/api/events/{id}/snapshot" in (await hub.call("GET", "/openapi.json")).paths;
  can.presence = "occupied" in (await hub.call("GET", "/api/cameras/1"));
});
after(async () => {
  await browser?.close();
  await hub?.remove();
});

/** A picture of one colour, as an engine would send it. */
const painted = async (colour, [width, height] = [1600, 900]) =>
  Buffer.from(
    await painter.evaluate(([colour, width, height]) => {
      const canvas = document.createElement("canvas");
      [canvas.width, canvas.height] = [width, height];
      const pen = canvas.getContext("2d");
      pen.fillStyle = colour;
      pen.fillRect(0, 0, width, height);
      return canvas.toDataURL("image/jpeg", 0.9).split(",")[1];
    }, [colour, width, height]),
    "base64",
  );

const live = (person) => person.page.locator(".line-state.is-live").first().waitFor({ state: "attached" });

/** Waits until the picture at this place has been loaded and is of that colour: its middle's red, green and blue. */
const shows = (place, is) =>
  until(`a picture is ${is}`, async () => {
    const seen = await place.evaluate((image) => {
      if (!image.complete || image.naturalWidth === 0) return null;
      const canvas = document.createElement("canvas");
      const pen = canvas.getContext("2d");
      pen.drawImage(image, 0, 0, 300, 150);
      return [...pen.getImageData(150, 75, 1, 1).data];
    });
    return seen !== null && is(seen);
  });
const RED = ([red, green, blue]) => red > 150 && green < 80 && blue < 80;
const BLUE = ([red, green, blue]) => blue > 150 && red < 80 && green < 80;
const GREEN = ([red, green, blue]) => green > 90 && red < 80 && blue < 80;

test("a detection with its picture is on screen as it comes: in the stream, on the tile, and large by itself", async () => {
  const person = await Person.come(browser, hub, { token });
  await live(person);
  const event = await hub.detectWith(await painted("rgb(200 0 0)"), 1);
  assert.ok(event.snapshotUrl, "the hub has the picture");
  await shows(person.page.locator(`article[data-event="${event.id}"] img`), RED);
  const tile = person.page.locator('.tile[data-camera="1"]');
  await shows(tile.locator("img.picture"), RED);
  assert.match(await tile.locator("img.picture").getAttribute("alt"), /^Person at /);
  // The next one takes its place.
  const next = await hub.detectWith(await painted("rgb(0 0 200)"), 1, { personCount: 2 });
  await shows(tile.locator("img.picture"), BLUE);
  await person.settled();
  await person.isAccessible("pictures");
  await person.picture("pictures");
  await person.page.locator(`article[data-event="${next.id}"] a`).click();
  const shot = person.page.locator(".shot img");
  await shows(shot, BLUE);
  assert.match(await shot.getAttribute("srcset"), /width=320.* 320w, .*width=640.* 640w, .*width=1280.* 1280w/);
  assert.ok((await shot.evaluate((image) => new URL(image.currentSrc).searchParams.get("width"))) !== null);
  await person.isAccessible("an event with its picture");
  await person.picture("one-picture");
  await person.leave();
});

test("a picture that comes after its detection takes its place without loading anything anew; the tile changes too", async () => {
  const person = await Person.come(browser, hub, { token });
  const page = await Person.come(browser, hub, { token });
  await live(person);
  const event = await hub.detect(2);
  const row = person.page.locator(`article[data-event="${event.id}"]`);
  await row.locator(".kind").waitFor();
  await page.go(`/events/${event.id}`);
  await page.page.getByText("It came without a picture.").waitFor();
  await live(page);
  await page.isAccessible("an event without a picture");
  const answer = await fetch(`${hub.url}/api/events/${event.id}/snapshot`, { method: "PUT", headers: { authorization: `Bearer ${admin}`, "content-type": "image/jpeg" }, body: await painted("rgb(0 140 0)") });
  assert.ok(answer.ok, await answer.text());
  await shows(row.locator("img"), GREEN);
  await shows(person.page.locator('.tile[data-camera="2"] img.picture'), GREEN);
  await shows(page.page.locator(".shot img"), GREEN);
  await page.leave();
  await person.leave();
});

test("what somebody else resolves is resolved on this screen too", async () => {
  const event = await hub.detect(1);
  const person = await Person.come(browser, hub, { token });
  const list = await Person.come(browser, hub, { token, path: "/events" });
  await live(person);
  await live(list);
  await person.page.locator(`article.to-do[data-event="${event.id}"]`).waitFor();
  await list.page.locator(`article.to-do[data-event="${event.id}"]`).waitFor();
  await hub.call("PATCH", `/api/events/${event.id}/resolve`);
  await person.page.locator(`article.done[data-event="${event.id}"]`).waitFor();
  await list.page.locator(`article.done[data-event="${event.id}"]`).waitFor();
  await person.leave();
  await list.leave();
});

need("presence")("a camera is occupied from a detection until its engine sees nobody, on Live and on Cameras", async () => {
  const person = await Person.come(browser, hub, { token });
  const cameras = await Person.come(browser, hub, { token, path: "/cameras" });
  await live(person);
  await live(cameras);
  const tile = person.page.locator('.tile[data-camera="2"]');
  const card = cameras.page.locator(".thing", { hasText: (await hub.call("GET", "/api/cameras/2")).name });
  await hub.detect(2, { personCount: 3 });
  await tile.getByText("3 people there").waitFor();
  await card.getByText("3 people there").waitFor();
  await cameras.isAccessible("presence");
  await cameras.picture("presence");
  await hub.call("POST", "/api/events", { cameraId: 2, personCount: 0 });
  await tile.getByText("3 people there").waitFor({ state: "detached" });
  await card.getByText("3 people there").waitFor({ state: "detached" });
  await person.leave();
  await cameras.leave();
});

test("the test detection of an empty hub brings a picture of its own", async () => {
  const person = await Person.come(browser, hub, { token });
  await live(person);
  const before = (await hub.call("GET", "/api/events?limit=1"))[0].id;
  await person.page.locator('.tile[data-camera="1"]').getByRole("button", { name: /^Send a test detection/ }).click();
  const event = await until("it is stored", async () => (await hub.call("GET", "/api/events?limit=1")).find(({ id }) => id > before));
  assert.equal(event.description, "Test from the dashboard");
  assert.ok(event.snapshotUrl);
  await shows(person.page.locator(`article[data-event="${event.id}"] img`), () => true);
  await person.picture("test-detection");
  await person.leave();
});

test("the door's history shows who stood there", async () => {
  await hub.detectWith(await painted("rgb(200 0 0)"), 1);
  const person = await Person.come(browser, hub, { token, path: "/door" });
  await live(person);
  await hub.call("POST", "/api/lock/open");
  await shows(person.page.locator(".attempt-picture img").first(), RED);
  await person.isAccessible("history with a picture");
  await person.picture("door-history");
  await person.page.locator('.door[data-state="locked"]').waitFor();
  await person.leave();
});

test("a picture that cannot be had any more is said, and its address is asked for anew before that", async () => {
  const event = await hub.detectWith(await painted("rgb(0 0 200)"), 1);
  const person = await Person.come(browser, hub, { token, allow: [/Failed to load resource/] });
  const { page } = person;
  await live(person);
  let refused = 0;
  // As an address is answered whose day is over.
  await page.route(/\/snapshot\?/, (route) => (refused++ === 0 ? route.fulfill({ status: 401, body: "" }) : route.continue()));
  await page.locator(`article[data-event="${event.id}"] a`).click();
  await shows(page.locator(".shot img"), BLUE);
  assert.ok(refused >= 2);
  await page.unroute(/\/snapshot\?/);
  await page.route(/\/snapshot\?/, (route) => route.fulfill({ status: 404, body: "" }));
  await page.reload();
  await page.getByText("Its picture is not kept any more.").waitFor();
  await person.leave();
});

for (const [width, height, colorScheme] of [[1440, 900, "dark"], [820, 1100, "light"], [360, 780, "dark"]]) {
  test(`pictures at ${width} px, ${colorScheme}: they fit, and a screen reader finds nothing missing`, async () => {
    const [event] = await hub.call("GET", "/api/events?cameraId=1&limit=1");
    const person = await Person.come(browser, hub, { token: admin, width, height, colorScheme, hasTouch: width < 1000 });
    for (const path of ["/", "/events", `/events/${event.id}`, "/door", "/cameras"]) {
      await person.go(path);
      await live(person);
      await person.settled();
      await person.fits(path);
      await person.isAccessible(`${path} at ${width}`);
      await person.picture(`pictures${path.replace(/\d+$/, "one").replaceAll("/", "-")}-${width}-${colorScheme}`);
    }
    await person.leave();
  });
}
