// Who has done something, as the hub names them: `user:1`, `device:desk`, `rule:NAME`.
import { signal } from "@preact/signals";
import { get } from "../lib/api";
import { may, me } from "../lib/session";
import type { User } from "../lib/types";
import { t } from "../strings";

/** Only an ADMIN may know the names of others. */
const names = signal<Map<number, string>>(new Map());

export async function learnNames(): Promise<void> {
  if (!may("ADMIN")) return;
  const users = await get<User[]>("/api/users");
  names.value = new Map(users.map(({ id, username }) => [id, username]));
}

/** The first such name in a text, for people; null if there is none. */
export function who(text: string | null): string | null {
  const found = /\b(user|device|rule):([A-Za-z0-9_.-]+)/.exec(text ?? "");
  if (!found) return null;
  const [, kind, name] = found as unknown as [string, string, string];
  if (kind !== "user") return kind === "device" ? t.who.device(name) : t.who.rule(name);
  const id = Number(name);
  if (id === me.value?.sub) return t.who.you;
  return names.value.get(id) ?? t.who.user(id);
}

/** A text of the hub's with the names of those it speaks of, and without what a person need not read. */
export const plainly = (text: string): string =>
  text.replace(/\b(?:user|device|rule):[A-Za-z0-9_.-]+/g, (name) => who(name) ?? name).replace(/: command$/, "");

export const forgetNames = (): void => void (names.value = new Map());
