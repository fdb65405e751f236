import { useState } from "preact/hooks";
import { Cpu, Plus, RotateCcwKey, ShieldQuestionMark, Trash2 } from "lucide-preact";
import { get, post, remove, words } from "../lib/api";
import { ago } from "../lib/format";
import { cameras } from "../lib/hub";
import { DEVICE_ROLES, type Device, type DeviceRole, type DeviceWithSecret } from "../lib/types";
import { t } from "../strings";
import { Button, Confirm, Dialog, Empty, Field, Loading, Page, Select, Tag, Trouble } from "../ui/basics";
import { FormDialog } from "../ui/form";
import { useLoad, useNow } from "../ui/hooks";
import { say } from "../ui/toast";
import { Shown } from "./cameras";

export function Devices() {
  const { data, error, reload } = useLoad((signal) => get<Device[]>("/api/devices", signal), []);
  const now = useNow(10_000);
  const [adding, setAdding] = useState(false);
  const [shown, setShown] = useState<DeviceWithSecret | null>(null);
  const [rotating, setRotating] = useState<Device | null>(null);
  const [removing, setRemoving] = useState<Device | null>(null);
  const [asked, setAsked] = useState<Device | null>(null);
  const cameraName = (id: number) => cameras.value?.find((one) => one.id === id)?.name ?? String(id);
  const add = <Button kind="primary" onClick={() => setAdding(true)}><Plus size={16} aria-hidden="true" /> {t.devices.add}</Button>;
  return (
    <Page title={t.devices.title} lead={t.devices.lead} actions={add}>
      {error !== null ? <Trouble error={error} again={reload} /> : !data ? <Loading /> : data.length === 0 ? (
        <Empty icon={<Cpu size={28} />} title={t.devices.none}><p>{t.devices.noneMore}</p>{add}</Empty>
      ) : (
        <div class="card table">
          <table>
            <thead>
              <tr><th scope="col">{t.devices.name}</th><th scope="col">{t.devices.role}</th><th scope="col">{t.devices.online}</th><th scope="col"><span class="off-screen">{t.common.actions}</span></th></tr>
            </thead>
            <tbody>
              {data.map((device) => (
                <tr key={device.id}>
                  <th scope="row"><strong>{device.name}</strong>{device.cameraId !== null && <span>{cameraName(device.cameraId)}</span>}</th>
                  <td>{t.devices.roles[device.role] ?? device.role}</td>
                  <td><Tag tone={device.online ? "good" : "dim"}>{device.online ? t.devices.isOnline : device.lastSeen ? t.devices.seen(ago(device.lastSeen, now)) : t.devices.never}</Tag></td>
                  <td class="row-actions">
                    <Button small kind="quiet" aria-label={t.devices.askWhat(device.name)} title={t.devices.ask} onClick={() => setAsked(device)}><ShieldQuestionMark size={16} aria-hidden="true" /></Button>
                    <Button small kind="quiet" aria-label={t.devices.rotateWhat(device.name)} title={t.devices.rotate} onClick={() => setRotating(device)}><RotateCcwKey size={16} aria-hidden="true" /></Button>
                    <Button small kind="quiet" aria-label={t.common.removeWhat(device.name)} title={t.common.remove} onClick={() => setRemoving(device)}><Trash2 size={16} aria-hidden="true" /></Button>
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
      {adding && <Add onClose={() => setAdding(false)} onMade={(device) => { setAdding(false); setShown(device); reload(); }} />}
      {shown && <Dialog wide title={shown.name} onClose={() => setShown(null)}><Shown device={shown} onClose={() => setShown(null)} /></Dialog>}
      {asked && <Explain device={asked} onClose={() => setAsked(null)} />}
      {rotating && (
        <Confirm
          title={t.devices.rotateWhat(rotating.name)} text={t.devices.rotateText} verb={t.devices.rotate} onNo={() => setRotating(null)}
          onYes={async () => {
            try {
              setShown(await post<DeviceWithSecret>(`/api/devices/${rotating.id}/rotate`));
            } catch (failure) {
              say(words(failure), "bad");
            }
            setRotating(null);
          }}
        />
      )}
      {removing && (
        <Confirm
          title={t.common.removeWhat(removing.name)} text={t.devices.removeText} verb={t.common.remove} onNo={() => setRemoving(null)}
          onYes={async () => {
            try {
              await remove(`/api/devices/${removing.id}`);
              say(t.common.removed(removing.name), "good");
              reload();
            } catch (failure) {
              say(words(failure), "bad");
            }
            setRemoving(null);
          }}
        />
      )}
    </Page>
  );
}

function Add({ onClose, onMade }: { onClose: () => void; onMade: (device: DeviceWithSecret) => void }) {
  const list = cameras.value ?? [];
  const [name, setName] = useState("");
  const [role, setRole] = useState<DeviceRole>("camera");
  const [camera, setCamera] = useState(String(list[0]?.id ?? ""));
  const send = async () =>
    onMade(await post<DeviceWithSecret>("/api/devices", { name, role, ...(role === "camera" && camera ? { cameraId: Number(camera) } : {}) }));
  return (
    <FormDialog title={t.devices.add} names={["name", "role", "cameraId"]} verb={t.devices.add} onSend={send} onClose={onClose}>
      {(faults) => (
        <>
          <Field label={t.devices.name} value={name} onText={setName} fault={faults["name"]} hint={t.devices.nameHint} autocapitalize="none" spellcheck={false} />
          <Select label={t.devices.role} value={role} onChoice={setRole} fault={faults["role"]} hint={t.devices.roleMore[role]} choices={DEVICE_ROLES.map((one) => [one, t.devices.roles[one]])} />
          {role === "camera" && <Select label={t.events.camera} value={camera} onChoice={setCamera} fault={faults["cameraId"]} choices={list.map(({ id, name }) => [String(id), name])} />}
        </>
      )}
    </FormDialog>
  );
}

function Explain({ device, onClose }: { device: Device; onClose: () => void }) {
  const [action, setAction] = useState<"publish" | "subscribe">("publish");
  const [topic, setTopic] = useState(device.cameraId ? `camera/${device.cameraId}/detections` : "camera/1/detections");
  const [answer, setAnswer] = useState<{ allowed: boolean; rule: string } | null>(null);
  const send = async () => {
    setAnswer(null);
    setAnswer(await get(`/api/devices/${device.id}/explain?${new URLSearchParams({ action, topic })}`));
  };
  return (
    <FormDialog title={t.devices.askWhat(device.name)} names={["action", "topic"]} verb={t.devices.askVerb} cancel={t.common.close} ready={topic !== ""} onSend={send} onClose={onClose}>
      {(faults) => (
        <>
          <Select label={t.devices.action} value={action} onChoice={(next) => { setAction(next); setAnswer(null); }} fault={faults["action"]} choices={[["publish", t.devices.publish], ["subscribe", t.devices.subscribe]]} />
          <Field label={t.devices.topic} value={topic} onText={(text) => { setTopic(text); setAnswer(null); }} fault={faults["topic"]} autocapitalize="none" spellcheck={false} />
          <div role="status">
            {answer && <p class={`verdict ${answer.allowed ? "good" : "bad"}`}><strong>{answer.allowed ? t.devices.yes : t.devices.no}</strong> {answer.rule}</p>}
          </div>
        </>
      )}
    </FormDialog>
  );
}
