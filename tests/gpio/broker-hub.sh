# Sourced by vm.sh: the hub itself, with a private PostgreSQL (a socket in the file system, so it needs no network).
HTTP_PORT=43000
export DATA_DIR=$W/data DATABASE_URL=${DATABASE_URL:-}
if [ -z "$DATABASE_URL" ]; then
  unset DATABASE_URL
  # A run that was killed may have left its server behind.
  for PID_FILE in "$DATA_DIR"/postgres/cluster/postmaster.pid; do
    [ -s "$PID_FILE" ] || continue
    PID=$(head -n 1 "$PID_FILE")
    [ "$(cat "/proc/$PID/comm" 2>/dev/null)" != postgres ] || kill -INT "$PID"
  done
  rm -rf "$DATA_DIR"
fi

HUB_ENVIRONMENT=(HOST=127.0.0.1 PORT=$HTTP_PORT MQTT_PORT="$PORT" MQTT_TLS_PORT="$TLS_PORT" MQTT_TLS_CERT="$W/hub.pem"
  MQTT_TLS_KEY="$W/hub.key" LOCK_AGENT=remote RUST_LOG=info)

# Prints NAME's secret of a new device.
device() { env "${HUB_ENVIRONMENT[@]}" "$PORTCULLIS" device add "$1" --role "$2" --json 2>>broker.log | jq -r .password; }
broker_start() {
  if [ -z "${HUB:-}" ] || ! kill -0 "$HUB" 2>/dev/null; then
    # Not from a function: the process to kill is the hub itself.
    env "${HUB_ENVIRONMENT[@]}" "$PORTCULLIS" serve >>broker.log 2>&1 &
    HUB=$!
  fi
  # All but the lock worker, which is in the guest.
  curl -s "http://127.0.0.1:$HTTP_PORT/readyz" | jq -e '[.parts[] | select(.name != "lock worker") | .up] | all' >/dev/null \
    || return 1
  if [ -z "${DOOR:-}" ]; then
    LOCK=$(device lock lock-agent)
    DOOR=$(device door controller)
    # One for the desk's own ways: POST /api/lock/open.
    TOKEN=$(jq -n --arg password "$(cat "$DATA_DIR/admin-password")" '{ username: "admin", password: $password }' \
      | curl -fs "http://127.0.0.1:$HTTP_PORT/auth/login" -H 'content-type: application/json' -d @- | jq -r .access_token)
    GUEST_LOGIN="MQTT_USERNAME=lock MQTT_PASSWORD=$LOCK"
  fi
}
broker_kill() { kill -9 "$HUB"; wait "$HUB" 2>/dev/null || true; }
broker_stop() { [ -z "${HUB:-}" ] || { kill "$HUB" 2>/dev/null; wait "$HUB" 2>/dev/null; }; }
publish() { mosquitto_pub -h 127.0.0.1 -p "$PORT" -i door-publish -u door -P "$DOOR" -q 1 -t "$1" -m "$2" "${@:3}"; }
listen() { exec mosquitto_sub -h 127.0.0.1 -p "$PORT" -i door-listen -u door -P "$DOOR" -q 1 -v -t lock/status -t lock/response; }
# post VERB: POST /api/lock/VERB; its status code
post() { curl -s -o post.json -w '%{http_code}' -X POST "http://127.0.0.1:$HTTP_PORT/api/lock/$1" -H "authorization: Bearer $TOKEN"; }
# forced_doors N: whether the hub has stored alerts of so many forced doors; one that is told twice is one
forced_doors() {
  [ "$(curl -fs "http://127.0.0.1:$HTTP_PORT/api/events?limit=100" -H "authorization: Bearer $TOKEN" \
    | jq '[.[].description // "" | select(startswith("DOOR_FORCED"))] | unique | length' 2>/dev/null)" = "$1" ]
}
GIVEN=()
# A sender may give 10 commands in 10 s: waits until this is not one too many.
pace() {
  local oldest
  if [ ${#GIVEN[@]} -ge 9 ]; then
    oldest=${GIVEN[0]}
    GIVEN=("${GIVEN[@]:1}")
    while [ $(($(date +%s%3N) - oldest)) -lt 10500 ]; do sleep 0.1; done
  fi
  GIVEN+=("$(date +%s%3N)")
}
