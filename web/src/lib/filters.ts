// The filters of the events page, as they stand in its address and in the hub's query.
import { EVENT_TYPES, type EventType } from "./types";

export interface Filters {
  camera: number | null;
  kind: EventType | null;
  state: "open" | "resolved" | null;
  /** RFC 3339, or one of the stretches below counted from now. */
  from: string | null;
  to: string | null;
  last: Stretch | null;
}

export type Stretch = "1h" | "24h" | "7d" | "30d";
const HOURS: Record<Stretch, number> = { "1h": 1, "24h": 24, "7d": 168, "30d": 720 };
export const STRETCHES = Object.keys(HOURS) as Stretch[];

export const NONE: Filters = { camera: null, kind: null, state: null, from: null, to: null, last: null };

export function read(query: URLSearchParams): Filters {
  const camera = Number(query.get("camera"));
  const kind = query.get("kind") as EventType | null;
  const state = query.get("state");
  const last = query.get("last") as Stretch | null;
  const known = last && STRETCHES.includes(last) ? last : null;
  return {
    camera: Number.isInteger(camera) && camera > 0 ? camera : null,
    kind: kind && EVENT_TYPES.includes(kind) ? kind : null,
    state: state === "open" || state === "resolved" ? state : null,
    last: known,
    from: known ? null : time(query.get("from")),
    to: known ? null : time(query.get("to")),
  };
}

function time(text: string | null): string | null {
  const at = text ? Date.parse(text) : NaN;
  return Number.isFinite(at) ? new Date(at).toISOString() : null;
}

/** For the address: only what is set, so that a link is short. */
export function write(filters: Filters): URLSearchParams {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(filters)) if (value !== null) query.set(name, String(value));
  return query;
}

/** For GET /api/events. */
export function ask(filters: Filters, now: number, before: number | null, limit: number): string {
  const query = new URLSearchParams({ limit: String(limit) });
  if (filters.camera !== null) query.set("cameraId", String(filters.camera));
  if (filters.kind !== null) query.set("eventType", filters.kind);
  if (filters.state !== null) query.set("isResolved", String(filters.state === "resolved"));
  const from = filters.last ? new Date(now - HOURS[filters.last] * 3_600_000).toISOString() : filters.from;
  if (from) query.set("from", from);
  if (filters.to) query.set("to", filters.to);
  if (before !== null) query.set("before", String(before));
  return `/api/events?${query}`;
}

export const isEmpty = (filters: Filters): boolean => Object.values(filters).every((value) => value === null);
