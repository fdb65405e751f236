// A camera's live view, in a frame whose policy knows this camera's servers: the page itself may talk to the hub alone.
import { useEffect, useRef, useState } from "preact/hooks";
import { Maximize2, Radio, RefreshCw, VideoOff } from "lucide-preact";
import { liveView, type Browser, type Fault, type How, type Told } from "../lib/live-view";
import { token } from "../lib/session";
import type { Camera } from "../lib/types";
import { t } from "../strings";
import { Button, Dialog } from "./basics";
import { DoorAct } from "./door-card";
import { useNow } from "./hooks";
import { PresenceTags } from "./presence";

/** How long the frame may take to load. */
const PATIENCE = 15_000;

const browser = (): Browser => ({
  secure: location.protocol === "https:",
  hls: document.createElement("video").canPlayType("application/vnd.apple.mpegurl") !== "",
  webrtc: typeof RTCPeerConnection !== "undefined",
});

type State = { is: "loading" } | { is: "trying" | "playing"; how: How } | { is: "failed"; faults: Fault[] } | { is: "no-frame" };

export function LiveView({ camera, onClose }: { camera: Camera; onClose: () => void }) {
  const [round, setRound] = useState(0);
  const now = useNow(10_000);
  const { ways, hindrances } = liveView(camera, browser());
  return (
    <Dialog broad title={camera.name} onClose={onClose}>
      {ways.length > 0 ? <Player key={round} camera={camera} again={() => setRound(round + 1)} /> : (
        <div class="screen" data-live="failed">
          <NoView lines={hindrances.length ? hindrances.map((one) => t.view.hindrance[one]) : [t.view.noAddress]} />
        </div>
      )}
      <div class="view-foot">
        <PresenceTags camera={camera} now={now} />
        <DoorAct />
      </div>
    </Dialog>
  );
}

function NoView({ lines, again }: { lines: string[]; again?: () => void }) {
  return (
    <div class="no-view" role="status">
      <VideoOff size={32} aria-hidden="true" />
      <strong>{t.view.none}</strong>
      {lines.map((line) => <p key={line}>{line}</p>)}
      {again && <Button small onClick={again}><RefreshCw size={14} aria-hidden="true" /> {t.common.again}</Button>}
    </div>
  );
}

function Player({ camera, again }: { camera: Camera; again: () => void }) {
  const { ways, hindrances } = liveView(camera, browser());
  const frame = useRef<HTMLIFrameElement>(null);
  const [state, setState] = useState<State>({ is: "loading" });
  useEffect(() => {
    const element = frame.current!;
    const late = setTimeout(() => setState((before) => (before.is === "loading" ? { is: "no-frame" } : before)), PATIENCE);
    const hear = ({ source, origin, data }: MessageEvent<Told | null>) => {
      if (source !== element.contentWindow || origin !== location.origin || !data) return;
      if (data.live === "ready") element.contentWindow!.postMessage({ play: ways }, location.origin);
      else if (data.live === "failed") setState({ is: "failed", faults: data.faults });
      else setState({ is: data.live, how: data.how });
    };
    addEventListener("message", hear);
    open(element, camera.id);
    return () => {
      clearTimeout(late);
      removeEventListener("message", hear);
    };
  }, []);
  const failed = state.is === "failed" ? [...state.faults.map(({ how, why, status }) => t.view.fault(how, why, status)), ...hindrances.map((one) => t.view.hindrance[one])] : [];
  return (
    <>
      <div class="screen" data-live={state.is}>
        <iframe ref={frame} name={`live-view-${camera.id}`} title={t.view.of(camera.name)} allow="autoplay; fullscreen" />
        {(state.is === "loading" || state.is === "trying") && <div class="no-view" role="status"><span class="turning" aria-hidden="true" />{t.view.waiting}</div>}
        {state.is === "failed" && <NoView lines={failed} again={again} />}
        {state.is === "no-frame" && <NoView lines={[t.view.noFrame]} again={again} />}
      </div>
      <p class="view-line">
        {state.is === "playing" ? <span class="tag on-air"><Radio size={14} aria-hidden="true" /> {t.view.live(t.view.how[state.how])}</span> : <span />}
        {state.is === "playing" && document.fullscreenEnabled && (
          <Button small kind="quiet" onClick={() => void frame.current?.requestFullscreen()}><Maximize2 size={14} aria-hidden="true" /> {t.view.full}</Button>
        )}
      </p>
    </>
  );
}

/** A frame's address brings no `Authorization`; a form does not need one, and leaves nothing in the address. */
function open(frame: HTMLIFrameElement, camera: number): void {
  const form = document.createElement("form");
  form.method = "post";
  form.action = "/live-view";
  form.target = frame.name;
  form.hidden = true;
  for (const [name, value] of [["token", token.value ?? ""], ["camera", String(camera)]] as const) {
    const field = document.createElement("input");
    [field.type, field.name, field.value] = ["hidden", name, value];
    form.append(field);
  }
  document.body.append(form);
  form.submit();
  form.remove();
}
