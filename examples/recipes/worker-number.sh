#!/bin/sh
# Gives each of up to N processes a number of its own, from 0 to N-1, which it keeps while it runs: worker-number.sh NAME N COMMAND...
# The command gets it as WORKER. Needs `lockbroker` on the PATH, and brokers in LOCKBROKER_SERVER.

name=$1 workers=$2
shift 2
# SIGTERM, SIGINT and SIGHUP to this script stop the command. (SIGKILL does not: the command goes on, and keeps its number.)
child=
trap '[ -z "$child" ] || kill -TERM "$child"' TERM INT HUP
# What runs in the background would have no stdin.
exec 3<&0

number=0
while [ "$number" -lt "$workers" ]; do
    # 200 is for "not acquired" here, so that a command may end with any other code.
    WORKER=$number lockbroker run --conflict-exit-code 200 "$name/$number" -- "$@" <&3 &
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
echo "worker-number.sh: all $workers numbers are taken" >&2
exit 75
