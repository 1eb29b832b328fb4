#!/usr/bin/env bash
# Fetches the real programs that tests compare godwit with, as Debian packages, into a cache (or $GODWIT_PEERS):
#   sid       prometheus, promtool (3.5 LTS), prometheus-node-exporter, prometheus-alertmanager
#   bookworm  prometheus-2.42, promtool-2.42
# Nothing is installed on the system; each package is unpacked beside the others. Needs apt-get and dpkg-deb.
#
# peers.sh --go: also fetches a Linux kernel that runs as a process (user-mode-linux, for power cuts), and builds
# the tracked Prometheus (3.15) from its Go module as prometheus-new, where a Go toolchain is:
# twenty minutes on two cores, therefore only for `make test-long`. $GODWIT_PEER_NEW names one that exists already.
set -euo pipefail
dir="${GODWIT_PEERS:-${XDG_CACHE_HOME:-$HOME/.cache}/godwit/peers}"
mkdir -p "$dir/bin"
dir=$(cd "$dir" && pwd)

command -v apt-get >/dev/null || { echo "peers: this needs apt-get (Debian or Ubuntu) to fetch prometheus and node_exporter; set GODWIT_PEERS to a folder with bin/{prometheus,promtool,prometheus-node-exporter,prometheus-alertmanager,prometheus-2.42,promtool-2.42} instead" >&2; exit 1; }

# The machine's own Debian mirror: another suite of it has the version that is wanted.
mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | grep -E '/debian/?$' | head -1)
mirror=${mirror:-$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | head -1)}
key=$(ls /usr/share/keyrings/debian-archive-keyring.* | head -1)

# fetch SUITE FOLDER PACKAGE...: unpacks packages of a suite into FOLDER/root; FOLDER has package lists of its own.
fetch() {
  local suite=$1 at=$2; shift 2
  mkdir -p "$at/debs" "$at/apt/lists/partial"
  echo "deb [signed-by=$key] $mirror $suite main" > "$at/apt/sources.list"
  local apt=(apt-get -qq -o "Dir::State::Lists=$at/apt/lists" -o "Dir::Etc::SourceList=$at/apt/sources.list"
    -o Dir::Etc::SourceParts=/dev/null -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache= -o APT::Sandbox::User=root)
  local package fetched=0
  for package in "$@"; do
    if ! ls "$at/debs/${package}_"*.deb >/dev/null 2>&1; then
      # Lists of an older day may name a package that the mirror has replaced.
      [ "$fetched" = 1 ] || "${apt[@]}" update
      fetched=1
      (cd "$at/debs" && "${apt[@]}" download "$package")
    fi
    if ! [ -e "$at/debs/$package.unpacked" ]; then
      dpkg-deb -x "$at/debs/${package}_"*.deb "$at/root"
      touch "$at/debs/$package.unpacked"
    fi
  done
  echo "peers: $(cd "$at/debs" && ls *.deb | sed 's/_[a-z0-9]*.deb$//' | tr '\n' ' ')"
}

fetch sid "$dir" prometheus promtool prometheus-node-exporter prometheus-alertmanager
fetch bookworm "$dir/bookworm" prometheus
for binary in "$dir"/root/usr/bin/*; do ln -sf "../root/usr/bin/$(basename "$binary")" "$dir/bin/"; done
for binary in prometheus promtool; do ln -sf "../bookworm/root/usr/bin/$binary" "$dir/bin/$binary-2.42"; done

# Debian's Alertmanager opens its templates under /usr/share: in a mount namespace of its own they are there.
rm -f "$dir/bin/prometheus-alertmanager"
cat > "$dir/bin/prometheus-alertmanager" <<SCRIPT
#!/bin/sh
exec unshare --mount \$([ "\$(id -u)" = 0 ] || echo --map-root-user) sh -c '
  mount -t overlay overlay -o "lowerdir=$dir/root/usr/share:/usr/share" /usr/share && exec "$dir/root/usr/bin/prometheus-alertmanager" "\$@"
' sh "\$@"
SCRIPT
chmod +x "$dir/bin/prometheus-alertmanager"

if [ "${1:-}" = --go ]; then
  fetch bookworm "$dir/uml" user-mode-linux
  ln -sf ../uml/root/usr/bin/linux.uml "$dir/bin/linux.uml"
fi

if [ "${1:-}" = --go ] && [ -z "${GODWIT_PEER_NEW:-}" ] && ! [ -x "$dir/bin/prometheus-new" ]; then
  if ! command -v go >/dev/null; then
    echo "peers: no Go toolchain, so Prometheus 3.15 is not built and not compared with"
    exit 0
  fi
  # The tracked version (COMPAT.md): 3.15 is v0.315 of the module.
  module=github.com/prometheus/prometheus version=v0.315.0
  mkdir -p "$dir/go" && cd "$dir/go"
  export GOTOOLCHAIN=local GOFLAGS=-mod=mod CGO_ENABLED=0
  printf 'module peers\n\ngo 1.25\n' > go.mod
  rm -f go.sum
  go get "$module/cmd/prometheus@$version"
  go build -ldflags "-X github.com/prometheus/common/version.Version=$version" -o prometheus $module/cmd/prometheus
  ln -sf ../go/prometheus "$dir/bin/prometheus-new"
fi
