// The small parts that every page is made of.
import type { ComponentChildren, JSX } from "preact";
import { useEffect, useId, useRef, useState } from "preact/hooks";
import { Copy, Eye, EyeOff, RefreshCw, TriangleAlert, X } from "lucide-preact";
import { words } from "../lib/api";
import { copy } from "../lib/actions";
import { t } from "../strings";

type ButtonProps = Omit<JSX.IntrinsicElements["button"], "size" | "icon"> & {
  kind?: "primary" | "plain" | "quiet" | "danger";
  busy?: boolean;
  small?: boolean;
};

export function Button({ kind = "plain", busy = false, small = false, children, class: more, ...rest }: ButtonProps) {
  const names = ["button", kind, small ? "small" : "", busy ? "busy" : "", more ?? ""].filter(Boolean).join(" ");
  return (
    <button type="button" {...rest} class={names} aria-busy={busy} disabled={rest.disabled || busy}>
      {children}
    </button>
  );
}

export function Page({ title, lead, actions, children }: { title: string; lead?: ComponentChildren; actions?: ComponentChildren; children: ComponentChildren }) {
  return (
    <>
      <header class="page-head">
        <div>
          <h1 tabIndex={-1}>{title}</h1>
          {lead && <p class="lead">{lead}</p>}
        </div>
        {actions && <div class="actions">{actions}</div>}
      </header>
      {children}
    </>
  );
}

export function Card({ title, aside, children, class: more }: { title?: ComponentChildren; aside?: ComponentChildren; children: ComponentChildren; class?: string }) {
  return (
    <section class={`card ${more ?? ""}`}>
      {(title || aside) && (
        <header class="card-head">
          {title && <h2>{title}</h2>}
          {aside}
        </header>
      )}
      {children}
    </section>
  );
}

export function Empty({ icon, title, children }: { icon: ComponentChildren; title: string; children?: ComponentChildren }) {
  return (
    <div class="empty">
      <span class="empty-icon" aria-hidden="true">{icon}</span>
      <h2>{title}</h2>
      {children}
    </div>
  );
}

export function Trouble({ error, again }: { error: unknown; again?: () => void }) {
  return (
    <div class="trouble" role="alert">
      <TriangleAlert size={20} aria-hidden="true" />
      <span>{words(error)}</span>
      {again && (
        <Button small onClick={again}>
          <RefreshCw size={14} aria-hidden="true" /> {t.common.again}
        </Button>
      )}
    </div>
  );
}

export function Loading({ rows = 4 }: { rows?: number }) {
  return (
    <div class="loading" role="status" aria-label={t.common.loading}>
      {Array.from({ length: rows }, (_, index) => (
        <span key={index} class="bone" />
      ))}
    </div>
  );
}

export type Tone = "good" | "warn" | "bad" | "info" | "dim";
export function Tag({ tone = "dim", children }: { tone?: Tone; children: ComponentChildren }) {
  return <span class={`tag ${tone}`}>{children}</span>;
}

type FieldProps = Omit<JSX.IntrinsicElements["input"], "onInput"> & {
  label: string;
  hint?: ComponentChildren;
  fault?: string;
  onText: (text: string) => void;
};

export function Field({ label, hint, fault, onText, ...rest }: FieldProps) {
  const id = useId();
  const said = [fault ? `${id}-fault` : "", hint ? `${id}-hint` : ""].filter(Boolean).join(" ");
  return (
    <div class={`field ${fault ? "faulty" : ""}`}>
      <label for={id}>{label}</label>
      <input
        {...rest}
        id={id}
        aria-invalid={fault ? true : undefined}
        aria-describedby={said || undefined}
        onInput={(input) => onText(input.currentTarget.value)}
      />
      {hint && <p id={`${id}-hint`} class="hint">{hint}</p>}
      {fault && <p id={`${id}-fault`} class="fault">{fault}</p>}
    </div>
  );
}

type SelectProps<T extends string> = {
  label: string;
  value: T;
  choices: [T, string][];
  onChoice: (value: T) => void;
  fault?: string;
  hint?: string;
};

export function Select<T extends string>({ label, value, choices, onChoice, fault, hint }: SelectProps<T>) {
  const id = useId();
  return (
    <div class={`field ${fault ? "faulty" : ""}`}>
      <label for={id}>{label}</label>
      <select id={id} value={value} onChange={(change) => onChoice(change.currentTarget.value as T)}>
        {choices.map(([key, text]) => (
          <option key={key} value={key}>{text}</option>
        ))}
      </select>
      {hint && <p class="hint">{hint}</p>}
      {fault && <p class="fault">{fault}</p>}
    </div>
  );
}

export function Segments<T extends string>({ label, value, choices, onChoice }: { label: string; value: T; choices: [T, string][]; onChoice: (value: T) => void }) {
  return (
    <div class="segments" role="group" aria-label={label}>
      {choices.map(([key, text]) => (
        <button key={key} type="button" aria-pressed={key === value} onClick={() => onChoice(key)}>{text}</button>
      ))}
    </div>
  );
}

export function Switch({ label, on, onChange, hint }: { label: string; on: boolean; onChange: (on: boolean) => void; hint?: string }) {
  return (
    <label class="switch">
      <span>
        {label}
        {hint && <small>{hint}</small>}
      </span>
      <input type="checkbox" role="switch" checked={on} onChange={(change) => onChange(change.currentTarget.checked)} />
    </label>
  );
}

export function Dialog({ title, onClose, children, wide = false, broad = false }: { title: string; onClose: () => void; children: ComponentChildren; wide?: boolean; broad?: boolean }) {
  const element = useRef<HTMLDialogElement>(null);
  const id = useId();
  useEffect(() => {
    const dialog = element.current;
    if (dialog && !dialog.open) dialog.showModal();
    return () => dialog?.close();
  }, []);
  return (
    <dialog
      ref={element}
      class={broad ? "broad" : wide ? "wide" : ""}
      aria-labelledby={id}
      onCancel={(cancel) => {
        cancel.preventDefault();
        onClose();
      }}
      onClick={(click) => click.target === element.current && onClose()}
    >
      <div class="dialog-body">
        <header>
          <h2 id={id}>{title}</h2>
          <button type="button" class="icon-button" aria-label={t.common.close} onClick={onClose}>
            <X size={20} aria-hidden="true" />
          </button>
        </header>
        {children}
      </div>
    </dialog>
  );
}

/** Asks before what cannot be undone. */
export function Confirm({ title, text, verb, kind = "danger", onYes, onNo }: { title: string; text: ComponentChildren; verb: string; kind?: "danger" | "primary"; onYes: () => Promise<unknown> | void; onNo: () => void }) {
  const [busy, setBusy] = useState(false);
  return (
    <Dialog title={title} onClose={onNo}>
      <p>{text}</p>
      <div class="dialog-actions">
        <Button onClick={onNo}>{t.common.cancel}</Button>
        <Button
          kind={kind}
          busy={busy}
          onClick={async () => {
            setBusy(true);
            await onYes();
            setBusy(false);
          }}
        >
          {verb}
        </Button>
      </div>
    </Dialog>
  );
}

/** Something that is shown once, hidden until asked for, with a button that copies it. */
export function Secret({ label, text, code = false }: { label: string; text: string; code?: boolean }) {
  const [shown, setShown] = useState(code);
  return (
    <div class="secret">
      <span class="secret-label">{label}</span>
      <div class="secret-line">
        {code ? <pre tabIndex={0} aria-label={label}>{text}</pre> : <code>{shown ? text : "•".repeat(24)}</code>}
        {!code && (
          <button type="button" class="icon-button" aria-label={shown ? t.common.hide(label) : t.common.show(label)} onClick={() => setShown(!shown)}>
            {shown ? <EyeOff size={18} aria-hidden="true" /> : <Eye size={18} aria-hidden="true" />}
          </button>
        )}
        <button type="button" class="icon-button" aria-label={t.common.copyWhat(label)} onClick={() => copy(text)}>
          <Copy size={18} aria-hidden="true" />
        </button>
      </div>
    </div>
  );
}
