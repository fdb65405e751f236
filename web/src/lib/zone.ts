// Times in the hub's zone, as a field for date and time writes them: without a zone.

/** How far a zone is ahead of UTC at a time, in milliseconds. */
function ahead(at: number, zone: string): number {
  const parts = new Intl.DateTimeFormat("en-GB", {
    timeZone: zone, hourCycle: "h23", year: "numeric", month: "numeric", day: "numeric", hour: "numeric", minute: "numeric", second: "numeric",
  }).formatToParts(at);
  const of = (name: string) => Number(parts.find(({ type }) => type === name)?.value);
  const shown = Date.UTC(of("year"), of("month") - 1, of("day"), of("hour"), of("minute"), of("second"));
  return shown - Math.floor(at / 1000) * 1000;
}

/** `2026-11-27T10:30` of an RFC 3339 time; empty if there is none. */
export function toField(time: string | null, zone: string): string {
  const at = time ? Date.parse(time) : NaN;
  return Number.isFinite(at) ? new Date(at + ahead(at, zone)).toISOString().slice(0, 16) : "";
}

/** The RFC 3339 time of what a field holds; null if it is empty. Of an hour that a change of the clocks skips, what follows it. */
export function fromField(text: string, zone: string): string | null {
  const shown = Date.parse(`${text}Z`);
  if (!text || !Number.isFinite(shown)) return null;
  const first = shown - ahead(shown, zone);
  return new Date(shown - ahead(first, zone)).toISOString();
}
