#!/bin/bash
# What an operator does with the package, in a fresh Debian that scripts/test-package has booted. Each check is a line; the
# last line adds them up.
set -uo pipefail
export DEBIAN_FRONTEND=noninteractive LANG=C.UTF-8
passed=0 failed=0

# check WHAT COMMAND…: the command's output is shown when it fails.
check() {
    local what=$1 said
    shift
    if said=$("$@" 2>&1); then
        echo "ok     $what"
        passed=$((passed + 1))
    else
        echo "not ok $what"
        printf '%s\n' "$said" | tail -20 | sed 's/^/         /'
        failed=$((failed + 1))
    fi
}
# A command that is there, and fails.
refuse() {
    "$@"
    case $? in 0 | 126 | 127) return 1 ;; esac
}
is() { [[ $1 == "$2" ]] || { echo "$1, not $2"; return 1; }; }
# Waits until a command succeeds, for at most a minute.
soon() {
    local deadline=$((SECONDS + 60))
    until "$@"; do
        [[ $SECONDS -lt $deadline ]] || return 1
        sleep 0.2
    done
}
hub=http://127.0.0.1:3000
ready() { curl -sf -o /dev/null $hub/readyz; }
property() { systemctl show --value -p "$2" "$1"; }
set_to() { # NAME VALUE, in the service's settings
    sed -i "/^#\?$1=/d" /etc/portcullis/portcullis.env
    echo "$1=$2" >>/etc/portcullis/portcullis.env
}
sign_in() {
    jq -n --rawfile password /var/lib/portcullis/admin-password '{username: "admin", password: ($password | rtrimstr("\n"))}' |
        curl -sf $hub/auth/login -H 'Content-Type: application/json' -d @- | jq -re .access_token >/root/token
}
as_admin() { curl -sf -H "Authorization: Bearer $(cat /root/token)" "$@"; }
report() {
    curl -sf $hub/api/events -H "Authorization: Bearer $(jq -r .token /root/engine.json)" \
        -H 'Content-Type: application/json' -d "{\"cameraId\": 1, \"personCount\": $1}"
}
newest_count() { as_admin "$hub/api/events?cameraId=1&limit=1" | jq -e ".[0].personCount == $1"; }

# ---- it installs, and starts nothing
check "dpkg installs it" dpkg -i /package.deb
check "the hub is not enabled" is "$(systemctl is-enabled portcullis)" disabled
check "the hub is not running" is "$(systemctl is-active portcullis)" inactive
check "the lock worker is not enabled" is "$(systemctl is-enabled portcullis-lock-agent)" disabled
check "the lock worker is not running" is "$(systemctl is-active portcullis-lock-agent)" inactive
check "its user has no shell" is "$(getent passwd portcullis | cut -d: -f7)" /usr/sbin/nologin
check "settings are for root and the hub" is "$(stat -c %a:%U:%G /etc/portcullis/portcullis.env)" 640:root:portcullis
check "the data folder is the hub's alone" is "$(stat -c %a:%U /var/lib/portcullis)" 700:portcullis
check "the units are sound" systemd-analyze verify portcullis.service portcullis-lock-agent.service

# ---- it starts under its unit's user and restrictions
started=$SECONDS
check "systemctl start returns once the hub listens" systemctl enable --now --quiet portcullis
check "/readyz answers 200 once its database is open" soon ready
echo "         after $((SECONDS - started)) s, the first start, which makes a database"
pid=$(property portcullis MainPID)
status() { awk -v key="$1:" '$1 == key { print $2 }' "/proc/$pid/status"; }
check "it runs as portcullis" is "$(stat -c %U "/proc/$pid")" portcullis
check "it has no capability" is "$(status CapBnd)$(status CapEff)" "$(printf '0%.0s' {1..32})"
check "it can gain no privilege" is "$(status NoNewPrivs)" 1
check "its system calls are filtered" is "$(status Seccomp)" 2
check "PostgreSQL runs as the same user, within the unit" \
    grep -q portcullis.service "/proc/$(pgrep -o -u portcullis postgres)/cgroup"
check "it can't write outside its data folder" refuse nsenter -t "$pid" -m touch /etc/portcullis/x /usr/x /opt/x
check "it can write in its data folder" nsenter -t "$pid" -m touch /var/lib/portcullis/x
check "homes are hidden" is "$(nsenter -t "$pid" -m ls -A /root | wc -l)" 0
check "the first password is in the data folder" sign_in
# shellcheck disable=SC2016 # The inner shell expands it.
check "and not in the journal" refuse sh -c 'journalctl --no-pager -u portcullis | grep -F "$(cat /var/lib/portcullis/admin-password)"'
check "the log is in the journal" sh -c 'journalctl --no-pager -u portcullis | grep -q INFO'

# ---- it works
check "portcullis-ctl adds a device beside the running hub" \
    sh -c 'portcullis-ctl device add engine --role ai-engine --json >/root/engine.json && jq -e .token /root/engine.json'
check "portcullis-ctl is root's" refuse setpriv --reuid=nobody --clear-groups portcullis-ctl device list
check "a detection is stored" report 1
check "and shown" newest_count 1
check "the door opens" as_admin -X POST $hub/api/lock/open
check "systemctl restart keeps the data" sh -c "systemctl restart portcullis"
soon ready
check "the detection is still there" newest_count 1

# ---- a backup, made while the hub runs, and restored on what is as good as another machine
backup=/var/backups/portcullis/first
check "a backup is made beside the running hub" portcullis-ctl backup --with-secrets $backup
check "it is for the hub's user alone" is "$(stat -c %a:%U $backup)" 600:portcullis
report 2 >/dev/null
check "what came after it is there" newest_count 2
check "no restore under a running hub" refuse portcullis-ctl restore --replace $backup
systemctl stop portcullis
check "PostgreSQL has stopped with it" refuse pgrep postgres
find /var/lib/portcullis -mindepth 1 -delete
check "it is restored where nothing is" portcullis-ctl restore $backup
check "the hub starts with it" systemctl start portcullis
check "and is ready" soon ready
check "with the accounts of then" sign_in
check "and with what was stored then" newest_count 1
check "and the device's secret" report 1
check "the audit of then is whole" portcullis-ctl lock audit verify

# ---- it comes back
restarts=$(property portcullis NRestarts)
more_restarts() { [[ $(property portcullis NRestarts) -gt $restarts && $(systemctl is-active portcullis) == active ]]; }
kill -9 "$(property portcullis MainPID)"
check "killed, it is started again" soon more_restarts
check "and is ready again" soon ready
check "with its data" newest_count 1
mkdir -p /run/systemd/system/portcullis.service.d
printf '[Service]\nWatchdogSec=3\n' >/run/systemd/system/portcullis.service.d/soon.conf
systemctl daemon-reload
systemctl restart portcullis
soon ready
restarts=$(property portcullis NRestarts)
kill -STOP "$(property portcullis MainPID)"
check "hung, it is killed by the watchdog and started again" soon more_restarts
check "the journal says so" sh -c 'journalctl --no-pager | grep -q "Watchdog timeout"'
rm -r /run/systemd/system/portcullis.service.d
systemctl daemon-reload
systemctl restart portcullis

# ---- a lock worker of its own
set_to LOCK_AGENT remote
systemctl restart portcullis
check "without its lock worker the hub is not ready" refuse ready
portcullis-ctl device add front-door --role lock-agent --json >/root/worker.json
jq -j .password /root/worker.json | install -m 600 /dev/stdin /etc/portcullis/lock-agent.password
printf 'MQTT_URL=mqtt://127.0.0.1:1883\nMQTT_USERNAME=front-door\nGPIO_SIMULATED=true\n' >/etc/portcullis/lock-agent.env
check "the lock worker starts" systemctl start portcullis-lock-agent
check "the hub is ready with it" soon ready
check "it opens the door" as_admin -X POST $hub/api/lock/open
worker=$(property portcullis-lock-agent MainPID)
check "it runs as a user that exists only now" refuse grep -q "^$(stat -c %U "/proc/$worker"):" /etc/passwd
check "it reads nothing of the hub's" refuse setpriv --reuid="$(stat -c %u "/proc/$worker")" --clear-groups ls /var/lib/portcullis
systemctl stop portcullis-lock-agent
set_to LOCK_AGENT embedded
systemctl restart portcullis

# ---- an upgrade, and the end
was=$(property portcullis MainPID)
check "an upgrade installs" dpkg -i /package.deb
check "it restarts the running hub" refuse is "$(property portcullis MainPID)" "$was"
check "which is ready" soon ready
check "it starts no lock worker" is "$(systemctl is-active portcullis-lock-agent)" inactive
check "it keeps the settings" grep -q '^LOCK_AGENT=embedded' /etc/portcullis/portcullis.env
check "the audit is whole" portcullis-ctl lock audit verify
check "removing stops it" dpkg -r portcullis
check "nothing of it runs" refuse pgrep -u portcullis
check "purging takes the settings" dpkg -P portcullis
check "/etc/portcullis holds only what the operator put there" is "$(ls /etc/portcullis)" lock-agent.password
check "and leaves the data" test -d /var/lib/portcullis/postgres/cluster

printf '\n%d passed, %d failed\n' $passed $failed
[[ $failed -eq 0 ]]
