#!/bin/sh
# Puts a new image on two hosts, in the colour that is not live, and moves the traffic to it.
#
# The live colour is never touched before the proxy says that nothing is in flight on it: every stop
# goes through `proxyctl guard`. Whatever happens on the way, the live colour stays up.
#
#   IP1, IP2       the two hosts (required)
#   IMAGE          the image to run, with a tag of its own for each build (required)
#   BUILD          the build the new containers must present in health.build_header (optional)
#   NAME           containers are called NAME-blue and NAME-green            [app]
#   BLUE_PORT      the port that blue publishes on each host                 [8080]
#   GREEN_PORT     the same for green                                        [8081]
#   APP_PORT       the port inside the container                             [8080]
#   DOCKER_OPTIONS more words for `docker run`: -m 700m -e PROFILE=dev ...   []
#   SSH_USER       who to be on the hosts                                    [ubuntu]
#   SSH            how to get there                    [ssh, never asking for a password]
#   PROXYCTL       how to reach the proxy: "proxyctl", "proxyctl --socket PATH" or
#                  "ssh -A ubuntu@proxy proxyctl". The command of a guard runs where proxyctl runs,
#                  so over ssh that host needs its own way to the two others: hence -A. [proxyctl]
#   UPSTREAM       which upstream of proxy.yaml, if there is more than one   []
#   GATE_TIMEOUT   how long the new containers may take to get healthy [as in proxy.yaml]
#   KEEP_OLD       yes: leave the old colour running, warm for `proxyctl rollback`; the next
#                  deploy replaces it                                        [no]
#
# Ends with 0 when the new version is live and the old one stopped; else with the exit code that
# proxyctl gave, 1 where a container could not be started.
set -eu

: "${IP1:?the address of the first host}" "${IP2:?the address of the second host}"
: "${IMAGE:?the image to deploy}"
NAME=${NAME:-app}
BLUE_PORT=${BLUE_PORT:-8080}
GREEN_PORT=${GREEN_PORT:-8081}
APP_PORT=${APP_PORT:-8080}
SSH_USER=${SSH_USER:-ubuntu}
SSH=${SSH:-ssh -n -o BatchMode=yes -o StrictHostKeyChecking=accept-new}
PROXYCTL=${PROXYCTL:-proxyctl}

# SSH, PROXYCTL and DOCKER_OPTIONS hold several words on purpose.
# shellcheck disable=SC2086
on() {
    host=$1
    shift
    $SSH "$SSH_USER@$host" "$@"
}

# shellcheck disable=SC2086
ctl() {
    verb=$1
    shift
    $PROXYCTL "$verb" ${UPSTREAM:+--upstream "$UPSTREAM"} "$@"
}

# A colour's container stops only while the proxy holds that colour down: neither live nor in use.
# `docker rm` without -f is then safe on its own: it refuses a container that runs.
# shellcheck disable=SC2086
remove() {
    for host in "$IP1" "$IP2"; do
        image=$(on "$host" docker ps --all --filter "name=^$NAME-$1\$" --format "{{.Image}}") ||
            return
        if [ -n "$image" ]; then
            ctl guard "$1" -- $SSH "$SSH_USER@$host" docker stop "$NAME-$1" || return
            on "$host" docker rm "$NAME-$1" || return
            # Best effort: another container may use the same image.
            on "$host" docker rmi "$image" || echo "note: $host keeps the image $image"
        fi
    done
}

start() {
    case $1 in
        blue) port=$BLUE_PORT ;;
        green) port=$GREEN_PORT ;;
    esac
    for host in "$IP1" "$IP2"; do
        echo "== $host: starting $NAME-$1 on port $port"
        on "$host" docker pull "$IMAGE" || return
        # shellcheck disable=SC2086
        on "$host" docker run --detach --name "$NAME-$1" --publish "$port:$APP_PORT" \
            --restart unless-stopped ${BUILD:+--env "BUILD=$BUILD"} ${DOCKER_OPTIONS:-} "$IMAGE" ||
            return
    done
}

# The new version is not wanted after all: show what it said, take it down. The live one stays.
give_up() {
    for host in "$IP1" "$IP2"; do
        echo "== $host: the last words of $NAME-$COLOUR"
        on "$host" docker logs --tail 100 "$NAME-$COLOUR" 2>&1 || true
    done
    remove "$COLOUR" || echo "note: $NAME-$COLOUR could not be removed; the next deploy will"
    echo "deploy: $1: $OLD is live as before" >&2
    exit "$2"
}

# Nothing was decided, or not by us: both colours stay as they are.
leave() {
    echo "deploy: $1: both colours are left running" >&2
    exit "$2"
}

# `|| code=$?`: the exit code is the answer, so `set -e` must not end the script on it.
code=0
COLOUR=$(ctl standby) || code=$?
case $code in
    0) ;;
    7) echo "deploy: no proxyd answers: nothing was touched" >&2 && exit 7 ;;
    *)
        echo "deploy: which colour stands by is not known (exit $code): nothing was touched" >&2
        exit "$code"
        ;;
esac
case $COLOUR in
    blue) OLD=green ;;
    green) OLD=blue ;;
    *) echo "deploy: \"$COLOUR\" is not a colour: nothing was touched" >&2 && exit 2 ;;
esac

echo "== $OLD is live; $IMAGE becomes $COLOUR"
remove "$COLOUR" || {
    code=$?
    echo "deploy: what is left of an earlier $COLOUR could not be removed: $OLD is live as before" >&2
    exit "$code"
}
start "$COLOUR" || give_up "$COLOUR could not be started" 1

echo "== promoting $COLOUR"
code=0
ctl promote "$COLOUR" --expect-live "$OLD" \
    ${BUILD:+--build "$BUILD"} ${GATE_TIMEOUT:+--gate-timeout "$GATE_TIMEOUT"} || code=$?
case $code in
    0) ;;
    1) give_up "$COLOUR did not get healthy" 1 ;;
    2) leave "the proxy does not know what was asked" 2 ;;
    3) echo "warning: $COLOUR is live, but requests still running on $OLD had to be cut" >&2 ;;
    4) leave "another deploy holds this upstream" 4 ;;
    5) leave "$OLD is no longer live: somebody else has promoted meanwhile" 5 ;;
    6) leave "the promotion was taken back: nothing is safe to stop" 6 ;;
    7) leave "proxyd went away; see: proxyctl status" 7 ;;
    8) leave "the proxy cannot write its state and did not switch: free its disk, deploy again" 8 ;;
    *) leave "proxyctl ended with $code; see: proxyctl status" "$code" ;;
esac

if [ "${KEEP_OLD:-no}" = yes ]; then
    echo "== $COLOUR is live; $OLD stays warm: proxyctl rollback"
    exit 0
fi
remove "$OLD" || {
    code=$?
    echo "deploy: $COLOUR is live, but the containers of $OLD could not be stopped (exit $code)" >&2
    exit "$code"
}
echo "== $COLOUR is live; $OLD is stopped"
