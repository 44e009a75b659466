#!/usr/bin/env bash
# Measures and checks what only a GPU can show, on a machine that needs no network: docs/benchmarks.md. Linux or macOS, any GPU; all parts
# but webgpu need an NVIDIA GPU, and are left out where nvidia-smi is missing.
#   bench/gpu/check.sh [--out FOLDER] [--parts ceilings,driver,peer,webgpu] [--node FILE] [--root FOLDER] [--python FILE] [--seconds 480]
# Each part that lacks what it needs says so, and counts as failed. Prints one table; results.json in the folder has all of it.
set -uo pipefail
here="$(cd "$(dirname "$0")" && pwd)"
out=gpu-check parts=webgpu node=node root="$(cd "$here/../.." && pwd)" python=python3 seconds=480
command -v nvidia-smi >/dev/null && parts=ceilings,driver,peer,webgpu
while [ $# -gt 0 ]; do
  case "$1" in
    --out | --parts | --node | --root | --python | --seconds) declare "${1#--}=${2:?"$1 needs a value"}" && shift 2 ;;
    *) sed -n '2,5s/^# *//p' "$0" && exit 2 ;;
  esac
done
mkdir -p "$out" && out="$(cd "$out" && pwd)" && rm -f "$out"/*.jsonl "$out"/*.log
scratch="$(mktemp -d)"
trap 'rm -rf "$scratch"' EXIT
end=$((SECONDS + seconds))

left() { echo $((end - SECONDS > 1 ? end - SECONDS : 1)); }
wanted() { [[ ",$parts," == *",$1,"* ]]; }
note() { echo "[$((SECONDS))s] $*" >&2; }

# failure PART NAME REASON: a record of what did not come to an end.
failure() {
  printf '{"part": "%s", "name": "%s", "failed": "%s"}\n' "$1" "$2" "$(tr -d '\\"\n\t' <<<"$3" | cut -c1-300)" >>"$out/$1.jsonl"
}

# limited SECONDS COMMAND...: ends what takes longer, with exit code 124. macOS has no `timeout`.
limited() {
  if command -v timeout >/dev/null; then
    timeout -k 5 "$@"
  else
    perl -e 'my $s = shift; my $p = fork; if (!$p) { exec @ARGV; exit 127 } local $SIG{ALRM} = sub { kill "TERM", $p; exit 124 }; alarm $s; waitpid $p, 0; exit($? >> 8)' "$@"
  fi
}

# attempt PART NAME SECONDS COMMAND...: runs it, what it says kept in NAME.log; a record if it fails or takes too long.
attempt() {
  local part="$1" name="$2" limit="$3" code=0
  shift 3
  note "$part: $name"
  limited "$((limit < $(left) ? limit : $(left)))" "$@" >"$out/${name// /-}.log" 2>&1 || code=$?
  # Dawn says on the console that it refused what it was given, and computes nothing of it.
  grep -q '^validation:' "$out/${name// /-}.log" && failure "$part" "$name" "Dawn refused: $(sed -n 2p "$out/${name// /-}.log")"
  [ $code = 0 ] && return
  [ $code != 124 ] && grep -q '^{.*"failed": ' "$out/${name// /-}.log" && return $code
  local last
  last="$(grep -v '^{' "$out/${name// /-}.log" | grep -iE 'error|fail|not found|cannot' | tail -1)"
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

# Complete runs of one and two workers that share the GPU: gradients leave it, the ring adds them, sums return.
ringRun() {
  attempt webgpu 'ring' 100 "$node" dist/cli/main.js bench scaling --mode strong --workers 1,2 --batch 4 --steps 3 \
    --config gpt-small.yaml --set engine.name=webgpu --out "$out/scaling" || return
  "$node" bench/gpu/jsonRecords.mjs scaling "$out/scaling/bench.json" >>"$out/webgpu.jsonl" ||
    failure webgpu ring 'its JSON cannot be read'
}

webgpuPart() {
  if ! "$node" --version >"$out/node.log" 2>&1; then
    failure webgpu node "$(head -1 "$out/node.log")"
    return
  fi
  cd "$root" || return
  export XDG_RUNTIME_DIR="${XDG_RUNTIME_DIR:-$scratch}" LOCKSTEP_REQUIRE_WEBGPU=1 NO_COLOR=1
  attempt webgpu 'webgpu device' 60 "$node" bench/gpu/webgpuDevice.mjs "$out/webgpu.jsonl"
  if attempt webgpu 'parity suites' 120 "$node" node_modules/vitest/vitest.mjs run --project parity webgpuEngine parity/webgpu/; then
    printf '{"part": "webgpu", "name": "parity suites", "value": "%s", "unit": ""}\n' \
      "$(grep -E '^ *(Test Files|Tests) ' "$out/parity-suites.log" | tr -s ' ' | tr '\n' ' ')" >>"$out/webgpu.jsonl"
  fi
  local only='^(linear|attention).* (4096×|1024×|B=16 T=256|B=1 T=1024)'
  if attempt webgpu kernels 100 "$node" build/bench/bench/main.js engine --engine webgpu --peers none --json --only "$only"; then
    "$node" bench/gpu/jsonRecords.mjs kernels "$out/kernels.log" >>"$out/webgpu.jsonl" || failure webgpu kernels 'its JSON cannot be read'
  fi
  step 'shakespeare-gpt B 64' --config shakespeare-gpt.yaml --steps 5 --set train.globalBatchSize=64 train.microBatchSize=64
  step 'gpt-small B 4' --config gpt-small.yaml --steps 3 --set train.globalBatchSize=4 train.microBatchSize=4
  step 'gpt-small B 16' --config gpt-small.yaml --steps 3 --set train.globalBatchSize=16 train.microBatchSize=16
  ringRun
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
"$python" "$here/report.py" "$out"
