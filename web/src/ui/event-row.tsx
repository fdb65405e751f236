// One event in a list: what, where, when, and how to be done with it.
import { useRef, useState } from "preact/hooks";
import { Check, DoorClosed, DoorOpen, TriangleAlert, User, Users } from "lucide-preact";
import { ago, clock, full, percent } from "../lib/format";
import { may } from "../lib/session";
import type { EventType, HubEvent } from "../lib/types";
import { t } from "../strings";
import { Picture } from "./picture";
import { plainly } from "./who";

const ICONS = { PERSON_DETECTED: User, MULTIPLE_PERSONS: Users, DOOR_OPENED: DoorOpen, DOOR_CLOSED: DoorClosed, SYSTEM_ALERT: TriangleAlert };

export function KindIcon({ kind, size = 20 }: { kind: EventType; size?: number }) {
  const Icon = ICONS[kind] ?? TriangleAlert;
  return (
    <span class={`kind ${kind}`} aria-hidden="true">
      <Icon size={size} />
    </span>
  );
}

export const titleOf = (event: Pick<HubEvent, "eventType" | "personCount">): string =>
  event.eventType === "MULTIPLE_PERSONS" ? t.kind.people(event.personCount) : t.kind[event.eventType];

interface Props {
  event: HubEvent;
  now: number;
  index: number;
  of: number;
  href: string;
  fresh?: boolean;
  chosen?: boolean;
  onChoose?: (on: boolean) => void;
  onResolve: (event: HubEvent) => void;
}

/** Further than this to the side, and it is resolved. */
const SWIPE = 90;

export function EventRow({ event, now, index, of, href, fresh, chosen, onChoose, onResolve }: Props) {
  const resolvable = !event.isResolved && may("OPERATOR");
  const start = useRef<{ x: number; y: number } | null>(null);
  const swiped = useRef(false);
  const [shift, setShift] = useState(0);
  const sure = event.confidence !== null && percent(event.confidence);
  const more = event.cameraId === null ? [event.description && plainly(event.description)] : [event.camera.name, sure, event.camera.location];
  return (
    <article
      class={`event ${event.isResolved ? "done" : "to-do"} ${fresh ? "fresh" : ""} ${chosen ? "chosen" : ""} ${shift ? "swiping" : ""}`}
      aria-posinset={index + 1}
      aria-setsize={of}
      aria-labelledby={`event-${event.id}`}
      data-event={event.id}
      tabIndex={index === 0 ? 0 : -1}
      onPointerDown={(down) => {
        if (resolvable && down.pointerType === "touch") start.current = { x: down.clientX, y: down.clientY };
      }}
      onPointerMove={(move) => {
        if (!start.current) return;
        const [dx, dy] = [move.clientX - start.current.x, move.clientY - start.current.y];
        if (Math.abs(dy) > 30 && Math.abs(dx) < 30) start.current = null;
        else if (Math.abs(dx) > 12) setShift(dx);
      }}
      onPointerUp={() => {
        swiped.current = Math.abs(shift) > 12;
        if (Math.abs(shift) > SWIPE) onResolve(event);
        start.current = null;
        setShift(0);
      }}
      onPointerCancel={() => {
        start.current = null;
        setShift(0);
      }}
      onClickCapture={(click) => {
        if (swiped.current) {
          click.preventDefault();
          click.stopPropagation();
        }
        swiped.current = false;
      }}
    >
      {shift !== 0 && <span class={`swipe-mark ${Math.abs(shift) > SWIPE ? "enough" : ""}`} aria-hidden="true"><Check size={20} /></span>}
      <div class="event-in" style={shift ? { transform: `translateX(${shift}px)` } : undefined}>
        {onChoose && (
          <label class="choose">
            <input type="checkbox" checked={chosen} onChange={(change) => onChoose(change.currentTarget.checked)} aria-label={t.events.choose(event.id)} disabled={event.isResolved} />
          </label>
        )}
        {event.snapshotUrl ? <span class="thumb"><Picture event={event} alt="" sizes="84px" gone={<KindIcon kind={event.eventType} />} /></span> : <KindIcon kind={event.eventType} />}
        <a class="event-words" href={href} id={`event-${event.id}`} tabIndex={-1}>
          <strong>{titleOf(event)}</strong>
          <span>
            {more.filter(Boolean).join(" · ")}
          </span>
        </a>
        <time dateTime={event.createdAt} title={full(event.createdAt)}>
          {ago(event.createdAt, now)}
          <small>{clock(event.createdAt)}</small>
        </time>
        {resolvable ? (
          <button type="button" class="resolve" aria-label={t.events.resolveOne(titleOf(event), event.id)} title={t.events.resolveKey} onClick={() => onResolve(event)}>
            <Check size={18} aria-hidden="true" />
          </button>
        ) : (
          <span class="resolve-none" />
        )}
      </div>
    </article>
  );
}

/** Arrow keys and J, K move between rows, Enter opens one, R resolves it. For the element around the list. */
export function rowKeys(onResolve: (id: number) => void, open: (id: number) => void) {
  return (key: KeyboardEvent) => {
    if (key.ctrlKey || key.metaKey || key.altKey) return;
    const target = key.target as HTMLElement;
    if (/^(INPUT|SELECT|TEXTAREA)$/.test(target.tagName)) return;
    const rows = [...(key.currentTarget as HTMLElement).querySelectorAll<HTMLElement>("article[data-event]")];
    const at = rows.findIndex((row) => row.contains(document.activeElement));
    const step = { ArrowDown: 1, j: 1, ArrowUp: -1, k: -1 }[key.key];
    if (step) {
      key.preventDefault();
      const next = rows[Math.min(rows.length - 1, Math.max(0, at + step))];
      next?.focus({ preventScroll: true });
      next?.scrollIntoView({ block: "nearest" });
      return;
    }
    const id = Number(rows[at]?.dataset["event"]);
    if (!id) return;
    if (key.key === "r" || key.key === "R") onResolve(id);
    else if (key.key === "Enter" && target.tagName === "ARTICLE") open(id);
  };
}
