// The door, big and unmistakable, and the button that opens it.
import { useEffect, useRef, useState } from "preact/hooks";
import { Lock } from "lucide-preact";
import { Failure, get, post, words } from "../lib/api";
import { canClose, canOpen, doorState, remaining, secondsLeft } from "../lib/door";
import { ago, clock } from "../lib/format";
import { feed, line, lock, skew } from "../lib/hub";
import { may } from "../lib/session";
import type { HubEvent } from "../lib/types";
import { t } from "../strings";
import { Button, Confirm } from "./basics";
import { Gate } from "./gate";
import { HoldButton } from "./hold";
import { useLoad, useNow } from "./hooks";
import { who } from "./who";

/** What became of a command, in words that say what is true of the door. */
export function outcome(error: unknown): string {
  if (!(error instanceof Failure)) return words(error);
  const why = error.messages.join(" ");
  if (error.status === 409) return t.door.refused(why);
  if (error.status === 503) return t.door.unavailable(why);
  if (error.status === 504) return t.door.unconfirmed;
  if (error.status === 0) return t.door.unheard;
  return words(error);
}

/** The button for what makes sense now, with what became of it; nothing for who may not. */
export function DoorAct() {
  const state = doorState(lock.value, line.value !== "lost");
  const [busy, setBusy] = useState<"open" | "close" | null>(null);
  const [asking, setAsking] = useState(false);
  const [said, setSaid] = useState<{ text: string; good: boolean } | null>(null);
  useEffect(() => {
    if (!said) return;
    const gone = setTimeout(() => setSaid(null), said.good ? 6_000 : 20_000);
    return () => clearTimeout(gone);
  }, [said]);
  if (!may("OPERATOR")) return null;

  const command = async (verb: "open" | "close") => {
    setBusy(verb);
    setSaid(null);
    try {
      await post(`/api/lock/${verb}`);
      setSaid({ text: verb === "open" ? t.door.didOpen : t.door.didClose, good: true });
    } catch (error) {
      setSaid({ text: outcome(error), good: false });
    }
    setBusy(null);
  };
  return (
    <div class="door-act">
      {canClose(state) ? (
        <Button class="door-close" busy={busy === "close"} onClick={() => command("close")}>
          <Lock size={18} aria-hidden="true" /> {t.door.close}
        </Button>
      ) : (
        <HoldButton hint={t.door.holdLonger} busy={busy === "open"} disabled={!canOpen(state)} onHeld={() => command("open")} onClickOnly={() => setAsking(true)}>
          {busy === "open" ? t.door.opening : t.door.holdToOpen}
        </HoldButton>
      )}
      <p class={`door-said ${said ? (said.good ? "good" : "bad") : ""}`} role="alert">{said?.text}</p>
      {asking && (
        <Confirm
          title={t.door.confirmTitle}
          text={t.door.confirmText}
          verb={t.door.confirmVerb}
          kind="primary"
          onNo={() => setAsking(false)}
          onYes={() => {
            setAsking(false);
            void command("open");
          }}
        />
      )}
    </div>
  );
}

export function DoorCard() {
  const status = lock.value;
  const state = doorState(status, line.value !== "lost");
  const moving = state === "open" || state === "held";
  const now = useNow(moving ? 200 : 10_000);
  const left = state === "open" ? secondsLeft(status?.opensUntil ?? null, now, skew.value) : null;
  const first = useRef({ until: "", left: 0 });
  if (status?.opensUntil && first.current.until !== status.opensUntil) {
    first.current = { until: status.opensUntil, left: Math.max(1, (Date.parse(status.opensUntil) - (now - skew.value)) / 1000) };
  }
  const exact = status?.opensUntil ? (Date.parse(status.opensUntil) - (now - skew.value)) / 1000 : null;

  const newest = feed.value.events.find(({ eventType }) => eventType === "DOOR_OPENED");
  const before = useLoad((signal) => get<HubEvent[]>("/api/events?eventType=DOOR_OPENED&limit=1", signal), []);
  const opened = newest ?? before.data?.[0];
  // While it is open, the lock itself says who did it.
  const by = moving && status?.openedBy ? who(status.openedBy) : who(opened?.description ?? null);
  const at = (moving && status?.openedBy && status.changedAt) || (opened ? (opened.detectedAt ?? opened.createdAt) : null);

  return (
    <section class="door" data-state={state} aria-labelledby="door-state">
      <Gate state={state} part={remaining(exact, first.current.left)} />
      <div class="door-words">
        <p class="door-label">{t.door.title}{status?.simulated && <span class="door-simulated">{t.door.simulated}</span>}</p>
        <h2 id="door-state"><span role="status">{t.door.state[state]}</span></h2>
        <p class="door-more">
          {left !== null ? <span class="door-left">{t.door.closesIn(left)}</span> : t.door.more[state]!(status?.alarmSince ? clock(status.alarmSince) : null, status?.opensUntil ? clock(status.opensUntil) : null, status?.reason ?? null)}
        </p>
        {at && <p class="door-last">{t.door.lastOpened(by, ago(at, now - skew.value))}</p>}
      </div>
      <DoorAct />
    </section>
  );
}
