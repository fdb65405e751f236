import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { Bell, BellOff, BellRing, Cctv, Inbox, Play, Plus, Send, Volume2, VolumeX } from "lucide-preact";
import { get, words } from "../lib/api";
import { resolve } from "../lib/actions";
import { ago, number } from "../lib/format";
import { cameras, feed, line, newestByCamera, newestPictures, onEvent, skew, stats } from "../lib/hub";
import { chime, notify, setNotify, setSound, sound } from "../lib/prefs";
import { go } from "../lib/router";
import { may } from "../lib/session";
import { hours, PEOPLE } from "../lib/sums";
import { testDetection } from "../lib/test-detection";
import type { AnalyticsLine, Camera, HubEvent } from "../lib/types";
import { t } from "../strings";
import { Button, Card, Empty, Loading, Page, Segments } from "../ui/basics";
import { DoorCard } from "../ui/door-card";
import { EventRow, KindIcon, rowKeys, titleOf } from "../ui/event-row";
import { LiveView } from "../ui/live-view";
import { Picture } from "../ui/picture";
import { PresenceTags } from "../ui/presence";
import { useLoad, useMedia, useNow } from "../ui/hooks";
import { say } from "../ui/toast";
import { VirtualRows } from "../ui/rows";

export function Live() {
  const list = cameras.value;
  const active = list?.filter(({ isActive }) => isActive) ?? [];
  const isNew = stats.value?.total === 0 && may("OPERATOR");
  return (
    <Page title={t.live.title} actions={<Attention />}>
      <div class="live">
        <div class="live-main">
          <DoorCard />
          {isNew && list && <FirstSteps cameras={active} />}
          <section aria-labelledby="cameras-title">
            <header class="section-head">
              <h2 id="cameras-title">{t.live.cameras}</h2>
              <Counts />
            </header>
            {list === null ? <Loading rows={3} /> : active.length === 0 ? (
              <Empty icon={<Cctv size={28} />} title={t.live.noCamera}>
                {may("OPERATOR") && <a class="button primary" href="/cameras?add=1"><Plus size={16} aria-hidden="true" /> {t.cameras.add}</a>}
              </Empty>
            ) : <Tiles cameras={active} />}
          </section>
        </div>
        <Stream />
      </div>
    </Page>
  );
}

function Counts() {
  const known = stats.value;
  if (!known) return null;
  return (
    <p class="counts">
      <span><b>{number(known.todayEvents)}</b> {t.live.today}</span>
      <a href="/events?state=open"><b>{number(known.unresolved)}</b> {t.live.unresolved}</a>
    </p>
  );
}

/** Sound and notifications, for this browser. */
function Attention() {
  const told = useRef(0);
  useEffect(() => onEvent((event) => {
    if (event.isResolved) return;
    if (sound.value && Date.now() - told.current > 2_000) {
      told.current = Date.now();
      chime();
    }
    if (notify.value && document.hidden && Notification.permission === "granted") {
      const where = event.cameraId === null ? (event.description ?? "") : event.camera.name;
      const shown = new Notification(titleOf(event), { body: where, tag: `event-${event.cameraId}`, icon: "/icon-192.png" });
      shown.onclick = () => {
        window.focus();
        go(`/events/${event.id}`);
      };
    }
  }), []);
  const canNotify = typeof Notification !== "undefined" && isSecureContext;
  return (
    <>
      <Button kind="quiet" aria-pressed={sound.value} onClick={() => setSound(!sound.value)}>
        {sound.value ? <Volume2 size={18} aria-hidden="true" /> : <VolumeX size={18} aria-hidden="true" />}
        <span class="wide-only">{t.live.sound}</span><span class="narrow-name">{t.live.sound}</span>
      </Button>
      {canNotify && (
        <Button kind="quiet" aria-pressed={notify.value} onClick={async () => { if (!(await setNotify(!notify.value))) say(t.live.notifyRefused, "bad"); }}>
          {notify.value ? <BellRing size={18} aria-hidden="true" /> : <BellOff size={18} aria-hidden="true" />}
          <span class="wide-only">{t.live.notify}</span><span class="narrow-name">{t.live.notify}</span>
        </Button>
      )}
    </>
  );
}

export async function sendTest(camera: Pick<Camera, "id" | "name">): Promise<void> {
  try {
    await testDetection(camera);
    say(t.live.testSent(camera.name), "good");
  } catch (error) {
    say(words(error), "bad");
  }
}

function FirstSteps({ cameras: list }: { cameras: Camera[] }) {
  return (
    <Card class="first" title={t.first.title}>
      <ol>
        <li>
          <h3>{t.first.see}</h3>
          <p>{t.first.seeMore}</p>
          <div class="first-buttons">
            {list.map((camera) => (
              <Button key={camera.id} kind="primary" onClick={() => sendTest(camera)}>
                <Send size={16} aria-hidden="true" /> {t.first.test(camera.name)}
              </Button>
            ))}
          </div>
        </li>
        <li>
          <h3>{t.first.camera}</h3>
          <p>{t.first.cameraMore} <a href="/cameras">{t.nav.cameras}</a></p>
        </li>
        <li>
          <h3>{t.first.engine}</h3>
          <p>{t.first.engineMore}</p>
        </li>
      </ol>
    </Card>
  );
}

function Tiles({ cameras: list }: { cameras: Camera[] }) {
  const now = useNow(5_000) - skew.value;
  const newest = useMemo(newestByCamera, [feed.value.events, cameras.value]);
  const pictures = useMemo(newestPictures, [feed.value.events, cameras.value]);
  const [viewed, setViewed] = useState<number | null>(null);
  const camera = list.find(({ id }) => id === viewed);
  return (
    <>
      <ul class="tiles" role="list">
        {list.map((camera) => (
          <Tile key={camera.id} camera={camera} event={newest.get(camera.id)} picture={pictures.get(camera.id)} now={now} onView={() => setViewed(camera.id)} />
        ))}
      </ul>
      {camera && <LiveView camera={camera} onClose={() => setViewed(null)} />}
    </>
  );
}

/** Somebody who was seen within this time may still be there, where the hub does not say. */
const JUST_NOW = 60_000;

interface TileProps {
  camera: Camera;
  event: Omit<HubEvent, "camera"> | undefined;
  /** The newest one with a picture, which may be another. */
  picture: Omit<HubEvent, "camera"> | undefined;
  now: number;
  onView: () => void;
}

function Tile({ camera, event, picture, now, onView }: TileProps) {
  const recent = event && PEOPLE.includes(event.eventType) && now - Date.parse(event.createdAt) < JUST_NOW;
  const there = camera.occupied ?? recent;
  const none = (
    <span class="tile-none">{event ? <KindIcon kind={event.eventType} size={30} /> : <span class="kind none" aria-hidden="true"><Cctv size={30} /></span>}</span>
  );
  return (
    <li class={`tile ${there ? "recent" : ""} ${camera.online === false && camera.lastSeen ? "lost" : ""}`} data-camera={camera.id}>
      <a href={`/events?camera=${camera.id}`} class="tile-link">
        <div class={`tile-view ${picture ? "pictured" : ""}`}>
          {picture ? <Picture event={picture} alt={t.live.picture(titleOf(picture), camera.name)} sizes="(min-width: 1180px) 420px, (min-width: 560px) 50vw, 100vw" first gone={none} /> : none}
          <PresenceTags camera={camera} now={now} />
          <div class="tile-now">
            <strong>{event ? titleOf(event) : t.live.nothingYet}</strong>
            {event && <time dateTime={event.createdAt}>{ago(event.createdAt, now)}</time>}
          </div>
        </div>
        <div class="tile-name">
          <div>
            <strong>{camera.name}</strong>
            <span>{camera.location ?? " "}</span>
          </div>
          <Spark camera={camera.id} newest={event?.id ?? 0} />
        </div>
      </a>
      <div class="tile-acts">
        {(camera.webrtcUrl || camera.streamUrl) && (
          <button type="button" class="icon-button" title={t.live.viewShort} aria-label={t.live.view(camera.name)} onClick={onView}>
            <Play size={18} aria-hidden="true" />
          </button>
        )}
        {may("OPERATOR") && (
          <button type="button" class="icon-button" title={t.cameras.test(camera.name)} aria-label={t.cameras.test(camera.name)} onClick={() => sendTest(camera)}>
            <Send size={16} aria-hidden="true" />
          </button>
        )}
      </div>
    </li>
  );
}

/** People by the hour, of the last day. */
function Spark({ camera, newest }: { camera: number; newest: number }) {
  const minute = useRef({ at: 0, of: 0 });
  // With each event at most once in ten seconds.
  if (minute.current.of !== newest && Date.now() - minute.current.at > 10_000) minute.current = { at: Date.now(), of: newest };
  const { data } = useLoad((signal) => get<AnalyticsLine[]>(`/api/events/analytics?bucket=hour&cameraId=${camera}`, signal), [camera, minute.current.at]);
  const now = Date.now();
  const times = data ? hours(now - 23 * 3_600_000, now, data) : [];
  const counts = times.map((at) => (data ?? []).reduce((sum, one) => sum + (Date.parse(one.bucket) === at && PEOPLE.includes(one.eventType) ? one.count : 0), 0));
  const most = Math.max(1, ...counts);
  return (
    <svg class="spark" viewBox="0 0 96 24" preserveAspectRatio="none" role="img" aria-label={t.live.spark(counts.reduce((a, b) => a + b, 0))}>
      {(counts.length ? counts : Array<number>(24).fill(0)).slice(-24).map((count, index) => {
        const height = count ? Math.max(3, (count / most) * 23) : 1;
        return <rect key={index} x={index * 4} y={24 - height} width="2.8" height={height} class={count ? "some" : ""} />;
      })}
    </svg>
  );
}

type Shown = "all" | "open";

function Stream() {
  const wide = useMedia("(min-width: 1180px)");
  const now = useNow(5_000);
  const [shown, setShown] = useState<Shown>("all");
  const [fresh, setFresh] = useState<Set<number>>(() => new Set());
  useEffect(() => onEvent((event) => {
    setFresh((before) => new Set([...before, event.id].slice(-50)));
    setTimeout(() => setFresh((before) => new Set([...before].filter((id) => id !== event.id))), 4_000);
  }), []);
  const all = feed.value.events;
  const events = useMemo(() => (shown === "all" ? all : all.filter(({ isResolved }) => !isResolved)), [all, shown]);
  const known = feed.value.complete >= 0;
  const keys = rowKeys((id) => {
    const event = events.find((one) => one.id === id);
    if (event && !event.isResolved && may("OPERATOR")) void resolve(event);
  }, (id) => go(`/events/${id}`));
  return (
    <section class="stream card" aria-labelledby="stream-title" onKeyDown={keys}>
      <header class="card-head">
        <h2 id="stream-title">{t.live.stream}</h2>
        <Segments label={t.live.which} value={shown} onChoice={setShown} choices={[["all", t.live.all], ["open", t.live.open]]} />
      </header>
      {!known ? <Loading rows={6} /> : events.length === 0 ? (
        <Empty icon={shown === "all" ? <Bell size={28} /> : <Inbox size={28} />} title={shown === "all" ? t.live.quiet : t.live.allDone}>
          <p>{shown === "all" ? t.live.quietMore : t.live.allDoneMore}</p>
        </Empty>
      ) : (
        <VirtualRows
          items={events}
          keyOf={(event) => event.id}
          row={68}
          label={t.live.stream}
          boxed={wide}
          busy={line.value !== "live"}
          draw={(event, index) => (
            <EventRow event={event} now={now} index={index} of={events.length} href={`/events/${event.id}`} fresh={fresh.has(event.id)} onResolve={(one) => void resolve(one)} />
          )}
        />
      )}
      {may("OPERATOR") && events.length > 0 && <p class="keys">{t.live.keys}</p>}
    </section>
  );
}
