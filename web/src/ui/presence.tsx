// Whether a camera is heard, and whether somebody is there.
import { EyeOff, User, Users } from "lucide-preact";
import { ago, full } from "../lib/format";
import type { Presence } from "../lib/types";
import { t } from "../strings";

/** Of what a hub tells: nothing where it tells nothing, or has never heard the camera. */
export function PresenceTags({ camera, now }: { camera: Presence; now: number }) {
  const count = camera.personCount ?? 0;
  const lost = camera.online === false && camera.lastSeen;
  if (!camera.occupied && !lost && !camera.online) return null;
  return (
    <span class="presence">
      {camera.occupied && (
        <span class="tag there">
          {count > 1 ? <Users size={14} aria-hidden="true" /> : <User size={14} aria-hidden="true" />} {count > 0 ? t.presence.there(count) : t.presence.somebody}
        </span>
      )}
      {camera.online && !camera.occupied && <span class="tag online"><i aria-hidden="true" /> {t.presence.online}</span>}
      {lost && (
        <span class="tag offline" title={full(camera.lastSeen!)}>
          <EyeOff size={14} aria-hidden="true" /> {t.presence.offline(ago(camera.lastSeen!, now))}
        </span>
      )}
    </span>
  );
}
