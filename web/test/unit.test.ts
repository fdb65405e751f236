// What decides, without a browser: run.mjs bundles this for Node.
import assert from "node:assert/strict";
import { test } from "node:test";
import { Failure, failureOf, faultsByField, words } from "../src/lib/api";
import { HubClock } from "../src/lib/clock";
import { csv } from "../src/lib/csv";
import { canClose, canOpen, doorState, remaining, secondsLeft } from "../src/lib/door";
import * as feed from "../src/lib/feed";
import * as filters from "../src/lib/filters";
import { liveView, type Browser } from "../src/lib/live-view";
import { parse, rate, sum } from "../src/lib/metrics";
import { pictureAt, widths } from "../src/lib/picture";
import { ownPath } from "../src/lib/router";
import { atLeast, claimsOf } from "../src/lib/session";
import { columns, days, hours, todayAndUsual, week } from "../src/lib/sums";
import type { AnalyticsLine, HubEvent, LockStatus } from "../src/lib/types";
import { rowsInView } from "../src/lib/window";
import { fromField, toField } from "../src/lib/zone";
import { refusal } from "../src/pages/sign-in";
import { matches } from "../src/pages/events";
import { deviceName } from "../src/pages/cameras";

const event = (id: number, more: Partial<HubEvent> = {}): HubEvent => ({
  id, cameraId: 1, eventType: "PERSON_DETECTED", personCount: 1, confidence: 0.9, snapshotPath: null, description: null, isResolved: false,
  createdAt: new Date(1_700_000_000_000 + id * 1000).toISOString(), resolvedAt: null, camera: { id: 1, name: "Door", location: null }, detectionId: null, detectedAt: null, ...more,
});
const ids = (events: HubEvent[]) => events.map(({ id }) => id);

test("a gap is closed by id: each event once, and what is told live meanwhile proves nothing of what lies between", () => {
  let known = feed.begun(feed.EMPTY, [event(3), event(2), event(1)]);
  known = feed.told(known, event(4));
  assert.equal(known.complete, 4);
  known = feed.interrupted(known);
  // Back again: 9 comes live before 5 to 8 were asked for.
  known = feed.told(known, event(9));
  assert.equal(known.complete, 4, "5 to 8 are still missing");
  known = feed.replayed(known, [event(5), event(6)], true);
  assert.deepEqual([known.complete, known.catchingUp], [6, true]);
  // Cut once more in the middle of it: it goes on from 6.
  known = feed.interrupted(known);
  known = feed.replayed(known, [event(7), event(8), event(9)], false);
  assert.deepEqual([known.complete, known.catchingUp], [9, false]);
  assert.deepEqual(ids(known.events), [9, 8, 7, 6, 5, 4, 3, 2, 1]);
});

test("however parts, repetitions and live events come in, none is there twice, and none is lost", () => {
  let seed = 7;
  const random = (below: number) => (seed = (seed * 48_271) % 2_147_483_647) % below;
  for (let round = 0; round < 200; round++) {
    let id = 0;
    const stored = Array.from({ length: 40 }, () => event((id += 1 + random(3))));
    let known = feed.begun(feed.EMPTY, stored.slice(0, 5).reverse());
    let heard = 5;
    for (let step = 0; step < 12 && heard < 40; step++) {
      const until = Math.min(40, heard + 1 + random(6));
      if (random(2)) for (; heard < until; heard++) known = feed.told(known, stored[heard]!);
      else {
        known = feed.interrupted(known);
        if (random(2)) known = feed.told(known, stored[until - 1]!);
        for (let more = true; more; ) {
          const part = stored.slice(0, until).filter(({ id }) => id > known.complete).slice(0, 3);
          more = part.length === 3;
          known = feed.replayed(known, part, more);
        }
        heard = until;
      }
      assert.deepEqual(ids(known.events), ids(stored.slice(0, heard)).reverse());
    }
  }
});

test("more than is kept drops the oldest; a hundred events a second cost little", () => {
  let known = feed.begun(feed.EMPTY, []);
  for (let id = 1; id <= feed.KEPT + 500; id++) known = feed.told(known, event(id));
  assert.equal(known.events.length, feed.KEPT);
  assert.equal(known.events[0]!.id, feed.KEPT + 500);
  assert.equal(feed.changed(known, event(600, { isResolved: true })).events.find(({ id }) => id === 600)?.isResolved, true);
});

test("what has changed takes its place; what is not known stays so, and a list without changes stays the same", () => {
  const known = [event(3), event(2), event(1)];
  const fresh = feed.renewed(known, [event(2, { isResolved: true, snapshotUrl: "/api/events/2/snapshot?sig=x" }), event(9)]);
  assert.deepEqual(fresh.map(({ id, isResolved }) => [id, isResolved]), [[3, false], [2, true], [1, false]]);
  assert.equal(feed.renewed(known, [event(9)]), known);
});

test("the hub's clock is known by the quickest answer, in its middle; one that has been set since is believed anew", () => {
  const clock = new HubClock();
  // Ours is an hour ahead. A slow way there and a quick one back: off by half of what it took, and no more.
  const hour = 3_600_000;
  assert.ok(Math.abs(clock.add(hour + 1_000, hour + 1_400, 1_390)! - hour) <= 200);
  assert.equal(clock.add(hour + 2_000, hour + 2_010, 2_005), hour, "the middle of a quick one");
  assert.equal(clock.add(hour + 3_000, hour + 3_900, 3_880), hour, "a slow one says less");
  assert.equal(clock.add(hour + 4_000, hour + 4_010, 4_005), hour);
  assert.equal(clock.add(9_000, 9_300, 9_150), 0, "somebody has set this clock right");
  assert.equal(clock.add(10_000, 9_000, 9_500), 0, "time that goes backwards says nothing");
  assert.equal(clock.add(10_000, 10_010, NaN), 0);
  clock.forget();
  assert.equal(clock.add(0, 1, NaN), null);
});

test("a field for date and time speaks the hub's zone, also where clocks change", () => {
  assert.equal(toField("2026-11-27T10:30:00.000Z", "Europe/Berlin"), "2026-11-27T11:30");
  assert.equal(fromField("2026-11-27T11:30", "Europe/Berlin"), "2026-11-27T10:30:00.000Z");
  assert.equal(fromField("2026-07-01T00:00", "Europe/Berlin"), "2026-06-30T22:00:00.000Z");
  assert.equal(fromField("2026-07-01T00:00", "Asia/Kathmandu"), "2026-06-30T18:15:00.000Z");
  // The hour that is skipped in spring, and the one that comes twice in autumn.
  assert.ok(["2026-03-29T00:30:00.000Z", "2026-03-29T01:30:00.000Z"].includes(fromField("2026-03-29T02:30", "Europe/Berlin")!));
  assert.equal(toField(fromField("2026-10-25T02:30", "Europe/Berlin"), "Europe/Berlin"), "2026-10-25T02:30");
  for (const nothing of ["", "yesterday", "2026-13-01T00:00"]) assert.equal(fromField(nothing, "UTC"), null);
  assert.deepEqual([toField(null, "UTC"), toField("nonsense", "UTC")], ["", ""]);
});

test("a picture comes from this hub, whatever the hub calls itself, and from nowhere else", () => {
  const of = (snapshotUrl: string | null | undefined) => pictureAt({ snapshotUrl });
  assert.equal(of("/api/events/5/snapshot?sig=a%2Bb&until=9"), "/api/events/5/snapshot?sig=a%2Bb&until=9");
  assert.equal(of("https://hub.example/api/events/5/snapshot?sig=x"), "/api/events/5/snapshot?sig=x");
  for (const nothing of [null, undefined, "", "javascript:alert(1)", "https://example.org/x.jpg", "data:image/png;base64,AA", "http://"]) assert.equal(of(nothing), null);
  assert.equal(pictureAt({ snapshotUrl: "/api/events/5/snapshot?sig=x" }, 640), "/api/events/5/snapshot?sig=x&width=640");
  assert.equal(widths({ snapshotUrl: "/api/a?s" }).split(", ").map((one) => one.split(" ")[1]).join(), "320w,640w,1280w");
});

test("of a camera's addresses those are played that a browser can play, WebRTC first; of the others it is said why not", () => {
  const all: Browser = { secure: false, hls: true, webrtc: true };
  const of = (webrtcUrl: string | null, streamUrl: string | null, browser = all) => {
    const { ways, hindrances } = liveView({ webrtcUrl, streamUrl }, browser);
    return [...ways.map(({ how }) => how), ...hindrances].join();
  };
  assert.equal(of(null, null), "");
  assert.equal(of("http://cam:8889/front/whep", "http://cam/video.cgi"), "whep,mjpeg");
  assert.equal(of(null, "http://cam/live/INDEX.M3U8?x=1"), "hls");
  assert.equal(of(null, "http://cam/api/stream.mp4?src=a"), "film");
  assert.equal(of("http://cam/whep", "rtsp://cam/1"), "whep,scheme");
  assert.equal(of("webrtc://cam/x", "rtmp://cam/1"), "scheme,scheme");
  assert.equal(of("ws://cam/api/ws?src=a", null), "socket");
  assert.equal(of(null, "http://admin:pw@cam/mjpeg"), "credentials");
  assert.equal(of("http://[::1]/whep", "not an address"), "ipv6,address");
  const secure = { ...all, secure: true };
  assert.equal(of("http://cam/whep", "https://cam/mjpeg", secure), "mjpeg,mixed");
  assert.equal(of("http://localhost:1984/api/webrtc?src=a", "http://127.0.0.1/mjpeg", secure), "whep,mjpeg", "this very machine counts as safe");
  assert.equal(of("http://127.0.0.1.example.org/whep", null, secure), "mixed");
  assert.equal(of("https://cam/whep", "https://cam/a.m3u8", { secure: true, hls: false, webrtc: false }), "no-webrtc,no-hls");
  const [way] = liveView({ webrtcUrl: "http://uma:p%40ss@cam/whep", streamUrl: null }, all).ways;
  assert.deepEqual(way, { how: "whep", url: "http://cam/whep", credentials: "uma:p@ss" });
  assert.equal(of("http://uma:%zz@cam/whep", null), "address");
});

const status = (more: Partial<LockStatus>): LockStatus => ({
  status: "CLOSED", online: true, simulated: false, pin: 17, reason: null, requestedBy: null, opensUntil: null, held: false, door: null, alarm: null, alarmSince: null, ...more,
});

test("what a person must see first wins; nothing is said of a door that nobody can hear of", () => {
  assert.equal(doorState(null, true), "unknown");
  assert.equal(doorState(status({}), false), "unknown", "what was heard before the line broke is no state");
  assert.equal(doorState(status({}), true), "locked");
  assert.equal(doorState(status({ status: "OPEN" }), true), "open");
  assert.equal(doorState(status({ status: "OPEN", held: true }), true), "held");
  assert.equal(doorState(status({ status: "UNKNOWN" }), true), "unknown");
  assert.equal(doorState(status({ status: "UNKNOWN", online: false }), true), "away");
  assert.equal(doorState(status({ alarm: "DOOR_FORCED" }), true), "forced");
  assert.equal(doorState(status({ alarm: "DOOR_HELD_OPEN", online: false }), true), "held-too-long");
  for (const state of ["unknown", "away"] as const) assert.ok(!canOpen(state) && !canClose(state));
  assert.ok(canOpen("locked") && canClose("held") && !canOpen("open"));
});

test("the seconds are the hub's, whatever this browser's clock shows", () => {
  const until = "2026-11-27T10:00:05.000Z";
  const now = Date.parse("2026-11-27T10:00:00.000Z");
  assert.equal(secondsLeft(until, now, 0), 5);
  assert.equal(secondsLeft(until, now + 3_600_000, 3_600_000), 5, "an hour fast");
  assert.equal(secondsLeft(until, now + 4_001, 0), 1, "rounded up");
  assert.equal(secondsLeft(until, now - 60, 0), 5, "never more than it opens for, because two clocks are compared over a network");
  assert.equal(secondsLeft(until, now + 9_000, 0), 0, "never below nothing");
  assert.equal(secondsLeft(null, now, 0), null);
  assert.equal(secondsLeft("nonsense", now, 0), null);
  assert.deepEqual([remaining(2.5, 5), remaining(null, 5), remaining(9, 5), remaining(-1, 5), remaining(1, 0)], [0.5, 0, 1, 0, 0]);
});

test("a link opens the same view: filters survive the address, and nonsense in it is no filter", () => {
  const set: filters.Filters = { camera: 3, kind: "SYSTEM_ALERT", state: "open", from: "2026-11-01T00:00:00.000Z", to: null, last: null };
  assert.deepEqual(filters.read(filters.write(set)), set);
  assert.equal(filters.write(filters.NONE).toString(), "");
  for (const nonsense of ["camera=x&kind=DOOR&state=maybe&from=yesterday&last=1y", "camera=-1", "camera=1.5", ""]) {
    assert.ok(filters.isEmpty(filters.read(new URLSearchParams(nonsense))), nonsense);
  }
  const asked = new URL(filters.ask({ ...filters.NONE, last: "24h", state: "resolved" }, Date.parse("2026-11-27T10:00:00Z"), 42, 100), "http://hub");
  assert.deepEqual(Object.fromEntries(asked.searchParams), { limit: "100", isResolved: "true", from: "2026-11-26T10:00:00.000Z", before: "42" });
});

test("what comes live belongs into a filtered list only if the hub would have listed it", () => {
  assert.ok(matches(filters.NONE, event(1)));
  assert.ok(!matches({ ...filters.NONE, camera: 2 }, event(1)));
  assert.ok(!matches({ ...filters.NONE, kind: "DOOR_OPENED" }, event(1)));
  assert.ok(!matches({ ...filters.NONE, state: "resolved" }, event(1)));
  assert.ok(!matches({ ...filters.NONE, to: "2020-01-01T00:00:00.000Z" }, event(1)));
});

test("a spreadsheet gets every character, and no formula", () => {
  const text = csv([event(1, { description: 'He said "hi",\nthen left', camera: { id: 1, name: "=HYPERLINK(1)", location: "-1" } })]);
  const [head, ...rest] = text.split("\r\n");
  assert.equal(head!.split(",").length, 12);
  assert.ok(rest.join("\r\n").includes('"He said ""hi"",\nthen left"'));
  assert.ok(text.includes("'=HYPERLINK(1)") && text.includes("'-1"));
});

test("of ten thousand rows only those in view are drawn", () => {
  assert.deepEqual(rowsInView(0, 800, 68, 10_000), { from: 0, to: 20 });
  assert.deepEqual(rowsInView(68 * 5_000, 800, 68, 10_000), { from: 4_992, to: 5_020 });
  assert.deepEqual(rowsInView(68 * 10_000, 800, 68, 10_000), { from: 9_992, to: 10_000 });
  assert.deepEqual(rowsInView(-500, 800, 68, 3), { from: 0, to: 3 });
  assert.deepEqual(rowsInView(100, 800, 0, 3), { from: 0, to: 0 });
});

const line = (bucket: string, count: number, eventType: AnalyticsLine["eventType"] = "PERSON_DETECTED"): AnalyticsLine => ({ bucket, eventType, count });

test("hours and days are the hub's zone's, also where clocks change and where zones are off by a quarter", () => {
  // Berlin, 2026-10-25: 25 hours.
  const begin = days(2, Date.parse("2026-10-25T20:00:00Z"), "Europe/Berlin");
  assert.deepEqual(begin.map((at) => new Date(at).toISOString()), ["2026-10-23T22:00:00.000Z", "2026-10-24T22:00:00.000Z"]);
  assert.equal(new Date(days(1, Date.parse("2026-10-26T09:00:00Z"), "Europe/Berlin")[0]!).toISOString(), "2026-10-25T23:00:00.000Z");
  assert.equal(new Date(days(1, Date.parse("2026-05-01T09:00:00Z"), "Asia/Kathmandu")[0]!).toISOString(), "2026-04-30T18:15:00.000Z");
  assert.equal(days(30, Date.parse("2026-11-01T00:00:00Z"), "UTC").length, 30);
  const off = [line("2026-05-01T09:15:00.000Z", 2)];
  assert.ok(hours(Date.parse("2026-05-01T08:00:00Z"), Date.parse("2026-05-01T12:00:00Z"), off).includes(Date.parse(off[0]!.bucket)));
  const table = week([line("2026-11-22T23:00:00.000Z", 5), line("2026-11-22T22:00:00.000Z", 7), line("2026-11-22T22:00:00.000Z", 9, "DOOR_OPENED")], "Europe/Berlin");
  assert.equal(table[0]![0], 5, "Monday, midnight in Berlin");
  assert.equal(table[6]![23], 7, "Sunday evening, and no door counts as a person");
});

test("columns have a nought where there was nothing, and leave out what is not on the axis", () => {
  const times = [0, 3_600_000, 7_200_000];
  const found = columns([line("1970-01-01T01:00:00.000Z", 4), line("1970-01-02T00:00:00.000Z", 9)], ["PERSON_DETECTED", "DOOR_OPENED"], times);
  assert.deepEqual(found, [[0, 4, 0], [0, 0, 0]]);
});

test("the usual day is the mean of the days before; hours to come are empty, not nought", () => {
  const now = Date.parse("2026-11-27T10:30:00Z");
  const lines = [line("2026-11-25T09:00:00.000Z", 4), line("2026-11-26T09:00:00.000Z", 8), line("2026-11-27T09:00:00.000Z", 3), line("2026-11-26T23:00:00.000Z", 1)];
  const { today, usual, days } = todayAndUsual(lines, now, "UTC");
  assert.deepEqual([today[9], today[10], today[11], usual[9], usual[23], days], [3, 0, null, 6, 0.5, 2]);
  assert.equal(todayAndUsual([], now, "UTC").days, 0);
});

test("rates are counted from two readings, and a restarted hub's counter is what it has grown to", () => {
  const before = parse('# HELP x y\na_total{source="mqtt"} 10\na_total{source="http"} 5\nab_total 100\n');
  const after = parse('a_total{source="mqtt"} 30\na_total{source="http"} 5\nab_total 100\n');
  assert.equal(sum(before, "a_total"), 15);
  assert.equal(rate(before, after, 10, "a_total"), 2);
  assert.equal(rate(before, after, 10, "a_total", 'source="http"'), 0);
  assert.equal(rate(after, parse("a_total 4"), 2, "a_total"), 2);
  assert.equal(rate(before, after, 0, "a_total"), 0);
});

const coded = (claims: object) => `x.${Buffer.from(JSON.stringify(claims)).toString("base64url")}.y`;

test("a token is read for its name and role, and nonsense is nobody", () => {
  assert.deepEqual(claimsOf(coded({ sub: 4, username: "jürgen", role: "OPERATOR", exp: 5 })), { sub: 4, username: "jürgen", role: "OPERATOR", exp: 5 });
  assert.deepEqual(claimsOf(coded({ sub: "4", username: "a", role: "USER" }))?.sub, 4);
  for (const bad of ["", "a.b.c", "....", coded({}), coded({ sub: 1, username: "a", role: "ROOT" }), coded({ sub: "x", username: "a", role: "USER" })]) assert.equal(claimsOf(bad), null);
  assert.ok(atLeast("ADMIN", "OPERATOR") && !atLeast("USER", "OPERATOR") && atLeast("OPERATOR", "OPERATOR"));
});

test("the way back after signing in is the dashboard's own, and no other site's", () => {
  assert.equal(ownPath("/events?camera=2"), "/events?camera=2");
  for (const foreign of [null, "", "https://example.org", "//example.org", "/\\example.org", "javascript:alert(1)", "/sign-in?back=/"]) assert.equal(ownPath(foreign), "/");
});

test("each refusal is said in words, and who must wait is told how long", () => {
  const of = (status: number, message: string, after: number | null = null) => refusal(new Failure(status, message ? [message] : [], after), after);
  assert.match(of(401, "Invalid credentials"), /do not belong together/);
  assert.match(of(401, "Account is disabled"), /disabled/);
  assert.match(of(429, "Too many attempts, try again later", 61), /61 seconds/);
  assert.match(of(429, "Too many attempts, try again later", 280), /5 minutes/);
  assert.match(of(0, ""), /does not answer/);
  assert.match(of(503, "The database is not available", 1), /database/);
  assert.match(of(503, "Too many sign-ins at once, try again soon", 1), /at this moment/);
});

test("an error's body may be the hub's, a proxy's, or nothing", () => {
  assert.deepEqual(failureOf(400, '{"statusCode":400,"message":["a","b"]}', null).messages, ["a", "b"]);
  assert.deepEqual(failureOf(404, '{"message":"Camera with ID 9 not found"}', "3").messages, ["Camera with ID 9 not found"]);
  for (const body of ["", "<html>", "null", "[]", '{"message":{}}', '"x"']) assert.deepEqual(failureOf(502, body, "soon").messages, []);
  assert.equal(failureOf(429, "", "7").retryAfter, 7);
  assert.match(words(failureOf(502, "<html>", null)), /does not answer/);
  assert.match(words(new TypeError("x")), /went wrong/);
});

test("faults stand at their fields, in words of this language where they are known", () => {
  const error = new Failure(400, ["email must be an email", "password must be longer than or equal to 8 characters", "property foo should not exist"], null);
  const found = faultsByField(error, ["email", "password"]);
  assert.equal(found["email"], "This is no email address.");
  assert.match(found["password"]!, /at least 8 characters/);
  assert.match(found[""]!, /Property foo/);
  assert.deepEqual(Object.keys(faultsByField(new Failure(409, ["taken"], null), ["email"])), [""]);
});

test("a device's name is made of any camera's name", () => {
  assert.equal(deviceName("Front door"), "front-door");
  assert.equal(deviceName("Entrée / Süd #2"), "entre-e-su-d-2");
  assert.equal(deviceName("門"), "camera");
  assert.match(deviceName("x".repeat(200)), /^x{64}$/);
});
