# Sourced by cases.sh: from the command to the relay's level, LATENCY times. With a hub the command is
# POST /api/lock/open, and the level is looked at when the answer is there; else the register is watched.
TIMES=
LATE=0
for _ in $(seq "$LATENCY"); do
  must 5 relay_is 0
  must 5 status_is CLOSED
  if [ "$BROKER" = hub ]; then
    pace
    T=$(date +%s%N)
    CODE=$(post open)
    T=$((($(date +%s%N) - T) / 1000))
    [ "$CODE" = 200 ] && [ "$(relay)" = 1 ] || { LATE=$((LATE + 1)); say "      POST open: $CODE $(cat post.json)"; }
  else
    fresh
    JSON=$(command open)
    T=$(date +%s%N)
    publish lock/command "$JSON" &
    until relay_is 1; do
      [ $(($(date +%s%N) - T)) -lt 3000000000 ] || { LATE=$((LATE + 1)); break; }
    done
    T=$((($(date +%s%N) - T) / 1000))
    wait $!
  fi
  TIMES+="$T"$'\n'
done
is "openings that were late" "$LATE" 0
say "      from command to level, in the machine: $(printf '%s' "$TIMES" | sort -n \
  | awk '{ t[NR] = $1 / 1000 } END { p = int(NR * 0.99 + 0.999); printf "median %.1f ms, p99 %.1f ms, of %d", t[int((NR + 1) / 2)], t[(p > NR) ? NR : p], NR }')"
[ "$BROKER" = hub ] || say "      in the worker, from arrival to read-back: $(grep -o '"outcome":"done".*"durationMs":[0-9.]*' bus.log | grep -o '[0-9.]*$' | sort -n \
  | awk '{ t[NR] = $1 } END { p = int(NR * 0.99 + 0.999); printf "median %.2f ms, p99 %.2f ms, of %d", t[int((NR + 1) / 2)], t[(p > NR) ? NR : p], NR }')"
must 5 relay_is 0
