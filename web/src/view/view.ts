// The page in the frame: plays what the dashboard tells it to, the first way that works, and says how it goes. Its policy
// lets it talk to this camera's servers and nobody else.
import type { Fault, Play, Told, Way } from "../lib/live-view";
import "./view.css";
import { Failed, PATIENCE, Whep } from "./whep";

const tell = (told: Told) => parent.postMessage(told, location.origin);
/** Between two tries of a view that has been cut, in milliseconds; the last for all that follow. */
const PAUSES = [1_000, 2_000, 5_000, 10_000];

let stop: () => void = () => undefined;

/** Plays, until what is returned is called; settles once there is a picture. */
type Player = (way: Way, onLost: () => void) => { begun: Promise<void>; stop: () => void };

function video(): HTMLVideoElement {
  const element = document.createElement("video");
  element.autoplay = element.muted = element.playsInline = element.controls = true;
  document.body.replaceChildren(element);
  return element;
}

/** Settles with the first picture of a film. */
function pictured(element: HTMLVideoElement): Promise<void> {
  return new Promise((done, fail) => {
    element.onplaying = () => done();
    element.onerror = () => fail(new Failed(element.error?.code === MediaError.MEDIA_ERR_NETWORK ? "unheard" : "codec"));
  });
}

const byWhep: Player = (way, onLost) => {
  const element = video();
  const whep = new Whep(way.url, way.credentials, onLost);
  element.srcObject = whep.stream;
  return { begun: Promise.all([whep.start(), pictured(element)]).then(() => undefined), stop: () => whep.leave() };
};

const byFilm: Player = (way, onLost) => {
  const element = video();
  element.src = way.url;
  const begun = pictured(element).then(() => {
    element.onerror = element.onended = onLost;
  });
  return {
    begun,
    stop: () => {
      element.removeAttribute("src");
      element.load();
    },
  };
};

const byPictures: Player = (way, onLost) => {
  const element = document.createElement("img");
  element.alt = "";
  document.body.replaceChildren(element);
  let looking = 0;
  const begun = new Promise<void>((done, fail) => {
    // A row of pictures is never loaded to its end: the first one counts.
    looking = window.setInterval(() => {
      if (element.naturalWidth === 0) return;
      clearInterval(looking);
      element.onerror = onLost;
      done();
    }, 100);
    element.onerror = () => {
      clearInterval(looking);
      fail(new Failed("unheard"));
    };
  });
  element.src = way.url;
  return {
    begun,
    stop: () => {
      clearInterval(looking);
      element.onerror = null;
      element.removeAttribute("src");
    },
  };
};

const PLAYERS: Record<Way["how"], Player> = { whep: byWhep, hls: byFilm, film: byFilm, mjpeg: byPictures };

async function play(ways: Way[], tried = 0): Promise<void> {
  stop();
  const faults: Fault[] = [];
  for (const way of ways) {
    tell({ live: "trying", how: way.how });
    let over = false;
    const again = () => {
      if (over) return;
      over = true;
      player.stop();
      tell({ live: "trying", how: way.how });
      const timer = setTimeout(() => void play(ways, tried + 1), PAUSES[Math.min(tried, PAUSES.length - 1)]);
      stop = () => clearTimeout(timer);
    };
    const player = PLAYERS[way.how](way, again);
    stop = () => {
      over = true;
      player.stop();
    };
    let timer = 0;
    const late = new Promise<never>((_, fail) => (timer = window.setTimeout(() => fail(new Failed("silent")), PATIENCE)));
    try {
      await Promise.race([player.begun, late]);
      tell({ live: "playing", how: way.how });
      tried = 0;
      return;
    } catch (error) {
      if (over) return;
      over = true;
      player.stop();
      faults.push({ how: way.how, why: error instanceof Failed ? error.why : "codec", status: error instanceof Failed ? error.status : 0 });
    } finally {
      clearTimeout(timer);
    }
  }
  // It has been seen to work: it is tried until it does so again.
  if (tried > 0) {
    const timer = setTimeout(() => void play(ways, tried + 1), PAUSES[Math.min(tried, PAUSES.length - 1)]);
    stop = () => clearTimeout(timer);
    return;
  }
  document.body.replaceChildren();
  tell({ live: "failed", faults });
}

addEventListener("message", ({ source, origin, data }: MessageEvent<Partial<Play> | null>) => {
  if (source === parent && origin === location.origin && Array.isArray(data?.play)) void play(data.play);
});
addEventListener("pagehide", () => stop());
tell({ live: "ready" });
