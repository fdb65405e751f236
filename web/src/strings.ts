// Every English word that the dashboard shows. Another language is another file of this shape.

const plural = new Intl.PluralRules("en");
const count = (number: number, one: string, many: string): string =>
  `${new Intl.NumberFormat(typeof navigator === "undefined" ? "en" : navigator.language).format(number)} ${plural.select(number) === "one" ? one : many}`;

/** A time to wait. */
function wait(seconds: number): string {
  const whole = Math.max(1, Math.ceil(seconds));
  return whole < 90 ? count(whole, "second", "seconds") : count(Math.ceil(whole / 60), "minute", "minutes");
}

const FIELDS: Record<string, string> = {
  name: "The name", location: "The place", streamUrl: "The stream’s address", webrtcUrl: "The WebRTC address", description: "The note",
  username: "The user name", email: "The email address", firstName: "The first name", lastName: "The last name", password: "The password",
  currentPassword: "The present password", role: "The role", cameraId: "The camera", reason: "The reason", until: "The end", topic: "The topic",
};

/** The hub's words for a fault, as a person says them. Null for what is not known here: then the hub's own are shown. */
function fault(field: string, words: string): string | null {
  const name = FIELDS[field] ?? field;
  const length = /^must be (longer|shorter) than or equal to (\d+) characters/.exec(words);
  if (length) return `${name} must have ${length[1] === "longer" ? "at least" : "at most"} ${length[2]} characters.`;
  if (words.startsWith("should not be empty")) return `${name} is missing.`;
  if (words.startsWith("must be an email")) return "This is no email address.";
  if (words.startsWith("must be a URL address")) return `${name} must begin with rtsp://, http://, https:// or the like.`;
  if (words.startsWith("must be a device's name") || words.startsWith("must match /^[A-Za-z0-9_.-]")) return "Only letters, digits, dots, dashes and underscores, 64 at most.";
  if (words.startsWith("must be a string")) return `${name} is missing.`;
  return null;
}

export const t = {
  brand: "Portcullis",
  fault,
  common: {
    again: "Try again", cancel: "Cancel", close: "Close", dismiss: "Dismiss", loading: "Loading…", save: "Save", saved: "Saved.", change: "Change", remove: "Remove",
    done: "Done", later: "Later", more: "Show more", since: "Since", actions: "Actions", copied: "Copied.",
    copyWhat: (what: string) => `Copy: ${what}`, show: (what: string) => `Show: ${what}`, hide: (what: string) => `Hide: ${what}`,
    removeWhat: (what: string) => `Remove ${what}`, removed: (what: string) => `${what} is removed.`,
  },
  time: { now: "just now" },
  role: { USER: "User", OPERATOR: "Operator", ADMIN: "Administrator" },
  who: { you: "you", user: (id: number) => `user ${id}`, device: (name: string) => `device ${name}`, rule: (name: string) => `rule ${name}` },
  failure: {
    unknown: "Something went wrong here. Load the page again.",
    away: "The hub does not answer. Check that it runs and that you are on its network; this page tries again.",
    forbidden: "You may not do this. Ask an administrator.",
    notYours: "This page is not for your role",
    tooMany: (seconds: number | null) => (seconds ? `Too many tries. Wait ${wait(seconds)}, then try again.` : "Too many tries. Wait a little, then try again."),
    status: (status: number) => `The hub answered with status ${status}.`,
  },
  nav: {
    live: "Live", events: "Events", door: "Door", charts: "Charts", cameras: "Cameras", devices: "Devices", users: "Users", system: "System", profile: "Profile", more: "More",
    all: "All pages", main: "Main pages", skip: "Skip to the page", unresolved: (number: number) => count(number, "unresolved event", "unresolved events"),
  },
  line: {
    live: "Live", connecting: "Connecting", lost: "No connection",
    lostTitle: "The hub cannot be heard.",
    lostSince: (time: string) => `What you see is as of ${time}. Trying again; nothing that happens meanwhile is lost.`,
    back: (missed: number) => (missed === 0 ? "Connected again. Nothing was missed." : `Connected again. ${count(missed, "event", "events")} that came meanwhile ${missed === 1 ? "is" : "are"} here now.`),
  },
  signIn: {
    title: "Sign in", heading: "Sign in to Portcullis", lead: "Doors with cameras: who is there, and the lock.",
    username: "User name", password: "Password", stay: "Stay signed in on this browser", go: "Sign in", out: "Sign out",
    expired: "You were signed out: your session ended. Sign in to go on where you were.", signedOut: "You are signed out.",
    first: "On a new hub the user is admin, and its password stands where the hub was started.",
    wrong: "This user name and password do not belong together. Check both.",
    disabled: "This account is disabled. An administrator can switch it on again.",
    tooMany: (seconds: number) => `Too many wrong tries. You can try again in ${wait(seconds)}.`,
    tryNow: "You can try again now.",
    away: "The hub does not answer. Check that it runs and that you are on its network, then try again.",
    busy: "Many are signing in at this moment. Try again in a few seconds.",
    database: "The hub runs, but its database does not answer. Try again soon; if it stays so, look at the hub’s log.",
  },
  kind: {
    PERSON_DETECTED: "Person", MULTIPLE_PERSONS: "Several people", DOOR_OPENED: "Door opened", DOOR_CLOSED: "Door closed", SYSTEM_ALERT: "Alert",
    people: (number: number) => count(number, "person", "people"),
  },
  door: {
    title: "Door", simulated: "simulated",
    state: { locked: "Locked", open: "Open", held: "Held open", forced: "Forced open", "held-too-long": "Left open", away: "Out of reach", unknown: "Unknown" },
    more: {
      locked: () => "Closed and locked.",
      open: () => "The door is unlocked.",
      held: (_: string | null, until: string | null, reason: string | null) => [until && `Until ${until}.`, reason && `“${reason}”`].filter(Boolean).join(" "),
      forced: (since: string | null) => `It was opened without a command${since ? ` at ${since}` : ""}. Look who is there.`,
      "held-too-long": (since: string | null) => `The lock has closed, the door has not${since ? `; since ${since}` : ""}. Somebody should shut it.`,
      away: () => "The lock agent does not answer: nobody can open the door from here.",
      unknown: () => "The door’s state is not known at the moment.",
    } as Record<string, (since: string | null, until: string | null, reason: string | null) => string>,
    closesIn: (seconds: number) => (seconds === 0 ? "Closing…" : `Closes in ${count(seconds, "second", "seconds")}`),
    lastOpened: (who: string | null, when: string) => (who ? `Last opened by ${who}, ${when}` : `Last opened ${when}`),
    holdToOpen: "Hold to open", opening: "Opening…", holdLonger: "Keep holding for a second.", close: "Close now",
    didOpen: "The door is open.", didClose: "The door is closed.", didHold: "The door is held open.",
    refused: (why: string) => `Not done: the lock agent refused. ${why}`,
    unavailable: (why: string) => `Not done: ${why || "the lock cannot be reached"}. The door is as it was.`,
    unconfirmed: "No answer from the lock agent in time. The command has ended; look above at what the door is now.",
    unheard: "The hub did not answer. Whether the door moved is not known: look at it before you try again.",
    confirmTitle: "Open the door?", confirmText: "It unlocks at once and locks again by itself.", confirmVerb: "Open the door",
    hold: "Hold open", holdMore: "The door stays unlocked until then, and locks again by itself. It is the only exception to the longest open time.",
    holdFor: "For how long", holdReason: "Why", holdReasonMore: "It is kept in the door’s history.", holdVerb: "Hold it open",
    minutes: (number: number) => count(number, "minute", "minutes"), hoursLong: (number: number) => count(number, "hour", "hours"),
    past: "History", nothing: "Nobody has asked for anything yet", nothingMore: "Each command stands here, refused ones too, with who gave it and what became of it.",
    did: (action: string) => ({ open: "Open", close: "Close", toggle: "Toggle", hold: "Hold open" })[action] ?? action,
    by: (who: string) => `by ${who}`,
    channel: (channel: string) => ({ http: "dashboard or REST", mqtt: "MQTT", internal: "the hub itself" })[channel] ?? channel,
    took: (ms: string) => `${ms} ms`, times: (times: string) => `${times} times`, seen: (camera: string) => `Seen just before: ${camera}`, picture: (camera: string) => `Who was seen just before: ${camera}`,
    outcome: (outcome: string) => ({ done: "Done", refused: "Refused", "no-worker": "No lock agent", "no-confirmation": "Not confirmed", "not-given": "Not given", interrupted: "Interrupted", "under-way": "Under way" })[outcome] ?? outcome,
  },
  live: {
    title: "Live", cameras: "Cameras", today: "today", unresolved: "unresolved", stream: "Events", which: "Which events", all: "All", open: "Unresolved",
    noCamera: "No camera yet", nothingYet: "Nothing yet", quiet: "All is quiet", quietMore: "Whatever happens shows up here at once.",
    allDone: "Nothing is left to do", allDoneMore: "All events that are shown here are resolved.", keys: "J and K move, R resolves, Enter opens.",
    testMark: "Person 97 %", picture: (title: string, camera: string) => `${title} at ${camera}`, view: (camera: string) => `Live view of ${camera}`, viewShort: "Live view",
    sound: "Sound", notify: "Notifications", notifyRefused: "The browser does not allow notifications for this page. Change it in the page’s settings.",
    testWords: "Test from the dashboard", testSent: (camera: string) => `A test detection was sent for ${camera}.`,
    spark: (number: number) => `${count(number, "detection", "detections")} in the last 24 hours`,
  },
  presence: {
    there: (number: number) => `${count(number, "person", "people")} there`, somebody: "Somebody is there", online: "Online", offline: (when: string) => `Offline, heard ${when}`, nobody: "Nobody is seen",
    title: "Presence", heard: "Heard",
  },
  view: {
    of: (camera: string) => `Live view of ${camera}`, none: "No live view here", waiting: "Waiting for the camera…", full: "Full screen", live: (how: string) => `Live by ${how}`,
    how: { whep: "WebRTC", hls: "HLS", film: "video", mjpeg: "MJPEG" },
    noAddress: "This camera has no address of a stream. An operator enters one on the page Cameras.",
    noFrame: "The hub did not give the page that plays it. Try again.",
    hindrance: {
      scheme: "Browsers play no RTSP, RTMP or SRT. A program such as go2rtc or MediaMTX turns it into WebRTC: enter its WHEP address as WebRTC.",
      socket: "A WebSocket address is no WHEP address. go2rtc’s ends with /api/webrtc?src=NAME, MediaMTX’s with /NAME/whep.",
      mixed: "This page came by HTTPS, and browsers then load nothing by plain HTTP. Give the camera’s server HTTPS too.",
      credentials: "Its address has a user name and a password in it, which browsers do not send for a picture of another server. Put a program such as go2rtc in front, and enter its WHEP address as WebRTC.",
      ipv6: "Its address is a bare IPv6 address, which a page’s policy cannot allow. Give the camera’s server a name.",
      "no-hls": "This browser does not play HLS. Enter a WHEP address as WebRTC, or use a browser that does, such as Safari.",
      "no-webrtc": "This browser has no WebRTC, or it is switched off.",
      address: "Its address cannot be read as one that a browser loads.",
    },
    fault: (how: string, why: string, status: number) => {
      const server = ({ whep: "The WebRTC address", hls: "The HLS stream", film: "The video", mjpeg: "The stream" })[how] ?? how;
      if (why === "answer") return `${server} was answered with status ${status}. ${status === 401 || status === 403 ? "It wants a user name and a password." : how === "whep" ? "Is it a WHEP address? go2rtc’s ends with /api/webrtc?src=NAME, MediaMTX’s with /NAME/whep." : ""}`;
      if (why === "unheard") return `${server} could not be reached${how === "whep" ? `, or its server does not let this page in: it must allow the origin ${location.origin} (CORS)` : ", or sends no pictures that a browser knows"}.`;
      if (why === "codec") return `${server} sends what this browser cannot show. H.264 is what all know.`;
      return `${server} answered, but no picture came. Media goes by a port of its own: check that it is open from here.`;
    },
  },
  first: {
    title: "First steps",
    see: "See it work", seeMore: "Send a test detection with a picture. It takes the way that every detection takes, and shows up at once.", test: (camera: string) => `Test ${camera}`,
    camera: "Make the cameras yours", cameraMore: "Two examples are there. Rename them, or add your own:",
    engine: "Connect an AI engine", engineMore: "Give a camera a credential, and paste the line that you are shown into its engine.",
  },
  events: {
    title: "Events", filters: "Filters", camera: "Camera", kind: "Kind", state: "State", when: "When", anyCamera: "All cameras", anyKind: "All kinds", anyState: "All",
    open: "Unresolved", resolved: "Resolved", always: "Any time", own: "From … to …", from: (zone: string) => `From (${zone.replace(/_/g, " ")})`, to: (zone: string) => `To (${zone.replace(/_/g, " ")})`, clear: "Clear filters",
    last: { "1h": "Last hour", "24h": "Last 24 hours", "7d": "Last 7 days", "30d": "Last 30 days" },
    link: "Copy link", csv: "Save as CSV", none: "No events match", noneYet: "There is no event yet.",
    end: (number: number) => (number === 1 ? "That was the only one." : `That was all: ${count(number, "event", "events")}.`),
    choose: (id: number) => `Select event ${id}`, resolve: "Resolve", resolveOne: (title: string, id: number) => `Resolve ${title}, event ${id}`, resolveKey: "Resolve (R)",
    pickAll: (number: number) => `Select all ${number} unresolved that are loaded`, picked: (number: number) => `${number} selected`, resolvePicked: "Resolve selected",
    resolvedMany: (number: number) => `${count(number, "event", "events")} resolved.`, resolvedSome: (number: number, why: string) => `${count(number, "event", "events")} resolved, then it stopped: ${why}`,
    saved: (number: number) => `${count(number, "event", "events")} saved.`, savedSome: (number: number) => `Only the newest ${count(number, "event", "events")} are in the file.`,
    one: (id: string) => `Event ${id}`, back: "All events", persons: "People", confidence: "Confidence", description: "Note", by: "By", detectedAt: "Seen at", storedAt: "Stored at", resolvedAt: "Resolved at",
    picturePath: "Picture", noPicture: "It came without a picture.", noPictureBecause: (why: string) => `Its picture was not stored: ${why}`, pictureElsewhere: "The hub has no picture of it, only what the engine calls it:", pictureGone: "Its picture is not kept any more.",
    pictureFull: "Open the picture by itself", id: "Number", detectionId: "Detection", removeTitle: "Remove this event?", removeText: "It is removed for good, from lists and sums.",
  },
  charts: {
    title: "Charts", lead: (zone: string) => `Days and hours as they are in ${zone.replace(/_/g, " ")}.`,
    byHour: "Last 48 hours", byDay: "Last 30 days", by: "By hour or day", hours: "Hours", days: "Days", hour: "Hour", day: "Day", kinds: "Kinds shown",
    overTimeLabel: (number: string) => `Events over time, ${number} in all. The figures follow as a table.`, figures: "Figures",
    today: "Today", usual: "Usual day", usually: (number: string) => `so far; ${number} on a usual day by now`, noUsual: "so far; there are no days to compare with yet",
    todayLabel: (today: string, usual: string) => `Detections of people by hour: ${today} today so far, ${usual} on a usual day by now`,
    week: "The week by the hour", weeks: (number: number) => `Last ${number} weeks`, weekday: "Day of the week", cell: (day: string, hour: number, number: string) => `${day}, ${String(hour).padStart(2, "0")}:00: ${number}`,
    byCamera: "By camera", lastWeek: "Last 7 days",
  },
  cameras: {
    title: "Cameras", lead: "What the hub takes detections for.", add: "Add a camera", name: "Name", location: "Place", streamUrl: "Stream", webrtcUrl: "WebRTC", description: "Note", number: "Number",
    nameExample: "Front door", locationExample: "Main building", streamHint: "For engines, and for the live view if browsers can play it: MJPEG or HLS. The hub itself does not open it.", webrtcHint: "A WHEP address for the live view, such as go2rtc’s or MediaMTX’s.",
    on: "Active", off: "Inactive", turnOn: "Activate", turnOff: "Deactivate", isOn: (name: string) => `${name} is active.`, isOff: (name: string) => `${name} is inactive. Its events stay.`,
    nowhere: "No place given", newest: "Newest event", test: (name: string) => `Send a test detection for ${name}`, testShort: "Test", connect: "Credential",
    made: (name: string) => `${name} is added.`, changeWhat: (name: string) => `Change ${name}`, removeText: "Only a camera without events can be removed. Others can be deactivated.",
    connectWhat: (name: string) => `A credential for ${name}`, connectMore: "Whatever watches this camera signs in as a device of its own. Its secret is shown once.", connectVerb: "Make it",
  },
  devices: {
    title: "Devices", lead: "What signs in to the hub without being a person.", add: "Add a device", none: "No devices yet", noneMore: "Cameras’ engines, lock agents and panels each get a credential of their own.",
    name: "Name", nameHint: "Also its user name for MQTT: letters, digits, dots, dashes and underscores.", role: "Role", online: "Connection", isOnline: "Online", seen: (when: string) => `Seen ${when}`, never: "Never seen",
    roles: { camera: "Camera", "ai-engine": "AI engine", "lock-agent": "Lock agent", sensor: "Sensor", controller: "Controller" },
    roleMore: {
      camera: "Reports for one camera.", "ai-engine": "Reports for all cameras, and hears events.", "lock-agent": "Works the lock’s relay on another machine.",
      sensor: "May nothing until the broker’s file says what.", controller: "Works the lock, and hears events.",
    },
    once: "This is shown once. Copy it now; afterwards only a new secret can be made.", username: "User name", password: "Password", token: "Token for HTTP", byHttp: "Try it by HTTP", byMqtt: "Try it by MQTT",
    rotate: "New secret", rotateWhat: (name: string) => `A new secret for ${name}`, rotateText: "The present secret ends at once, and so do its sessions.", removeText: "Its sessions end at once, and it cannot sign in any more.",
    ask: "What may it do?", askWhat: (name: string) => `May ${name} do this?`, action: "What", publish: "Publish on the topic", subscribe: "Subscribe to the topic", topic: "Topic", askVerb: "Ask the hub", yes: "Yes.", no: "No.",
  },
  users: {
    title: "Users", lead: "Who may sign in, and what each may do.", add: "Add a user", name: "Name", role: "Role", state: "State", active: "Active", inactive: "Disabled", email: "Email", firstName: "First name", lastName: "Last name",
    roleMore: { USER: "Looks on.", OPERATOR: "Also resolves events, changes cameras and works the lock.", ADMIN: "Also manages users and devices." },
    off: "Disable", on: "Enable", turnOff: (name: string) => `Disable ${name}`, turnOn: (name: string) => `Enable ${name}`, isOff: (name: string) => `${name} is disabled and signed out.`, isOn: (name: string) => `${name} may sign in again.`,
    changeWhat: (name: string) => `Change ${name}`, passwordHint: "At least 8 characters.", newPassword: "New password", newPasswordHint: "Leave it empty to keep the present one.", once: "Give these to the person; the password is shown here once.",
    removeText: "The account is removed for good. To only keep somebody out, disable it.",
  },
  system: {
    title: "System", version: (version: string, zone: string) => `Portcullis ${version}, time zone ${zone.replace(/_/g, " ")}`, docs: "REST documentation", licences: "Licences of what the dashboard is made with",
    parts: "Parts", allUp: "All is well", someDown: "Something is down", states: { up: "Works", degraded: "Look at it", down: "Down" }, since: (when: string) => `since ${when}`,
    part: (name: string) => (name === "lock worker" ? "Lock agent" : name.charAt(0).toUpperCase() + name.slice(1)),
    rates: "At work", perSecond: "each second", rate: { detections: "Detections", rejected: "Rejected", messages: "MQTT messages", requests: "HTTP requests" },
    sockets: "Dashboards", sessions: "MQTT sessions", queue: "Waiting to be stored", memory: "Memory", errors: "Errors logged", started: "Started",
    log: "Log", logMore: "Until the next start the hub logs by:", logSet: (level: string) => `The log shows ${level} and worse.`,
    rejected: "Rejected messages", noneRejected: "Nothing was rejected", noneRejectedMore: "What an engine sends and the hub cannot take is kept here, with the reason.", payload: "What was sent",
  },
  profile: {
    browser: "This browser", theme: "Appearance", system: "As the system", light: "Light", dark: "Dark", soundMore: "Two short tones at each new event.", notifyMore: "When this page is not in front.",
    password: "Password", current: "Present password", fresh: "New password", again: "New password, again", change: "Change password", changed: "Your password is changed.", differ: "The two are not the same.",
    wrong: "This is not your present password.", others: "You stay signed in here, and are signed out everywhere else.",
  },
};
