#!/bin/sh
# Runs a command when fewer than N others of the same name run, over all machines: n-at-a-time.sh NAME N COMMAND...
#   n-at-a-time.sh transcode 8 ffmpeg -i in.mov out.mp4
# Needs `lockbroker` on the PATH, and brokers in LOCKBROKER_SERVER.

name=$1 most=$2
shift 2
exec lockbroker run --wait forever --limit "$most" "$name" -- "$@"
