#!/bin/sh
# A cron job that runs once an hour, whichever machine is first. Every machine's crontab has:
#   0 * * * *  once-a-period.sh ./report
# Needs `lockbroker` on the PATH, and brokers in LOCKBROKER_SERVER.

# Nobody else gets the lock for 50 minutes, also if the job takes a second or dies. That is longer than clocks differ, and
# shorter than the period.
# 0, and so no mail of cron's, where another machine does it, or has done it.
exec lockbroker run --at-least "${AT_LEAST:-50m}" --conflict-exit-code 0 "${JOB:-hourly-report}" -- "$@"
