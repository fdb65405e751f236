// The door as a picture: a gate whose bars are down while it is locked, and up while it is open.
import type { DoorState } from "../lib/door";

const AROUND = 2 * Math.PI * 92;

/** `part`: how much of the time it stays open is left, from 1 to 0. */
export function Gate({ state, part }: { state: DoorState; part: number }) {
  return (
    <svg class="gate" viewBox="0 0 200 200" data-state={state} aria-hidden="true">
      <circle class="gate-track" cx="100" cy="100" r="92" />
      {state === "open" && (
        <circle class="gate-time" cx="100" cy="100" r="92" stroke-dasharray={AROUND} stroke-dashoffset={AROUND * (1 - part)} transform="rotate(-90 100 100)" />
      )}
      <clipPath id="gate-arch">
        <path d="M56 152V96a44 44 0 0 1 88 0v56z" />
      </clipPath>
      <path class="gate-hole" d="M56 152V96a44 44 0 0 1 88 0v56z" />
      <g clip-path="url(#gate-arch)">
        <g class="gate-bars">
          <path d="M68 40v106M84 40v106M100 40v106M116 40v106M132 40v106M50 84h100M50 108h100M50 132h100" />
          <path class="gate-tips" d="M64 144l4 10 4-10zM80 144l4 10 4-10zM96 144l4 10 4-10zM112 144l4 10 4-10zM128 144l4 10 4-10z" />
        </g>
      </g>
      <path class="gate-arch" d="M50 156V96a50 50 0 0 1 100 0v60" />
      {(state === "unknown" || state === "away") && <text class="gate-mark" x="100" y="128" text-anchor="middle">?</text>}
      {(state === "forced" || state === "held-too-long") && <text class="gate-mark" x="100" y="130" text-anchor="middle">!</text>}
    </svg>
  );
}
