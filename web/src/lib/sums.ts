// What the charts show, made of the sums that the hub has counted.
import type { AnalyticsLine, EventType } from "./types";

export const PEOPLE: EventType[] = ["PERSON_DETECTED", "MULTIPLE_PERSONS"];
const HOUR = 3_600_000;

/** The hour (0–23), the weekday (0 is Monday) and the day of a time in a zone. */
export function inZone(zone: string): (at: number) => { hour: number; weekday: number; day: string } {
  const format = new Intl.DateTimeFormat("en-GB", {
    timeZone: zone, hourCycle: "h23", hour: "2-digit", weekday: "short", year: "numeric", month: "2-digit", day: "2-digit",
  });
  const days = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
  return (at) => {
    const parts = Object.fromEntries(format.formatToParts(at).map(({ type, value }) => [type, value]));
    return {
      hour: Number(parts["hour"]),
      weekday: days.indexOf(parts["weekday"] ?? ""),
      day: `${parts["year"]}-${parts["month"]}-${parts["day"]}`,
    };
  };
}

/** Rising times with a column for each kind; hours or days without any event stand as 0. */
export function columns(lines: AnalyticsLine[], kinds: EventType[], times: number[]): number[][] {
  const place = new Map(times.map((at, index) => [at, index]));
  const found = kinds.map(() => times.map(() => 0));
  for (const line of lines) {
    const index = place.get(Date.parse(line.bucket));
    const column = found[kinds.indexOf(line.eventType)];
    if (index !== undefined && column) column[index]! += line.count;
  }
  return found;
}

/** The beginning of each hour between two times, in the zone's own minutes (some zones are off by 30 or 45). */
export function hours(from: number, to: number, lines: AnalyticsLine[]): number[] {
  const shift = lines[0] ? ((Date.parse(lines[0].bucket) % HOUR) + HOUR) % HOUR : 0;
  const first = Math.floor((from - shift) / HOUR) * HOUR + shift;
  const found = [];
  for (let at = first; at <= to; at += HOUR) found.push(at);
  return found;
}

/** The beginning of each of the last days in the zone, newest last. */
export function days(count: number, now: number, zone: string): number[] {
  const of = inZone(zone);
  const found: number[] = [];
  // Backwards by quarters of an hour to where the day changes: no arithmetic that a change of the clocks could spoil.
  let at = Math.floor(now / (HOUR / 4)) * (HOUR / 4);
  while (found.length < count) {
    const today = of(at).day;
    // Twenty hours at once, then step by step.
    if (of(at - 20 * HOUR).day === today) at -= 20 * HOUR;
    while (of(at - HOUR / 4).day === today) at -= HOUR / 4;
    found.unshift(at);
    at -= HOUR / 4;
  }
  return found;
}

/** How many people were seen in each hour of each weekday: 7 rows of 24. */
export function week(lines: AnalyticsLine[], zone: string): number[][] {
  const of = inZone(zone);
  const table = Array.from({ length: 7 }, () => Array.from({ length: 24 }, () => 0));
  for (const line of lines) {
    if (!PEOPLE.includes(line.eventType)) continue;
    const { hour, weekday } = of(Date.parse(line.bucket));
    const row = table[weekday];
    if (row) row[hour]! += line.count;
  }
  return table;
}

/** Today's detections by hour, and the mean of the days before: of those on which anything was seen at all. */
export function todayAndUsual(lines: AnalyticsLine[], now: number, zone: string): { today: (number | null)[]; usual: number[]; days: number } {
  const of = inZone(zone);
  const { day: today, hour } = of(now);
  const sums = Array.from({ length: 24 }, () => 0);
  const counts: (number | null)[] = sums.map((_, at) => (at <= hour ? 0 : null));
  const seen = new Set<string>();
  for (const line of lines) {
    if (!PEOPLE.includes(line.eventType)) continue;
    const { day, hour } = of(Date.parse(line.bucket));
    if (day === today) counts[hour] = (counts[hour] ?? 0) + line.count;
    else {
      seen.add(day);
      sums[hour]! += line.count;
    }
  }
  return { today: counts, usual: sums.map((sum) => (seen.size ? sum / seen.size : 0)), days: seen.size };
}
