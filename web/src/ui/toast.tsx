// Short words about what has just happened, which a screen reader says too.
import { signal } from "@preact/signals";
import { CircleAlert, CircleCheck, Info, X } from "lucide-preact";
import { t } from "../strings";

type Tone = "good" | "bad" | "plain";
interface Said {
  id: number;
  text: string;
  tone: Tone;
}

const said = signal<Said[]>([]);
let count = 0;

export function say(text: string, tone: Tone = "plain"): void {
  const id = ++count;
  said.value = [...said.value.filter((one) => one.text !== text), { id, text, tone }].slice(-3);
  setTimeout(() => hush(id), tone === "bad" ? 12_000 : 5_000);
}

const hush = (id: number) => (said.value = said.value.filter((one) => one.id !== id));
const ICONS = { good: CircleCheck, bad: CircleAlert, plain: Info };

export function Toasts() {
  return (
    <div class="toasts" role="status" aria-live="polite">
      {said.value.map(({ id, text, tone }) => {
        const Icon = ICONS[tone];
        return (
          <div key={id} class={`toast ${tone}`}>
            <Icon size={18} aria-hidden="true" />
            <span>{text}</span>
            <button type="button" class="icon-button" aria-label={t.common.dismiss} onClick={() => hush(id)}>
              <X size={16} aria-hidden="true" />
            </button>
          </div>
        );
      })}
    </div>
  );
}
