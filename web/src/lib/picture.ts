// Where an event's picture is, and in which widths.
import type { HubEvent } from "./types";

export const WIDTHS = [320, 640, 1280] as const;

type Pictured = Pick<HubEvent, "snapshotUrl">;

/** The address at this hub, whatever name the hub has for itself: the page loads pictures from nowhere else. Null without one. */
export function pictureAt({ snapshotUrl }: Pictured, width?: (typeof WIDTHS)[number]): string | null {
  if (!snapshotUrl) return null;
  let url: URL;
  try {
    url = new URL(snapshotUrl, "http://hub");
  } catch {
    return null;
  }
  if (!/^https?:$/.test(url.protocol) || !url.pathname.startsWith("/api/")) return null;
  if (width) url.searchParams.set("width", String(width));
  return url.pathname + url.search;
}

/** For `srcset`. */
export const widths = (event: Pictured): string => WIDTHS.map((width) => `${pictureAt(event, width)} ${width}w`).join(", ");
