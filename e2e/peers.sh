#!/usr/bin/env bash
# Fetches the real programs that tests compare godwit with, as Debian packages, into e2e/peers (or $GODWIT_PEERS).
# Nothing is installed on the system; each package is unpacked beside the others. Needs apt-get and dpkg-deb.
set -euo pipefail
dir="${GODWIT_PEERS:-${XDG_CACHE_HOME:-$HOME/.cache}/godwit/peers}"
mkdir -p "$dir/bin" "$dir/debs" "$dir/apt/lists/partial"
dir=$(cd "$dir" && pwd)

command -v apt-get >/dev/null || { echo "peers: this needs apt-get (Debian or Ubuntu) to fetch prometheus and node_exporter; set GODWIT_PEERS to a folder with bin/prometheus, bin/promtool, bin/prometheus-node-exporter instead" >&2; exit 1; }

# The machine's own Debian mirror, suite sid: that is where the current Prometheus LTS is packaged.
mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | grep -E '/debian/?$' | head -1)
mirror=${mirror:-$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | head -1)}
key=$(ls /usr/share/keyrings/debian-archive-keyring.* | head -1)
echo "deb [signed-by=$key] $mirror sid main" > "$dir/apt/sources.list"
apt=(apt-get -qq -o "Dir::State::Lists=$dir/apt/lists" -o "Dir::Etc::SourceList=$dir/apt/sources.list"
  -o Dir::Etc::SourceParts=/dev/null -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache= -o APT::Sandbox::User=root)

for package in prometheus promtool prometheus-node-exporter; do
  if ! ls "$dir/debs/${package}_"*.deb >/dev/null 2>&1; then
    [ -n "$(ls "$dir/apt/lists"/*Packages* 2>/dev/null)" ] || "${apt[@]}" update
    (cd "$dir/debs" && "${apt[@]}" download "$package")
  fi
  dpkg-deb -x "$dir/debs/${package}_"*.deb "$dir/root"
done
for binary in "$dir"/root/usr/bin/*; do ln -sf "../root/usr/bin/$(basename "$binary")" "$dir/bin/"; done
echo "peers: $(cd "$dir/debs" && ls *.deb | sed 's/_amd64.deb//' | tr '\n' ' ')"
