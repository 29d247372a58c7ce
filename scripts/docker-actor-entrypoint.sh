#!/bin/sh
# Names an actor after its container, as `docker compose ps` does: actor-2, not the container's id, which its host name is.
# The name comes from the engine's own DNS, which knows containers of networks that users have made, those of compose among
# them, and is the same after every restart. Elsewhere (no such network, Kubernetes, no answer within a second), and where
# DPPO_NAME is set, if only to nothing, the actor is started as it is.
set -eu
if [ -z "${DPPO_NAME+set}" ] && grep -q '^nameserver 127\.0\.0\.11' /etc/resolv.conf 2>/dev/null; then
    for address in $(hostname -i 2>/dev/null); do
        # -s dns: /etc/hosts has the id
        found=$(RES_OPTIONS='timeout:1 attempts:1' getent -s dns hosts "$address" 2>/dev/null) || continue
        name=$(echo "$found" | awk 'NR == 1 { print $2 }')
        name=${name%.*} # less the network
        DPPO_NAME=${name#"${COMPOSE_PROJECT_NAME:-}-"}
        [ -z "$DPPO_NAME" ] || export DPPO_NAME
        break
    done
fi
exec "$@"
