#!/usr/bin/env bash
# Measures and checks what only a GPU can show, on a machine that needs no network: docs/benchmarks.md. Linux or macOS, any GPU; all parts
# but webgpu need an NVIDIA GPU, and are left out where nvidia-smi is missing.
#   bench/gpu/check.sh [--out FOLDER] [--parts ceilings,driver,peer,webgpu] [--node FILE] [--root FOLDER] [--python FILE] [--seconds 480] [--small]
# Each part that lacks what it needs says so, and counts as failed. Prints one table; results.json in the folder has all of it.
# --small: few and small shapes in `webgpu`, a trial for slow GPUs and software drivers.
set -uo pipefail
here="$(cd "$(dirname "$0")" && pwd)"
out=gpu-check parts=webgpu node=node root="$(cd "$here/../.." && pwd)" python=python3 seconds=480 small=
command -v nvidia-smi >/dev/null && parts=ceilings,driver,peer,webgpu
while [ $# -gt 0 ]; do
  case "$1" in
    --out | --parts | --node | --root | --python | --seconds) declare "${1#--}=${2:?"$1 needs a value"}" && shift 2 ;;
    --small) small=1 && shift ;;
    *) sed -n '2,6s/^# *//p' "$0" && exit 2 ;;
  esac
done
# A part changes to the root.
absolute() {
  local folder
  case "$1" in */*) folder="$(cd "$(dirname "$1")" 2>/dev/null && pwd)" && echo "$folder/$(basename "$1")" && return ;; esac
  echo "$1"
}
node="$(absolute "$node")" python="$(absolute "$python")"
mkdir -p "$out" && out="$(cd "$out" && pwd)" && rm -f "$out"/*.jsonl "$out"/*.log "$out"/results.json || exit 2
scratch="$(mktemp -d)"
trap 'rm -rf "$scratch"' EXIT
end=$((SECONDS + seconds))

left() { echo $((end - SECONDS > 1 ? end - SECONDS : 1)); }
wanted() { [[ ",$parts," == *",$1,"* ]]; }
note() { echo "[$((SECONDS))s] $*" >&2; }

# failure PART NAME REASON: a record of what did not come to an end.
failure() {
  printf '{"part": "%s", "name": "%s", "failed": "%s"}\n' "$1" "$2" "$(tr -d '\\"[:cntrl:]' <<<"$3" | cut -c1-300)" >>"$out/$1.jsonl"
}

# limited SECONDS COMMAND...: ends what takes longer, with exit code 124. macOS has no `timeout`.
limited() {
  if command -v timeout >/dev/null; then
    timeout -k 5 "$@"
  else
    perl -e 'my $s = shift; my $p = fork; if (!$p) { setpgrp; exec @ARGV; exit 127 }
      my $end = sub { kill "TERM", -$p; sleep 2; kill "KILL", -$p; waitpid $p, 0; exit shift }; $SIG{INT} = sub { $end->(130) };
      $SIG{ALRM} = sub { $end->(124) }; alarm $s; waitpid $p, 0; exit($? & 127 ? 128 + ($? & 127) : $? >> 8)' "$@"
  fi
}

# reasonIn LOG: the line that says best why a command failed: Lockstep's own, the count of failed tests, else one that sounds like it, else the last.
reasonIn() {
  local pattern
  for pattern in '^(launch|bench): ' '^ *Tests .* failed' 'error|fail|not found|cannot' '.'; do
    grep -v -e '^{' -e '^Warning: maxDynamic' "$1" | grep -iE "$pattern" | tail -1 | grep . && return
  done
}

# attempt PART NAME SECONDS COMMAND...: runs it, what it says kept in NAME.log; a record if it fails or takes too long.
attempt() {
  local part="$1" name="$2" limit="$3" code=0
  shift 3
  if [ "$(left)" -le 2 ]; then
    failure "$part" "$name" 'not begun: out of time'
    return 124
  fi
  note "$part: $name"
  limited "$((limit < $(left) ? limit : $(left)))" "$@" >"$out/${name// /-}.log" 2>&1 || code=$?
  # Dawn says on the console that it refused what it was given, and computes nothing of it.
  grep -q '^validation:' "$out/${name// /-}.log" && failure "$part" "$name" "Dawn refused: $(sed -n 2p "$out/${name// /-}.log")"
  [ $code = 0 ] && return
  [ $code != 124 ] && grep -q '^{.*"failed": *"' "$out/${name// /-}.log" && return $code
  local last
  last="$(reasonIn "$out/${name// /-}.log")"
  [ $code = 124 ] && last="took too long; $last"
  failure "$part" "$name" "exit code $code: $last"
  return $code
}

# probe NAME SECONDS COMMAND...: one that prints records itself.
probe() {
  local name="$1" code=0
  attempt driver "$@" || code=$?
  grep '^{' "$out/${name// /-}.log" >>"$out/driver.jsonl"
  return $code
}

driverPart() {
  local probes="$here/probes" ptx="$scratch/kernels.ptx" ptx90a="$scratch/kernels90a.ptx" cache="$scratch/home/.nv/ComputeCache" version
  nvidia-smi --query-gpu=name,driver_version,pstate,clocks.sm,clocks.mem,power.limit,ecc.mode.current --format=csv,noheader \
    >"$out/nvidia-smi.log" 2>&1
  printf '{"part": "driver", "name": "nvidia-smi", "value": "%s", "unit": ""}\n' "$(head -1 "$out/nvidia-smi.log")" >>"$out/driver.jsonl"
  local program
  for program in costs rates peerDeath; do
    attempt driver "compile $program" 60 cc -O2 -o "$scratch/$program" "$probes/$program.c" -ldl -lm || return
  done
  attempt driver 'compile PTX for sm_80' 60 nvcc -ptx -arch=sm_80 -o "$ptx" "$probes/kernels.cu" || return
  attempt driver 'compile PTX for sm_90a' 60 nvcc -ptx -gencode=arch=compute_90a,code=compute_90a -o "$ptx90a" "$probes/kernels90a.cu"
  probe device 20 "$scratch/costs" device
  for version in 7.0 8.0 9.0 99.0; do
    sed "s/^\.version .*/.version $version/" "$ptx" >"$scratch/kernels-$version.ptx"
  done
  sed 's/^\.version .*/.version 8.0/' "$ptx90a" >"$scratch/kernels90a-8.0.ptx"
  # A home of its own: what the driver compiled before is not found, and what it keeps shows.
  mkdir "$scratch/home" && export HOME="$scratch/home" && unset CUDA_CACHE_PATH
  for version in 7.0 8.0 9.0; do
    probe "jit $version" 60 "$scratch/costs" jit "274 kB, sm_80, .version $version, first" "$scratch/kernels-$version.ptx"
    probe "jit $version again" 60 "$scratch/costs" jit "the same, .version $version, second process" "$scratch/kernels-$version.ptx"
  done
  probe 'jit sm_90a' 60 "$scratch/costs" jit '22 kB, sm_90a, .version 8.0, first' "$scratch/kernels90a-8.0.ptx"
  probe 'jit sm_90a again' 60 "$scratch/costs" jit 'the same, sm_90a, second process' "$scratch/kernels90a-8.0.ptx"
  # That a driver refuses what is newer than itself is expected: the probe's record of it is renamed.
  CUDA_CACHE_DISABLE=1 "$scratch/costs" jit 'x' "$scratch/kernels-99.0.ptx" |
    sed 's/"load PTX, x", "failed": \("[^"]*"\)/"load PTX, .version 99.0, says", "value": \1, "unit": ""/' >>"$out/driver.jsonl"
  printf '{"part": "driver", "name": "compiled PTX in ~/.nv/ComputeCache", "value": %s, "unit": "kB"}\n' "$(du -sk "$cache" 2>/dev/null | cut -f1 || echo 0)" >>"$out/driver.jsonl"
  probe launches 30 "$scratch/costs" launches "$ptx"
  probe copies 60 "$scratch/rates" copies
  probe register 30 "$scratch/costs" register
  probe overlap 60 "$scratch/rates" overlap "$ptx"
  probe products 60 "$scratch/rates" products "$ptx" "$ptx90a"
  local sharing death
  for sharing in ipc descriptor; do
    for death in owner-idle owner-reading owner-fault reader-reading; do
      probe "peer death $sharing $death" 25 "$scratch/peerDeath" $sharing $death "$ptx"
    done
  done
}

# step NAME SETTINGS...: complete training steps of one replica.
step() {
  local name="$1" log
  shift
  log="$out/${name// /-}.log"
  attempt webgpu "$name" 90 "$node" dist/cli/main.js bench step --json --engine webgpu "$@" || return
  "$node" bench/gpu/jsonRecords.mjs step "$log" "$name" >>"$out/webgpu.jsonl" || failure webgpu "$name" 'its JSON cannot be read'
}

# ringRun NAME CONFIG BATCH: complete runs of one and two workers that share the GPU: gradients leave it, the ring adds them, sums return.
ringRun() {
  attempt webgpu ring 100 "$node" dist/cli/main.js bench scaling --mode strong --workers 1,2 --batch "$3" --steps 3 \
    --config "$2" --set engine.name=webgpu --out "$out/scaling" || return
  "$node" bench/gpu/jsonRecords.mjs scaling "$out/scaling/bench.json" "$1" >>"$out/webgpu.jsonl" ||
    failure webgpu ring 'its JSON cannot be read'
}

# suites NAME SECONDS FILTER...: test suites of the engine; what they need is an error if it is missing.
suites() {
  local name="$1" limit="$2"
  shift 2
  attempt webgpu "$name" "$limit" "$node" node_modules/vitest/vitest.mjs run --project parity --exclude '**/tfjs*' "$@" || return
  printf '{"part": "webgpu", "name": "%s", "value": "%s", "unit": ""}\n' "$name" \
    "$(grep -E '^ *(Test Files|Tests) ' "$out/${name// /-}.log" | tr -s ' ' | tr '\n' ' ')" >>"$out/webgpu.jsonl"
}

# kernels PATTERN: kernels whose name and shape match.
kernels() {
  attempt webgpu kernels 100 "$node" build/bench/bench/main.js engine --engine webgpu --peers none --json --only "$1" || return
  "$node" bench/gpu/jsonRecords.mjs kernels "$out/kernels.log" >>"$out/webgpu.jsonl" || failure webgpu kernels 'its JSON cannot be read'
}

webgpuPart() {
  if ! "$node" --version >"$out/node.log" 2>&1; then
    failure webgpu node "$node does not run: name another Node.js with --node, or bring one along (bench/gpu/bundle.sh)"
    return
  fi
  cd "$root" || return
  if ! [ -f dist/cli/main.js ] || ! [ -f build/bench/bench/main.js ]; then
    failure webgpu build "$root is not built: npm ci && npm run build && npm run build:bench there, or see bench/gpu/bundle.sh"
    return
  fi
  export XDG_RUNTIME_DIR="${XDG_RUNTIME_DIR:-$scratch}" LOCKSTEP_REQUIRE_WEBGPU=1 NO_COLOR=1
  attempt webgpu 'webgpu device' 60 "$node" bench/gpu/webgpuDevice.mjs "$out/webgpu.jsonl"
  # Nothing else can run then.
  grep -q '"name":"adapter"' "$out/webgpu.jsonl" || return
  local half=
  grep -q 'shader-f16' "$out/webgpu.jsonl" && half=1
  if [ -n "$small" ]; then
    suites 'parity suites' 120 parity/webgpu/
    kernels '^(linear(Forward|Backward) |attentionForward ).*(768×128×384|B=12 T=64)'
    step 'shakespeare-char B 12' --config shakespeare-char.yaml --steps 3
    [ -n "$half" ] && step 'shakespeare-char B 12 f16' --config shakespeare-char.yaml --steps 3 --precision f16
    ringRun shakespeare-char shakespeare-char.yaml 12
    return
  fi
  suites 'parity suites' 120 webgpu
  kernels '^(linear|attention).* (4096×|1024×|B=16 T=256|B=1 T=1024)'
  step 'shakespeare-gpt B 64' --config shakespeare-gpt.yaml --steps 5 --set train.globalBatchSize=64 train.microBatchSize=64
  step 'gpt-small B 4' --config gpt-small.yaml --steps 3 --set train.globalBatchSize=4 train.microBatchSize=4
  [ -n "$half" ] && step 'gpt-small B 4 f16' --config gpt-small.yaml --steps 3 --precision f16 --set train.globalBatchSize=4 train.microBatchSize=4
  step 'gpt-small B 16' --config gpt-small.yaml --steps 3 --set train.globalBatchSize=16 train.microBatchSize=16
  ringRun gpt-small gpt-small.yaml 4
  # The tiles that other GPUs get: whether they are right here, and whether one is faster than this GPU's own.
  LOCKSTEP_NIGHTLY=1 suites 'tiles of products' 60 kernels/webgpuProduct
  attempt webgpu 'product tiles' 60 "$node" bench/gpu/productTiles.mjs "$out/webgpu.jsonl"
}

# The first parts take about a minute and a half; steps on WebGPU get what PyTorch leaves.
if wanted ceilings; then attempt ceilings ceilings 90 "$python" "$here/torchCeilings.py" "$out/ceilings.jsonl"; fi
wanted driver && (driverPart)
if wanted peer; then
  reserve=40
  wanted webgpu && reserve=180
  attempt peer peer "$(($(left) - reserve + 40))" "$python" "$here/torchPeer.py" "$out/peer.jsonl" "$(($(left) - reserve))"
fi
wanted webgpu && (webgpuPart)
note report
if "$node" --version >/dev/null 2>&1; then
  "$node" "$here/report.mjs" "$out"
else
  # The records as they are.
  cat "$out"/*.jsonl | paste -sd, - | sed 's/^/[/; s/$/]/' >"$out/results.json"
  cat "$out"/*.jsonl
  ! grep -q '"failed": *"' "$out"/*.jsonl
fi
