// What more than one page does.
import { patch } from "./api";
import { updated } from "./hub";
import { say } from "../ui/toast";
import { words } from "./api";
import { t } from "../strings";
import type { HubEvent } from "./types";

export async function resolve(event: Pick<HubEvent, "id">): Promise<HubEvent | null> {
  try {
    const done = await patch<HubEvent>(`/api/events/${event.id}/resolve`);
    updated(done);
    return done;
  } catch (error) {
    say(words(error), "bad");
    return null;
  }
}

/** Puts a text into the clipboard, also where the page came without TLS and the browser's own way is closed. */
export async function copy(text: string): Promise<void> {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const area = document.createElement("textarea");
    area.value = text;
    area.className = "off-screen";
    const open = document.querySelector("dialog[open]") ?? document.body;
    open.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
  say(t.common.copied, "good");
}

export function download(name: string, text: string, kind: string): void {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: kind }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}
