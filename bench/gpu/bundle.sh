#!/usr/bin/env bash
# Packs what the GPU check needs of Node into one archive of about 50 MB, for Linux x64 machines that have no network: Node itself, the
# built project, its dependencies, the parity suites, and Dawn (npm: webgpu). On Linux x64 after `npm ci`,
# `npm run build` and `npm run build:bench`:
#   bench/gpu/bundle.sh FILE.tar.xz
# There: tar -xf FILE.tar.xz && lockstep/bench/gpu/check.sh --node lockstep/node
set -euo pipefail
file="$(realpath -m "${1:?usage: bench/gpu/bundle.sh FILE.tar.xz}")"
cd "$(dirname "$0")/../.."
scratch="$(mktemp -d)"
trap 'rm -rf "$scratch"' EXIT
target="$scratch/lockstep"
mkdir -p "$target/test" "$target/build/Release" "$target/build/bench" "$target/node_modules" "$(dirname "$file")"
cp -r package.json vitest.config.ts dist configs data src bench native binding.gyp "$target"
cp -r test/parity test/engines test/{setup,nightly,skippedTests}.ts "$target/test"
cp build/Release/lockstep_native.node "$target/build/Release"
cp -r build/bench/. "$target/build/bench"
cp "$(node -p process.execPath)" "$target/node"
strip "$target/node"

# Large packages that no part of the check imports.
cp -r node_modules/. "$target/node_modules"
(cd "$target/node_modules" &&
  rm -rf @biomejs @typescript typescript playwright-core @shikijs knip uplot typedoc lunr @types .cache .vite \
    protobufjs oxc-parser @oxc-parser @oxc-resolver hyparquet-writer markdown-it lockstep-api-docs zeromq/build/darwin zeromq/build/win32 \
    zeromq/build/linux/arm64 zeromq/build/linux/x64/node/musl-* zeromq/build/linux/x64/node/[0-9]* gpt-tokenizer @expo-google-fonts)
rm -rf "$target"/node_modules/webgpu/dist/{darwin,win32}-* "$target"/node_modules/webgpu/dist/linux-arm64
find "$target/node_modules" \( -name '*.map' -o -name '*.md' -o -name '*.d.ts' -o -name '*.d.mts' -o -name '*.d.cts' -o -name '*_test.js' \
  -o -name '*.fesm*.js' -o -name 'tf-*.es2017*.js' -o -name 'tf-*.min.js' \) -delete
rm -rf "$target"/node_modules/@tensorflow/*/src
XZ_OPT=-2T0 tar -C "$scratch" -cJf "$file" lockstep
du -h "$file"
