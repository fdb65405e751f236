import { useEffect, useState } from "preact/hooks";
import { call, Failure, words } from "../lib/api";
import { go, ownPath, place } from "../lib/router";
import { ended, signIn } from "../lib/session";
import { t } from "../strings";
import { Button, Field } from "../ui/basics";
import { Mark } from "../ui/frame";

/** What a refusal means for whoever wants in. */
export function refusal(error: unknown, left: number | null): string {
  if (!(error instanceof Failure)) return words(error);
  if (error.status === 401) return /disabled/i.test(error.message) ? t.signIn.disabled : t.signIn.wrong;
  if (error.status === 429) return left !== null && left > 0 ? t.signIn.tooMany(left) : t.signIn.tryNow;
  if (error.status === 0 || error.status === 502) return t.signIn.away;
  if (error.status === 503) return /at once/.test(error.message) ? t.signIn.busy : t.signIn.database;
  return words(error);
}

export function SignIn() {
  const [username, setUsername] = useState("");
  const [password, setPassword] = useState("");
  const [stay, setStay] = useState(false);
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<unknown>(null);
  const [left, setLeft] = useState<number | null>(null);

  useEffect(() => {
    document.title = `${t.signIn.title} – ${t.brand}`;
  }, []);
  useEffect(() => {
    if (left === null || left <= 0) return;
    const timer = setTimeout(() => setLeft(left - 1), 1_000);
    return () => clearTimeout(timer);
  }, [left]);

  const submit = async (event: Event) => {
    event.preventDefault();
    setBusy(true);
    setError(null);
    try {
      const body = { username: username.trim(), password };
      const { access_token } = await call<{ access_token: string }>("/auth/login", { method: "POST", body, ownRefusal: true });
      const back = ownPath(place.value.query.get("back"));
      signIn(access_token, stay);
      go(back, { replace: true });
    } catch (failure) {
      setError(failure);
      setLeft(failure instanceof Failure ? failure.retryAfter : null);
      setBusy(false);
    }
  };
  const waits = error instanceof Failure && error.status === 429 && left !== null && left > 0;
  return (
    <main class="sign-in">
      <form onSubmit={submit} noValidate>
        <div class="sign-in-brand"><Mark /></div>
        <h1>{t.signIn.heading}</h1>
        <p class="lead">{ended.value === "expired" ? t.signIn.expired : ended.value === "signed-out" ? t.signIn.signedOut : t.signIn.lead}</p>
        {error !== null && <p class="sign-in-fault" role="alert">{refusal(error, left)}</p>}
        <Field label={t.signIn.username} name="username" autocomplete="username" autocapitalize="none" spellcheck={false} required value={username} onText={setUsername} autofocus />
        <Field label={t.signIn.password} name="password" type="password" autocomplete="current-password" required value={password} onText={setPassword} />
        <label class="check">
          <input type="checkbox" checked={stay} onChange={(change) => setStay(change.currentTarget.checked)} />
          <span>{t.signIn.stay}</span>
        </label>
        <Button kind="primary" type="submit" busy={busy} disabled={!username || !password || waits}>{t.signIn.go}</Button>
        <p class="hint">{t.signIn.first}</p>
      </form>
    </main>
  );
}
