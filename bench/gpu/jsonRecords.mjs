/**
 * Turns the JSON that a benchmark printed into records of the GPU check, one line each: node bench/gpu/jsonRecords.mjs KIND FILE [NAME].
 * KIND: step, kernels or scaling.
 */
import { readFileSync } from 'node:fs';

const [, , kind, file, name] = process.argv;

const records = {
  step({ results, kernels, parameters, shape, peakTensorBytes }) {
    const { tokensPerSecond, medianMs, gflops, ofLimit, ofF16Limit } = results[0];
    const slowest = kernels.kernels
      .slice(0, 6)
      .map(({ name: kernel, share }) => `${kernel} ${Math.round(100 * share)} %`);
    return [
      {
        name,
        value: tokensPerSecond,
        unit: 'tokens/s',
        ms: medianMs,
        gflops,
        ofLimit,
        ofF16Limit,
        parameters,
        peakTensorBytes,
        shape,
      },
      { name: `${name}, kernels`, value: slowest.join(', '), unit: '' },
    ];
  },
  kernels: ({ machine, results }) => [
    { name: 'float32 limit in registers', value: machine.fmaGflops / 1000, unit: 'TFLOP/s' },
    ...(machine.f16Gflops === undefined
      ? []
      : [{ name: 'float16 limit in registers', value: machine.f16Gflops / 1000, unit: 'TFLOP/s' }]),
    ...results.map(({ name, shape, gflops, ofLimit, medianUs }) => ({
      name: `${name} ${shape}`,
      value: gflops / 1000,
      unit: 'TFLOP/s',
      ofLimit,
      us: medianUs,
    })),
  ],
  scaling: ({ results }) =>
    results.map(({ workers, tokensPerSecond, stepMs, ringAloneMs, communicationShare, overlapWon }) => ({
      name: `${name}, run of ${workers} on one GPU`,
      value: tokensPerSecond,
      unit: 'tokens/s',
      stepMs,
      ringAloneMs,
      communicationShare,
      overlapWon,
    })),
};

// What the programs say beside it comes before and after the object, whose braces have lines of their own.
const text = `\n${readFileSync(file, 'utf8')}`;
const json = text.slice(text.indexOf('\n{\n'), text.lastIndexOf('\n}') + 2);
for (const record of records[kind](JSON.parse(json))) {
  process.stdout.write(`${JSON.stringify({ part: 'webgpu', ...record })}\n`);
}
