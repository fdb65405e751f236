// The dashboard: which page stands at which address, and when the hub is connected to.
import { effect } from "@preact/signals";
import { render, type ComponentType } from "preact";
import { useEffect, useState } from "preact/hooks";
import * as hub from "./lib/hub";
import { go, listen, place } from "./lib/router";
import { atLeast, me, token } from "./lib/session";
import type { Role } from "./lib/types";
import { Events, OneEvent } from "./pages/events";
import { Live } from "./pages/live";
import { SignIn } from "./pages/sign-in";
import { t } from "./strings";
import "./style.css";
import { Empty, Loading, Trouble } from "./ui/basics";
import { Frame } from "./ui/frame";
import { forgetNames, learnNames } from "./ui/who";
import { Lock } from "lucide-preact";

/** Pages that are loaded when they are opened. */
const LATER: Record<string, { least: Role; load: () => Promise<ComponentType> }> = {
  "/charts": { least: "USER", load: () => import("./pages/charts").then(({ Charts }) => Charts) },
  "/door": { least: "OPERATOR", load: () => import("./pages/door").then(({ Door }) => Door) },
  "/cameras": { least: "USER", load: () => import("./pages/cameras").then(({ Cameras }) => Cameras) },
  "/devices": { least: "ADMIN", load: () => import("./pages/devices").then(({ Devices }) => Devices) },
  "/users": { least: "ADMIN", load: () => import("./pages/users").then(({ Users }) => Users) },
  "/system": { least: "USER", load: () => import("./pages/system").then(({ System }) => System) },
  "/profile": { least: "USER", load: () => import("./pages/profile").then(({ Profile }) => Profile) },
};

function Later({ path }: { path: string }) {
  const [Found, setFound] = useState<ComponentType | null>(null);
  const [error, setError] = useState<unknown>(null);
  const load = () => {
    setError(null);
    // After an update of the hub the old parts are gone: the page is to be loaded anew.
    LATER[path]!.load().then((page) => setFound(() => page), setError);
  };
  useEffect(load, []);
  if (error !== null) return <Trouble error={error} again={() => location.reload()} />;
  return Found ? <Found /> : <Loading />;
}

function Page() {
  const { path } = place.value;
  const later = LATER[path];
  const event = /^\/events\/([^/]+)$/.exec(path);
  if (later) {
    if (!me.value || !atLeast(me.value.role, later.least)) {
      return <Empty icon={<Lock size={28} />} title={t.failure.notYours}><a class="button plain" href="/">{t.nav.live}</a></Empty>;
    }
    return <Later key={path} path={path} />;
  }
  if (path === "/events") return <Events />;
  if (event) return <OneEvent key={event[1]} id={decodeURIComponent(event[1]!)} />;
  return <Live />;
}

function App() {
  const signedIn = me.value !== null;
  const { path, query } = place.value;
  useEffect(() => {
    if (!signedIn && path !== "/sign-in") {
      const back = path + (query.toString() ? `?${query}` : "");
      go(`/sign-in${back === "/" ? "" : `?${new URLSearchParams({ back })}`}`, { replace: true });
    }
    if (signedIn && path === "/sign-in") go("/", { replace: true });
  }, [signedIn, path]);
  if (!signedIn) return <SignIn />;
  return <Frame><Page /></Frame>;
}

listen();
// One connection for as long as one user is signed in.
let connected: number | null = null;
effect(() => {
  const user = token.value === null ? null : (me.value?.sub ?? null);
  if (user === connected) return;
  connected = user;
  hub.forget();
  forgetNames();
  if (user !== null) {
    hub.connect();
    learnNames().catch(() => undefined);
  }
});
document.addEventListener("visibilitychange", () => !document.hidden && hub.check());
addEventListener("online", () => hub.check());
render(<App />, document.getElementById("app")!);
