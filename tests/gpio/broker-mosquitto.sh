# Sourced by vm.sh: Mosquitto, which lets everything through.
GUEST_LOGIN='MQTT_USERNAME=lock MQTT_PASSWORD=none'

broker_start() {
  if [ -z "${MOSQUITTO:-}" ] || ! kill -0 "$MOSQUITTO" 2>/dev/null; then
    cat >mosquitto.conf <<CONF
allow_anonymous true
listener $PORT 127.0.0.1
listener $TLS_PORT 127.0.0.1
cafile $W/ca.pem
certfile $W/hub.pem
keyfile $W/hub.key
CONF
    mosquitto -c mosquitto.conf >>broker.log 2>&1 &
    MOSQUITTO=$!
  fi
  mosquitto_pub -h 127.0.0.1 -p "$PORT" -t ready -n 2>/dev/null
}
broker_kill() { kill -9 "$MOSQUITTO"; wait "$MOSQUITTO" 2>/dev/null || true; }
broker_stop() { [ -z "${MOSQUITTO:-}" ] || kill "$MOSQUITTO" 2>/dev/null; }
publish() { mosquitto_pub -h 127.0.0.1 -p "$PORT" -q 1 -t "$1" -m "$2" "${@:3}"; }
listen() { exec mosquitto_sub -h 127.0.0.1 -p "$PORT" -q 1 -v -t lock/status -t lock/response; }
pace() { :; } # each eight commands have a sender of their own
