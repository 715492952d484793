#!/bin/sh
# Runs a command no more often than once in a while, over all machines: rate-limit.sh NAME EVERY COMMAND...
#   rate-limit.sh calls/partner 2s curl https://partner.example/quote
# Needs `lockbroker` on the PATH, and brokers in LOCKBROKER_SERVER.

name=$1 every=$2
shift 2
# --at-least counts from the grant, so that a slow command does not make the next one wait for longer.
exec lockbroker run --wait 1m --at-least "$every" "$name" -- "$@"
