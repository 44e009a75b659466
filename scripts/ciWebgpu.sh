#!/usr/bin/env bash
# Runs the kernel and model suites of the webgpu engine and its tests of the command line without a GPU, at night also those of TensorFlow.js'
# WebGPU backend: on a software Vulkan driver, Mesa's lavapipe where it can be installed, else that of Debian's chromium, SwiftShader. For CI: as
# root on Debian, after `npm ci`. At night it copies that backend into node_modules. Without a driver the tests fail.
set -euo pipefail
cd "$(dirname "$0")/.."

# Mesa's driver (lavapipe) is the faster of the two; of the versions that Debian 12 has, only that of its backports runs the suites.
installLavapipe() {
  . /etc/os-release
  local backports=/etc/apt/sources.list.d/lockstep-backports.list
  # From where this machine has the distribution itself.
  local mirror
  mirror="$(apt-get indextargets --format '$(SITE) $(CODENAME)' 'Created-By: Packages' | awk -v name="$VERSION_CODENAME" '$2 == name && !seen++ { print $1 }')"
  echo "deb $mirror $VERSION_CODENAME-backports main" >"$backports" || return
  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
    -t "$VERSION_CODENAME-backports" mesa-vulkan-drivers libvulkan1 >/dev/null
  rm "$backports"
}

icd=/usr/share/vulkan/icd.d/lvp_icd.json
[ -f "$icd" ] || installLavapipe || true # apt has said why
if ! [ -f "$icd" ]; then
  echo "lavapipe could not be installed: the WebGPU suites run on SwiftShader, which is slower"
  icd=/usr/lib/chromium/vk_swiftshader_icd.json
  if ! [ -f "$icd" ] || ! ldconfig -p | grep -q libvulkan.so.1; then
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium-common libvulkan1 >/dev/null
  fi
fi
echo "WebGPU on $icd"

scratch="$(mktemp -d)"
trap 'rm -rf "$scratch"' EXIT
if [ "${LOCKSTEP_NIGHTLY:-}" = 1 ]; then
  # Installed elsewhere and copied in: it is not a dependency of the project, and npm would write it down as one. No scripts: on Linux it needs none.
  npm install --prefix "$scratch" --no-save --legacy-peer-deps --ignore-scripts --no-audit --no-fund @tensorflow/tfjs-backend-webgpu@4.22.0
  rm -rf node_modules/@tensorflow/tfjs-backend-webgpu
  cp -r "$scratch/node_modules/@tensorflow/tfjs-backend-webgpu" node_modules/@tensorflow/
fi

# The driver asks for XDG_RUNTIME_DIR.
export VK_ICD_FILENAMES="$icd" XDG_RUNTIME_DIR="$scratch" LOCKSTEP_REQUIRE_WEBGPU=1
npx vitest run --project parity --project e2e webgpu
