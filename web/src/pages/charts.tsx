import { useMemo, useState } from "preact/hooks";
import type uPlot from "uplot";
import { get } from "../lib/api";
import { day, hourOf, number, weekdays, zone } from "../lib/format";
import { cameras } from "../lib/hub";
import { place, setQuery } from "../lib/router";
import { columns, days, hours, PEOPLE, todayAndUsual, week } from "../lib/sums";
import { EVENT_TYPES, type AnalyticsLine, type EventType } from "../lib/types";
import { t } from "../strings";
import { Card, Loading, Page, Segments, Select, Trouble } from "../ui/basics";
import { useLoad, useNow } from "../ui/hooks";
import { bars, curve, Plot } from "../ui/plot";

type By = "hour" | "day";
const HOUR = 3_600_000;
const COLOURS: Record<EventType, string> = {
  PERSON_DETECTED: "chart-1", MULTIPLE_PERSONS: "chart-2", DOOR_OPENED: "chart-3", DOOR_CLOSED: "chart-4", SYSTEM_ALERT: "chart-5",
};

const asks = (bucket: By, from: number, camera: number | null): string =>
  `/api/events/analytics?${new URLSearchParams({ bucket, from: new Date(from).toISOString(), ...(camera ? { cameraId: String(camera) } : {}) })}`;

export function Charts() {
  const query = place.value.query;
  const by: By = query.get("by") === "day" ? "day" : "hour";
  const found = Number(query.get("camera"));
  const camera = Number.isInteger(found) && found > 0 ? found : null;
  const change = (part: Record<string, string>) => {
    const next = new URLSearchParams(query);
    for (const [name, value] of Object.entries(part)) {
      if (value) next.set(name, value);
      else next.delete(name);
    }
    setQuery(next);
  };
  return (
    <Page title={t.charts.title} lead={t.charts.lead(zone.value)}>
      <div class="filters">
        <Select
          label={t.events.camera}
          value={camera ? String(camera) : ""}
          onChoice={(id) => change({ camera: id })}
          choices={[["", t.events.anyCamera], ...(cameras.value ?? []).map(({ id, name }): [string, string] => [String(id), name])]}
        />
      </div>
      <div class="charts">
        <OverTime by={by} camera={camera} onBy={(next) => change({ by: next === "day" ? "day" : "" })} />
        <Today camera={camera} />
        <Heat camera={camera} />
        <ByCamera />
      </div>
    </Page>
  );
}

function OverTime({ by, camera, onBy }: { by: By; camera: number | null; onBy: (by: By) => void }) {
  const minute = Math.floor(useNow(60_000) / 60_000);
  const from = by === "hour" ? minute * 60_000 - 47 * HOUR : (days(30, minute * 60_000, zone.value)[0] ?? 0);
  const { data: lines, error, reload } = useLoad((signal) => get<AnalyticsLine[]>(asks(by, from, camera), signal), [by, camera, Math.floor(minute / 5), zone.value]);
  const [off, setOff] = useState<Set<EventType>>(() => new Set());
  const made = useMemo(() => {
    if (!lines) return null;
    const now = minute * 60_000;
    const times = by === "hour" ? hours(from, now, lines) : days(30, now, zone.value);
    const kinds = EVENT_TYPES.filter((kind) => !off.has(kind));
    const found = columns(lines, kinds, times);
    // Stacked: each series holds what is below it too, and the highest is drawn first.
    const stacked = kinds.map((_, index) => times.map((_, at) => found.slice(0, index + 1).reduce((sum, column) => sum + column[at]!, 0)));
    const sums = Object.fromEntries(EVENT_TYPES.map((kind) => [kind, lines.reduce((sum, one) => sum + (one.eventType === kind ? one.count : 0), 0)]));
    return { times, kinds, found, sums, data: [times.map((at) => at / 1000), ...stacked.reverse()] as uPlot.AlignedData };
  }, [lines, off]);
  return (
    <Card class="wide" title={by === "hour" ? t.charts.byHour : t.charts.byDay} aside={<Segments label={t.charts.by} value={by} onChoice={onBy} choices={[["hour", t.charts.hours], ["day", t.charts.days]]} />}>
      {error !== null ? <Trouble error={error} again={reload} /> : !made ? <Loading rows={5} /> : (
        <>
          <Plot
            label={t.charts.overTimeLabel(number(Object.values(made.sums).reduce((a, b) => a + b, 0)))}
            data={made.data}
            options={(colour) => ({
              cursor: { points: { show: false } },
              legend: { show: false },
              scales: { x: { range: (_, least, most) => { const half = by === "hour" ? 1800 : 43_200; return [least - half, most + half]; } }, y: { range: (_, __, most) => [0, Math.max(4, most * 1.1)] } },
              axes: [{ values: (_, splits) => splits.map((at) => (by === "hour" ? hourOf(at * 1000) : day(at * 1000))), space: 70, size: 30 }, { values: (_, splits) => splits.map((value) => (Number.isInteger(value) ? number(value) : "")), size: 46 }],
              series: [{}, ...[...made.kinds].reverse().map((kind) => ({ label: t.kind[kind], fill: colour(COLOURS[kind]), stroke: colour(COLOURS[kind]), width: 0, paths: bars(), points: { show: false } }))],
            })}
          />
          <div class="legend" role="group" aria-label={t.charts.kinds}>
            {EVENT_TYPES.map((kind) => (
              <button key={kind} type="button" aria-pressed={!off.has(kind)} onClick={() => setOff((before) => { const next = new Set(before); if (!next.delete(kind)) next.add(kind); return next; })}>
                <i class={`dot ${COLOURS[kind]}`} aria-hidden="true" /> {t.kind[kind]} <b>{number(made.sums[kind] ?? 0)}</b>
              </button>
            ))}
          </div>
          <Figures head={[by === "hour" ? t.charts.hour : t.charts.day, ...made.kinds.map((kind) => t.kind[kind])]} rows={made.times.map((at, index) => [by === "hour" ? `${day(at)}, ${hourOf(at)}` : day(at), ...made.found.map((column) => number(column[index]!))])} />
        </>
      )}
    </Card>
  );
}

/** The same as a table, for whoever cannot see the picture, or wants it exact. */
function Figures({ head, rows }: { head: string[]; rows: string[][] }) {
  return (
    <details class="figures">
      <summary>{t.charts.figures}</summary>
      <div class="scroll" tabIndex={0} role="region" aria-label={t.charts.figures}>
        <table>
          <thead><tr>{head.map((name) => <th key={name} scope="col">{name}</th>)}</tr></thead>
          <tbody>{rows.map((row) => <tr key={row[0]}>{row.map((cell, index) => (index ? <td key={index}>{cell}</td> : <th key={index} scope="row">{cell}</th>))}</tr>)}</tbody>
        </table>
      </div>
    </details>
  );
}

function Today({ camera }: { camera: number | null }) {
  const minute = Math.floor(useNow(60_000) / 60_000);
  const from = days(29, minute * 60_000, zone.value)[0] ?? 0;
  const { data: lines, error, reload } = useLoad((signal) => get<AnalyticsLine[]>(asks("hour", from, camera), signal), [camera, Math.floor(minute / 5), zone.value]);
  const made = useMemo(() => {
    if (!lines) return null;
    const sums = todayAndUsual(lines, minute * 60_000, zone.value);
    return { ...sums, data: [sums.usual.map((_, hour) => hour), sums.today, sums.usual] as uPlot.AlignedData };
  }, [lines]);
  const soFar = made?.today.reduce<number>((sum, count) => sum + (count ?? 0), 0) ?? 0;
  const usually = made?.usual.reduce((sum, mean, hour) => sum + (made.today[hour] === null ? 0 : mean), 0) ?? 0;
  return (
    <Card title={t.charts.today}>
      {error !== null ? <Trouble error={error} again={reload} /> : !made ? <Loading rows={5} /> : (
        <>
          <p class="big-figure"><b>{number(soFar)}</b> <span>{made.days ? t.charts.usually(number(Math.round(usually))) : t.charts.noUsual}</span></p>
          <Plot
            height={210}
            label={t.charts.todayLabel(number(soFar), number(Math.round(usually)))}
            data={made.data}
            options={(colour) => ({
              cursor: { points: { show: false } },
              legend: { show: false },
              scales: { x: { time: false, range: [-0.5, 23.5] }, y: { range: (_, __, most) => [0, Math.max(4, (most ?? 0) * 1.15)] } },
              axes: [{ values: (_, splits) => splits.map((hour) => String(hour).padStart(2, "0")), incrs: [3, 6, 12], size: 30 }, { values: (_, splits) => splits.map((value) => (Number.isInteger(value) ? number(value) : "")), size: 46 }],
              series: [
                {},
                { label: t.charts.today, stroke: colour("chart-1"), fill: colour("chart-1"), width: 0, paths: bars(), points: { show: false } },
                { label: t.charts.usual, stroke: colour("ink"), width: 2, dash: [5, 5], paths: curve(), points: { show: false } },
              ],
            })}
          />
          <p class="legend"><span><i class="dot chart-1" aria-hidden="true" /> {t.charts.today}</span><span><i class="dash" aria-hidden="true" /> {t.charts.usual}</span></p>
        </>
      )}
    </Card>
  );
}

const WEEKS = 8;

function Heat({ camera }: { camera: number | null }) {
  const minute = Math.floor(useNow(60_000) / 60_000);
  const { data: lines, error, reload } = useLoad((signal) => get<AnalyticsLine[]>(asks("hour", minute * 60_000 - WEEKS * 168 * HOUR, camera), signal), [camera, Math.floor(minute / 15)]);
  const table = useMemo(() => (lines ? week(lines, zone.value) : null), [lines, zone.value]);
  const most = table ? Math.max(1, ...table.flat()) : 1;
  const [short, long] = [weekdays(), weekdays("long")];
  return (
    <Card title={t.charts.week} aside={<span class="aside-note">{t.charts.weeks(WEEKS)}</span>}>
      {error !== null ? <Trouble error={error} again={reload} /> : !table ? <Loading rows={5} /> : (
        <div class="scroll" tabIndex={0} role="region" aria-label={t.charts.week}>
          <table class="heat">
            <thead>
              <tr>
                <th scope="col"><span class="off-screen">{t.charts.weekday}</span></th>
                {Array.from({ length: 24 }, (_, hour) => <th key={hour} scope="col">{hour % 3 ? <span class="off-screen">{hour}</span> : String(hour).padStart(2, "0")}</th>)}
              </tr>
            </thead>
            <tbody>
              {table.map((row, weekday) => (
                <tr key={weekday}>
                  <th scope="row"><abbr title={long[weekday]}>{short[weekday]}</abbr></th>
                  {row.map((count, hour) => (
                    <td key={hour} title={t.charts.cell(long[weekday] ?? "", hour, number(count))} data-heat={count ? Math.min(5, Math.ceil((count / most) * 5)) : 0}>
                      <span class="off-screen">{number(count)}</span>
                    </td>
                  ))}
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
    </Card>
  );
}

function ByCamera() {
  const list = cameras.value ?? [];
  const minute = Math.floor(useNow(60_000) / 300_000);
  const from = days(7, Date.now(), zone.value)[0] ?? 0;
  const { data, error, reload } = useLoad(
    async (signal) => Promise.all(list.map(async ({ id, name }) => {
      const lines = await get<AnalyticsLine[]>(asks("day", from, id), signal);
      return { id, name, count: lines.reduce((sum, one) => sum + (PEOPLE.includes(one.eventType) ? one.count : 0), 0) };
    })),
    [list.map(({ id }) => id).join(), minute],
  );
  const sorted = [...(data ?? [])].sort((a, b) => b.count - a.count);
  const most = Math.max(1, ...sorted.map(({ count }) => count));
  return (
    <Card class="wide" title={t.charts.byCamera} aside={<span class="aside-note">{t.charts.lastWeek}</span>}>
      {error !== null ? <Trouble error={error} again={reload} /> : !data ? <Loading rows={3} /> : (
        <ul class="bars" role="list">
          {sorted.map(({ id, name, count }) => (
            <li key={id}>
              <a href={`/events?camera=${id}&last=7d`}>{name}</a>
              <span class="bar-track" aria-hidden="true"><i style={{ inlineSize: `${(count / most) * 100}%` }} /></span>
              <b>{number(count)}</b>
            </li>
          ))}
        </ul>
      )}
    </Card>
  );
}
