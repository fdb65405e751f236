// A button that wants to be held, so that no stray touch opens a door. With a keyboard, Space or Enter is held; what can
// only click, such as a screen reader, is asked once more instead.
import type { ComponentChildren } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";

export const HOLD_MS = 900;

interface Props {
  children: ComponentChildren;
  hint: string;
  busy: boolean;
  disabled?: boolean;
  onHeld: () => void;
  onClickOnly: () => void;
}

export function HoldButton({ children, hint, busy, disabled, onHeld, onClickOnly }: Props) {
  const [holding, setHolding] = useState(false);
  const [tooShort, setTooShort] = useState(false);
  const timer = useRef(0);
  /** The last way in was a pointer or a key, so that the click that follows it is not one of its own. */
  const touched = useRef(false);

  const begin = () => {
    if (busy || disabled || timer.current) return;
    touched.current = true;
    setHolding(true);
    setTooShort(false);
    timer.current = window.setTimeout(() => {
      timer.current = 0;
      setHolding(false);
      navigator.vibrate?.(40);
      onHeld();
    }, HOLD_MS);
  };
  const end = () => {
    if (!timer.current) return;
    clearTimeout(timer.current);
    timer.current = 0;
    setHolding(false);
    setTooShort(true);
  };
  useEffect(() => () => clearTimeout(timer.current), []);
  useEffect(() => {
    if (!tooShort) return;
    const gone = setTimeout(() => setTooShort(false), 2_500);
    return () => clearTimeout(gone);
  }, [tooShort]);

  const isKey = (key: KeyboardEvent) => key.key === " " || key.key === "Enter";
  return (
    <div class="hold">
      <button
        type="button"
        class={`hold-button ${holding ? "holding" : ""} ${busy ? "busy" : ""}`}
        disabled={disabled}
        aria-busy={busy}
        onPointerDown={(down) => {
          if (down.button !== 0) return;
          down.currentTarget.setPointerCapture(down.pointerId);
          begin();
        }}
        onPointerUp={end}
        onPointerCancel={end}
        onPointerMove={(move) => {
          const box = move.currentTarget.getBoundingClientRect();
          const outside = move.clientX < box.left || move.clientX > box.right || move.clientY < box.top || move.clientY > box.bottom;
          if (outside) end();
        }}
        onKeyDown={(key) => {
          if (!isKey(key)) return;
          key.preventDefault();
          if (!key.repeat) begin();
        }}
        onKeyUp={(key) => {
          if (!isKey(key)) return;
          key.preventDefault();
          end();
        }}
        onBlur={end}
        onContextMenu={(menu) => menu.preventDefault()}
        onClick={(click) => {
          const own = !touched.current && click.detail === 0;
          touched.current = false;
          if (own && !busy && !disabled) onClickOnly();
        }}
      >
        <span class="hold-fill" aria-hidden="true" />
        <span class="hold-label">{tooShort ? hint : children}</span>
      </button>
    </div>
  );
}
