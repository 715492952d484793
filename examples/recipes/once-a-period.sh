#!/bin/sh
# A cron job that runs once an hour, whichever machine is first: once-a-period.sh NAME COMMAND...
# Every machine's crontab has:
#   LOCKBROKER_SERVER=http://10.0.0.7:28551,http://10.0.0.8:28551
#   PATH=/usr/local/bin:/usr/bin:/bin
#   0 * * * *  /opt/jobs/once-a-period.sh hourly-report /opt/jobs/report

name=$1
shift
# Nobody else gets the lock for 50 minutes, also if the job takes a second, fails or dies. That is longer than clocks differ, and
# shorter than the period. Where another machine does it, this says so on stderr and ends with 0.
exec lockbroker run --at-least 50m --conflict-exit-code 0 "$name" -- "$@"
