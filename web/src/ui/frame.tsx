// What stands around every page: the ways to the others, whether the hub is heard, and what is said.
import { useEffect, useRef, useState } from "preact/hooks";
import { Activity, ChartColumn, Cctv, Cpu, DoorClosed, Ellipsis, List, LogOut, Radio, UserRound, Users, WifiOff, X } from "lucide-preact";
import type { LucideIcon } from "lucide-preact";
import type { ComponentChildren } from "preact";
import { clock, number } from "../lib/format";
import { line, lostSince, missed, stats } from "../lib/hub";
import { place } from "../lib/router";
import { atLeast, me, signOut } from "../lib/session";
import type { Role } from "../lib/types";
import { t } from "../strings";
import { say, Toasts } from "./toast";

interface Way {
  path: string;
  name: string;
  icon: LucideIcon;
  least: Role;
}

export const WAYS: Way[] = [
  { path: "/", name: t.nav.live, icon: Radio, least: "USER" },
  { path: "/events", name: t.nav.events, icon: List, least: "USER" },
  { path: "/door", name: t.nav.door, icon: DoorClosed, least: "OPERATOR" },
  { path: "/charts", name: t.nav.charts, icon: ChartColumn, least: "USER" },
  { path: "/cameras", name: t.nav.cameras, icon: Cctv, least: "USER" },
  { path: "/devices", name: t.nav.devices, icon: Cpu, least: "ADMIN" },
  { path: "/users", name: t.nav.users, icon: Users, least: "ADMIN" },
  { path: "/system", name: t.nav.system, icon: Activity, least: "USER" },
];
/** As many as fit into a phone's bar, beside the one for the rest. */
const IN_BAR = 4;

export function Frame({ children }: { children: ComponentChildren }) {
  const [more, setMore] = useState(false);
  const main = useRef<HTMLElement>(null);
  const here = place.value.path;
  const ways = WAYS.filter(({ least }) => me.value && atLeast(me.value.role, least));
  const isHere = (path: string) => (path === "/" ? here === "/" : here.startsWith(path));
  const title = here === "/profile" ? t.nav.profile : (ways.find(({ path }) => isHere(path))?.name ?? t.brand);
  const unresolved = stats.value?.unresolved ?? 0;
  const moved = useRef(false);

  useEffect(() => {
    document.title = `${unresolved ? `(${number(unresolved)}) ` : ""}${title} – ${t.brand}`;
  }, [title, unresolved]);
  useEffect(() => {
    setMore(false);
    // A new page is read from its heading; the very first one from the top.
    if (moved.current) main.current?.querySelector<HTMLElement>("h1")?.focus({ preventScroll: true });
    moved.current = true;
  }, [here]);
  useEffect(() => {
    if (missed.value === null) return;
    say(t.line.back(missed.value), "good");
    missed.value = null;
  }, [missed.value]);

  const link = ({ path, name, icon: Icon }: Way) => (
    <a key={path} href={path} aria-current={isHere(path) ? "page" : undefined}>
      <Icon size={20} aria-hidden="true" />
      <span>{name}</span>
      {path === "/events" && unresolved > 0 && <b class="count" aria-label={t.nav.unresolved(unresolved)}>{unresolved > 999 ? "999+" : unresolved}</b>}
    </a>
  );
  return (
    <div class="frame">
      <a class="skip" href="#main" onClick={(click) => { click.preventDefault(); main.current?.querySelector<HTMLElement>("h1")?.focus(); }}>{t.nav.skip}</a>
      <header class="top">
        <a class="brand" href="/"><Mark /> {t.brand}</a>
        <LineState />
      </header>
      <nav class="side" aria-label={t.nav.all}>
        <a class="brand" href="/"><Mark /> {t.brand}</a>
        <div class="ways">{ways.map(link)}</div>
        <div class="side-end">
          <LineState />
          <a href="/profile" class="self" aria-current={here === "/profile" ? "page" : undefined}>
            <span class="face" aria-hidden="true">{me.value?.username.charAt(0).toUpperCase()}</span>
            <span><strong>{me.value?.username}</strong><small>{me.value && t.role[me.value.role]}</small></span>
          </a>
        </div>
      </nav>
      <main id="main" ref={main}>
        <LineBanner />
        {children}
      </main>
      <nav class="bar" aria-label={t.nav.main}>
        {ways.slice(0, IN_BAR).map(link)}
        <button type="button" aria-expanded={more} aria-controls="more" onClick={() => setMore(!more)}>
          {more ? <X size={20} aria-hidden="true" /> : <Ellipsis size={20} aria-hidden="true" />}
          <span>{t.nav.more}</span>
        </button>
      </nav>
      {more && (
        <>
          <button type="button" class="veil" aria-label={t.common.close} onClick={() => setMore(false)} />
          <nav id="more" class="sheet" aria-label={t.nav.more}>
            {ways.slice(IN_BAR).map(link)}
            <a href="/profile" aria-current={here === "/profile" ? "page" : undefined}><UserRound size={20} aria-hidden="true" /><span>{t.nav.profile}</span></a>
            <button type="button" onClick={() => signOut("signed-out")}><LogOut size={20} aria-hidden="true" /><span>{t.signIn.out}</span></button>
          </nav>
        </>
      )}
      <Toasts />
    </div>
  );
}

export function Mark() {
  return (
    <svg class="mark" viewBox="0 0 64 64" aria-hidden="true">
      <path d="M14 54V30a18 18 0 0 1 36 0v24" stroke-width="6" />
      <path d="M23 20v30M32 14v36M41 20v30M17 32h30M17 43h30" stroke-width="4" />
    </svg>
  );
}

function LineState() {
  return (
    <span class={`line-state is-${line.value}`}>
      <i aria-hidden="true" /> {t.line[line.value]}
    </span>
  );
}

function LineBanner() {
  const since = lostSince.value;
  const [late, setLate] = useState(false);
  // A moment without a connection is nothing to speak of.
  useEffect(() => {
    setLate(false);
    if (since === null) return;
    const timer = setTimeout(() => setLate(true), 1_200);
    return () => clearTimeout(timer);
  }, [since]);
  return (
    <div role="status">
      {since !== null && late && (
        <div class="banner">
          <WifiOff size={20} aria-hidden="true" />
          <span><strong>{t.line.lostTitle}</strong> {t.line.lostSince(clock(since))}</span>
        </div>
      )}
    </div>
  );
}
