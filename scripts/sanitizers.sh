#!/usr/bin/env bash
# Runs the native engine under GCC's sanitizers: addresses and undefined behaviour over the kernel suite and the engine's unit tests,
# races over the thread pool with kernels on it. Builds copies in build/sanitizers; for Linux, after `npm ci`. Part of nightly.sh.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
copy=$root/build/sanitizers
library() { g++ -print-file-name="$1"; }

# The addon is looked for in its package: a copy of the package has one of its own, and this one stays as it is.
rm -rf "$copy"
mkdir -p "$copy"
cp -r native src test configs scripts binding.gyp package.json tsconfig.json vitest.config.ts "$copy"
ln -s "$root/node_modules" "$copy/node_modules"
cd "$copy"

echo "thread sanitizer: the pool and kernels on it"
mkdir races
printf '%s\n' test/sanitizers/poolRaces.cc native/threadPool.cc native/kernels/*.cc |
  xargs -P "$(nproc)" -I{} sh -c 'g++ -std=c++20 -O1 -g1 -fsanitize=thread -DLOCKSTEP_ISA=scalar -fno-math-errno -c "$1" -o "races/$(basename "$1" .cc).o"' sh {}
g++ -fsanitize=thread races/*.o -lpthread -o poolRaces
# Its shadow memory does not fit every layout of the address space that the kernel may draw.
TSAN_OPTIONS=halt_on_error=1 setarch -R ./poolRaces

flags="-O1 -g1 -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=undefined"
CXXFLAGS=$flags LDFLAGS=$flags node scripts/build-native.mjs --strict >build.log 2>&1 || { tail -40 build.log; exit 1; }

# Node is not built with the sanitizers, so their libraries come first. Memory that V8 keeps until it ends is not a leak.
export LD_PRELOAD="$(library libasan.so):$(library libubsan.so):$(library libstdc++.so.6)"
export ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1
vitest=(node node_modules/vitest/vitest.mjs run --testTimeout=600000)
echo "address and undefined-behaviour sanitizers: the kernel suite"
"${vitest[@]}" --project parity test/parity/kernels/native.test.ts -t threads \
  --reporter=default --reporter=json --outputFile.json=kernels.json
# A pattern that matches no name skips every test, and Vitest passes.
node -p 'const { numPassedTests } = JSON.parse(fs.readFileSync("kernels.json", "utf8"));
  if (!(numPassedTests > 0)) throw new Error("no kernel test ran"); `${numPassedTests} kernel tests ran`'
"${vitest[@]}" --project unit test/unit/engine/{nativeEngine,sharedMemory,bfloat16Threads}.test.ts
