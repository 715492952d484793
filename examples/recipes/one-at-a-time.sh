#!/bin/sh
# Restarts the instances of a service one at a time: one-at-a-time.sh NAME RESTART HEALTHY
#   one-at-a-time.sh restart/web 'systemctl restart web' 'curl --fail --silent localhost/health'
# Start it on all machines, at once or one after another. Needs `lockbroker` on the PATH, and brokers in LOCKBROKER_SERVER.

# The lock is held until this instance is healthy again, or for 5 minutes: then this fails (124), and the next one goes on.
# shellcheck disable=SC2016 # The inner shell expands these.
RESTART=$2 HEALTHY=$3 exec lockbroker run --wait forever --timeout 5m "$1" -- \
    sh -c 'eval "$RESTART" && until eval "$HEALTHY"; do sleep 1; done'
