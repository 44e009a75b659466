/** Writes a run directory with the same bytes on every machine, so that pages which show it can be compared with references. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const steps = 120;
const workers = 3;

export function writeFixedRun(path: string): void {
  mkdirSync(path, { recursive: true });
  writeFileSync(join(path, 'config.yaml'), 'run:\n  name: fixed\ntrain:\n  workers: 3\n  maxSteps: 120\n  seed: 1\n');
  const lines: object[] = [];
  for (let step = 1; step <= steps; step++) {
    lines.push(stepLine(step));
    if (step % 20 === 0)
      lines.push({ step, valLoss: lossAt(step) + step / 600, valBitsPerByte: (lossAt(step) + step / 600) / Math.LN2 });
  }
  writeLines(path, 'metrics.jsonl', lines);
  const event = (minute: number, step: number, rest: { event: string; reason: string; action?: string }) => ({
    time: `2026-01-02T10:${String(minute).padStart(2, '0')}:00.000Z`,
    step,
    term: 1,
    ...rest,
  });
  writeLines(path, 'events.jsonl', [
    event(0, 0, { event: 'joined', reason: 'local-0000 joined as rank 0' }),
    event(0, 0, { event: 'joined', reason: 'local-0001 joined as rank 1' }),
    event(0, 0, { event: 'joined', reason: 'local-0002 joined as rank 2' }),
    event(3, 41, {
      event: 'lost',
      reason: 'rank 2 (local-0002) has sent nothing for 5 s',
      action: 'step 41 is repeated with 2 workers',
    }),
    event(4, 52, { event: 'joined', reason: 'local-0003 joined as rank 2' }),
    event(9, steps, { event: 'finished', reason: 'all 120 steps are done' }),
  ]);
  writeLines(path, 'samples.jsonl', [
    {
      step: 60,
      prompt: 'ROMEO:',
      text: 'ROMEO:\nWhat say the hear the love of thee,\nAnd with the sun the king shall be.',
    },
    {
      step: 120,
      prompt: 'ROMEO:',
      text: 'ROMEO:\nI would the morning had not come so soon,\nFor night was kind, and kinder still the moon.',
    },
  ]);
}

function lossAt(step: number): number {
  return 1.6 + 2.6 * Math.exp(-step / 30) + 0.03 * Math.sin(step * 1.7);
}

function stepLine(step: number): object {
  const ranks = Array.from({ length: workers }, (_, rank) => ({
    rank,
    sampleFrom: 4 * rank,
    sampleCount: 4,
    dataWaitMs: 0.4,
    forwardBackwardMs: 80 + 4 * rank + 3 * Math.sin(step + rank),
    ringWaitMs: 14 - 4 * rank,
    commitWaitMs: 1.2,
    optimizerMs: 6,
    ringBytesSent: 2_400_000,
  }));
  const lr = step <= 20 ? (step / 20) * 1e-3 : 1e-3 * Math.cos((step - 20) / 70);
  const speeds = { tokensPerSecond: 31_000 + 900 * Math.sin(step / 5), mfu: 0.41 + 0.01 * Math.sin(step / 5) };
  return {
    step,
    loss: lossAt(step),
    lr,
    gradNorm: 0.8 + 0.3 * Math.sin(step / 3),
    tokens: step * 3_072,
    term: 1,
    ...speeds,
    ranks,
  };
}

function writeLines(path: string, name: string, lines: readonly object[]): void {
  writeFileSync(join(path, name), lines.map((line) => `${JSON.stringify(line)}\n`).join(''));
}
