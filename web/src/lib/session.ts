// Who is signed in. The token stays with the tab, or with the browser where that was asked for.
import { computed, signal } from "@preact/signals";
import { forBrowser, forTab } from "./storage";
import type { Role } from "./types";

export interface Claims {
  sub: number;
  username: string;
  role: Role;
  /** Seconds since 1970. */
  exp: number;
}

/** What a token says of its user; the hub alone decides what it is good for. Null if it says nothing. */
export function claimsOf(token: string): Claims | null {
  try {
    const body = token.split(".")[1] ?? "";
    const bytes = Uint8Array.from(atob(body.replace(/-/g, "+").replace(/_/g, "/")), (letter) => letter.charCodeAt(0));
    const claims = JSON.parse(new TextDecoder().decode(bytes));
    const sub = Number(claims.sub);
    if (!Number.isInteger(sub) || typeof claims.username !== "string") return null;
    if (!["USER", "OPERATOR", "ADMIN"].includes(claims.role)) return null;
    return { sub, username: claims.username, role: claims.role, exp: Number(claims.exp) || 0 };
  } catch {
    return null;
  }
}

const RANKS: Record<Role, number> = { USER: 0, OPERATOR: 1, ADMIN: 2 };
export const atLeast = (role: Role, least: Role): boolean => RANKS[role] >= RANKS[least];

export const token = signal<string | null>(forTab.get("token") ?? forBrowser.get("token"));
export const me = computed(() => (token.value ? claimsOf(token.value) : null));
/** Why one is to sign in again, to be said on the page for it. */
export const ended = signal<"expired" | "signed-out" | null>(null);

export const may = (least: Role): boolean => me.value !== null && atLeast(me.value.role, least);

export function signIn(fresh: string, forLong: boolean): void {
  forTab.set("token", forLong ? null : fresh);
  forBrowser.set("token", forLong ? fresh : null);
  ended.value = null;
  token.value = fresh;
}

/** A new token in the place of the old one, kept where that was kept. */
export function renew(fresh: string): void {
  signIn(fresh, forBrowser.get("token") !== null);
}

export function signOut(why: "expired" | "signed-out"): void {
  if (token.value === null) return;
  forTab.set("token", null);
  forBrowser.set("token", null);
  ended.value = why;
  token.value = null;
}
