// Which of a camera's addresses a browser can play, and how; and of those it cannot, why not.

/** By WebRTC (WHEP), as an HLS list or a film that the browser plays by itself, or as an endless row of JPEGs. */
export type How = "whep" | "hls" | "film" | "mjpeg";

export interface Way {
  how: How;
  /** Without user and password. */
  url: string;
  /** `user:password`, where the address has them. */
  credentials: string | null;
}

export type Hindrance =
  /** rtsp and what else no browser speaks. */
  | "scheme"
  /** A WebSocket, which is no WHEP. */
  | "socket"
  /** A page by HTTPS loads nothing by HTTP. */
  | "mixed"
  /** No browser sends user and password for a picture or film of another server. */
  | "credentials"
  /** A Content-Security-Policy has no word for a bare IPv6 address. */
  | "ipv6"
  | "no-hls"
  | "no-webrtc"
  | "address";

export interface Browser {
  /** The page came by HTTPS. */
  secure: boolean;
  hls: boolean;
  webrtc: boolean;
}

export interface LiveView {
  /** In the order in which they are to be tried. */
  ways: Way[];
  hindrances: Hindrance[];
}

/** Names of this very machine count as safe, whatever they speak. */
const isHere = (host: string): boolean => host === "localhost" || host.endsWith(".localhost") || /^127(\.\d+){3}$/.test(host);

function wayOf(address: string, isWebrtc: boolean, browser: Browser): Way | Hindrance {
  let url: URL;
  try {
    url = new URL(address);
  } catch {
    return "address";
  }
  if (url.protocol === "ws:" || url.protocol === "wss:") return "socket";
  if (url.protocol !== "http:" && url.protocol !== "https:") return "scheme";
  if (url.hostname.startsWith("[")) return "ipv6";
  if (browser.secure && url.protocol === "http:" && !isHere(url.hostname)) return "mixed";
  let credentials: string | null = null;
  try {
    if (url.username || url.password) credentials = `${decodeURIComponent(url.username)}:${decodeURIComponent(url.password)}`;
  } catch {
    return "address";
  }
  url.username = url.password = "";
  if (isWebrtc) return browser.webrtc ? { how: "whep", url: url.href, credentials } : "no-webrtc";
  if (credentials) return "credentials";
  const path = url.pathname.toLowerCase();
  if (path.endsWith(".m3u8")) return browser.hls ? { how: "hls", url: url.href, credentials: null } : "no-hls";
  return { how: /\.(mp4|webm)$/.test(path) ? "film" : "mjpeg", url: url.href, credentials: null };
}

export function liveView(camera: { webrtcUrl: string | null; streamUrl: string | null }, browser: Browser): LiveView {
  const found: LiveView = { ways: [], hindrances: [] };
  for (const [address, isWebrtc] of [[camera.webrtcUrl, true], [camera.streamUrl, false]] as const) {
    if (!address) continue;
    const way = wayOf(address, isWebrtc, browser);
    if (typeof way === "string") found.hindrances.push(way);
    else found.ways.push(way);
  }
  return found;
}

/** What the frame tells of itself, and is told. */
export type Told = { live: "ready" } | { live: "trying" | "playing"; how: How } | { live: "failed"; faults: Fault[] };
export interface Play {
  play: Way[];
}

export interface Fault {
  how: How;
  /** `answer`: the server answered with `status`. `unheard`: nothing came, or the page was not let in. `silent`: no picture in time. `codec`: what it sends cannot be shown. */
  why: "answer" | "unheard" | "silent" | "codec";
  status: number;
}
