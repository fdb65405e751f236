import { useState } from "preact/hooks";
import { Pencil, Plus, Trash2, UserCheck, UserX } from "lucide-preact";
import { get, post, put, remove, words } from "../lib/api";
import { dayAndYear } from "../lib/format";
import { me } from "../lib/session";
import type { Role, User } from "../lib/types";
import { t } from "../strings";
import { Button, Confirm, Dialog, Field, Loading, Page, Secret, Select, Tag, Trouble, type Tone } from "../ui/basics";
import { FormDialog } from "../ui/form";
import { useLoad } from "../ui/hooks";
import { say } from "../ui/toast";

const ROLES: Role[] = ["USER", "OPERATOR", "ADMIN"];
const TONES: Record<Role, Tone> = { USER: "dim", OPERATOR: "info", ADMIN: "warn" };

export function Users() {
  const { data, error, reload } = useLoad((signal) => get<User[]>("/api/users", signal), []);
  const [editing, setEditing] = useState<User | "new" | null>(null);
  const [made, setMade] = useState<{ username: string; password: string } | null>(null);
  const [removing, setRemoving] = useState<User | null>(null);
  const turn = async (user: User) => {
    try {
      await put(`/api/users/${user.id}`, { isActive: !user.isActive });
      say(user.isActive ? t.users.isOff(user.username) : t.users.isOn(user.username), "good");
      reload();
    } catch (failure) {
      say(words(failure), "bad");
    }
  };
  return (
    <Page title={t.users.title} lead={t.users.lead} actions={<Button kind="primary" onClick={() => setEditing("new")}><Plus size={16} aria-hidden="true" /> {t.users.add}</Button>}>
      {error !== null ? <Trouble error={error} again={reload} /> : !data ? <Loading /> : (
        <div class="card table">
          <table>
            <thead>
              <tr><th scope="col">{t.users.name}</th><th scope="col">{t.users.role}</th><th scope="col">{t.users.state}</th><th scope="col">{t.common.since}</th><th scope="col"><span class="off-screen">{t.common.actions}</span></th></tr>
            </thead>
            <tbody>
              {data.map((user) => (
                <tr key={user.id} class={user.isActive ? "" : "off"}>
                  <th scope="row"><strong>{user.username}{user.id === me.value?.sub && ` (${t.who.you})`}</strong><span>{[user.firstName, user.lastName].filter(Boolean).join(" ") || user.email}</span></th>
                  <td><Tag tone={TONES[user.role]}>{t.role[user.role]}</Tag></td>
                  <td><Tag tone={user.isActive ? "good" : "bad"}>{user.isActive ? t.users.active : t.users.inactive}</Tag></td>
                  <td>{dayAndYear(user.createdAt)}</td>
                  <td class="row-actions">
                    <Button small kind="quiet" aria-label={t.users.changeWhat(user.username)} title={t.common.change} onClick={() => setEditing(user)}><Pencil size={16} aria-hidden="true" /></Button>
                    <Button small kind="quiet" aria-label={user.isActive ? t.users.turnOff(user.username) : t.users.turnOn(user.username)} title={user.isActive ? t.users.off : t.users.on} onClick={() => turn(user)}>
                      {user.isActive ? <UserX size={16} aria-hidden="true" /> : <UserCheck size={16} aria-hidden="true" />}
                    </Button>
                    <Button small kind="quiet" aria-label={t.common.removeWhat(user.username)} title={t.common.remove} onClick={() => setRemoving(user)}><Trash2 size={16} aria-hidden="true" /></Button>
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
      {editing && <Edit user={editing === "new" ? null : editing} onClose={() => setEditing(null)} onDone={(shown) => { setEditing(null); setMade(shown); reload(); }} />}
      {made && (
        <Dialog title={made.username} onClose={() => setMade(null)}>
          <p class="once">{t.users.once}</p>
          <Secret label={t.signIn.username} text={made.username} />
          <Secret label={t.signIn.password} text={made.password} />
          <div class="dialog-actions"><Button kind="primary" onClick={() => setMade(null)}>{t.common.done}</Button></div>
        </Dialog>
      )}
      {removing && (
        <Confirm
          title={t.common.removeWhat(removing.username)} text={t.users.removeText} verb={t.common.remove} onNo={() => setRemoving(null)}
          onYes={async () => {
            try {
              await remove(`/api/users/${removing.id}`);
              say(t.common.removed(removing.username), "good");
              reload();
            } catch (failure) {
              say(words(failure), "bad");
            }
            setRemoving(null);
          }}
        />
      )}
    </Page>
  );
}

/** Twenty characters that are not taken for one another when they are read out. */
function generated(): string {
  const letters = "abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789";
  let text = "";
  while (text.length < 20) {
    for (const byte of crypto.getRandomValues(new Uint8Array(32))) {
      // Without the uneven end of the range, so that each letter is as likely as any other.
      if (byte < 256 - (256 % letters.length) && text.length < 20) text += letters[byte % letters.length];
    }
  }
  return text;
}

function Edit({ user, onClose, onDone }: { user: User | null; onClose: () => void; onDone: (made: { username: string; password: string } | null) => void }) {
  const self = user?.id === me.value?.sub;
  const [form, setForm] = useState({ username: "", email: user?.email ?? "", firstName: user?.firstName ?? "", lastName: user?.lastName ?? "", password: user ? "" : generated() });
  const [role, setRole] = useState<Role>(user?.role ?? "USER");
  const send = async () => {
    const names = { firstName: form.firstName.trim() || null, lastName: form.lastName.trim() || null };
    if (user) {
      const email = form.email !== user.email ? { email: form.email } : {};
      await put(`/api/users/${user.id}`, { ...names, ...email, ...(role !== user.role ? { role } : {}), ...(form.password ? { password: form.password } : {}) });
      say(t.common.saved, "good");
      onDone(form.password ? { username: user.username, password: form.password } : null);
    } else {
      const given = Object.fromEntries(Object.entries(names).filter(([, name]) => name));
      const made = await post<User>("/api/users", { username: form.username.trim(), email: form.email.trim(), password: form.password, role, ...given });
      onDone({ username: made.username, password: form.password });
    }
  };
  return (
    <FormDialog
      title={user ? t.users.changeWhat(user.username) : t.users.add} names={["username", "email", "firstName", "lastName", "password", "role"]}
      verb={user ? t.common.save : t.users.add} onSend={send} onClose={onClose}
    >
      {(faults) => {
        const field = (name: keyof typeof form, label: string, more: object = {}) => (
          <Field label={label} value={form[name]} onText={(text) => setForm({ ...form, [name]: text })} fault={faults[name]} {...more} />
        );
        return (
          <>
            {!user && field("username", t.signIn.username, { autocapitalize: "none", spellcheck: false, required: true })}
            {field("email", t.users.email, { type: "email", required: true })}
            <div class="two">
              {field("firstName", t.users.firstName)}
              {field("lastName", t.users.lastName)}
            </div>
            <Select label={t.users.role} value={role} onChoice={setRole} choices={ROLES.map((one) => [one, t.role[one]])} hint={t.users.roleMore[role]} fault={faults["role"]} />
            {!self && field("password", user ? t.users.newPassword : t.signIn.password, { autocomplete: "new-password", hint: user ? t.users.newPasswordHint : t.users.passwordHint, spellcheck: false })}
          </>
        );
      }}
    </FormDialog>
  );
}
