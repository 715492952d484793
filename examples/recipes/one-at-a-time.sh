#!/bin/sh
# Restarts the instances of a service one at a time. Start it on all machines at once: one-at-a-time.sh RESTART HEALTHY
#   one-at-a-time.sh 'systemctl restart web' 'curl --fail --silent localhost/health'
# Needs `lockbroker` on the PATH, and brokers in LOCKBROKER_SERVER.

# The lock is held until this instance is healthy again, or for 5 minutes: then this fails (124), and the next one goes on.
# shellcheck disable=SC2016 # The inner shell expands these.
RESTART=$1 HEALTHY=$2 exec lockbroker run --wait "${WAIT:-10m}" --timeout 5m "${SERVICE:-restart/web}" -- \
    sh -c 'eval "$RESTART" && until eval "$HEALTHY"; do sleep 1; done'
