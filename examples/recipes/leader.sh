#!/bin/sh
# One of many instances works; the others stand by: leader.sh NAME COMMAND...
# Start it on every machine, from something that starts it again when it ends (systemd: Restart=always).
# Needs `lockbroker` on the PATH, and brokers in LOCKBROKER_SERVER.

name=$1
shift
# --again: after a loss it stands by, and does not end. --keep: a proxy that ends connections costs no change of the leader.
# The command gets LOCKBROKER_FENCING_TOKEN: the number of its term. `lockbroker observe NAME` shows others the --value.
exec lockbroker elect --again --keep --value "$(uname -n)" "$name" -- "$@"
