#!/bin/sh
# Runs a command no more often than once every two seconds, over all machines: rate-limit.sh COMMAND...
# Needs `lockbroker` on the PATH, and brokers in LOCKBROKER_SERVER.

# --at-least counts from the start, so that a slow command does not make the next one wait for longer.
exec lockbroker run --wait "${WAIT:-1m}" --at-least "${EVERY:-2s}" "${LIMIT:-calls/partner}" -- "$@"
