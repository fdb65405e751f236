import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { ArrowLeft, CheckCheck, Download, FilterX, ImageOff, Link2, SearchX, Trash2 } from "lucide-preact";
import { get, patch, remove, words } from "../lib/api";
import { copy, download, resolve } from "../lib/actions";
import { csv } from "../lib/csv";
import { merge, renewed } from "../lib/feed";
import * as filters from "../lib/filters";
import { full, number, percent, zone } from "../lib/format";
import { cameras, feed, onChange, refresh, resets, skew } from "../lib/hub";
import { pictureAt } from "../lib/picture";
import { go, place, setQuery } from "../lib/router";
import { may } from "../lib/session";
import { fromField, toField } from "../lib/zone";
import { EVENT_TYPES, type EventType, type HubEvent } from "../lib/types";
import { t } from "../strings";
import { Button, Card, Confirm, Empty, Field, Loading, Page, Select, Tag, Trouble } from "../ui/basics";
import { EventRow, KindIcon, rowKeys, titleOf } from "../ui/event-row";
import { useLatest, useLoad, useNow } from "../ui/hooks";
import { Picture } from "../ui/picture";
import { VirtualRows } from "../ui/rows";
import { say } from "../ui/toast";
import { plainly, who } from "../ui/who";

const PAGE = 100;
/** A file for a spreadsheet has at most this many lines. */
const CSV_MAX = 50_000;

export function Events() {
  const query = place.value.query;
  const chosen = filters.read(query);
  const key = filters.write(chosen).toString();
  const list = useEndless(chosen, key);
  const now = useNow(5_000) - skew.value;
  const [picked, setPicked] = useState<Set<number>>(() => new Set());
  const [busy, setBusy] = useState<"resolve" | "csv" | null>(null);
  useEffect(() => setPicked(new Set()), [key]);

  const change = (part: Partial<filters.Filters>) => setQuery(filters.write({ ...chosen, ...part }));
  const href = (id: number) => `/events/${id}${key ? `?${key}` : ""}`;
  const done = async (event: Pick<HubEvent, "id">) => {
    const fresh = await resolve(event);
    if (fresh) list.replace(fresh);
  };
  const resolveMany = async () => {
    setBusy("resolve");
    let count = 0;
    let failed: unknown = null;
    for (const id of picked) {
      try {
        list.replace(await patch<HubEvent>(`/api/events/${id}/resolve`));
        count += 1;
      } catch (error) {
        failed = error;
        break;
      }
    }
    setPicked(new Set());
    setBusy(null);
    void refresh();
    if (failed) say(t.events.resolvedSome(count, words(failed)), "bad");
    else say(t.events.resolvedMany(count), "good");
  };
  const save = async () => {
    setBusy("csv");
    try {
      const all: HubEvent[] = [];
      let before: number | null = null;
      const at = Date.now();
      do {
        const part: HubEvent[] = await get<HubEvent[]>(filters.ask(chosen, at, before, 500));
        all.push(...part);
        before = part.length === 500 ? part[part.length - 1]!.id : null;
      } while (before !== null && all.length < CSV_MAX);
      download(`portcullis-events-${new Date(at).toISOString().slice(0, 10)}.csv`, csv(all), "text/csv");
      say(before === null ? t.events.saved(all.length) : t.events.savedSome(all.length), "good");
    } catch (error) {
      say(words(error), "bad");
    }
    setBusy(null);
  };
  const keys = rowKeys((id) => may("OPERATOR") && void done({ id }), (id) => go(href(id)));
  const open = list.events.filter(({ isResolved }) => !isResolved);
  return (
    <Page
      title={t.events.title}
      actions={
        <>
          <Button onClick={() => copy(location.href)}><Link2 size={16} aria-hidden="true" /> {t.events.link}</Button>
          <Button busy={busy === "csv"} onClick={save}><Download size={16} aria-hidden="true" /> {t.events.csv}</Button>
        </>
      }
    >
      <Filters chosen={chosen} change={change} />
      {may("OPERATOR") && open.length > 0 && (
        <div class="bulk">
          <label class="check">
            <input
              type="checkbox"
              checked={picked.size > 0 && picked.size >= open.length}
              onChange={(box) => setPicked(new Set(box.currentTarget.checked ? open.map(({ id }) => id) : []))}
            />
            <span>{picked.size ? t.events.picked(picked.size) : t.events.pickAll(open.length)}</span>
          </label>
          <Button small kind="primary" disabled={picked.size === 0} busy={busy === "resolve"} onClick={resolveMany}>
            <CheckCheck size={16} aria-hidden="true" /> {t.events.resolvePicked}
          </Button>
        </div>
      )}
      {list.error !== null && <Trouble error={list.error} again={list.again} />}
      {list.events.length === 0 && list.loading ? <Loading rows={8} /> : list.events.length === 0 && list.error === null ? (
        <Empty icon={<SearchX size={28} />} title={t.events.none}>
          {filters.isEmpty(chosen) ? <p>{t.events.noneYet}</p> : <Button onClick={() => setQuery(new URLSearchParams())}><FilterX size={16} aria-hidden="true" /> {t.events.clear}</Button>}
        </Empty>
      ) : (
        <div class="card list" onKeyDown={keys}>
          <VirtualRows
            items={list.events}
            keyOf={(event) => event.id}
            row={68}
            label={t.events.title}
            busy={list.loading}
            onEnd={list.more}
            draw={(event, index) => (
              <EventRow
                event={event}
                now={now}
                index={index}
                of={list.ended ? list.events.length : -1}
                href={href(event.id)}
                chosen={picked.has(event.id)}
                onChoose={may("OPERATOR") ? (on) => setPicked((before) => { const next = new Set(before); if (on) next.add(event.id); else next.delete(event.id); return next; }) : undefined}
                onResolve={(one) => void done(one)}
              />
            )}
          />
          <p class="list-end">{list.ended ? t.events.end(list.events.length) : t.common.loading}</p>
        </div>
      )}
    </Page>
  );
}

function Filters({ chosen, change }: { chosen: filters.Filters; change: (part: Partial<filters.Filters>) => void }) {
  const [own, setOwn] = useState(chosen.from !== null || chosen.to !== null);
  const when = chosen.last ?? (own ? "own" : "");
  return (
    <div class="filters" role="search" aria-label={t.events.filters}>
      <Select
        label={t.events.camera}
        value={String(chosen.camera ?? "")}
        onChoice={(id) => change({ camera: id ? Number(id) : null })}
        choices={[["", t.events.anyCamera], ...(cameras.value ?? []).map(({ id, name }): [string, string] => [String(id), name])]}
      />
      <Select
        label={t.events.kind}
        value={chosen.kind ?? ""}
        onChoice={(kind) => change({ kind: (kind || null) as EventType | null })}
        choices={[["", t.events.anyKind], ...EVENT_TYPES.map((kind): [EventType, string] => [kind, t.kind[kind]])]}
      />
      <Select
        label={t.events.state}
        value={chosen.state ?? ""}
        onChoice={(state) => change({ state: (state || null) as filters.Filters["state"] })}
        choices={[["", t.events.anyState], ["open", t.events.open], ["resolved", t.events.resolved]]}
      />
      <Select
        label={t.events.when}
        value={when}
        onChoice={(last) => {
          setOwn(last === "own");
          change(last === "own" ? { last: null } : { last: (last || null) as filters.Stretch | null, from: null, to: null });
        }}
        choices={[["", t.events.always], ...filters.STRETCHES.map((last): [string, string] => [last, t.events.last[last]]), ["own", t.events.own]] as [string, string][]}
      />
      {own && !chosen.last && (
        <>
          <Field label={t.events.from(zone.value)} type="datetime-local" value={toField(chosen.from, zone.value)} onText={(text) => change({ from: fromField(text, zone.value) })} />
          <Field label={t.events.to(zone.value)} type="datetime-local" value={toField(chosen.to, zone.value)} onText={(text) => change({ to: fromField(text, zone.value) })} />
        </>
      )}
      {!filters.isEmpty(chosen) && (
        <Button kind="quiet" class="clear" onClick={() => { setOwn(false); setQuery(new URLSearchParams()); }}><FilterX size={16} aria-hidden="true" /> {t.events.clear}</Button>
      )}
    </div>
  );
}

/** The events of a filter, page by page to the end, and those that come live. */
function useEndless(chosen: filters.Filters, key: string) {
  const [events, setEvents] = useState<HubEvent[]>([]);
  const [ended, setEnded] = useState(false);
  const [loading, setLoading] = useState(true);
  const [error, setError] = useState<unknown>(null);
  const state = useLatest({ events, ended, loading, error });
  const asked = useRef({ key, at: Date.now(), round: 0, above: 0 });

  const load = async (anew: boolean) => {
    const round = ++asked.current.round;
    setLoading(true);
    setError(null);
    const known = anew ? [] : state.current.events;
    try {
      const part = await get<HubEvent[]>(filters.ask(chosen, asked.current.at, known[known.length - 1]?.id ?? null, PAGE));
      if (round !== asked.current.round) return;
      setEvents(anew ? part : merge(state.current.events, part));
      setEnded(part.length < PAGE);
    } catch (failure) {
      if (round !== asked.current.round) return;
      setError(failure);
    }
    setLoading(false);
  };
  useEffect(() => {
    asked.current = { key, at: Date.now(), round: asked.current.round, above: feed.value.events[0]?.id ?? 0 };
    setEvents([]);
    setEnded(false);
    void load(true);
  }, [key, resets.value]);
  // What comes live, and what a gap had: all that is newer than what was known when this list was asked for.
  useEffect(() => {
    const fresh: HubEvent[] = [];
    for (const event of feed.value.events) {
      if (event.id <= asked.current.above) break;
      if (matches(chosen, event)) fresh.push(event);
    }
    asked.current.above = Math.max(asked.current.above, feed.value.events[0]?.id ?? 0);
    if (fresh.length) setEvents((before) => merge(before, fresh));
  }, [feed.value.events, key]);
  // What is another than it was: it stays in its place, also where the filter would not list it any more.
  useEffect(() => onChange((event) => setEvents((before) => renewed(before, [event]))), []);
  const more = () => {
    const { ended, loading, error, events } = state.current;
    if (!ended && !loading && error === null && events.length > 0) void load(false);
  };
  const replace = (event: HubEvent) => setEvents((before) => before.map((known) => (known.id === event.id ? event : known)));
  return { events, ended, loading, error, more, replace, again: () => void load(state.current.events.length === 0) };
}

export function matches(chosen: filters.Filters, event: HubEvent): boolean {
  if (chosen.camera !== null && event.cameraId !== chosen.camera) return false;
  if (chosen.kind !== null && event.eventType !== chosen.kind) return false;
  if (chosen.state !== null && event.isResolved !== (chosen.state === "resolved")) return false;
  if (chosen.from && event.createdAt < chosen.from) return false;
  return !(chosen.to && event.createdAt > chosen.to);
}

/** The picture as large as the page is wide, or why there is none. */
function Shot({ event }: { event: HubEvent }) {
  const gone = <p class="no-picture"><ImageOff size={22} aria-hidden="true" /> {t.events.pictureGone}</p>;
  if (event.snapshotUrl) {
    return (
      <a class="shot" href={pictureAt(event) ?? ""} target="_blank" rel="noreferrer" title={t.events.pictureFull}>
        <Picture event={event} alt={t.live.picture(titleOf(event), event.camera.name)} sizes="(min-width: 1400px) 900px, (min-width: 1000px) 60vw, 100vw" first gone={gone} />
      </a>
    );
  }
  const why = event.snapshotProblem;
  const elsewhere = event.snapshotPath && !event.snapshotPath.startsWith("/api/events/");
  return (
    <p class="no-picture">
      <ImageOff size={22} aria-hidden="true" />
      <span>{why ? t.events.noPictureBecause(why) : elsewhere ? <>{t.events.pictureElsewhere} <code>{event.snapshotPath}</code></> : t.events.noPicture}</span>
    </p>
  );
}

export function OneEvent({ id }: { id: string }) {
  const { data: event, error, loading, reload, set } = useLoad((signal) => get<HubEvent>(`/api/events/${encodeURIComponent(id)}`, signal), [id]);
  const [asking, setAsking] = useState(false);
  useEffect(() => onChange((changed) => { if (String(changed.id) === id) set(changed); }), [id]);
  const query = place.value.query.toString();
  const back = `/events${query ? `?${query}` : ""}`;
  const camera = useMemo(() => cameras.value?.find((one) => one.id === event?.cameraId), [event, cameras.value]);
  const fact = (name: string, value: preact.ComponentChildren) => (value ? <><dt>{name}</dt><dd>{value}</dd></> : null);
  return (
    <Page
      title={event ? titleOf(event) : t.events.one(id)}
      lead={<a class="back" href={back}><ArrowLeft size={16} aria-hidden="true" /> {t.events.back}</a>}
      actions={event && (
        <>
          <Button onClick={() => copy(location.href)}><Link2 size={16} aria-hidden="true" /> {t.events.link}</Button>
          {may("ADMIN") && <Button kind="danger" onClick={() => setAsking(true)}><Trash2 size={16} aria-hidden="true" /> {t.common.remove}</Button>}
          {may("OPERATOR") && !event.isResolved && (
            <Button kind="primary" onClick={async () => { const fresh = await resolve(event); if (fresh) set(fresh); }}>
              <CheckCheck size={16} aria-hidden="true" /> {t.events.resolve}
            </Button>
          )}
        </>
      )}
    >
      {error !== null ? <Trouble error={error} again={reload} /> : !event ? <Loading rows={4} /> : (
        <div class="one-event-page">
        {event.cameraId !== null && <Shot event={event} />}
        <Card class={`one-event ${loading ? "fading" : ""}`}>
          <div class="one-event-head">
            <KindIcon kind={event.eventType} size={36} />
            <div>
              <strong>{event.cameraId === null ? plainly(event.description ?? "") : event.camera.name}</strong>
              <span>{full(event.createdAt)}</span>
            </div>
            <Tag tone={event.isResolved ? "good" : "warn"}>{event.isResolved ? t.events.resolved : t.events.open}</Tag>
          </div>
          <dl class="facts">
            {fact(t.events.camera, event.cameraId !== null && <a href={`/events?camera=${event.cameraId}`}>{event.camera.name}</a>)}
            {fact(t.cameras.location, event.camera.location ?? camera?.location)}
            {fact(t.events.persons, event.personCount > 0 && number(event.personCount))}
            {fact(t.events.confidence, event.confidence !== null && percent(event.confidence))}
            {fact(t.events.description, event.cameraId !== null && event.description)}
            {fact(t.events.by, who(event.description))}
            {fact(t.events.detectedAt, event.detectedAt && full(event.detectedAt))}
            {fact(t.events.storedAt, full(event.createdAt))}
            {fact(t.events.resolvedAt, event.resolvedAt && full(event.resolvedAt))}
            {fact(t.events.id, <code>{event.id}</code>)}
            {fact(t.events.detectionId, event.detectionId && <code>{event.detectionId}</code>)}
          </dl>
        </Card>
        </div>
      )}
      {asking && event && (
        <Confirm
          title={t.events.removeTitle}
          text={t.events.removeText}
          verb={t.common.remove}
          onNo={() => setAsking(false)}
          onYes={async () => {
            try {
              await remove(`/api/events/${event.id}`);
              void refresh();
              go(back);
            } catch (failure) {
              say(words(failure), "bad");
              setAsking(false);
            }
          }}
        />
      )}
    </Page>
  );
}
