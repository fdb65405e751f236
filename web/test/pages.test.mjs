// Each page, for each role, on a phone and on a wide screen, light and dark.
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { after, before, test } from "node:test";
import { launch, Person } from "./browser.mjs";
import { Hub, until } from "./hub.mjs";

const PASSWORD = "only-for-the-tests";
const ALL = ["/", "/events", "/door", "/charts", "/cameras", "/devices", "/users", "/system", "/profile"];
const ROLES = {
  USER: ["/", "/events", "/charts", "/cameras", "/system", "/profile"],
  OPERATOR: ["/", "/events", "/door", "/charts", "/cameras", "/system", "/profile"],
  ADMIN: ALL,
};
let hub, browser;
const tokens = {};

before(async () => {
  hub = await Hub.start({ LOCK_HOLD_OPEN: "true", TIMEZONE: "Europe/Berlin" });
  for (const role of ["USER", "OPERATOR", "ADMIN"]) {
    await hub.user(`the-${role.toLowerCase()}`, role, PASSWORD);
    tokens[role] = await hub.token(`the-${role.toLowerCase()}`, PASSWORD);
  }
  browser = await launch();
});
after(async () => {
  await browser?.close();
  await hub?.remove();
});

test("an empty hub shows what to do first, and a test detection from there is on screen at once", async () => {
  // A hub that takes no pictures yet says so with 415.
  const person = await Person.come(browser, hub, { token: tokens.OPERATOR, allow: [/415/] });
  const { page } = person;
  await page.getByRole("heading", { name: "First steps" }).waitFor();
  await person.settled();
  await person.isAccessible("first steps");
  await person.picture("first-steps");
  await page.getByRole("button", { name: /^Test Camera 1|^Test / }).first().click();
  await page.locator("article[data-event]").first().waitFor();
  await page.getByRole("heading", { name: "First steps" }).waitFor({ state: "detached" });
  const events = await hub.call("GET", "/api/events");
  assert.equal(events.length, 1);
  assert.equal(events[0].description, "Test from the dashboard");
  await person.leave();
  const looker = await Person.come(browser, hub, { token: tokens.USER });
  await looker.page.locator("article[data-event]").first().waitFor();
  assert.equal(await looker.page.getByRole("button", { name: /test/i }).count(), 0, "who may not send one has no button for it");
  await looker.leave();
});

test("signing in: each refusal in words, then the page that was asked for; the token stays with the tab", async () => {
  const person = await Person.come(browser, hub, { path: "/events?state=open", allow: [/401|429/] });
  const { page } = person;
  const tryAs = async (name, password) => {
    await page.getByLabel("User name").fill(name);
    await page.getByLabel("Password").fill(password);
    await page.getByRole("button", { name: "Sign in" }).click();
  };
  await page.getByRole("heading", { name: "Sign in to Portcullis" }).waitFor();
  await person.isAccessible("sign in");
  await person.picture("sign-in");
  await tryAs("the-user", "not the password");
  await page.getByText("do not belong together").waitFor();
  await tryAs("the-user", PASSWORD);
  await page.getByRole("heading", { name: "Events", level: 1 }).waitFor();
  assert.match(page.url(), /\/events\?state=open$/);
  await page.reload();
  await page.getByRole("heading", { name: "Events", level: 1 }).waitFor();
  const other = await person.context.newPage();
  await other.goto(`${hub.url}/`);
  await other.getByRole("heading", { name: "Sign in to Portcullis" }).waitFor();
  // In the other tab it is to stay with the browser.
  await other.getByLabel("User name").fill("the-user");
  await other.getByLabel("Password").fill(PASSWORD);
  await other.getByLabel("Stay signed in").check();
  await other.getByRole("button", { name: "Sign in" }).click();
  await other.getByRole("heading", { name: "Live" }).waitFor();
  const third = await person.context.newPage();
  await third.goto(`${hub.url}/charts`);
  await third.getByRole("heading", { name: "Charts" }).waitFor();
  await person.leave();
});

test("a disabled account and too many tries are told apart, and who must wait sees how long", async () => {
  await hub.user("the-disabled", "USER", PASSWORD);
  const { id } = (await hub.call("GET", "/api/users")).find(({ username }) => username === "the-disabled");
  await hub.call("PUT", `/api/users/${id}`, { isActive: false });
  const person = await Person.come(browser, hub, { path: "/sign-in", allow: [/401|429/] });
  const { page } = person;
  const tryWith = async (password) => {
    await page.getByLabel("Password").fill(password);
    await page.getByRole("button", { name: "Sign in" }).click();
  };
  await page.getByLabel("User name").fill("the-disabled");
  await tryWith(PASSWORD);
  await page.getByText("This account is disabled").waitFor();
  // The tenth wrong one closes the account for this address; by REST, since each costs a second here.
  for (let count = 0; count < 10; count++) {
    await fetch(`${hub.url}/auth/login`, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ username: "the-disabled", password: "wrong" }) });
  }
  await tryWith("wrong");
  await page.getByText(/Too many wrong tries. You can try again in \d+ minutes/).waitFor();
  assert.ok(await page.getByRole("button", { name: "Sign in" }).isDisabled());
  await person.leave();
});

test("wrong and broken tokens lead to signing in, with a word why", async () => {
  const broken = `${tokens.USER.slice(0, -6)}AAAAAA`;
  const person = await Person.come(browser, hub, { token: broken, path: "/system", allow: [/401/] });
  await person.page.getByText("your session ended").waitFor();
  assert.match(person.page.url(), /back=%2Fsystem/);
  await person.leave();
  const other = await Person.come(browser, hub, { token: "no token at all", path: "/" });
  await other.page.getByRole("heading", { name: "Sign in to Portcullis" }).waitFor();
  await other.leave();
});

test("each role sees the pages and buttons that it may use, and no others", async () => {
  for (const [role, paths] of Object.entries(ROLES)) {
    const person = await Person.come(browser, hub, { token: tokens[role] });
    await person.page.locator("nav.side a[aria-current=page]").first().waitFor();
    const ways = await person.page.$$eval("nav.side .ways a", (links) => links.map((link) => link.pathname));
    assert.deepEqual([...ways, "/profile"].sort(), [...paths].sort(), role);
    assert.equal(await person.page.getByRole("button", { name: "Hold to open" }).count(), role === "USER" ? 0 : 1, role);
    for (const path of ALL.filter((path) => !paths.includes(path))) {
      await person.go(path);
      await person.page.getByText("This page is not for your role").waitFor();
    }
    await person.go("/cameras");
    await person.page.getByRole("heading", { name: "Cameras" }).waitFor();
    await person.settled();
    assert.equal(await person.page.getByRole("button", { name: "Add a camera" }).count(), role === "USER" ? 0 : 1, role);
    assert.equal(await person.page.getByRole("button", { name: /^Credential/ }).count() > 0, role === "ADMIN", role);
    await person.leave();
  }
});

for (const [width, height, colorScheme] of [[1440, 900, "light"], [820, 1100, "dark"], [360, 780, "light"]]) {
  test(`every page at ${width} px, ${colorScheme}: fits, and a screen reader finds nothing missing`, async () => {
    const person = await Person.come(browser, hub, { token: tokens.ADMIN, width, height, colorScheme, hasTouch: width < 1000 });
    for (const path of ALL) {
      await person.go(path);
      await person.page.locator("main h1").waitFor();
      await person.page.locator(".line-state.is-live").first().waitFor({ state: "attached" });
      await person.settled();
      await person.fits(path);
      await person.isAccessible(`${path} at ${width}`);
      await person.picture(`${path.slice(1) || "live"}-${width}-${colorScheme}`);
    }
    await person.leave();
  });
}

test("on a phone, the pages that do not fit into the bar are behind More", async () => {
  const person = await Person.come(browser, hub, { token: tokens.ADMIN, width: 360, height: 780, hasTouch: true });
  const { page } = person;
  await page.getByRole("button", { name: "More" }).click();
  await person.isAccessible("the sheet");
  await page.getByRole("navigation", { name: "More" }).getByRole("link", { name: "System" }).click();
  await page.getByRole("heading", { name: "System" }).waitFor();
  await page.getByRole("navigation", { name: "More" }).waitFor({ state: "detached" });
  await person.leave();
});

test("a camera is added with its faults at their fields, and its credential reports at once", async () => {
  const person = await Person.come(browser, hub, { token: tokens.ADMIN, path: "/cameras", allow: [/400/] });
  const { page } = person;
  await page.getByRole("button", { name: "Add a camera" }).first().click();
  const dialog = page.getByRole("dialog");
  await dialog.getByLabel("Stream").fill("not a stream");
  await dialog.getByRole("button", { name: "Add a camera" }).click();
  await dialog.getByText("The name is missing.").waitFor();
  await dialog.getByText("The stream’s address must begin with").waitFor();
  assert.equal(await dialog.getByLabel("Name").getAttribute("aria-invalid"), "true");
  await person.isAccessible("faults in a form");
  await person.picture("camera-faults");
  await dialog.getByLabel("Name").fill("Greenhouse");
  await dialog.getByLabel("Stream").fill("rtsp://192.168.1.9/one");
  await dialog.getByRole("button", { name: "Add a camera" }).click();
  await page.getByRole("heading", { name: "A credential for Greenhouse" }).waitFor();
  await page.getByRole("button", { name: "Make it" }).click();
  await page.getByText("This is shown once").waitFor();
  await person.isAccessible("a secret");
  await person.picture("credential");
  const lines = await page.locator(".secret pre").first().innerText();
  const [, token] = /Bearer ([^']+)'/.exec(lines);
  const [, cameraId] = /"cameraId": (\d+)/.exec(lines);
  const event = await hub.call("POST", "/api/events", { cameraId: Number(cameraId), personCount: 2 }, token);
  assert.equal(event.camera.name, "Greenhouse");
  await page.getByRole("button", { name: "Done" }).click();
  // Deactivated it stays, changed it says so.
  await page.getByRole("button", { name: "Deactivate Greenhouse" }).click();
  await page.getByText("Greenhouse is inactive").waitFor();
  await page.getByRole("button", { name: "Remove Greenhouse" }).click();
  person.allow.push(/409/);
  await page.getByRole("dialog").getByRole("button", { name: "Remove" }).click();
  await page.getByText(/1 event; deactivate the camera instead/).waitFor();
  await person.leave();
});

test("events are filtered by the address, resolved one by one and together, saved, and linked to", async () => {
  const [first] = await hub.call("GET", "/api/cameras");
  for (let count = 0; count < 6; count++) await hub.detect(first.id, { description: `number ${count}` });
  await hub.detect(first.id, { personCount: 4 });
  const person = await Person.come(browser, hub, { token: tokens.OPERATOR, path: "/events" });
  const { page } = person;
  await page.getByLabel("Kind").selectOption("MULTIPLE_PERSONS");
  await page.waitForURL(/kind=MULTIPLE_PERSONS/);
  await page.getByLabel("Camera").selectOption(String(first.id));
  await page.waitForURL(/camera=/);
  await until("one row is left", async () => (await person.shown()).length === 1);
  const link = page.url();
  const colleague = await Person.come(browser, hub, { token: tokens.USER, path: link.slice(hub.url.length) });
  await until("a colleague sees the same", async () => (await colleague.shown()).length === 1);
  assert.equal(await colleague.page.getByRole("button", { name: /resolve/i }).count(), 0);
  await colleague.leave();
  await page.getByRole("button", { name: "Clear filters" }).click();
  await page.getByLabel("State").selectOption("open");
  await until("those to do are listed", async () => (await person.shown()).length >= 7);
  // By one key, on the row that has the focus.
  const [top] = await person.shown();
  await page.locator(`article[data-event="${top}"]`).focus();
  await page.keyboard.press("r");
  await until("it is resolved", async () => (await hub.call("GET", `/api/events/${top}`)).isResolved);
  await page.getByLabel(/^Select all/).check();
  await page.getByRole("button", { name: "Resolve selected" }).click();
  await page.getByText(/\d+ events resolved\./).waitFor();
  await until("none is left", async () => (await hub.call("GET", "/api/events/stats")).unresolved === 0);
  await page.getByRole("button", { name: "Clear filters" }).click();
  const [saved] = await Promise.all([page.waitForEvent("download"), page.getByRole("button", { name: "Save as CSV" }).click()]);
  const table = (await readFile(await saved.path(), "utf8")).trim().split("\r\n");
  assert.equal(table.length - 1, (await hub.call("GET", "/api/events?limit=500")).length);
  assert.ok(table.some((line) => line.includes("number 3")));
  // One of them by itself, and back to the same list.
  await page.locator(`article[data-event="${top}"] a`).click();
  await page.getByText("Resolved at").waitFor();
  await person.isAccessible("one event");
  await person.picture("one-event");
  await page.getByRole("link", { name: "All events" }).click();
  await page.getByLabel("Kind").waitFor();
  await person.leave();
});

test("devices: a new one's secret is shown once, its rights are explained, a new secret voids the old", async () => {
  const person = await Person.come(browser, hub, { token: tokens.ADMIN, path: "/devices", allow: [/400|409/] });
  const { page } = person;
  await page.getByRole("button", { name: "Add a device" }).first().click();
  const dialog = page.getByRole("dialog");
  await dialog.getByLabel("Name").fill("no good name");
  await dialog.getByLabel("Role").selectOption("ai-engine");
  await dialog.getByRole("button", { name: "Add a device" }).click();
  await dialog.getByText("Only letters, digits").waitFor();
  await dialog.getByLabel("Name").fill("engine-1");
  await dialog.getByRole("button", { name: "Add a device" }).click();
  await page.getByText("This is shown once").waitFor();
  await page.getByRole("button", { name: "Show: Token for HTTP" }).click();
  const token = await page.locator(".secret", { hasText: "Token for HTTP" }).locator("code").innerText();
  await page.getByRole("button", { name: "Done" }).click();
  const [camera] = await hub.call("GET", "/api/cameras");
  await hub.call("POST", "/api/events", { cameraId: camera.id, personCount: 0 }, token);
  await page.getByRole("button", { name: "May engine-1 do this?" }).click();
  await dialog.getByRole("button", { name: "Ask the hub" }).click();
  await dialog.getByText("Yes.").waitFor();
  await dialog.getByLabel("Topic").fill("lock/command");
  await dialog.getByRole("button", { name: "Ask the hub" }).click();
  await dialog.getByText("No.").waitFor();
  await person.isAccessible("rights explained");
  await person.picture("explain");
  await dialog.getByRole("button", { name: "Close" }).last().click();
  await page.getByRole("button", { name: "A new secret for engine-1" }).click();
  await page.getByRole("dialog").getByRole("button", { name: "New secret" }).click();
  await page.getByText("This is shown once").waitFor();
  await assert.rejects(hub.call("POST", "/api/events", { cameraId: camera.id, personCount: 0 }, token), /401/);
  await page.getByRole("button", { name: "Done" }).click();
  await page.getByRole("button", { name: "Remove engine-1" }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Remove" }).click();
  await page.getByText("engine-1 is removed.").waitFor();
  await person.leave();
});

test("users: one is added and signs in with what is shown; disabled, the session ends and leads back to where one was", async () => {
  const person = await Person.come(browser, hub, { token: tokens.ADMIN, path: "/users", allow: [/400|409/] });
  const { page } = person;
  await page.getByRole("button", { name: "Add a user" }).click();
  const dialog = page.getByRole("dialog");
  await dialog.getByLabel("User name").fill("nn");
  await dialog.getByLabel("Email").fill("no address");
  await dialog.getByRole("button", { name: "Add a user" }).click();
  await dialog.getByText("The user name must have at least 3 characters.").waitFor();
  await dialog.getByText("This is no email address.").waitFor();
  await dialog.getByLabel("User name").fill("newcomer");
  await dialog.getByLabel("Email").fill("newcomer@example.org");
  await dialog.getByLabel("Role").selectOption("OPERATOR");
  await dialog.getByRole("button", { name: "Add a user" }).click();
  await page.getByText("Give these to the person").waitFor();
  await page.getByRole("button", { name: "Show: Password" }).click();
  const password = await page.locator(".secret", { hasText: "Password" }).locator("code").innerText();
  await page.getByRole("button", { name: "Done" }).click();

  const newcomer = await Person.come(browser, hub, { token: await hub.token("newcomer", password), path: "/door", allow: [/401/] });
  await newcomer.page.getByRole("heading", { name: "Door", level: 1 }).waitFor();
  await newcomer.page.locator(".line-state.is-live").first().waitFor({ state: "attached" });
  await page.getByRole("button", { name: "Disable newcomer" }).click();
  await newcomer.page.getByText("your session ended").waitFor();
  await page.getByRole("button", { name: "Enable newcomer" }).click();
  await page.getByText("newcomer may sign in again.").waitFor();
  await newcomer.page.getByLabel("User name").fill("newcomer");
  await newcomer.page.getByLabel("Password").fill(password);
  await newcomer.page.getByRole("button", { name: "Sign in" }).click();
  await newcomer.page.getByRole("heading", { name: "Door", level: 1 }).waitFor();
  await newcomer.leave();
  await person.leave();
});

test("profile: a new password, with which one stays signed in here and is signed out elsewhere", async () => {
  await hub.user("changer", "USER", PASSWORD);
  const token = await hub.token("changer", PASSWORD);
  const elsewhere = await Person.come(browser, hub, { token, path: "/charts", allow: [/401/] });
  await elsewhere.page.locator(".line-state.is-live").first().waitFor({ state: "attached" });
  const person = await Person.come(browser, hub, { token, path: "/profile", allow: [/401|400/] });
  const { page } = person;
  const fill = async (now, fresh, again = fresh) => {
    await page.getByLabel("Present password").fill(now);
    await page.getByLabel("New password", { exact: true }).fill(fresh);
    await page.getByLabel("New password, again").fill(again);
    await page.getByRole("button", { name: "Change password" }).click();
  };
  await fill("wrong", "another-good-one");
  await page.getByText("This is not your present password.").waitFor();
  await fill(PASSWORD, "another-good-one", "another-good-two");
  await page.getByText("The two are not the same.").waitFor();
  await fill(PASSWORD, "short");
  await page.getByText("The password must have at least 8 characters.").waitFor();
  await fill(PASSWORD, "another-good-one");
  await page.getByText("Your password is changed.").waitFor();
  await elsewhere.page.getByText("your session ended").waitFor();
  await page.getByRole("navigation", { name: "All pages" }).getByRole("link", { name: "Live" }).click();
  await page.locator(".line-state.is-live").first().waitFor({ state: "attached" });
  await page.getByRole("button", { name: "Notifications" }).waitFor();
  await elsewhere.leave();
  await person.leave();
});

test("light, dark, or as the system has it, kept for the next time", async () => {
  const person = await Person.come(browser, hub, { token: tokens.USER, path: "/profile", colorScheme: "light" });
  const { page } = person;
  const ground = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  await page.getByRole("button", { name: "Dark" }).waitFor();
  const light = await ground();
  await page.getByRole("button", { name: "Dark" }).click();
  const dark = await until("it is dark", async () => ((await ground()) === light ? null : ground()));
  await page.reload();
  await page.getByRole("button", { name: "Dark" }).waitFor();
  assert.equal(await ground(), dark);
  await page.getByRole("button", { name: "As the system" }).click();
  await until("it is light again", async () => (await ground()) === light);
  await page.emulateMedia({ colorScheme: "dark" });
  await until("it is dark as the system is", async () => (await ground()) === dark);
  await person.leave();
});

test("rejected messages and the parts' states are told on the system page, the log level is changed there", async () => {
  const person = await Person.come(browser, hub, { token: tokens.ADMIN, path: "/system" });
  const { page } = person;
  await page.getByText("All is well").waitFor();
  for (const part of ["Database", "Broker", "Recorder", "Lock agent", "Disk"]) await page.getByText(part, { exact: true }).waitFor();
  await page.getByText("At work").waitFor();
  await page.getByRole("group", { name: "Log" }).getByRole("button", { name: "warn" }).click();
  await until("the hub logs by it", async () => /warn/.test((await hub.call("GET", "/api/log-level")).filter));
  await page.getByRole("group", { name: "Log" }).getByRole("button", { name: "info" }).click();
  await page.getByText(/Portcullis .*, time zone Europe\/Berlin/).waitFor();
  await person.leave();
});

test("what is served says how it may be kept and used, and an unknown address is no page", async () => {
  const index = await fetch(`${hub.url}/`);
  const policy = index.headers.get("content-security-policy");
  assert.match(policy, /^default-src 'none';/);
  assert.ok(!/unsafe|\*|https?:/.test(policy), policy);
  assert.deepEqual(["x-content-type-options", "referrer-policy", "cache-control"].map((name) => index.headers.get(name)), ["nosniff", "no-referrer", "no-cache"]);
  const html = await index.text();
  const again = await fetch(`${hub.url}/events/5`, { headers: { "if-none-match": index.headers.get("etag") } });
  assert.equal(again.status, 304);
  // What a browser has kept is used with the headers of the 304.
  assert.equal(again.headers.get("content-security-policy"), policy);
  const files = [...html.matchAll(/(?:src|href)="(\/[^"]+)"/g)].map(([, path]) => path);
  let weight = 0;
  for (const path of files) {
    const file = await fetch(hub.url + path, { headers: { "accept-encoding": "br" } });
    assert.equal(file.status, 200, path);
    const kind = { js: "text/javascript", css: "text/css", woff2: "font/woff2", svg: "image/svg+xml", png: "image/png", webmanifest: "application/manifest+json" }[path.split(".").pop()];
    assert.ok(file.headers.get("content-type").startsWith(kind), path);
    assert.match(file.headers.get("cache-control"), path.startsWith("/assets/") ? /immutable/ : /no-cache/, path);
    await file.arrayBuffer();
  }
  for (const path of ["/nope", "/events/1/2", "/assets/nope.js", "/assets/..%2f..%2fCargo.toml", "/index.html", "/api/nope"]) {
    const answer = await fetch(hub.url + path);
    assert.equal(answer.status, 404, path);
    assert.match((await answer.json()).message, /^Cannot GET \//);
  }
  const manifest = await (await fetch(`${hub.url}/manifest.webmanifest`)).json();
  for (const { src } of manifest.icons) assert.equal((await fetch(hub.url + src)).status, 200, src);
  // What the first view takes from the network, compressed.
  const person = await Person.come(browser, hub, { token: tokens.USER });
  const protocol = await person.context.newCDPSession(person.page);
  await protocol.send("Network.enable");
  await protocol.send("Network.setCacheDisabled", { cacheDisabled: true });
  protocol.on("Network.loadingFinished", ({ encodedDataLength }) => (weight += encodedDataLength));
  await person.page.reload();
  await person.page.locator(".line-state.is-live").first().waitFor({ state: "attached" });
  await person.settled();
  assert.ok(weight > 20_000 && weight < 200_000, `the first view is ${weight} bytes`);
  await person.leave();
});
