#!/bin/sh
# Fills a cache once, however many miss it at the same moment, and prints what is in it: cache.sh FILE COMMAND...
# Needs `lockbroker` on the PATH, and brokers in LOCKBROKER_SERVER.

file=$1
shift
if [ ! -e "$file" ]; then
    # Whoever has waited looks once more: the one before has filled it. The file comes into being whole.
    # shellcheck disable=SC2016 # The inner shell expands these.
    FILE=$file lockbroker run --wait "${WAIT:-30s}" "cache/$file" -- \
        sh -c '[ -e "$FILE" ] || { "$@" >"$FILE.$$" && mv "$FILE.$$" "$FILE"; }' sh "$@"
    code=$?
    case $code in
    0) ;;
    # No broker answers, or it takes too long. Here the lock only saves work, so it is done without.
    69 | 75) exec "$@" ;;
    *) exit "$code" ;;
    esac
fi
exec cat "$file"
