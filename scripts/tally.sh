# shellcheck shell=bash
# Sourced by the other scripts: runs one part after the other and adds up what their test runners counted.

passed=0 failed=0 skipped=0

# step NAME COMMAND…: runs it whatever failed before. A command that counts nothing counts as one.
step() {
    local name=$1 code=0 log counted
    shift
    log=$(mktemp)
    printf '\n== %s\n' "$name"
    "$@" 2>&1 </dev/null | tee "$log" || code=$?
    counted=$(count <"$log")
    rm "$log"
    local p f s
    read -r p f s <<<"$counted"
    if [[ $((p + f + s)) -eq 0 && $code -eq 0 ]]; then p=1; fi
    if [[ $f -eq 0 && $code -ne 0 ]]; then
        echo "$name: ended with exit code $code"
        f=1
    fi
    passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
}

# Passed, failed and skipped, from the closing lines of cargo test and pytest; or from a summary as below, which has
# added up all before it.
count() {
    awk '
        function number(word) { return match($0, "[0-9]+ " word) ? substr($0, RSTART) + 0 : 0 }
        /^test result: / { p += number("passed"); f += number("failed"); s += number("ignored") }
        /^=+ .*[0-9]+ (passed|failed|errors?|skipped).* in [0-9.]+s.* =+$/ {
            p += number("passed"); f += number("failed") + number("error"); s += number("skipped")
        }
        /^[0-9]+ passed, [0-9]+ failed(, [0-9]+ skipped)?$/ { p = number("passed"); f = number("failed"); s = number("skipped") }
        END { print p + 0, f + 0, s + 0 }'
}

# The last line, and the exit code.
summary() {
    printf '\n%d passed, %d failed' "$passed" "$failed"
    [[ $skipped -eq 0 ]] || printf ', %d skipped' "$skipped"
    printf '\n'
    [[ $failed -eq 0 && $passed -gt 0 ]]
}
