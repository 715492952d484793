#!/bin/sh
# Migrates a database before the service starts, on every instance: migrate.sh MIGRATE SERVE...
#   migrate.sh './migrate up' ./serve --port 8080
# Needs `lockbroker` on the PATH, and brokers in LOCKBROKER_SERVER.

# The first instance migrates. The others wait, and then find nothing left to do: MIGRATE has to be one that can be repeated.
lockbroker run --wait "${WAIT:-10m}" "${DATABASE:-migrate/shop}" -- sh -c "$1" || exit
shift
exec "$@"
