// Debian's Chromium, and pages of it that let nothing pass: an error in the console, a page that throws, something that
// the content security policy has stopped, or a request to any other host fails the test.
import assert from "node:assert/strict";
import { existsSync, mkdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { chromium } from "playwright-core";
import { PATIENCE, PICTURES } from "./hub.mjs";

const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const PROGRAM = process.env.CHROMIUM ?? ["/usr/bin/chromium", "/usr/bin/chromium-browser"].find(existsSync);

export async function launch() {
  mkdirSync(PICTURES, { recursive: true });
  // Playwright gives it a new, empty profile, and removes it.
  return chromium.launch({
    executablePath: PROGRAM,
    args: [
      "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
      "--disable-component-update", "--disable-sync",
    ],
    timeout: PATIENCE,
  });
}

export class Person {
  /** A window of its own: `options.token` is whom it is signed in as, `allow` what its console may say, `others` the hosts that a camera's frame may talk to. */
  static async come(browser, hub, { token, path = "/", allow = [], others = [], width = 1440, height = 900, ...options } = {}) {
    const person = new Person();
    person.hub = hub;
    person.faults = [];
    person.allow = allow;
    person.context = await browser.newContext({ viewport: { width, height }, locale: "en-GB", reducedMotion: "reduce", ...options });
    person.context.setDefaultTimeout(PATIENCE);
    person.context.on("request", (request) => {
      const url = new URL(request.url());
      if (/^(https?|wss?):$/.test(url.protocol) && url.host !== new URL(hub.url).host && !others.includes(url.host)) person.faults.push(`a request to ${url}`);
    });
    await person.context.addInitScript(() => {
      document.addEventListener("securitypolicyviolation", (violation) =>
        console.error(`CSP: ${violation.violatedDirective} ${violation.blockedURI} ${violation.sample}`),
      );
    });
    if (token) await person.context.addInitScript((shown) => sessionStorage.getItem("begun") || (sessionStorage.setItem("begun", "yes"), sessionStorage.setItem("portcullis.token", shown)), token);
    person.page = await person.context.newPage();
    person.page.on("console", (said) => {
      if (said.type() === "error" && !person.allow.some((known) => known.test(said.text()))) person.faults.push(`console: ${said.text()} ${said.location().url}`);
    });
    person.page.on("pageerror", (error) => person.faults.push(`thrown: ${error.stack}`));
    await person.page.goto(hub.url + path);
    return person;
  }

  async leave() {
    await this.context.close();
    this.isWell();
  }

  isWell() {
    assert.deepEqual(this.faults, []);
  }

  async go(path) {
    await this.page.goto(this.hub.url + path);
  }

  /** Waits until nothing is being loaded any more. */
  async settled() {
    await this.page.waitForFunction(() => !document.querySelector(".loading, [aria-busy='true']") && document.fonts.status === "loaded");
  }

  /** A screen reader finds nothing missing. */
  async isAccessible(what) {
    // By the protocol and not as a script of the page: the page's policy allows none.
    await this.page.evaluate(axe);
    const { violations } = await this.page.evaluate(() => globalThis.axe.run(document, { resultTypes: ["violations"] }));
    const found = violations.map(({ id, nodes }) => `${id}: ${nodes.slice(0, 4).map(({ html, failureSummary }) => `${html.slice(0, 160)} ${failureSummary.split("\n").slice(1, 3).join(" ")}`).join(" | ")}`);
    assert.deepEqual(found, [], what);
  }

  /** Nothing is wider than the window. */
  async fits(what) {
    const [wide, window] = await this.page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
    assert.ok(wide <= window, `${what} is ${wide} px wide in a window of ${window}`);
  }

  picture(name) {
    return this.page.screenshot({ path: join(PICTURES, `${name}.png`) });
  }

  /** The ids of the events that are on screen or could be scrolled to, as the list holds them. */
  shown() {
    return this.page.$$eval("article[data-event]", (rows) => rows.map((row) => Number(row.dataset.event)));
  }
}
