# Sourced by vm.sh: what the worker must and must not do. The relay is line 17's bit in the chip's output register.

LOCKED=
# locked_for SECONDS: whether the relay has been seen at 0 for so long
locked_for() {
  [ "$(relay)" = 0 ] || LOCKED=
  [ -n "$LOCKED" ] || LOCKED=$(date +%s%N)
  [ "$(relay)" = 0 ] && [ $(($(date +%s%N) - LOCKED)) -ge $(($1 * 1000000000)) ]
}
# stays WHAT BIT: watched for a second
stays() {
  local seen end=$(($(date +%s%N) + 1000000000))
  seen=$(relay)
  while [ "$(date +%s%N)" -lt $end ]; do [ "$(relay)" = "$2" ] || seen="$1 moved"; done
  is "$1: the relay stays" "$seen" "$2"
}
refused() { # WHAT WORD
  if [ "$BROKER" = hub ] && [ "$OUTCOME" = nothing ]; then
    say "      $1: the hub kept it to itself"
  else
    is "$1" "$OUTCOME" refused
    case $MESSAGE in *"$2"*) ;; *) is "$1: its reason" "$MESSAGE" "…$2…" ;; esac
  fi
  is "$1: the relay" "$(relay)" 0
}

# -- The start
start
must 20 status_is CLOSED
is "the worker came up, the relay" "$(relay)" 0
is "line $LINE is an output" $((($(register 0) >> LINE) & 1)) 1

# -- A hub that shows a certificate of somebody else's is no hub
stop -TERM
must 10 status_is offline
start MQTT_CA=/other.pem
if eventually 3 status_is CLOSED; then OUTCOME=connected; else OUTCOME=nothing; fi
is "with another authority" "$OUTCOME" nothing
stop -TERM
start
must 20 status_is CLOSED

# -- Commands
give open
is "open" "$OUTCOME" done
is "after open the relay" "$(relay)" 1
is "after open the status" "$(status)" OPEN
T=$(date +%s%3N)
must 10 relay_is 0
T=$(($(date +%s%3N) - T))
is "it closed by itself in 2 s, or nearly ($T ms after the response)" $((T > 1000 && T < 3500)) 1
must 5 status_is CLOSED
give toggle
is "toggle, the relay" "$OUTCOME $(relay)" "done 1"
give toggle
is "toggle again, the relay" "$OUTCOME $(relay)" "done 0"
give open
give close
is "close, the relay" "$OUTCOME $(relay)" "done 0"

# -- What must be refused. A hub refuses most of it before the worker hears of it, so no response comes.
[ "$BROKER" != hub ] || PATIENCE=1
give open -20000 9000
refused "an expired command" expired
give open 8000 2500
refused "a command from the future" future
give open 0 60000
refused "a command that lives for a minute" "10 seconds"
give explode
refused "an unknown action" "nknown action"
give close
mark
publish lock/command "$(command open)" # the same id once more
if eventually 3 answered; then OUTCOME=$(answer .outcome); MESSAGE=$(answer .message); else OUTCOME=nothing; fi
refused "a command under an id that was used" before

unset PATIENCE

# -- Killed while open: the kernel leaves the line as it was (this driver does), the next start closes it
give open
is "open before kill -9, the relay" "$(relay)" 1
stop -9
must 20 status_is offline
is "kill -9 while open, the relay" "$(relay)" 1
ID=$(cat /proc/sys/kernel/random/uuid)
EARLY=$(command open 0 9900)
# Retained while no worker is there; or, with a hub, not taken at all.
RETAINED=$(COUNT=$((COUNT + 8)); command open 0 9900)
publish lock/command "$RETAINED" -r 2>>broker.log || say "      the broker does not take a retained command"
mark
start
must 20 status_is CLOSED
is "started again, the relay" "$(relay)" 0
if [ "$BROKER" = mosquitto ]; then
  must 5 answered
  OUTCOME=$(answer .outcome) MESSAGE=$(answer .message)
  refused "a retained command" retained
  mosquitto_pub -h 127.0.0.1 -p "$PORT" -t lock/command -r -n
  ID=$(cat /proc/sys/kernel/random/uuid)
  EARLY=${EARLY/\"commandId\":\"*\",\"issuedAt/\"commandId\":\"$ID\",\"issuedAt}
  mark
  publish lock/command "$EARLY"
  must 5 answered
  OUTCOME=$(answer .outcome) MESSAGE=$(answer .message)
  refused "a command from before the start" "before the lock worker started"
fi
stays "after the restart" 0

# -- The broker is lost while the door is open
give open
is "open before the broker is lost, the relay" "$(relay)" 1
broker_kill
must 10 relay_is 0
say "ok    without a broker it closed by itself"
mark
must 60 broker_start
must 60 told CLOSED
give open
is "after the broker's return, open" "$OUTCOME $(relay)" "done 1"

# -- Stopped while open
stop -TERM
is "SIGTERM while open, the relay" "$(relay)" 0
must 10 status_is offline

# -- How long an opening takes
start LOCK_OPEN_SECONDS=1
must 20 status_is CLOSED
. "$HERE/latency.sh"

# -- A second one cannot have the line
is "a second worker's exit code" "$(ask "env $GUEST_LOGIN GPIO_CHIP=/dev/gpiochip0 portcullis lock-agent >/dev/ttyS0 2>&1; echo \$?")" 1

# -- The clock is not set
ask "date -s 2025-12-31 >/dev/null" >/dev/null
give open
is "with a clock that is not set, open" "$OUTCOME" refused
is "with a clock that is not set, the relay" "$(relay)" 0
set_clock
give open
is "with the clock set, open" "$OUTCOME $(relay)" "done 1"
stop -TERM
must 10 status_is offline

# -- The door's contact. It is no command: whatever it says, the relay stays.
contact 0
start GPIO_CONTACT_PIN=$CONTACT
must 20 status_is CLOSED
must 5 door_is "CLOSED null"
say "ok    a low contact is a shut door"
contact 1
must 5 door_is "OPEN DOOR_FORCED"
stays "a forced door" 0
contact 0
must 5 door_is "CLOSED null"
give open
is "open, the relay" "$OUTCOME $(relay)" "done 1"
contact 1
must 5 door_is "OPEN null"
contact 0
must 10 relay_is 0
must 5 door_is "CLOSED null"
say "ok    a door that was opened while it might be is not forced"
if [ "$BROKER" = hub ]; then
  must 5 forced_doors 1
  # Begun and ended while nobody could hear of it. Whoever opens a door just as it is locked does not force it.
  broker_kill
  must 10 locked_for 3
  contact 1
  stays "a forced door without a hub" 0
  contact 0
  must 60 broker_start
  must 60 forced_doors 2
  say "ok    the hub hears of a door that was forced while it was away"
fi
stop -TERM
must 10 status_is offline

# -- Active low: locked is the high level
start GPIO_ACTIVE_LOW=true
must 20 status_is CLOSED
is "active-low, closed: the pin" "$(relay)" 1
give open
is "active-low, open: the pin" "$OUTCOME $(relay)" "done 0"
stop -9
must 20 status_is offline
start GPIO_ACTIVE_LOW=true
must 20 status_is CLOSED
is "active-low, started again after kill -9: the pin" "$(relay)" 1
stop -TERM
must 10 status_is offline
is "active-low, SIGTERM: the pin" "$(relay)" 1

# -- Fail-safe: locked is the energised level
start LOCK_FAIL_MODE=fail-safe
must 20 status_is CLOSED
is "fail-safe, closed: the pin" "$(relay)" 1
give open
is "fail-safe, open: the pin" "$OUTCOME $(relay)" "done 0"
stop -TERM
is "fail-safe, SIGTERM: the pin" "$(relay)" 1

# -- The chip is not there: never simulated
is "without a chip, the exit code" "$(ask "env $GUEST_LOGIN portcullis lock-agent >/dev/ttyS0 2>&1; echo \$?")" 1
