#!/usr/bin/env bash
# The addon is built once, with N-API alone: this runs a short training on other versions of Node (from npm's `node` package)
# without compiling anything again. For CI, after `npm ci`.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

for version in 22 24; do
  mkdir "$work/node$version"
  npm install --prefix "$work/node$version" --no-audit --no-fund --no-save "node@$version" >/dev/null
  node="$work/node$version/node_modules/node/bin/node"
  (
    cd "$work"
    "$node" "$root/dist/cli/main.js" --run-dir "run$version" \
      --set train.maxSteps=20 eval.everySteps=0 sample.maxTokens=20 engine.name=native >"$work/log$version" 2>&1 ||
      { cat "$work/log$version"; exit 1; }
  )
  grep -q '^done' "$work/log$version"
  echo "node $("$node" --version): the addon built by node $(node --version) trains"
done
