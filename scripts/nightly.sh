#!/usr/bin/env bash
# Everything that CI leaves out since it takes long: all tests, the cases of test/nightly.ts among them, the sanitizers over all of
# the kernel suite, that suite on arm64, WebGPU on software drivers, one of them with matrix units, 10,000 seeds of the simulator and
# ten minutes of chaos. Some hours on 2 cores: all tests take half an hour, and an emulator is slow. After `npm ci`, on a machine that
# `.ci/run` has prepared.
set -euo pipefail
cd "$(dirname "$0")/.."

export LOCKSTEP_NIGHTLY=1
seed=$(date +%Y%m%d)
npm test -- --reporter=default --reporter=./test/skippedTests.ts
npx vitest run --project unit --coverage --testTimeout=300000
node scripts/coverage.mjs
bash scripts/ciWebgpu.sh
bash scripts/matrixUnits.sh
bash scripts/sanitizers.sh
bash scripts/prebuildArm64.sh
npm run simulate -- --seeds 10000 --from "$seed"
LOCKSTEP_CHAOS_SECONDS=600 LOCKSTEP_CHAOS_SEED=$seed npx vitest run test/fault/chaos.test.ts
