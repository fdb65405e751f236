import { useState } from "preact/hooks";
import { Cctv, KeyRound, Pencil, Plus, Power, PowerOff, Send, Trash2 } from "lucide-preact";
import { faultsByField, post, put, remove, words } from "../lib/api";
import { cameras, loadCameras, newestByCamera } from "../lib/hub";
import { ago, dayAndYear } from "../lib/format";
import { place, setQuery } from "../lib/router";
import { may } from "../lib/session";
import type { Camera, DeviceWithSecret } from "../lib/types";
import { t } from "../strings";
import { Button, Confirm, Dialog, Empty, Field, Loading, Page, Secret, Tag } from "../ui/basics";
import { titleOf } from "../ui/event-row";
import { useNow } from "../ui/hooks";
import { say } from "../ui/toast";
import { sendTest } from "./live";

const FIELDS = ["name", "location", "streamUrl", "webrtcUrl", "description"] as const;

export function Cameras() {
  const list = cameras.value;
  const now = useNow(10_000);
  const adding = place.value.query.has("add") && may("OPERATOR");
  const [editing, setEditing] = useState<Camera | null>(null);
  const [removing, setRemoving] = useState<Camera | null>(null);
  const [connecting, setConnecting] = useState<Camera | null>(null);
  const newest = newestByCamera();
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
            return (
              <li key={camera.id} class={`card thing ${camera.isActive ? "" : "off"}`}>
                <header>
                  <span class="thing-icon" aria-hidden="true"><Cctv size={22} /></span>
                  <div>
                    <h2>{camera.name}</h2>
                    <span>{camera.location ?? t.cameras.nowhere}</span>
                  </div>
                  <Tag tone={camera.isActive ? "good" : "dim"}>{camera.isActive ? t.cameras.on : t.cameras.off}</Tag>
                </header>
                {camera.description && <p>{camera.description}</p>}
                <dl class="facts small">
                  <dt>{t.cameras.newest}</dt>
                  <dd>{event ? <a href={`/events?camera=${camera.id}`}>{titleOf(event)}, {ago(event.createdAt, now)}</a> : t.live.nothingYet}</dd>
                  {camera.streamUrl && <><dt>{t.cameras.streamUrl}</dt><dd><code>{camera.streamUrl}</code></dd></>}
                  {camera.webrtcUrl && <><dt>{t.cameras.webrtcUrl}</dt><dd><code>{camera.webrtcUrl}</code></dd></>}
                  <dt>{t.cameras.number}</dt><dd><code>{camera.id}</code></dd>
                  <dt>{t.common.since}</dt><dd>{dayAndYear(camera.createdAt)}</dd>
                </dl>
                {may("OPERATOR") && (
                  <footer>
                    <Button small onClick={() => setEditing(camera)}><Pencil size={14} aria-hidden="true" /> {t.common.change}<span class="off-screen"> {camera.name}</span></Button>
                    <Button small onClick={() => sendTest(camera)}><Send size={14} aria-hidden="true" /> {t.cameras.testShort}<span class="off-screen"> {camera.name}</span></Button>
                    {may("ADMIN") && <Button small onClick={() => setConnecting(camera)}><KeyRound size={14} aria-hidden="true" /> {t.cameras.connect}<span class="off-screen"> {camera.name}</span></Button>}
                    <Button small onClick={() => turn(camera)}>
                      {camera.isActive ? <PowerOff size={14} aria-hidden="true" /> : <Power size={14} aria-hidden="true" />} {camera.isActive ? t.cameras.turnOff : t.cameras.turnOn}<span class="off-screen"> {camera.name}</span>
                    </Button>
                    <Button small kind="danger" onClick={() => setRemoving(camera)} aria-label={t.common.removeWhat(camera.name)}><Trash2 size={14} aria-hidden="true" /></Button>
                  </footer>
                )}
              </li>
            );
          })}
        </ul>
      )}
      {(adding || editing) && <Edit camera={editing} onClose={close} onMade={(camera) => { close(); if (may("ADMIN")) setConnecting(camera); }} />}
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
  const [faults, setFaults] = useState<Record<string, string>>({});
  const [busy, setBusy] = useState(false);
  const submit = async (event: Event) => {
    event.preventDefault();
    setBusy(true);
    setFaults({});
    const filled = Object.entries(form).filter(([name, text]) => name === "name" || text.trim());
    const body = camera
      ? Object.fromEntries(Object.entries(form).map(([name, text]) => [name, text.trim() || (name === "name" ? "" : null)]))
      : Object.fromEntries(filled.map(([name, text]) => [name, text.trim()]));
    try {
      const made = camera ? await put<Camera>(`/api/cameras/${camera.id}`, body) : await post<Camera>("/api/cameras", body);
      await loadCameras();
      say(camera ? t.common.saved : t.cameras.made(made.name), "good");
      if (camera) onClose();
      else onMade(made);
    } catch (error) {
      setFaults(faultsByField(error, [...FIELDS]));
      setBusy(false);
    }
  };
  const field = (name: (typeof FIELDS)[number], more: object = {}) => (
    <Field label={t.cameras[name]} value={form[name]} onText={(text) => setForm({ ...form, [name]: text })} fault={faults[name]} {...more} />
  );
  return (
    <Dialog title={camera ? t.cameras.changeWhat(camera.name) : t.cameras.add} onClose={onClose}>
      <form onSubmit={submit} noValidate>
        {faults[""] && <p class="form-fault" role="alert">{faults[""]}</p>}
        {field("name", { required: true, placeholder: t.cameras.nameExample })}
        {field("location", { placeholder: t.cameras.locationExample })}
        {field("streamUrl", { inputMode: "url", placeholder: "rtsp://192.168.1.20/stream1", hint: t.cameras.streamHint })}
        {field("webrtcUrl", { inputMode: "url" })}
        {field("description")}
        <div class="dialog-actions">
          <Button onClick={onClose}>{t.common.cancel}</Button>
          <Button kind="primary" type="submit" busy={busy}>{camera ? t.common.save : t.cameras.add}</Button>
        </div>
      </form>
    </Dialog>
  );
}

/** A device's name made of a camera's: what is no letter of those that are allowed becomes a dash. */
export const deviceName = (text: string): string =>
  text.normalize("NFKD").replace(/[^A-Za-z0-9_.-]+/g, "-").replace(/^-+|-+$/g, "").toLowerCase().slice(0, 64) || "camera";

function Connect({ camera, onClose }: { camera: Camera; onClose: () => void }) {
  const [name, setName] = useState(deviceName(camera.name));
  const [made, setMade] = useState<DeviceWithSecret | null>(null);
  const [faults, setFaults] = useState<Record<string, string>>({});
  const [busy, setBusy] = useState(false);
  const submit = async (event: Event) => {
    event.preventDefault();
    setBusy(true);
    setFaults({});
    try {
      setMade(await post<DeviceWithSecret>("/api/devices", { name, role: "camera", cameraId: camera.id }));
    } catch (error) {
      setFaults(faultsByField(error, ["name"]));
    }
    setBusy(false);
  };
  return (
    <Dialog wide title={t.cameras.connectWhat(camera.name)} onClose={onClose}>
      {made ? <Shown device={made} onClose={onClose} /> : (
        <form onSubmit={submit} noValidate>
          <p>{t.cameras.connectMore}</p>
          {faults[""] && <p class="form-fault" role="alert">{faults[""]}</p>}
          <Field label={t.devices.name} value={name} onText={setName} fault={faults["name"]} hint={t.devices.nameHint} autocapitalize="none" spellcheck={false} />
          <div class="dialog-actions">
            <Button onClick={onClose}>{t.common.later}</Button>
            <Button kind="primary" type="submit" busy={busy} disabled={!name}>{t.cameras.connectVerb}</Button>
          </div>
        </form>
      )}
    </Dialog>
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
