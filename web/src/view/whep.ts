// Watches by WHEP: the browser's offer goes to the server by POST, its answer says where to take leave by DELETE.
import type { Fault } from "../lib/live-view";

/** How long candidates for ways to the server are gathered: in a local network they are there at once. */
const GATHERING = 1_000;
/** How long the first picture may take. */
export const PATIENCE = 15_000;

export class Failed extends Error {
  constructor(
    readonly why: Fault["why"],
    readonly status = 0,
  ) {
    super(why);
  }
}

export class Whep {
  readonly stream = new MediaStream();
  private readonly connection = new RTCPeerConnection({ bundlePolicy: "max-bundle" });
  private readonly leaving = new AbortController();
  private resource: string | null = null;

  constructor(
    private readonly url: string,
    private readonly credentials: string | null,
    /** The connection stood, and is gone. */
    private readonly onLost: () => void,
  ) {}

  private headers(more: Record<string, string> = {}): Record<string, string> {
    if (this.credentials === null) return more;
    const bytes = new TextEncoder().encode(this.credentials);
    return { ...more, authorization: `Basic ${btoa(String.fromCharCode(...bytes))}` };
  }

  async start(): Promise<void> {
    const { connection } = this;
    connection.addTransceiver("video", { direction: "recvonly" });
    connection.addTransceiver("audio", { direction: "recvonly" });
    connection.ontrack = ({ track }) => this.stream.addTrack(track);
    connection.onconnectionstatechange = () => connection.connectionState === "failed" && this.onLost();
    await connection.setLocalDescription(await connection.createOffer());
    await this.gathered();
    let answer: Response, sdp: string;
    try {
      answer = await fetch(this.url, {
        method: "POST", headers: this.headers({ "content-type": "application/sdp" }), body: connection.localDescription!.sdp, signal: this.leaving.signal,
      });
      sdp = await answer.text();
    } catch {
      throw new Failed("unheard");
    }
    if (!answer.ok) throw new Failed(answer.status === 406 ? "codec" : "answer", answer.status);
    const place = answer.headers.get("location");
    if (place) this.resource = new URL(place, answer.url).href;
    // Left while the answer was on its way.
    if (connection.signalingState === "closed") return this.leave();
    try {
      await connection.setRemoteDescription({ type: "answer", sdp });
    } catch {
      throw new Failed("answer", answer.status);
    }
  }

  private gathered(): Promise<void> {
    const { connection } = this;
    return new Promise((done) => {
      const look = () => connection.iceGatheringState === "complete" && done();
      connection.addEventListener("icegatheringstatechange", look);
      setTimeout(done, GATHERING);
      look();
    });
  }

  /** Takes leave of the server too, also while the page goes. */
  leave(): void {
    this.leaving.abort();
    this.connection.close();
    if (!this.resource) return;
    fetch(this.resource, { method: "DELETE", headers: this.headers(), keepalive: true }).catch(() => undefined);
    this.resource = null;
  }
}
