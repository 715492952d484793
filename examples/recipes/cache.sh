#!/bin/sh
# Fills a cache once, however many miss it at the same moment, and prints what is in it: cache.sh FILE COMMAND...
# FILE lies on storage that all machines share. Needs `lockbroker` on the PATH, and brokers in LOCKBROKER_SERVER.

file=$1
shift
# No option of the programs below.
case $file in -*) file=./$file ;; esac
if [ ! -e "$file" ]; then
    # Whoever has waited looks once more: the one before has filled it. The file comes into being whole.
    # shellcheck disable=SC2016 # The inner shell expands these.
    FILE=$file lockbroker run --wait 5s "cache/$file" -- sh -c '
        [ -e "$FILE" ] || { "$@" >"$FILE.$$" && mv "$FILE.$$" "$FILE"; } || { rm -f "$FILE.$$"; exit 1; }' sh "$@"
    # No broker, no lock in time, a loss, a failure: here the lock only saves work, so it is done without.
    [ -e "$file" ] || exec "$@"
fi
exec cat "$file"
