// The hub's REST calls. What goes wrong becomes a `Failure`, which knows its own words.
import { t } from "../strings";
import { signOut, token } from "./session";

export class Failure extends Error {
  constructor(
    /** 0: no answer at all. */
    readonly status: number,
    readonly messages: string[],
    /** Seconds. */
    readonly retryAfter: number | null,
  ) {
    super(messages.join("; "));
  }
}

/** Reads an error's body, whoever has written it: the hub, or a proxy that knows no JSON. */
export function failureOf(status: number, body: string, retryAfter: string | null): Failure {
  let messages: string[] = [];
  try {
    const { message } = JSON.parse(body);
    messages = (Array.isArray(message) ? message : [message]).filter((one) => typeof one === "string");
  } catch {
    // Not the hub's own.
  }
  const seconds = Number(retryAfter);
  return new Failure(status, messages, retryAfter !== null && Number.isFinite(seconds) ? seconds : null);
}

/** What a person is told. */
export function words(error: unknown): string {
  if (!(error instanceof Failure)) return t.failure.unknown;
  if (error.status === 0) return t.failure.away;
  if (error.status === 429) return t.failure.tooMany(error.retryAfter);
  if (error.status === 403) return t.failure.forbidden;
  if (error.status >= 500 && error.messages.length === 0) return t.failure.away;
  return error.messages.map(sentence).join(" ") || t.failure.status(error.status);
}

const sentence = (text: string): string => text.charAt(0).toUpperCase() + text.slice(1) + (/[.!?]$/.test(text) ? "" : ".");

/** The faults of a form by the field that each names first; those that name none under "". */
export function faultsByField(error: unknown, fields: string[]): Record<string, string> {
  const found: Record<string, string> = {};
  if (!(error instanceof Failure)) return { "": words(error) };
  if (error.status !== 400 || error.messages.length === 0) return { "": words(error) };
  for (const message of error.messages) {
    const field = fields.find((name) => message.startsWith(`${name} `)) ?? "";
    const text = sentence(field ? (t.fault(field, message.slice(field.length + 1)) ?? message) : message);
    found[field] = found[field] ? `${found[field]} ${text}` : text;
  }
  return found;
}

export interface Options {
  method?: string;
  body?: unknown;
  signal?: AbortSignal;
  /** A refusal is this call's own affair, not the end of the session. */
  ownRefusal?: boolean;
}

export async function call<T>(path: string, { method = "GET", body, signal, ownRefusal }: Options = {}): Promise<T> {
  return JSON.parse(await text(path, { method, body, signal, ownRefusal })) as T;
}

export async function text(path: string, { method = "GET", body, signal, ownRefusal }: Options = {}): Promise<string> {
  const headers: Record<string, string> = {};
  const shown = token.value;
  if (shown) headers["authorization"] = `Bearer ${shown}`;
  // The browser writes the head of a form with parts itself.
  const isForm = body instanceof FormData;
  if (body !== undefined && !isForm) headers["content-type"] = "application/json";
  let answer: Response, got: string;
  try {
    answer = await fetch(path, { method, headers, signal, body: body === undefined ? undefined : isForm ? body : JSON.stringify(body) });
    got = await answer.text();
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new Failure(0, [], null);
  }
  if (answer.ok) return got;
  const failure = failureOf(answer.status, got, answer.headers.get("retry-after"));
  if (failure.status === 401 && !ownRefusal && token.value === shown) signOut("expired");
  throw failure;
}

/** As `text`, but any status is an answer: for /readyz. */
export async function anyStatus<T>(path: string): Promise<T> {
  const headers: Record<string, string> = token.value ? { authorization: `Bearer ${token.value}` } : {};
  try {
    return (await (await fetch(path, { headers })).json()) as T;
  } catch {
    throw new Failure(0, [], null);
  }
}

export const get = <T>(path: string, signal?: AbortSignal): Promise<T> => call<T>(path, { signal });
export const post = <T>(path: string, body?: unknown): Promise<T> => call<T>(path, { method: "POST", body });
export const put = <T>(path: string, body: unknown, ownRefusal = false): Promise<T> =>
  call<T>(path, { method: "PUT", body, ownRefusal });
export const patch = <T>(path: string): Promise<T> => call<T>(path, { method: "PATCH" });
export const remove = <T>(path: string): Promise<T> => call<T>(path, { method: "DELETE" });
