#!/usr/bin/env bash
# Packs what the GPU check needs of Node into one archive of about 50 MB, for Linux x64 machines that have no network: Node itself, the
# built project, its dependencies, the parity suites, and Dawn (npm: webgpu). On Linux x64 after `npm ci` and `npm run build`:
#   bench/gpu/bundle.sh FILE.tar.xz
# There: tar -xf FILE.tar.xz && lockstep/bench/gpu/check.sh --node lockstep/node
set -euo pipefail
file="$(realpath -m "${1:?usage: bench/gpu/bundle.sh FILE.tar.xz}")"
cd "$(dirname "$0")/../.."
scratch="$(mktemp -d)"
trap 'rm -rf "$scratch"' EXIT
target="$scratch/lockstep"
mkdir -p "$target/test" "$target/build/Release" "$target/node_modules" "$(dirname "$file")"
cp -r package.json vitest.config.ts dist configs src bench native binding.gyp "$target"
cp -r test/parity test/setup.ts "$target/test"
cp build/Release/lockstep_native.node "$target/build/Release"
cp "$(node -p process.execPath)" "$target/node"
strip "$target/node"

# Large packages that no part of the check imports.
cp -r node_modules/. "$target/node_modules"
(cd "$target/node_modules" &&
  rm -rf @biomejs @typescript typescript playwright-core @shikijs knip uplot typedoc lunr @types .cache .vite \
    protobufjs oxc-parser @oxc-parser @oxc-resolver hyparquet-writer markdown-it lockstep-api-docs zeromq/build/darwin zeromq/build/win32 \
    zeromq/build/linux/arm64 zeromq/build/linux/x64/node/musl-* zeromq/build/linux/x64/node/[0-9]* gpt-tokenizer @expo-google-fonts)
npm install --prefix "$scratch" --no-save --legacy-peer-deps --ignore-scripts --no-audit --no-fund --silent \
  webgpu@0.6.2 @tensorflow/tfjs-backend-webgpu@4.22.0
rm -rf "$scratch"/node_modules/webgpu/dist/{darwin,win32}-* "$scratch"/node_modules/webgpu/dist/linux-arm64
cp -r "$scratch/node_modules/webgpu" "$scratch/node_modules/@webgpu" "$target/node_modules"
cp -r "$scratch/node_modules/@tensorflow/tfjs-backend-webgpu" "$target/node_modules/@tensorflow"
find "$target/node_modules" \( -name '*.map' -o -name '*.md' -o -name '*.d.ts' -o -name '*.d.mts' -o -name '*.d.cts' -o -name '*_test.js' \
  -o -name '*.fesm*.js' -o -name 'tf-*.es2017*.js' -o -name 'tf-*.min.js' \) -delete
rm -rf "$target"/node_modules/@tensorflow/*/src
XZ_OPT=-2T0 tar -C "$scratch" -cJf "$file" lockstep
du -h "$file"
