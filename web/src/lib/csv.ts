// Events as a table for a spreadsheet.
import type { HubEvent } from "./types";

const COLUMNS: [string, (event: HubEvent) => string | number | boolean | null][] = [
  ["id", (event) => event.id],
  ["createdAt", (event) => event.createdAt],
  ["detectedAt", (event) => event.detectedAt],
  ["eventType", (event) => event.eventType],
  ["cameraId", (event) => event.cameraId],
  ["camera", (event) => event.camera.name],
  ["location", (event) => event.camera.location],
  ["personCount", (event) => event.personCount],
  ["confidence", (event) => event.confidence],
  ["isResolved", (event) => event.isResolved],
  ["resolvedAt", (event) => event.resolvedAt],
  ["description", (event) => event.description],
];

/** By RFC 4180. A text that a spreadsheet would take for a formula is made one that it shows. */
export function csv(events: HubEvent[]): string {
  const cell = (value: string | number | boolean | null): string => {
    if (value === null) return "";
    if (typeof value !== "string") return String(value);
    const shown = /^[=+\-@\t\r]/.test(value) ? `'${value}` : value;
    return /[",\r\n]/.test(shown) ? `"${shown.replace(/"/g, '""')}"` : shown;
  };
  const lines = [COLUMNS.map(([name]) => name), ...events.map((event) => COLUMNS.map(([, of]) => cell(of(event))))];
  return lines.map((line) => line.join(",")).join("\r\n") + "\r\n";
}
