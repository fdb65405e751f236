import { useEffect, useState } from "preact/hooks";
import { LogOut } from "lucide-preact";
import { call, Failure, faultsByField, get, put, words } from "../lib/api";
import { dayAndYear } from "../lib/format";
import { connect, setRenewing } from "../lib/hub";
import { notify, setNotify, setSound, setTheme, sound, theme, type Theme } from "../lib/prefs";
import { me, renew, signOut } from "../lib/session";
import type { User } from "../lib/types";
import { t } from "../strings";
import { Button, Card, Field, Loading, Page, Segments, Switch, Tag, Trouble } from "../ui/basics";
import { useLoad } from "../ui/hooks";
import { say } from "../ui/toast";

export function Profile() {
  const { data, error, reload, set } = useLoad((signal) => get<User>("/api/users/me", signal), []);
  return (
    <Page title={t.nav.profile} actions={<Button onClick={() => signOut("signed-out")}><LogOut size={16} aria-hidden="true" /> {t.signIn.out}</Button>}>
      <div class="profile">
        {error !== null ? <Trouble error={error} again={reload} /> : !data ? <Loading /> : <Person user={data} onChange={set} />}
        <Card title={t.profile.browser}>
          <div class="setting">
            <span id="theme-name">{t.profile.theme}</span>
            <Segments<Theme> label={t.profile.theme} value={theme.value} onChoice={setTheme} choices={[["system", t.profile.system], ["light", t.profile.light], ["dark", t.profile.dark]]} />
          </div>
          <Switch label={t.live.sound} hint={t.profile.soundMore} on={sound.value} onChange={setSound} />
          {typeof Notification !== "undefined" && isSecureContext && (
            <Switch label={t.live.notify} hint={t.profile.notifyMore} on={notify.value} onChange={async (on) => { if (!(await setNotify(on))) say(t.live.notifyRefused, "bad"); }} />
          )}
        </Card>
        {data && <Password user={data} />}
      </div>
    </Page>
  );
}

function Person({ user, onChange }: { user: User; onChange: (user: User) => void }) {
  const [firstName, setFirst] = useState(user.firstName ?? "");
  const [lastName, setLast] = useState(user.lastName ?? "");
  const [faults, setFaults] = useState<Record<string, string>>({});
  const [busy, setBusy] = useState(false);
  useEffect(() => {
    setFirst(user.firstName ?? "");
    setLast(user.lastName ?? "");
  }, [user]);
  const submit = async (event: Event) => {
    event.preventDefault();
    setBusy(true);
    setFaults({});
    try {
      onChange(await put<User>(`/api/users/${user.id}`, { firstName: firstName.trim() || null, lastName: lastName.trim() || null }));
      say(t.common.saved, "good");
    } catch (error) {
      setFaults(faultsByField(error, ["firstName", "lastName"]));
    }
    setBusy(false);
  };
  return (
    <Card title={user.username} aside={<Tag tone="info">{t.role[user.role]}</Tag>}>
      <dl class="facts small">
        <dt>{t.users.email}</dt><dd>{user.email}</dd>
        <dt>{t.common.since}</dt><dd>{dayAndYear(user.createdAt)}</dd>
      </dl>
      <form onSubmit={submit} noValidate>
        {faults[""] && <p class="form-fault" role="alert">{faults[""]}</p>}
        <div class="two">
          <Field label={t.users.firstName} value={firstName} onText={setFirst} fault={faults["firstName"]} autocomplete="given-name" />
          <Field label={t.users.lastName} value={lastName} onText={setLast} fault={faults["lastName"]} autocomplete="family-name" />
        </div>
        <Button type="submit" busy={busy}>{t.common.save}</Button>
      </form>
    </Card>
  );
}

/** A new password ends every token, this one too: so one signs in anew with it, without noticing. */
function Password({ user }: { user: User }) {
  const [current, setCurrent] = useState("");
  const [fresh, setFresh] = useState("");
  const [again, setAgain] = useState("");
  const [faults, setFaults] = useState<Record<string, string>>({});
  const [busy, setBusy] = useState(false);
  const submit = async (event: Event) => {
    event.preventDefault();
    if (fresh !== again) return setFaults({ again: t.profile.differ });
    setBusy(true);
    setFaults({});
    setRenewing(true);
    let changed = false;
    try {
      await put(`/api/users/${user.id}`, { currentPassword: current, password: fresh }, true);
      changed = true;
      const { access_token } = await call<{ access_token: string }>("/auth/login", { method: "POST", body: { username: user.username, password: fresh }, ownRefusal: true });
      renew(access_token);
      connect();
      setCurrent("");
      setFresh("");
      setAgain("");
      say(t.profile.changed, "good");
    } catch (error) {
      if (changed) signOut("expired");
      else if (error instanceof Failure && error.status === 401) {
        if (/credentials/i.test(error.message)) setFaults({ currentPassword: t.profile.wrong });
        else signOut("expired");
      } else if (error instanceof Failure && error.status === 400) setFaults(faultsByField(error, ["currentPassword", "password"]));
      else setFaults({ "": words(error) });
    }
    setRenewing(false);
    setBusy(false);
  };
  return (
    <Card title={t.profile.password}>
      <form onSubmit={submit} noValidate>
        <input class="off-screen" type="text" name="username" autocomplete="username" value={me.value?.username} readOnly tabIndex={-1} aria-hidden="true" />
        {faults[""] && <p class="form-fault" role="alert">{faults[""]}</p>}
        <Field label={t.profile.current} type="password" autocomplete="current-password" value={current} onText={setCurrent} fault={faults["currentPassword"]} />
        <Field label={t.profile.fresh} type="password" autocomplete="new-password" value={fresh} onText={setFresh} fault={faults["password"]} hint={t.users.passwordHint} />
        <Field label={t.profile.again} type="password" autocomplete="new-password" value={again} onText={setAgain} fault={faults["again"]} />
        <Button kind="primary" type="submit" busy={busy} disabled={!current || !fresh || !again}>{t.profile.change}</Button>
        <p class="hint">{t.profile.others}</p>
      </form>
    </Card>
  );
}
