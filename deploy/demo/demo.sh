#!/usr/bin/env bash
# A three-node cluster on this machine deploys, heals, rolls, rolls back and canaries a web service.
#   make demo          shows it and removes everything
#   make demo KEEP=1   leaves the cluster up for playing
set -euo pipefail
ROOT=$(cd "$(dirname "$0")/../.." && pwd)
export PATH="$ROOT/.venv/bin:$PATH"
NAME=demo
WORK=$(mktemp -d)
cd "$WORK"
bold=$'\e[1m' dim=$'\e[2m' green=$'\e[32m' off=$'\e[0m'
[ -t 1 ] || bold='' dim='' green='' off=''

say() { printf '\n%s%s%s\n' "$bold" "$*" "$off"; }
run() { printf '%s$ %s%s\n' "$green" "$*" "$off"; "$@"; }
quietly() { "$@" > "$WORK/log" 2>&1 || { cat "$WORK/log" >&2; return 1; }; }

finish() {
    status=$?
    if [ "${KEEP:-}" = 1 ] && [ $status = 0 ]; then
        say "The cluster stays up. Try: orchctl get tasks, orchctl why web.1, orchctl dev kill node-2"
        echo "${dim}Take it down with: orchctl dev down --name $NAME${off}"
    else
        quietly orchctl dev down --name $NAME || true
    fi
    cd /
    rm -rf "$WORK"
    exit $status
}

orchctl dev down --name $NAME > "$WORK/log" 2>&1 || true # what an earlier demo kept
trap finish EXIT

say "1. A cluster of three nodes, each in its own network namespace"
run orchctl dev up --nodes 3 --name $NAME
NODES=$(orchctl dev status --name $NAME | awk '$2 ~ /^node-/ { print $3 }')
run orchctl label node/node-3 ring=canary

cp -r "$ROOT/manifests/demo" demo
cp "$(command -v busybox)" demo/busybox
build() { orchctl image build -q -t "web:$1" --build-arg "VERSION=$1" demo; }
say "   Its own registry has the images: a node builds them from manifests/demo/Dockerfile"
run orchctl image build -t web:1 --build-arg VERSION=1 demo
echo "${dim}and web:2, web:3-broken and web:4 the same way${off}"
for each in 2 3-broken 4; do quietly build $each; done
run orchctl image ls

version() { # manifest of one version
    sed "1,/^apiVersion/{/^#/d}; s#image: web:.*#image: web:$1#; s#progressDeadline: .*#progressDeadline: 8s#" "$ROOT/${2:-manifests/web.yaml}" > "$WORK/web.yaml"
    echo web.yaml
}
ask_every_node() {
    for node in $NODES; do
        printf '  30 × curl http://%s:30080/version  →  ' "$node"
        python - "$node" <<'PYTHON'
import collections, sys, urllib.request
url = f"http://{sys.argv[1]}:30080/version"
said = collections.Counter(urllib.request.urlopen(url, timeout=5).read().decode().strip() for _ in range(30))
print(", ".join(f"version {version}: {times}" for version, times in sorted(said.items())))
PYTHON
    done
}
under_load() { # a command, while 100 requests a second go to all nodes
    targets=$(for node in $NODES; do echo "$node:30080/version"; done)
    # shellcheck disable=SC2086
    (cd "$ROOT" && exec python -m deploy.load 100 $targets) > "$WORK/load" &
    load=$!
    run "$@"
    kill "$load"
    wait "$load"
    python - "$WORK/load" <<'PYTHON'
import json, sys
said = json.loads(open(sys.argv[1]).read().splitlines()[-1])
print(f"  {said['sent']} requests meanwhile, {said['count_failed']} failed")
sys.exit(said["count_failed"] > 0)
PYTHON
}

say "2. A web service: three replicas, healthy on three nodes"
run orchctl apply -f "$(version 1)"
run orchctl get tasks
run orchctl get endpoints
ask_every_node

say "3. A container is killed, and comes back by itself"
PID=$(orchctl get task/web.2 -o 'jsonpath={.status.containers[0].pid}')
run kill -9 "$PID"
run orchctl wait task/web.2 --for=ready --timeout 10s
run orchctl get tasks

say "4. A rolling update to version 2, under load"
run orchctl diff -f "$(version 2)" || [ $? = 1 ]
under_load orchctl apply -f "$(version 2)"
ask_every_node

say "5. Version 3 is broken: it rolls back by itself and says why"
if run orchctl apply -f "$(version 3-broken)"; then
    echo "version 3 should have failed" >&2
    exit 1
fi
run orchctl rollout history web
ask_every_node

say "6. Version 4 goes to the canary node first, and stays there until it is promoted"
run orchctl apply -f "$(version 4 deploy/demo/web-canary.yaml)" --wait=false
until orchctl rollout status web | grep -q 'promote'; do sleep 0.5; done
run orchctl rollout status web
ask_every_node
run orchctl rollout promote web
run orchctl get tasks
ask_every_node

say "7. Why is it there? And what happened?"
run orchctl why web.1
run orchctl events svc/web --tail 12

say "8. Everything is removed"
run orchctl delete svc/web
run orchctl get tasks
say "That was orch."
