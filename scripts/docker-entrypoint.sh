#!/bin/sh
# Runs the program as the owner of the run directory, so that a mounted ./runs works for whoever owns it and nothing in it
# ends up belonging to root. A directory that Docker itself has just made belongs to root: that one is given to dppo.
set -eu
runs=/dppo/runs

# Started as somebody (--user, Kubernetes): there is nothing to drop.
[ "$(id -u)" = 0 ] || exec "$@"
# Rootless Docker or Podman: root in here is the ordinary user outside, who should own the files.
read -r _ outside _ </proc/self/uid_map
[ "$outside" = 0 ] || exec "$@"

uid=$(stat -c %u "$runs")
gid=$(stat -c %g "$runs")
if [ "$uid" = 0 ]; then
    uid=$(id -u dppo)
    gid=$(id -g dppo)
    # Fails where the mount is read-only (TensorBoard), which needs no ownership.
    chown -R "$uid:$gid" "$runs" 2>/dev/null || true
fi
# Where the join line goes; its group, which the actors are in, stays.
[ ! -d /dppo/join ] || chown "$uid" /dppo/join 2>/dev/null || true
exec setpriv --reuid="$uid" --regid="$gid" --clear-groups "$@"
