// A form in a dialog: what it does when it is sent, and the hub's faults at the fields that they are about.
import type { ComponentChildren } from "preact";
import { useState } from "preact/hooks";
import { faultsByField } from "../lib/api";
import { t } from "../strings";
import { Button, Dialog } from "./basics";

export type Faults = Readonly<Record<string, string>>;

interface Props {
  title: string;
  lead?: ComponentChildren;
  wide?: boolean;
  /** The fields, as the hub names them in its faults. */
  names: readonly string[];
  verb: string;
  cancel?: string;
  ready?: boolean;
  /** Closes the dialog itself when all is done. What it throws is told. */
  onSend: () => Promise<unknown>;
  onClose: () => void;
  /** What is said of a refusal that is about no field. */
  refused?: (error: unknown) => string;
  children: (faults: Faults) => ComponentChildren;
}

export function FormDialog({ title, lead, wide, names, verb, cancel = t.common.cancel, ready = true, onSend, onClose, refused, children }: Props) {
  const [faults, setFaults] = useState<Faults>({});
  const [busy, setBusy] = useState(false);
  const send = async (event: Event) => {
    event.preventDefault();
    setBusy(true);
    setFaults({});
    try {
      await onSend();
    } catch (error) {
      const found = faultsByField(error, [...names]);
      setFaults(found[""] && refused ? { ...found, "": refused(error) } : found);
    }
    setBusy(false);
  };
  return (
    <Dialog title={title} wide={wide} onClose={onClose}>
      <form onSubmit={send} noValidate autocomplete="off">
        {lead && <p>{lead}</p>}
        {faults[""] && <p class="form-fault" role="alert">{faults[""]}</p>}
        {children(faults)}
        <div class="dialog-actions">
          <Button onClick={onClose}>{cancel}</Button>
          <Button kind="primary" type="submit" busy={busy} disabled={!ready}>{verb}</Button>
        </div>
      </form>
    </Dialog>
  );
}
