import { useEffect, useRef, useState } from "preact/hooks";
import { BookOpen, Inbox } from "lucide-preact";
import { anyStatus, call, get, text, words } from "../lib/api";
import { ago, bytes, decimal, full, number } from "../lib/format";
import { about, health } from "../lib/hub";
import { parse, rate, sum, type Samples } from "../lib/metrics";
import { may } from "../lib/session";
import type { Ready, Rejected } from "../lib/types";
import { t } from "../strings";
import { Button, Card, Empty, Loading, Page, Segments, Tag, Trouble, type Tone } from "../ui/basics";
import { useLoad, useNow } from "../ui/hooks";
import { say } from "../ui/toast";

const EVERY = 5_000;
const TONES: Record<"up" | "degraded" | "down", Tone> = { up: "good", degraded: "warn", down: "bad" };

export function System() {
  return (
    <Page
      title={t.system.title}
      lead={about.value && t.system.version(about.value.version, about.value.timeZone)}
      actions={<a class="button plain" href="/docs" target="_blank" rel="noreferrer"><BookOpen size={16} aria-hidden="true" /> {t.system.docs}</a>}
    >
      <Parts />
      <Rates />
      {may("ADMIN") && <LogLevel />}
      {may("ADMIN") && <RejectedMessages />}
      <p class="hint"><a href="/licences.txt" target="_blank" rel="noreferrer">{t.system.licences}</a></p>
    </Page>
  );
}

function Parts() {
  const now = useNow(EVERY);
  const { data, error, reload, set } = useLoad(() => anyStatus<Ready>("/readyz"), [now]);
  // What an ADMIN is told at once, between two looks.
  useEffect(() => { if (health.value) set(health.value); }, [health.value]);
  return (
    <Card title={t.system.parts} aside={data && <Tag tone={data.status === "up" ? "good" : "bad"}>{data.status === "up" ? t.system.allUp : t.system.someDown}</Tag>}>
      {error !== null ? <Trouble error={error} again={reload} /> : !data ? <Loading /> : (
        <ul class="parts" role="list">
          {data.parts.map((part) => {
            const state = part.state ?? (part.up ? "up" : "down");
            return (
              <li key={part.name} data-state={state}>
                <i class="part-light" aria-hidden="true" />
                <div>
                  <strong>{t.system.part(part.name)}</strong>
                  {part.detail && <span>{part.detail}</span>}
                </div>
                <div class="part-end">
                  <Tag tone={TONES[state]}>{t.system.states[state]}</Tag>
                  {part.since && <small title={full(part.since)}>{t.system.since(ago(part.since, now))}</small>}
                </div>
              </li>
            );
          })}
        </ul>
      )}
    </Card>
  );
}

const SHOWN = 60;
type Rate = "detections" | "rejected" | "messages" | "requests";

/** Only where the hub lets one read them: for an ADMIN, or on the hub's own machine. */
function Rates() {
  const [samples, setSamples] = useState<{ at: number; now: Samples; rates: Record<Rate, number> } | null>(null);
  const [series, setSeries] = useState<Record<string, number[]>>({});
  const before = useRef<{ at: number; samples: Samples } | null>(null);
  useEffect(() => {
    if (!may("ADMIN")) return;
    let over = false;
    const look = async () => {
      try {
        const now = parse(await text("/metrics"));
        if (over) return;
        const at = performance.now();
        const was = before.current;
        before.current = { at, samples: now };
        const grown = (name: string, label = "") => (was ? rate(was.samples, now, (at - was.at) / 1000, `portcullis_${name}`, label) : 0);
        const rates = {
          detections: grown("detections_received_total"),
          rejected: grown("detections_total", 'outcome="rejected"'),
          messages: grown("mqtt_messages_received_total") + grown("mqtt_messages_delivered_total"),
          requests: grown("http_requests_total"),
        };
        setSamples({ at, now, rates });
        if (was) setSeries((kept) => Object.fromEntries(Object.entries(rates).map(([name, value]) => [name, [...(kept[name] ?? []), value].slice(-SHOWN)])));
      } catch {
        if (!over) setSamples(null);
      }
    };
    void look();
    const timer = setInterval(look, EVERY);
    return () => {
      over = true;
      clearInterval(timer);
    };
  }, []);
  if (!samples) return null;
  const { now, rates } = samples;
  const started = sum(now, "process_start_time_seconds");
  const figures: [string, string][] = [
    [t.system.sockets, number(sum(now, "portcullis_sockets"))],
    [t.system.sessions, number(sum(now, "portcullis_mqtt_sessions"))],
    [t.system.queue, number(sum(now, "portcullis_queue_length"))],
    [t.system.memory, bytes(sum(now, "process_resident_memory_bytes"))],
    [t.system.errors, number(sum(now, "portcullis_errors_total", 'level="error"'))],
    [t.system.started, started ? ago(started * 1000, Date.now()) : "–"],
  ];
  return (
    <Card title={t.system.rates} aside={<span class="aside-note">{t.system.perSecond}</span>}>
      <ul class="rates" role="list">
        {(Object.keys(rates) as Rate[]).map((name) => (
          <li key={name}>
            <span>{t.system.rate[name]}</span>
            <b>{decimal(rates[name])}</b>
            <Line values={series[name] ?? []} />
          </li>
        ))}
      </ul>
      <dl class="figures-row">{figures.map(([name, value]) => <div key={name}><dt>{name}</dt><dd>{value}</dd></div>)}</dl>
    </Card>
  );
}

function Line({ values }: { values: number[] }) {
  const most = Math.max(1, ...values);
  const points = values.map((value, index) => `${((SHOWN - values.length + index) / (SHOWN - 1)) * 100},${29 - (value / most) * 27}`).join(" ");
  return <svg class="rate-line" viewBox="0 0 100 30" preserveAspectRatio="none" aria-hidden="true"><polyline points={points} /></svg>;
}

type Level = "error" | "warn" | "info" | "debug" | "trace";
const LEVELS: Level[] = ["error", "warn", "info", "debug", "trace"];

function LogLevel() {
  const { data, error, reload, set } = useLoad((signal) => get<{ filter: string }>("/api/log-level", signal), []);
  const choose = async (level: Level) => {
    try {
      set(await call<{ filter: string }>("/api/log-level", { method: "PUT", body: { level } }));
      say(t.system.logSet(level), "good");
    } catch (failure) {
      say(words(failure), "bad");
    }
  };
  const now = LEVELS.find((level) => new RegExp(`(^|portcullis=)${level}\\b`).test(data?.filter ?? "")) ?? ("" as Level);
  return (
    <Card title={t.system.log}>
      {error !== null ? <Trouble error={error} again={reload} /> : !data ? <Loading rows={1} /> : (
        <>
          <Segments label={t.system.log} value={now} onChoice={choose} choices={LEVELS.map((level) => [level, level])} />
          <p class="hint">{t.system.logMore} <code>{data.filter}</code></p>
        </>
      )}
    </Card>
  );
}

function RejectedMessages() {
  const { data, error, reload, set } = useLoad((signal) => get<Rejected[]>("/api/events/rejected?limit=20", signal), []);
  const more = async () => {
    const last = data?.[data.length - 1];
    if (!data || !last) return;
    try {
      set([...data, ...(await get<Rejected[]>(`/api/events/rejected?limit=20&before=${last.id}`))]);
    } catch (failure) {
      say(words(failure), "bad");
    }
  };
  return (
    <Card title={t.system.rejected}>
      {error !== null ? <Trouble error={error} again={reload} /> : !data ? <Loading /> : data.length === 0 ? (
        <Empty icon={<Inbox size={28} />} title={t.system.noneRejected}><p>{t.system.noneRejectedMore}</p></Empty>
      ) : (
        <>
          <ul class="rejected" role="list">
            {data.map((message) => (
              <li key={message.id}>
                <header><strong>{message.reason}</strong><time dateTime={message.receivedAt}>{full(message.receivedAt)}</time></header>
                <span>{message.topic} · {message.source}</span>
                <pre tabIndex={0} aria-label={t.system.payload}>{message.payload}</pre>
              </li>
            ))}
          </ul>
          {data.length % 20 === 0 && <Button onClick={more}>{t.common.more}</Button>}
        </>
      )}
    </Card>
  );
}
