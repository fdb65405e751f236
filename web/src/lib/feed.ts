// The events that are known, each once, newest first, and up to which id none is missing.
//
// Ids rise in the order in which the hub stores. While a socket is connected and has caught up, each event comes by it;
// after a gap those since `complete` are asked for, and until they have come, what is told live is shown, but proves
// nothing of what lies between.
import type { HubEvent } from "./types";

/** More than a person scrolls through; the list of events on its own page has no end. */
export const KEPT = 10_000;

export interface Feed {
  /** Newest first, no id twice. */
  events: HubEvent[];
  /** No event up to this id is missing (but for those older than the first page). -1: nothing is known. */
  complete: number;
  /** A gap is being closed. */
  catchingUp: boolean;
}

export const EMPTY: Feed = { events: [], complete: -1, catchingUp: true };

/** Puts events in, each once; one that is known is replaced, since it may have been resolved since. */
export function merge(known: HubEvent[], fresh: HubEvent[]): HubEvent[] {
  if (fresh.length === 0) return known;
  if (fresh.length === 1 && (known.length === 0 || fresh[0]!.id > known[0]!.id)) return [fresh[0]!, ...known].slice(0, KEPT);
  const byId = new Map(known.map((event) => [event.id, event]));
  for (const event of fresh) byId.set(event.id, event);
  return [...byId.values()].sort((a, b) => b.id - a.id).slice(0, KEPT);
}

const newest = (events: HubEvent[]): number => events.reduce((most, { id }) => Math.max(most, id), -1);

/** An event that was told live. */
export function told(feed: Feed, event: HubEvent): Feed {
  const events = merge(feed.events, [event]);
  return feed.catchingUp ? { ...feed, events } : { ...feed, events, complete: Math.max(feed.complete, event.id) };
}

/** The first page, of a feed that knows nothing yet. */
export function begun(feed: Feed, page: HubEvent[]): Feed {
  const events = merge(feed.events, page);
  // What was told live meanwhile is complete too: it was told from before the page was asked for.
  return { events, complete: Math.max(newest(events), 0), catchingUp: false };
}

/** The connection is gone, or was: from here on something may be missing. */
export function interrupted(feed: Feed): Feed {
  return { ...feed, catchingUp: true };
}

/** A part of what was missed; `more` says whether there is another. */
export function replayed(feed: Feed, part: HubEvent[], more: boolean): Feed {
  const events = merge(feed.events, part);
  if (more) return { events, complete: Math.max(feed.complete, newest(part)), catchingUp: true };
  return { events, complete: Math.max(feed.complete, newest(events)), catchingUp: false };
}

/** Events that have changed, such as by being resolved or by a picture that came after them. */
export function changed(feed: Feed, ...events: HubEvent[]): Feed {
  return { ...feed, events: renewed(feed.events, events) };
}

/** Each known event as it is now; what is not known stays so. The same list if nothing of it has changed. */
export function renewed(known: HubEvent[], fresh: HubEvent[]): HubEvent[] {
  const byId = new Map(fresh.map((event) => [event.id, event]));
  return known.some(({ id }) => byId.has(id)) ? known.map((event) => byId.get(event.id) ?? event) : known;
}
