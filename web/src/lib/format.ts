// Times and numbers as the browser's language writes them; times of the hub in the hub's zone.
import { signal } from "@preact/signals";
import { t } from "../strings";

export const zone = signal("UTC");
const language = typeof navigator === "undefined" ? "en" : navigator.language;

const made = new Map<string, Intl.DateTimeFormat>();
function dates(options: Intl.DateTimeFormatOptions): Intl.DateTimeFormat {
  const key = JSON.stringify(options) + zone.value;
  let format = made.get(key);
  if (!format) made.set(key, (format = new Intl.DateTimeFormat(language, { ...options, timeZone: zone.value })));
  return format;
}

export const clock = (at: string | number): string =>
  dates({ hour: "2-digit", minute: "2-digit", second: "2-digit" }).format(new Date(at));
export const hourOf = (at: number): string => dates({ hour: "2-digit", minute: "2-digit" }).format(new Date(at));
export const day = (at: string | number): string => dates({ day: "numeric", month: "short" }).format(new Date(at));
export const dayAndYear = (at: string | number): string => dates({ dateStyle: "medium" }).format(new Date(at));
export const full = (at: string | number): string =>
  dates({ dateStyle: "medium", timeStyle: "medium" }).format(new Date(at));
/** The names of the weekdays, Monday first, in the browser's language. */
export const weekdays = (style: "short" | "long" = "short"): string[] => {
  const format = new Intl.DateTimeFormat(language, { weekday: style, timeZone: "UTC" });
  return Array.from({ length: 7 }, (_, index) => format.format(new Date(Date.UTC(2024, 0, 1 + index))));
};

const whole = new Intl.NumberFormat(language);
const tenth = new Intl.NumberFormat(language, { maximumFractionDigits: 1 });
const share = new Intl.NumberFormat(language, { style: "percent", maximumFractionDigits: 0 });
export const number = (value: number): string => whole.format(value);
export const decimal = (value: number): string => tenth.format(value);
export const percent = (value: number): string => share.format(value);
export const bytes = (value: number): string =>
  new Intl.NumberFormat(language, { style: "unit", unit: "megabyte", maximumFractionDigits: 0 }).format(value / 1e6);

const relative = new Intl.RelativeTimeFormat(language, { numeric: "auto", style: "short" });

/** How long ago, in the largest unit that fits. */
export function ago(at: string | number, now: number): string {
  const seconds = Math.round((now - new Date(at).getTime()) / 1000);
  if (seconds < 5) return t.time.now;
  if (seconds < 60) return relative.format(-seconds, "second");
  if (seconds < 3600) return relative.format(-Math.floor(seconds / 60), "minute");
  if (seconds < 86_400) return relative.format(-Math.floor(seconds / 3600), "hour");
  return relative.format(-Math.floor(seconds / 86_400), "day");
}
