#!/bin/sh
# Installs what orch needs on Debian: packages, and a virtual environment in .venv. Quick when all is there.
#   deploy/prepare.sh         to run and check orch
#   deploy/prepare.sh test    and for tests that compare it with other runtimes and image tools
set -eu
cd "$(dirname "$0")/.."

packages="etcd-server etcd-client busybox-static docker-registry haproxy nftables iproute2 libseccomp2 util-linux"
[ -x .venv/bin/python ] || python3 -c 'import ensurepip' 2>/dev/null || packages="$packages python3-venv"
[ "${1:-}" != test ] || packages="$packages crun runc skopeo umoci podman netavark procps docker.io wrk"

installed() { dpkg-query -W -f '${Package}=${db:Status-Status} ' 2>/dev/null; }
there=" $(installed)"
missing=""
for package in $packages; do
    case "$there" in *" $package=installed "*) ;; *) missing="$missing $package" ;; esac
done
if [ -n "$missing" ]; then
    if [ "$(id -u)" != 0 ]; then
        echo "These packages are missing; install them as root: apt-get install --no-install-recommends$missing" >&2
        exit 1
    fi
    echo "installing from Debian:$missing"
    # Debian starts a service when its package comes; orch starts its own etcd, so this one stays down.
    policy=/usr/sbin/policy-rc.d
    if [ ! -e "$policy" ]; then
        trap 'rm -f "$policy"' EXIT
        printf '#!/bin/sh\nexit 101\n' > "$policy"
        chmod +x "$policy"
    fi
    apt_get() { DEBIAN_FRONTEND=noninteractive apt-get -y -qq -o DPkg::Lock::Timeout=600 "$@"; }
    # shellcheck disable=SC2086
    if ! said=$(apt_get update 2>&1 && apt_get install --no-install-recommends $missing 2>&1); then
        echo "$said" | tail -n 5 >&2
        echo "Debian's packages did not come. Does this machine reach its Debian mirror? Try: apt-get update" >&2
        exit 1
    fi
    # Nor shall they, or what they brought along, come up with the next boot.
    new=""
    for package in $(installed | tr ' ' '\n' | sed -n 's/=installed$//p'); do
        case "$there" in *" $package=installed "*) ;; *) new="$new $package" ;; esac
    done
    # shellcheck disable=SC2086
    for unit in $(dpkg -L $new | sed -n 's#.*/systemd/system/\([^@/]*\.\(service\|socket\|timer\)\)$#\1#p'); do
        ! command -v systemctl > /dev/null || systemctl disable --quiet "$unit" 2> /dev/null || true
    done
fi

# The stamp holds what the environment was made from; it is made again only when that changes.
wanted=$(cat pyproject.toml uv.lock hatch_build.py proto/orch/*/*.proto | sha256sum)
if [ ! -x .venv/bin/orchctl ] || [ "$(cat .venv/stamp 2>/dev/null)" != "$wanted" ]; then
    python=$(command -v python3.13 || command -v python3.12 || command -v python3.11 || command -v python3)
    python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' && python=$(command -v python3)
    echo "making the virtual environment .venv with $("$python" --version)"
    [ -x .venv/bin/python ] || "$python" -m venv .venv
    if ! { [ -x .venv/bin/uv ] || .venv/bin/python -m pip install --quiet --disable-pip-version-check uv; } ||
        ! .venv/bin/uv sync --quiet --frozen --inexact; then
        echo "Python's packages did not come. Does this machine reach https://pypi.org? Once it does, the same again." >&2
        exit 1
    fi
    # An editable install is not built again for a changed .proto.
    .venv/bin/python hatch_build.py 2>/dev/null
    echo "$wanted" > .venv/stamp
fi
