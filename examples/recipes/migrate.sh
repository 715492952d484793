#!/bin/sh
# Migrates a database before the service starts, on every instance: migrate.sh NAME MIGRATE SERVE...
#   migrate.sh migrate/shop './migrate up' ./serve --port 8080
# Needs `lockbroker` on the PATH, and brokers in LOCKBROKER_SERVER.

name=$1 migrate=$2
shift 2
# The first instance migrates. The others wait, and then find nothing left to do: MIGRATE has to be one that can be repeated.
lockbroker run --wait forever "$name" -- sh -c "$migrate" || exit
exec "$@"
