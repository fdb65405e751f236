// A list of which only the rows in view are drawn, with the page's own scroll bar or one of its own.
import type { ComponentChildren } from "preact";
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import { rowsInView, type Rows } from "../lib/window";

interface Props<T> {
  items: T[];
  keyOf: (item: T) => number;
  row: number;
  label: string;
  /** Scrolls by itself in a box, and not with the page. */
  boxed?: boolean;
  draw: (item: T, index: number) => ComponentChildren;
  /** The end has come into view. */
  onEnd?: () => void;
  busy?: boolean;
}

export function VirtualRows<T>({ items, keyOf, row, label, boxed = false, draw, onEnd, busy }: Props<T>) {
  const box = useRef<HTMLDivElement>(null);
  const [view, setView] = useState<Rows>({ from: 0, to: 30 });
  const first = useRef<{ key: number; count: number } | null>(null);

  const look = () => {
    const element = box.current;
    if (!element) return;
    const top = boxed ? element.scrollTop : -element.getBoundingClientRect().top;
    const height = boxed ? element.clientHeight : innerHeight;
    const next = rowsInView(top, height, row, items.length);
    setView((before) => (before.from === next.from && before.to === next.to ? before : next));
    if (onEnd && next.to >= items.length) onEnd();
  };

  // What is read does not jump when something comes in above it.
  useLayoutEffect(() => {
    const element = box.current;
    const before = first.current;
    const key = items[0] ? keyOf(items[0]) : -1;
    if (element && before && before.key !== key) {
      const added = items.findIndex((item) => keyOf(item) === before.key);
      if (added > 0) {
        if (boxed && element.scrollTop > row / 2) element.scrollTop += added * row;
        else if (!boxed && element.getBoundingClientRect().top < -row) scrollBy(0, added * row);
      }
    }
    first.current = { key, count: items.length };
    look();
  }, [items, row, boxed]);

  useEffect(() => {
    const target: EventTarget = boxed ? box.current! : window;
    target.addEventListener("scroll", look, { passive: true });
    addEventListener("resize", look);
    return () => {
      target.removeEventListener("scroll", look);
      removeEventListener("resize", look);
    };
  });

  return (
    <div ref={box} class={`rows ${boxed ? "boxed" : ""}`}>
      <div class="rows-all" role="feed" aria-label={label} aria-busy={busy ?? false} style={{ height: `${items.length * row}px` }}>
        {items.slice(view.from, view.to).map((item, offset) => {
          const index = view.from + offset;
          return (
            <div key={keyOf(item)} class="rows-place" role="presentation" style={{ transform: `translateY(${index * row}px)`, height: `${row}px` }}>
              {draw(item, index)}
            </div>
          );
        })}
      </div>
    </div>
  );
}
