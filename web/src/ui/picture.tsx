// An event's picture. Its address is signed for a day: one that is not good any more is asked for anew, once.
import type { ComponentChildren } from "preact";
import { useEffect, useState } from "preact/hooks";
import { get } from "../lib/api";
import { pictureAt, widths } from "../lib/picture";
import type { HubEvent } from "../lib/types";

interface Props {
  event: Pick<HubEvent, "id" | "snapshotUrl">;
  alt: string;
  /** How wide it is shown, as `sizes` says it. */
  sizes: string;
  class?: string;
  /** It is what the page is about, and is loaded before anything else. */
  first?: boolean;
  /** Instead of a picture that is gone. */
  gone: ComponentChildren;
}

export function Picture({ event, alt, sizes, class: more, first, gone }: Props) {
  const [shown, setShown] = useState(event);
  const [state, setState] = useState<"first" | "anew" | "gone">("first");
  const has = pictureAt(event) !== null;
  // Another signature of the same picture is no other picture.
  useEffect(() => {
    setShown(event);
    setState("first");
  }, [event.id, has]);
  const source = pictureAt(shown, 640);
  if (state === "gone" || !source) return <>{gone}</>;
  const again = async () => {
    if (state !== "first") return setState("gone");
    try {
      const fresh = await get<HubEvent>(`/api/events/${shown.id}`);
      setShown(fresh);
      setState(fresh.snapshotUrl ? "anew" : "gone");
    } catch {
      setState("gone");
    }
  };
  return (
    <img
      key={`${state} ${source}`} class={`picture ${more ?? ""}`} src={source} srcset={widths(shown)} sizes={sizes} alt={alt} decoding="async"
      loading={first ? "eager" : "lazy"} draggable={false} onError={again}
    />
  );
}
