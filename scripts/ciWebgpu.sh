#!/usr/bin/env bash
# Runs the kernel and model suites on WebGPU without a GPU: on the software Vulkan driver of Debian's chromium. For CI: as root on
# Debian, after `npm ci`. The optional packages go into node_modules and not into package.json; without the driver the tests fail.
set -euo pipefail
cd "$(dirname "$0")/.."

icd=/usr/lib/chromium/vk_swiftshader_icd.json
if ! [ -f "$icd" ] || ! ldconfig -p | grep -q libvulkan.so.1; then
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium-common libvulkan1 >/dev/null
fi

# No scripts: none of the two needs one on Linux, and this package's own would compile the addon again.
npm install --no-save --ignore-scripts --no-audit --no-fund webgpu@0.6.2 @tensorflow/tfjs-backend-webgpu@4.22.0

export VK_ICD_FILENAMES="$icd" LOCKSTEP_REQUIRE_WEBGPU=1
XDG_RUNTIME_DIR="$(mktemp -d)" # the driver asks for one
export XDG_RUNTIME_DIR
trap 'rmdir "$XDG_RUNTIME_DIR"' EXIT
npx vitest run --project parity webgpu
