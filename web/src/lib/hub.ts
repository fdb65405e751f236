// The one connection to the hub: events and the lock as they come, gaps closed by id, and what all pages share.
import { batch, signal } from "@preact/signals";
import { io, type Socket } from "socket.io-client";
import { get } from "./api";
import { HubClock } from "./clock";
import { begun, changed, EMPTY, interrupted, merge, replayed, told, type Feed } from "./feed";
import { zone } from "./format";
import { signOut, token } from "./session";
import type { About, Camera, EventStats, HubEvent, LockStatus, Presence, Ready } from "./types";

/** How much a view knows of the past at once. */
const PAGE = 200;
const PART = 500;
/** More than this was missed: the newest are shown, as after opening the page. */
const PARTS = 20;
const PATIENCE = 5_000;
/** How often the hub is asked for its time: at first, and then with this much between. */
const CLOCK_FIRST = 5;
const CLOCK_EVERY = 60_000;

export type Line = "connecting" | "live" | "lost";
export const line = signal<Line>("connecting");
/** Since when the hub is not heard. */
export const lostSince = signal<number | null>(null);
export const feed = signal<Feed>(EMPTY);
export const lock = signal<LockStatus | null>(null);
/** This browser's clock less the hub's, in milliseconds. */
export const skew = signal(0);
export const cameras = signal<Camera[] | null>(null);
export const stats = signal<EventStats | null>(null);
export const about = signal<About | null>(null);
/** The parts' states as the hub tells an ADMIN when one changes; null until it has. */
export const health = signal<Ready | null>(null);
/** How many events the last gap had, once it is closed; null before that. */
export const missed = signal<number | null>(null);

/** How often too much was missed to be shown, and lists begin anew. */
export const resets = signal(0);

type Listener = (event: HubEvent) => void;
const listeners = new Set<Listener>();
/** Called with each event that comes live, once; answers how to stop. */
export function onEvent(listener: Listener): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

const changes = new Set<Listener>();
/** Called with each event that is another than it was; answers how to stop. */
export function onChange(listener: Listener): () => void {
  changes.add(listener);
  return () => changes.delete(listener);
}

let socket: Socket | null = null;
const clock = new HubClock();
/** While one's own password changes, the old token's end is no surprise. */
let renewing = false;
/** Counts the connections, so that an answer of one that is over is not taken. */
let round = 0;
/** The events that were known when the hub was last heard. */
let knownBefore = new Set<number>();

export function setRenewing(now: boolean): void {
  renewing = now;
}

export function connect(): void {
  disconnect();
  const made = io({
    auth: (give) => give({ token: token.value }),
    transports: ["websocket", "polling"],
    tryAllTransports: true,
    reconnectionDelay: 500,
    reconnectionDelayMax: 5_000,
  });
  socket = made;
  made.on("connection", ({ timestamp }: { timestamp: string }) => {
    // Before anything was asked, as well as it can be known.
    if (skew.value === 0) skew.value = Date.now() - Date.parse(timestamp);
    void readClock(made);
    void catchUp(made);
    void refresh();
  });
  made.on("event:updated", (event: HubEvent) => updated(event));
  made.on("camera:status", ({ cameraId, ...presence }: { cameraId: number } & Presence) => {
    cameras.value = cameras.value?.map((camera) => (camera.id === cameraId ? { ...camera, ...presence } : camera)) ?? null;
  });
  // What is told to all may say less, or more, than this user is shown: it is asked for.
  made.on("camera:changed", () => void loadCameras().catch(() => undefined));
  made.on("camera:removed", ({ camera }: { camera: { id: number } }) => {
    cameras.value = cameras.value?.filter(({ id }) => id !== camera.id) ?? null;
  });
  made.on("system:health", (told: Ready) => Array.isArray(told?.parts) && (health.value = told));
  made.on("event:detected", (event: HubEvent) => {
    if (feed.value.events.some(({ id }) => id === event.id)) return;
    feed.value = told(feed.value, event);
    count(event);
    for (const listener of listeners) listener(event);
  });
  made.on("lock:status", ({ status, metadata }: { status: LockStatus["status"]; metadata: Omit<LockStatus, "status"> }) => {
    lock.value = { ...metadata, status };
  });
  made.on("auth:expired", () => {
    if (!renewing) signOut("expired");
  });
  made.on("connect_error", (error) => {
    if (error.message === "Unauthorized" && !renewing) signOut("expired");
    else lose();
  });
  made.on("disconnect", (reason) => {
    lose();
    // The client does not come back by itself from a hub that said goodbye.
    if (reason === "io server disconnect" && !renewing && token.value) setTimeout(() => socket === made && made.connect(), 1_000);
  });
}

export function disconnect(): void {
  round += 1;
  socket?.removeAllListeners();
  socket?.disconnect();
  socket = null;
}

/** Nothing of one user's is left for the next. */
export function forget(): void {
  disconnect();
  batch(() => {
    line.value = "connecting";
    lostSince.value = null;
    feed.value = EMPTY;
    lock.value = null;
    cameras.value = null;
    stats.value = null;
    about.value = null;
    health.value = null;
    missed.value = null;
    skew.value = 0;
  });
  clock.forget();
}

function lose(): void {
  round += 1;
  batch(() => {
    if (line.value === "live") knownBefore = new Set(feed.value.events.map(({ id }) => id));
    if (line.value !== "lost") lostSince.value ??= Date.now();
    line.value = "lost";
    feed.value = interrupted(feed.value);
  });
}

/** Asks for the hub's time as long as this connection stands. */
async function readClock(on: Socket): Promise<void> {
  for (let count = 0; on === socket && on.connected; count++) {
    try {
      const sent = Date.now();
      const { timestamp } = await on.timeout(PATIENCE).emitWithAck("ping", {});
      skew.value = clock.add(sent, Date.now(), Date.parse(timestamp)) ?? skew.value;
    } catch {
      // No answer, no reading.
    }
    await new Promise((done) => setTimeout(done, count < CLOCK_FIRST ? 50 : CLOCK_EVERY));
  }
}

async function catchUp(on: Socket): Promise<void> {
  const mine = ++round;
  const ask = (name: string, data: object) => on.timeout(PATIENCE * 4).emitWithAck(name, data);
  const isFirst = feed.value.complete < 0;
  try {
    let parts = 0;
    for (let more = !isFirst; more; ) {
      if (++parts > PARTS) {
        feed.value = EMPTY;
        resets.value += 1;
        break;
      }
      const answer = await ask("request:events-since", { eventId: feed.value.complete, limit: PART });
      if (mine !== round) return;
      if (!Array.isArray(answer?.events)) throw new Error(answer?.message);
      feed.value = replayed(feed.value, answer.events, answer.more);
      more = answer.more;
    }
    if (feed.value.complete < 0) {
      const answer = await ask("request:latest-events", { limit: PAGE });
      if (mine !== round) return;
      if (!Array.isArray(answer?.events)) throw new Error(answer?.message);
      feed.value = begun(feed.value, answer.events);
    } else if (!isFirst) {
      // What was resolved or got its picture meanwhile.
      const answer = await ask("request:latest-events", { limit: PAGE });
      if (mine !== round) return;
      if (Array.isArray(answer?.events)) for (const event of answer.events) updated(event);
    }
    batch(() => {
      if (!isFirst && lostSince.value !== null) missed.value = feed.value.events.filter(({ id }) => !knownBefore.has(id)).length;
      line.value = "live";
      lostSince.value = null;
    });
  } catch {
    // The database may be away while the hub is there: once more, as long as this connection stands.
    if (mine === round) setTimeout(() => mine === round && on.connected && void catchUp(on), 1_000);
  }
}

/** A device that slept, or changed its network, may hold a connection that is dead: it is asked for a sign of life. */
export function check(): void {
  const asked = socket;
  if (!asked?.connected) return;
  asked.timeout(PATIENCE).emit("ping", (error: Error | null) => {
    if (error && asked === socket && asked.connected) asked.io.engine.close();
  });
  void refresh();
}

export async function refresh(): Promise<void> {
  await Promise.allSettled([
    get<EventStats>("/api/events/stats").then((got) => (stats.value = got)),
    loadCameras(),
    get<About>("/api/hub").then((got) => {
      zone.value = got.timeZone;
      about.value = got;
    }),
  ]);
}

export async function loadCameras(): Promise<void> {
  cameras.value = (await get<Camera[]>("/api/cameras")).sort((a, b) => a.id - b.id);
}

/** An event is another than it was: by somebody here, or as the hub has told. */
export function updated(event: HubEvent): void {
  const before = feed.value.events.find(({ id }) => id === event.id);
  if (before && same(before, event)) return;
  batch(() => {
    feed.value = changed(feed.value, event);
    // A camera's newest events are listed with it.
    const of = cameras.value?.find(({ id }) => id === event.cameraId);
    if (of?.events?.some(({ id }) => id === event.id)) {
      const events = of.events.map((known) => (known.id === event.id ? event : known));
      cameras.value = cameras.value!.map((camera) => (camera === of ? { ...camera, events } : camera));
    }
    const known = stats.value;
    if (known && before && !before.isResolved && event.isResolved) {
      stats.value = { ...known, unresolved: Math.max(0, known.unresolved - 1), resolved: known.resolved + 1 };
    }
  });
  // One that is not among those that are known may have been unresolved: the hub counts.
  if (!before) countAnew();
  for (const listener of changes) listener(event);
}

let counting = 0;
/** Once for all that changes within a second. */
function countAnew(): void {
  if (counting) return;
  counting = window.setTimeout(() => {
    counting = 0;
    if (token.value) get<EventStats>("/api/events/stats").then((got) => (stats.value = got), () => undefined);
  }, 1_000);
}

/** Alike but for the signature of the picture's address, which is new in each answer. */
const same = (a: HubEvent, b: HubEvent): boolean =>
  a.isResolved === b.isResolved && !a.snapshotUrl === !b.snapshotUrl && a.snapshotPath === b.snapshotPath && a.description === b.description;

function count(event: HubEvent): void {
  const known = stats.value;
  if (known) {
    const open = event.isResolved ? 0 : 1;
    stats.value = {
      total: known.total + 1,
      todayEvents: known.todayEvents + 1,
      unresolved: known.unresolved + open,
      resolved: known.resolved + 1 - open,
    };
  }
}

/** The newest picture of each camera, of the events that are known. */
export function newestPictures(): Map<number, Omit<HubEvent, "camera">> {
  const found = new Map<number, Omit<HubEvent, "camera">>();
  const listed = (cameras.value ?? []).flatMap(({ events }) => events ?? []);
  for (const event of [...feed.value.events, ...listed]) {
    if (event.cameraId === null || !event.snapshotUrl) continue;
    const before = found.get(event.cameraId);
    if (!before || before.id < event.id) found.set(event.cameraId, event);
  }
  return found;
}

/** The newest event of each camera: of what is known live, and of what the list of cameras brought. */
export function newestByCamera(): Map<number, Omit<HubEvent, "camera">> {
  const found = new Map<number, Omit<HubEvent, "camera">>();
  const listed = (cameras.value ?? []).flatMap(({ events }) => events ?? []);
  for (const event of [...feed.value.events, ...listed]) {
    if (event.cameraId === null) continue;
    const before = found.get(event.cameraId);
    if (!before || before.id < event.id) found.set(event.cameraId, event);
  }
  return found;
}

export { merge };
