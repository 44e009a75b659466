#!/usr/bin/env bash
# Tests products by matrix units (WGSL's subgroup matrices), and training with them, without a GPU: on Mesa's software driver of Debian 13's
# backports, which has such units. It is unpacked into build/mesa with the libraries that it needs, the libc among them; nothing is installed, and
# no rights are needed. For the nightly run: on Debian, after `npm ci` and the build of the engine. Without matrix units the tests fail.
set -euo pipefail
cd "$(dirname "$0")/.."
mesa="$PWD/build/mesa"

# unpack FOLDER: the newest driver of the backports and what it depends on, by apt with lists and a status of its own: some 60 MB.
unpack() {
  local folder="$1" mirror suite package
  mirror="$(apt-get indextargets --format '$(SITE) $(CODENAME)' 'Created-By: Packages' | awk '/ (bookworm|trixie)$/ && !seen++ { print $1 }')"
  if [ -z "$mirror" ]; then
    echo "$0 needs Debian 12 or 13: apt names no mirror of either here" >&2
    return 1
  fi
  mkdir -p "$folder/lists/partial" "$folder/archives/partial" "$folder/none" "$folder/root"
  touch "$folder/status"
  for suite in trixie trixie-backports; do
    echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $suite main"
  done >"$folder/sources.list"
  {
    echo "Dir::State::lists \"$folder/lists\"; Dir::State::status \"$folder/status\"; Dir::Cache \"$folder\";"
    echo "Dir::Etc::sourcelist \"$folder/sources.list\"; Dir::Etc::sourceparts \"-\"; Dir::Etc::preferencesparts \"$folder/none\";"
    echo "Debug::NoLocking \"true\"; APT::Sandbox::User \"\";"
  } >"$folder/apt.conf"
  APT_CONFIG="$folder/apt.conf" apt-get update -qq
  APT_CONFIG="$folder/apt.conf" apt-get install -qq -y --download-only --no-install-recommends -t trixie-backports \
    mesa-vulkan-drivers libvulkan1 libstdc++6 >/dev/null
  for package in "$folder"/archives/*.deb; do dpkg-deb -x "$package" "$folder/root"; done
}

if ! [ -d "$mesa/root" ]; then
  rm -rf "$mesa.new"
  unpack "$mesa.new"
  rm -rf "$mesa.new"/{archives,lists,none} "$mesa.new"/*.bin
  mv "$mesa.new" "$mesa"
fi

libraries="$(dirname "$(find "$mesa/root/usr/lib" -name libvulkan_lvp.so)")"
loader="$(find "$libraries" -maxdepth 1 -name 'ld-linux-*.so.*')"
node="$(command -v node)"
# The driver's description names a path of an installed system.
sed "s|\"library_path\": *\"[^\"]*\"|\"library_path\": \"$libraries/libvulkan_lvp.so\"|" "$mesa"/root/usr/share/vulkan/icd.d/lvp_icd*.json >"$mesa/driver.json"
printf '#!/bin/sh\nexec "%s" --library-path "%s" "%s" "$@"\n' "$loader" "$libraries" "$node" >"$mesa/node"
chmod +x "$mesa/node"
# Node.js takes the loader for itself; the processes that it forks shall run by it too.
echo "process.execPath = '$mesa/node';" >"$mesa/forks.mjs"

scratch="$(mktemp -d)"
trap 'rm -rf "$scratch"' EXIT
# Without its optimiser the driver compiles the programs of GPUs in seconds; with it, in more than eight minutes.
export VK_ICD_FILENAMES="$mesa/driver.json" GALLIVM_PERF=nopt XDG_RUNTIME_DIR="$scratch" NODE_OPTIONS="--import=file://$mesa/forks.mjs"
export LOCKSTEP_REQUIRE_WEBGPU=1 LOCKSTEP_REQUIRE_MATRIX_UNITS=1
"$mesa/node" dist/cli/main.js doctor | grep 'matrix units' || true # the tests say what is missing
"$mesa/node" node_modules/vitest/vitest.mjs run --project parity -t "matrix units" webgpuProduct matrixUnits
