#!/usr/bin/env bash
# Shows that a change leaves every trained bit as it was: trains the same short runs with two built checkouts and compares the
# SHA-256 of model.safetensors and optimizer.safetensors.
#   scripts/sameBits.sh OLD NEW TEXT        # two checkouts after `npm ci`, and a text to train on
#   STEPS=200 scripts/sameBits.sh …         # default 40
# Ends with 1 at the first difference.
set -euo pipefail
old="$(realpath "$1")" new="$(realpath "$2")" text="$(realpath "$3")"
steps="${STEPS:-40}"
scratch="$(mktemp -d)"
trap 'rm -rf "$scratch"' EXIT

# $1 checkout, $2 run directory, then the arguments of `launch`
train() {
  local checkout="$1" run="$2"
  shift 2
  (cd "$checkout" && node dist/cli/main.js "$@" --run-dir "$run" --quiet >/dev/null)
}

hashes() {
  local newest
  newest="$(find "$1/checkpoints" -maxdepth 1 -name 'step-*' | sort | tail -n 1)"
  cat "$newest/model.safetensors" | sha256sum | cut -c 1-16
  cat "$newest/optimizer.safetensors" | sha256sum | cut -c 1-16
}

# $1 what it is; then the arguments. A run that is stopped half way and resumed must end with the bits of the other two.
compare() {
  local name="$1" one two
  shift
  local keys=("data.text=$text" "schedule.decaySteps=$steps" schedule.warmupSteps=10 sample.maxTokens=0 engine.threads=1 "checkpoint.everySteps=$steps")
  train "$old" "$scratch/old" "$@" "${keys[@]}" "train.maxSteps=$steps"
  train "$new" "$scratch/new" "$@" "${keys[@]}" "train.maxSteps=$steps"
  train "$new" "$scratch/resumed" "$@" "${keys[@]}" "train.maxSteps=$((steps / 2))"
  (cd "$new" && node dist/cli/main.js --resume "$scratch/resumed" --set "train.maxSteps=$steps" --quiet >/dev/null)
  one="$(hashes "$scratch/old" | xargs)" two="$(hashes "$scratch/new" | xargs)" three="$(hashes "$scratch/resumed" | xargs)"
  rm -rf "$scratch"/{old,new,resumed}
  if [ "$one" != "$two" ] || [ "$two" != "$three" ]; then
    echo "$name: DIFFERENT: old $one, new $two, resumed $three"
    exit 1
  fi
  echo "$name: $one: equal, and after a resume"
}

compare 'quickstart' --set
for workers in 1 3; do
  for dropout in 0 0.1; do
    for precision in float32 bf16; do
      compare "shakespeare-char, $workers workers, dropout $dropout, $precision" \
        --config shakespeare-char --workers "$workers" --set "model.dropout=$dropout" "engine.precision=$precision"
    done
  done
done
