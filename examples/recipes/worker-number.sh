#!/bin/sh
# Runs a command as one of up to N workers, over all machines, each with a number of its own: worker-number.sh NAME N COMMAND...
#   worker-number.sh worker 4 sh -c 'exec ./worker --number "$LOCKBROKER_PERMIT"'
# The number, 0 to N-1, is LOCKBROKER_PERMIT. If all are taken, this ends with 75. Needs `lockbroker` on the PATH, and brokers in
# LOCKBROKER_SERVER.

name=$1 workers=$2
shift 2
exec lockbroker run --limit "$workers" "$name" -- "$@"
