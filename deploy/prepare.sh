#!/bin/sh
# Installs what orch needs on Debian: packages, and a virtual environment in .venv. Quick when all is there.
set -eu
cd "$(dirname "$0")/.."

packages="etcd-server etcd-client busybox-static docker-registry nftables iproute2 libseccomp2 util-linux"
[ -x .venv/bin/python ] || python3 -c 'import ensurepip' 2>/dev/null || packages="$packages python3-venv"

missing=""
for package in $packages; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' || missing="$missing $package"
done
if [ -n "$missing" ]; then
    echo "installing from Debian:$missing"
    [ "$(id -u)" = 0 ] || { echo "this needs root: sudo make $*" >&2; exit 1; }
    # Debian starts a service when its package comes; orch starts its own etcd, so this one stays down.
    policy=/usr/sbin/policy-rc.d
    if [ ! -e "$policy" ]; then
        printf '#!/bin/sh\nexit 101\n' > "$policy"
        chmod +x "$policy"
        trap 'rm -f "$policy"' EXIT
    fi
    apt-get update -qq
    # shellcheck disable=SC2086
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing > /dev/null
fi

# The stamp holds what the environment was made from; it is made again only when that changes.
wanted=$(cat pyproject.toml uv.lock hatch_build.py proto/orch/*/*.proto | sha256sum)
if [ ! -x .venv/bin/orchctl ] || [ "$(cat .venv/stamp 2>/dev/null)" != "$wanted" ]; then
    python=$(command -v python3.13 || command -v python3.12 || command -v python3.11 || command -v python3)
    python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' && python=$(command -v python3)
    echo "making the virtual environment .venv with $("$python" --version)"
    [ -x .venv/bin/python ] || "$python" -m venv .venv
    [ -x .venv/bin/uv ] || .venv/bin/python -m pip install --quiet --disable-pip-version-check uv
    .venv/bin/uv sync --quiet --frozen --inexact
    # An editable install is not built again for a changed .proto.
    .venv/bin/python hatch_build.py 2>/dev/null
    echo "$wanted" > .venv/stamp
fi
