#!/bin/sh
# Gives each of up to N processes a number of its own, from 0 to N-1, which it keeps while it runs: worker-number.sh NAME N COMMAND...
# The command gets it as WORKER. Needs `lockbroker` on the PATH, and brokers in LOCKBROKER_SERVER.

name=$1 workers=$2
shift 2
[ "$workers" -gt 0 ] || exit 2
# SIGTERM, SIGINT and SIGHUP to this script stop the command. (SIGKILL does not: the command goes on, and keeps its number.)
child='' stopped=''
# shellcheck disable=SC2329 # The trap calls it.
stop() {
    stopped=yes
    [ -z "$child" ] || kill -TERM "$child" 2>/dev/null
}
trap stop TERM INT HUP
# What runs in the background would have no stdin.
exec 3<&0

number=0
while [ "$number" -lt "$workers" ]; do
    # 200 is for "not acquired" here, so that a command may end with any other code.
    WORKER=$number lockbroker run --conflict-exit-code 200 "$name/$number" -- "$@" <&3 &
    child=$!
    # A signal may have come before the child had a number.
    [ -z "$stopped" ] || kill -TERM "$child" 2>/dev/null
    wait "$child"
    code=$?
    # A signal ends the first wait.
    while kill -0 "$child" 2>/dev/null; do
        wait "$child"
        code=$?
    done
    [ -z "$stopped" ] || exit 143
    [ "$code" -eq 200 ] || exit "$code"
    number=$((number + 1))
done
echo "worker-number.sh: all $workers numbers are taken" >&2
exit 75
