import { useState } from "preact/hooks";
import { Cctv, KeyRound, Pencil, Play, Plus, Power, PowerOff, Send, Trash2 } from "lucide-preact";
import { post, put, remove, words } from "../lib/api";
import { cameras, loadCameras, newestByCamera, newestPictures, skew } from "../lib/hub";
import { ago, dayAndYear } from "../lib/format";
import { place, setQuery } from "../lib/router";
import { may } from "../lib/session";
import type { Camera, DeviceWithSecret } from "../lib/types";
import { t } from "../strings";
import { Button, Confirm, Dialog, Empty, Field, Loading, Page, Secret, Tag } from "../ui/basics";
import { titleOf } from "../ui/event-row";
import { FormDialog } from "../ui/form";
import { useNow } from "../ui/hooks";
import { LiveView } from "../ui/live-view";
import { Picture } from "../ui/picture";
import { PresenceTags } from "../ui/presence";
import { say } from "../ui/toast";
import { sendTest } from "./live";

const FIELDS = ["name", "location", "streamUrl", "webrtcUrl", "description"] as const;

export function Cameras() {
  const list = cameras.value;
  const now = useNow(10_000) - skew.value;
  const adding = place.value.query.has("add") && may("OPERATOR");
  const [editing, setEditing] = useState<Camera | null>(null);
  const [removing, setRemoving] = useState<Camera | null>(null);
  const [connecting, setConnecting] = useState<Camera | null>(null);
  const [viewed, setViewed] = useState<number | null>(null);
  const newest = newestByCamera();
  const pictures = newestPictures();
  const seen = list?.find(({ id }) => id === viewed);
  const close = () => {
    setEditing(null);
    if (adding) setQuery(new URLSearchParams());
  };
  const turn = async (camera: Camera) => {
    try {
      await put(`/api/cameras/${camera.id}`, { isActive: !camera.isActive });
      await loadCameras();
      say(camera.isActive ? t.cameras.isOff(camera.name) : t.cameras.isOn(camera.name), "good");
    } catch (error) {
      say(words(error), "bad");
    }
  };
  const add = <Button kind="primary" onClick={() => setQuery(new URLSearchParams({ add: "1" }))}><Plus size={16} aria-hidden="true" /> {t.cameras.add}</Button>;
  return (
    <Page title={t.cameras.title} lead={t.cameras.lead} actions={may("OPERATOR") && add}>
      {list === null ? <Loading /> : list.length === 0 ? (
        <Empty icon={<Cctv size={28} />} title={t.live.noCamera}>{may("OPERATOR") && add}</Empty>
      ) : (
        <ul class="things" role="list">
          {list.map((camera) => {
            const event = newest.get(camera.id);
            const picture = pictures.get(camera.id);
            const icon = <Cctv size={22} aria-hidden="true" />;
            return (
              <li key={camera.id} class={`card thing ${camera.isActive ? "" : "off"}`}>
                <header>
                  <span class={`thing-icon ${picture ? "pictured" : ""}`}>{picture ? <Picture event={picture} alt={t.live.picture(titleOf(picture), camera.name)} sizes="112px" gone={icon} /> : icon}</span>
                  <div>
                    <h2>{camera.name}</h2>
                    <span>{camera.location ?? t.cameras.nowhere}</span>
                  </div>
                  <Tag tone={camera.isActive ? "good" : "dim"}>{camera.isActive ? t.cameras.on : t.cameras.off}</Tag>
                </header>
                <PresenceTags camera={camera} now={now} />
                {camera.description && <p>{camera.description}</p>}
                <dl class="facts small">
                  <dt>{t.cameras.newest}</dt>
                  <dd>{event ? <a href={`/events?camera=${camera.id}`}>{titleOf(event)}, {ago(event.createdAt, now)}</a> : t.live.nothingYet}</dd>
                  {camera.lastSeen && <><dt>{t.presence.heard}</dt><dd>{ago(camera.lastSeen, now)}</dd></>}
                  {camera.streamUrl && <><dt>{t.cameras.streamUrl}</dt><dd><code>{camera.streamUrl}</code></dd></>}
                  {camera.webrtcUrl && <><dt>{t.cameras.webrtcUrl}</dt><dd><code>{camera.webrtcUrl}</code></dd></>}
                  <dt>{t.cameras.number}</dt><dd><code>{camera.id}</code></dd>
                  <dt>{t.common.since}</dt><dd>{dayAndYear(camera.createdAt)}</dd>
                </dl>
                {(may("OPERATOR") || camera.webrtcUrl || camera.streamUrl) && (
                  <footer>
                    {(camera.webrtcUrl || camera.streamUrl) && <Button small onClick={() => setViewed(camera.id)}><Play size={14} aria-hidden="true" /> {t.live.viewShort}<span class="off-screen"> {camera.name}</span></Button>}
                    {may("OPERATOR") && <>
                    <Button small onClick={() => setEditing(camera)}><Pencil size={14} aria-hidden="true" /> {t.common.change}<span class="off-screen"> {camera.name}</span></Button>
                    <Button small onClick={() => sendTest(camera)}><Send size={14} aria-hidden="true" /> {t.cameras.testShort}<span class="off-screen"> {camera.name}</span></Button>
                    {may("ADMIN") && <Button small onClick={() => setConnecting(camera)}><KeyRound size={14} aria-hidden="true" /> {t.cameras.connect}<span class="off-screen"> {camera.name}</span></Button>}
                    <Button small onClick={() => turn(camera)}>
                      {camera.isActive ? <PowerOff size={14} aria-hidden="true" /> : <Power size={14} aria-hidden="true" />} {camera.isActive ? t.cameras.turnOff : t.cameras.turnOn}<span class="off-screen"> {camera.name}</span>
                    </Button>
                    <Button small kind="danger" onClick={() => setRemoving(camera)} aria-label={t.common.removeWhat(camera.name)}><Trash2 size={14} aria-hidden="true" /></Button>
                    </>}
                  </footer>
                )}
              </li>
            );
          })}
        </ul>
      )}
      {(adding || editing) && <Edit camera={editing} onClose={close} onMade={(camera) => { close(); if (may("ADMIN")) setConnecting(camera); }} />}
      {seen && <LiveView camera={seen} onClose={() => setViewed(null)} />}
      {connecting && <Connect camera={connecting} onClose={() => setConnecting(null)} />}
      {removing && (
        <Confirm
          title={t.common.removeWhat(removing.name)}
          text={t.cameras.removeText}
          verb={t.common.remove}
          onNo={() => setRemoving(null)}
          onYes={async () => {
            try {
              await remove(`/api/cameras/${removing.id}`);
              await loadCameras();
              say(t.common.removed(removing.name), "good");
            } catch (error) {
              say(words(error), "bad");
            }
            setRemoving(null);
          }}
        />
      )}
    </Page>
  );
}

function Edit({ camera, onClose, onMade }: { camera: Camera | null; onClose: () => void; onMade: (camera: Camera) => void }) {
  const [form, setForm] = useState(() => Object.fromEntries(FIELDS.map((name) => [name, camera?.[name] ?? ""])) as Record<(typeof FIELDS)[number], string>);
  const send = async () => {
    const filled = Object.entries(form).filter(([name, text]) => name === "name" || text.trim());
    const body = camera
      ? Object.fromEntries(Object.entries(form).map(([name, text]) => [name, text.trim() || (name === "name" ? "" : null)]))
      : Object.fromEntries(filled.map(([name, text]) => [name, text.trim()]));
    const made = camera ? await put<Camera>(`/api/cameras/${camera.id}`, body) : await post<Camera>("/api/cameras", body);
    await loadCameras();
    say(camera ? t.common.saved : t.cameras.made(made.name), "good");
    if (camera) onClose();
    else onMade(made);
  };
  return (
    <FormDialog title={camera ? t.cameras.changeWhat(camera.name) : t.cameras.add} names={FIELDS} verb={camera ? t.common.save : t.cameras.add} onSend={send} onClose={onClose}>
      {(faults) => {
        const field = (name: (typeof FIELDS)[number], more: object = {}) => (
          <Field label={t.cameras[name]} value={form[name]} onText={(text) => setForm({ ...form, [name]: text })} fault={faults[name]} {...more} />
        );
        return (
          <>
            {field("name", { required: true, placeholder: t.cameras.nameExample })}
            {field("location", { placeholder: t.cameras.locationExample })}
            {field("streamUrl", { inputMode: "url", placeholder: "rtsp://192.168.1.20/stream1", hint: t.cameras.streamHint })}
            {field("webrtcUrl", { inputMode: "url", placeholder: "http://192.168.1.5:8889/front/whep", hint: t.cameras.webrtcHint })}
            {field("description")}
          </>
        );
      }}
    </FormDialog>
  );
}

/** A device's name made of a camera's: what is no letter of those that are allowed becomes a dash. */
export const deviceName = (text: string): string =>
  text.normalize("NFKD").replace(/[^A-Za-z0-9_.-]+/g, "-").replace(/^-+|-+$/g, "").toLowerCase().slice(0, 64) || "camera";

function Connect({ camera, onClose }: { camera: Camera; onClose: () => void }) {
  const [name, setName] = useState(deviceName(camera.name));
  const [made, setMade] = useState<DeviceWithSecret | null>(null);
  const send = async () => setMade(await post<DeviceWithSecret>("/api/devices", { name, role: "camera", cameraId: camera.id }));
  if (made) return <Dialog wide title={t.cameras.connectWhat(camera.name)} onClose={onClose}><Shown device={made} onClose={onClose} /></Dialog>;
  return (
    <FormDialog
      wide title={t.cameras.connectWhat(camera.name)} lead={t.cameras.connectMore} names={["name"]} verb={t.cameras.connectVerb} cancel={t.common.later} ready={name !== ""}
      onSend={send} onClose={onClose}
    >
      {(faults) => <Field label={t.devices.name} value={name} onText={setName} fault={faults["name"]} hint={t.devices.nameHint} autocapitalize="none" spellcheck={false} />}
    </FormDialog>
  );
}

/** What a device signs in with, once, and for one that reports detections a line to try it with. */
export function Shown({ device, onClose }: { device: DeviceWithSecret; onClose: () => void }) {
  const camera = device.cameraId ?? 1;
  const reports = device.role === "camera" || device.role === "ai-engine";
  const http = `curl -X POST ${location.origin}/api/events \\\n  -H 'Authorization: Bearer ${device.token}' \\\n  -H 'Content-Type: application/json' \\\n  -d '{"cameraId": ${camera}, "personCount": 1, "confidence": 0.9}'`;
  const mqtt = `mosquitto_pub -h ${location.hostname} -q 1 -u '${device.username}' -P '${device.password}' \\\n  -t camera/${camera}/detections -m '{"personCount": 1, "confidence": 0.9}'`;
  return (
    <>
      <p class="once">{t.devices.once}</p>
      <Secret label={t.devices.username} text={device.username} />
      <Secret label={t.devices.password} text={device.password} />
      {reports && <Secret label={t.devices.token} text={device.token} />}
      {reports && <Secret code label={t.devices.byHttp} text={http} />}
      {reports && <Secret code label={t.devices.byMqtt} text={mqtt} />}
      <div class="dialog-actions"><Button kind="primary" onClick={onClose}>{t.common.done}</Button></div>
    </>
  );
}
