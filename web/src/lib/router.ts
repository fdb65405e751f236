// Where one is: the address decides what is shown, so that a link opens the same view for a colleague.
import { signal } from "@preact/signals";

export interface Place {
  path: string;
  query: URLSearchParams;
}

export const place = signal<Place>(here());

function here(): Place {
  return { path: location.pathname, query: new URLSearchParams(location.search) };
}

export function go(to: string, { replace = false } = {}): void {
  if (to === location.pathname + location.search) return;
  history[replace ? "replaceState" : "pushState"](null, "", to);
  place.value = here();
  if (!replace) scrollTo(0, 0);
}

/** The same page with other filters. */
export function setQuery(query: URLSearchParams): void {
  const text = query.toString();
  go(place.value.path + (text ? `?${text}` : ""), { replace: true });
}

/** A way back that is the dashboard's own, and no other site's. */
export function ownPath(to: string | null): string {
  return to !== null && /^\/(?![/\\])/.test(to) && !to.startsWith("/sign-in") ? to : "/";
}

export function listen(): void {
  addEventListener("popstate", () => (place.value = here()));
  addEventListener("click", (click) => {
    if (click.defaultPrevented || click.button !== 0 || click.metaKey || click.ctrlKey || click.shiftKey || click.altKey) return;
    const link = (click.target as Element | null)?.closest("a");
    if (!link || link.target || link.hasAttribute("download") || link.origin !== location.origin) return;
    if (link.pathname.startsWith("/docs") || link.pathname.startsWith("/licences") || link.hash) return;
    click.preventDefault();
    go(link.pathname + link.search);
  });
}
