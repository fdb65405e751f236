// What one has chosen for this browser.
import { signal } from "@preact/signals";
import { forBrowser } from "./storage";

export type Theme = "system" | "light" | "dark";
export const theme = signal<Theme>((forBrowser.get("theme") as Theme | null) ?? "system");
export const sound = signal(forBrowser.get("sound") === "on");
export const notify = signal(forBrowser.get("notify") === "on");

export function setTheme(chosen: Theme): void {
  theme.value = chosen;
  forBrowser.set("theme", chosen === "system" ? null : chosen);
  if (chosen === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = chosen;
}

export function setSound(on: boolean): void {
  sound.value = on;
  forBrowser.set("sound", on ? "on" : null);
  if (on) chime();
}

/** Asks the browser where it has not been asked yet; false if it may not. */
export async function setNotify(on: boolean): Promise<boolean> {
  const granted = !on || (typeof Notification !== "undefined" && (await Notification.requestPermission()) === "granted");
  notify.value = on && granted;
  forBrowser.set("notify", notify.value ? "on" : null);
  return granted;
}

let audio: AudioContext | null = null;

/** Two short tones; nothing is loaded for them. */
export function chime(): void {
  try {
    audio ??= new AudioContext();
    const start = audio.currentTime;
    for (const [at, pitch] of [[0, 660], [0.14, 880]] as const) {
      const tone = audio.createOscillator();
      const volume = audio.createGain();
      tone.frequency.value = pitch;
      volume.gain.setValueAtTime(0.0001, start + at);
      volume.gain.exponentialRampToValueAtTime(0.14, start + at + 0.02);
      volume.gain.exponentialRampToValueAtTime(0.0001, start + at + 0.22);
      tone.connect(volume).connect(audio.destination);
      tone.start(start + at);
      tone.stop(start + at + 0.24);
    }
  } catch {
    // No sound here.
  }
}
