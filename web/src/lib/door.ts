// What the door is, in one word: what a person must see first wins.
import type { LockStatus } from "./types";

export type DoorState = "forced" | "held-too-long" | "away" | "unknown" | "held" | "open" | "locked";

/** `connected`: whether the hub can be heard. What it said before it was lost is no state of the door's. */
export function doorState(status: LockStatus | null, connected: boolean): DoorState {
  if (!status || !connected) return "unknown";
  if (status.alarm === "DOOR_FORCED") return "forced";
  if (status.alarm === "DOOR_HELD_OPEN") return "held-too-long";
  if (!status.online) return "away";
  if (status.status === "UNKNOWN") return "unknown";
  if (status.status === "CLOSED") return "locked";
  return status.held ? "held" : "open";
}

/** Whether a command to open makes sense, and one to close. */
export const canOpen = (state: DoorState): boolean => state === "locked" || state === "forced" || state === "held-too-long";
export const canClose = (state: DoorState): boolean => state === "open" || state === "held";

/** By how much two clocks that were compared over a network may still be apart, in milliseconds. */
const UNSURE = 100;

/** The whole seconds until the door closes by itself, rounded up; null if nobody knows. `skew`: our clock less the hub's. */
export function secondsLeft(opensUntil: string | null, now: number, skew: number): number | null {
  if (!opensUntil) return null;
  const left = Date.parse(opensUntil) - (now - skew);
  return Number.isFinite(left) ? Math.max(0, Math.ceil((left - UNSURE) / 1000)) : null;
}

/** How far a countdown has come, from 1 to 0. `first` is the longest that was seen of this opening. */
export const remaining = (left: number | null, first: number): number =>
  left === null || first <= 0 ? 0 : Math.min(1, Math.max(0, left / first));
