#!/bin/sh
# One of many instances works; the others stand by. Start it on every machine: leader.sh COMMAND...
# Needs `lockbroker` on the PATH, and brokers in LOCKBROKER_SERVER.

# --again: after a loss it stands by, and does not end. --keep: a proxy that ends connections costs no change of the leader.
# The command gets LOCKBROKER_FENCING_TOKEN: the number of its term.
exec lockbroker run --wait forever --again --keep "${LEADER_OF:-scheduler}" -- "$@"
