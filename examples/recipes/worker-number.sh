#!/bin/sh
# Gives each of up to WORKERS processes a number of its own, which it keeps while it runs: worker-number.sh COMMAND...
# The command gets it as WORKER. Needs `lockbroker` on the PATH, and brokers in LOCKBROKER_SERVER.

# What stops this script stops the command.
child=
trap '[ -z "$child" ] || kill -TERM "$child"' TERM INT HUP

number=0
while [ "$number" -lt "${WORKERS:-8}" ]; do
    # 200 is for "not acquired" here, so that a command may end with any other code.
    WORKER=$number lockbroker run --conflict-exit-code 200 "${POOL:-worker}/$number" -- "$@" &
    child=$!
    wait "$child"
    code=$?
    # A signal ends the first wait.
    while kill -0 "$child" 2>/dev/null; do
        wait "$child"
        code=$?
    done
    [ "$code" -eq 200 ] || exit "$code"
    number=$((number + 1))
done
echo "worker-number.sh: all ${WORKERS:-8} numbers are taken" >&2
exit 75
