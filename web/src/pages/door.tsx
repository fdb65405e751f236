import { useState } from "preact/hooks";
import { Clock, History, Hourglass } from "lucide-preact";
import { get, post, words } from "../lib/api";
import { clock, dayAndYear, decimal, full, number } from "../lib/format";
import { about, cameras, feed, lock, skew } from "../lib/hub";
import { may } from "../lib/session";
import type { LockAttempt, LockStatus } from "../lib/types";
import { t } from "../strings";
import { Button, Card, Empty, Field, Loading, Page, Select, Tag, Trouble, type Tone } from "../ui/basics";
import { DoorCard, outcome } from "../ui/door-card";
import { FormDialog } from "../ui/form";
import { Picture } from "../ui/picture";
import { useLoad } from "../ui/hooks";
import { say } from "../ui/toast";
import { who } from "../ui/who";

const PAGE = 50;
const TONES: Record<string, Tone> = { done: "good", refused: "warn", "no-worker": "bad", "no-confirmation": "bad", "not-given": "bad", interrupted: "bad" };

export function Door() {
  const [holding, setHolding] = useState(false);
  const mayHold = may("ADMIN") && about.value?.lockHoldOpen === true;
  return (
    <Page
      title={t.door.title}
      actions={mayHold && <Button onClick={() => setHolding(true)}><Hourglass size={16} aria-hidden="true" /> {t.door.hold}</Button>}
    >
      <div class="door-page">
        <DoorCard />
        <Past />
      </div>
      {holding && <Hold onClose={() => setHolding(false)} />}
    </Page>
  );
}

const HOLDS: [string, string][] = [["15", t.door.minutes(15)], ["60", t.door.minutes(60)], ["240", t.door.hoursLong(4)], ["480", t.door.hoursLong(8)]];

function Hold({ onClose }: { onClose: () => void }) {
  const [minutes, setMinutes] = useState("15");
  const [reason, setReason] = useState("");
  const send = async () => {
    const until = new Date(Date.now() - skew.value + Number(minutes) * 60_000).toISOString();
    await post<LockStatus>("/api/lock/hold", { until, reason: reason.trim() });
    say(t.door.didHold, "good");
    onClose();
  };
  return (
    <FormDialog title={t.door.hold} lead={t.door.holdMore} names={["until", "reason"]} verb={t.door.holdVerb} ready={reason.trim() !== ""} refused={outcome} onSend={send} onClose={onClose}>
      {(faults) => (
        <>
          <Select label={t.door.holdFor} value={minutes} choices={HOLDS} onChoice={setMinutes} fault={faults["until"]} />
          <Field label={t.door.holdReason} value={reason} onText={setReason} maxLength={200} required fault={faults["reason"]} hint={t.door.holdReasonMore} />
        </>
      )}
    </FormDialog>
  );
}

function Past() {
  // Anew whenever the door has moved.
  const moved = `${lock.value?.status}${lock.value?.opensUntil ?? ""}${lock.value?.alarm ?? ""}`;
  const { data, error, reload, set } = useLoad((signal) => get<LockAttempt[]>(`/api/lock/history?limit=${PAGE}`, signal), [moved]);
  const [busy, setBusy] = useState(false);
  const more = async () => {
    if (!data) return;
    setBusy(true);
    try {
      set([...data, ...(await get<LockAttempt[]>(`/api/lock/history?limit=${PAGE}&before=${data[data.length - 1]!.id}`))]);
    } catch (failure) {
      say(words(failure), "bad");
    }
    setBusy(false);
  };
  let day = "";
  return (
    <Card title={<><History size={18} aria-hidden="true" /> {t.door.past}</>}>
      {error !== null ? <Trouble error={error} again={reload} /> : !data ? <Loading /> : data.length === 0 ? (
        <Empty icon={<Clock size={28} />} title={t.door.nothing}><p>{t.door.nothingMore}</p></Empty>
      ) : (
        <>
          <ol class="past" role="list">
            {data.map((attempt) => {
              const today = dayAndYear(attempt.requestedAt);
              const isNew = today !== day;
              day = today;
              return (
                <>
                  {isNew && <li key={today} class="past-day">{today}</li>}
                  <Attempt key={attempt.id} attempt={attempt} />
                </>
              );
            })}
          </ol>
          {data.length % PAGE === 0 && <Button class="more" busy={busy} onClick={more}>{t.common.more}</Button>}
        </>
      )}
    </Card>
  );
}

function Attempt({ attempt }: { attempt: LockAttempt }) {
  const camera = cameras.value?.find(({ id }) => id === attempt.cameraId);
  const name = camera?.name ?? t.events.camera;
  // A hub that tells no picture here may have told it with the event itself.
  const picture = attempt.snapshotUrl ?? feed.value.events.find(({ id }) => id === attempt.eventId)?.snapshotUrl;
  const outcome = attempt.outcome ?? "under-way";
  return (
    <li class="attempt">
      <time dateTime={attempt.requestedAt} title={full(attempt.requestedAt)}>{clock(attempt.requestedAt)}</time>
      <div class="attempt-words">
        <strong>{t.door.did(attempt.action)} <span>{t.door.by(who(attempt.requestedBy) ?? attempt.requestedBy)}</span></strong>
        <span>
          {[t.door.channel(attempt.channel), attempt.address, attempt.durationMs !== null && t.door.took(decimal(attempt.durationMs)), attempt.times > 1 && t.door.times(number(attempt.times))].filter(Boolean).join(" · ")}
          {attempt.outcome !== "done" && attempt.message && <em> {attempt.message}</em>}
          {attempt.detail && <em> {attempt.detail}</em>}
        </span>
        {attempt.eventId !== null && <a href={`/events/${attempt.eventId}`}>{t.door.seen(name)}</a>}
        {attempt.eventId !== null && picture && (
          <a class="attempt-picture" href={`/events/${attempt.eventId}`}>
            <Picture event={{ id: attempt.eventId, snapshotUrl: picture }} alt={t.door.picture(name)} sizes="220px" gone={null} />
          </a>
        )}
      </div>
      <Tag tone={TONES[outcome] ?? "dim"}>{t.door.outcome(outcome)}</Tag>
    </li>
  );
}
