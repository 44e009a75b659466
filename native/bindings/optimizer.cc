// AdamW, the norm for clipping, and what Muon needs besides products.
#include <cmath>
#include <memory>
#include <new>

#include "../arguments.h"
#include "bindings.h"

namespace lockstep {

// squaredNorm(engine, array): number
napi_value squaredNorm(napi_env env, napi_callback_info info) {
  Arguments args(env, info, "squaredNorm");
  Engine* engine = args.engine();
  Index size;
  const float* data = args.floatsOfAnySize("array", &size);
  double result = 0;
  if (args.ok() && !engine->kernels->squaredNorm(*engine->pool, data, size, &result)) args.fail("out of memory");
  napi_value value;
  return args.ok() && napi_create_double(env, result, &value) == napi_ok ? value : nullptr;
}

// adamw(engine, learningRate, beta1, beta2, eps, step, gradScale, zeroGrads, params, grads, m, v, ranges, weightDecay, average,
// averageWeight): `ranges` has the start and end of each tensor in the blocks, and its start in v
napi_value adamw(napi_env env, napi_callback_info info) {
  Arguments args(env, info, "adamw");
  Engine* engine = args.engine();
  AdamwArguments p = {};
  const double learningRate = args.number("learningRate");
  const double beta1 = args.number("beta1");
  const double beta2 = args.number("beta2");
  p.eps = float(args.number("eps"));
  const double step = double(args.positive("step"));
  p.gradScale = float(args.number("gradScale"));
  p.zeroGrads = args.flag("zeroGrads");
  p.params = args.floatsOfAnySize("params", &p.size);
  p.grads = args.floats("grads", p.size);
  p.m = args.floats("m", p.size);
  Index sizeOfV;
  p.v = args.floatsOfAnySize("v", &sizeOfV);
  const double* ranges = args.doublesOfAnySize("ranges", &p.count);
  if (args.ok() && p.count % 3 != 0) args.fail("expected two starts and an end for each tensor in ranges");
  p.count /= 3;
  const double* weightDecay = args.doubles("weightDecay", p.count);
  p.average = args.floatsOrNull("average", p.size);
  const double averageWeight = args.number("averageWeight");
  const std::unique_ptr<AdamwTensor[]> tensors(new (std::nothrow) AdamwTensor[size_t(p.count)]);
  if (tensors == nullptr) args.fail("out of memory");
  double last = 0;
  for (Index i = 0; args.ok() && i < p.count; i++) {
    const double start = ranges[3 * i], end = ranges[3 * i + 1], v = ranges[3 * i + 2];
    if (!(start >= last && end >= start && end <= double(p.size))) {
      args.fail("expected ascending ranges within %lld elements but tensor %lld is [%g, %g)", static_cast<long long>(p.size),
                static_cast<long long>(i), start, end);
    }
    if (!(v >= 0 && v + (end - start) <= double(sizeOfV))) {
      args.fail("expected ranges within the %lld elements of v but tensor %lld starts at %g", static_cast<long long>(sizeOfV),
                static_cast<long long>(i), v);
    }
    tensors[i] = {Index(start), Index(end), Index(v), float(1 - learningRate * weightDecay[i])};
    last = end;
  }
  p.tensors = tensors.get();
  p.averageWeight = float(averageWeight);
  p.averageRest = float(1 - averageWeight);
  p.beta1 = float(beta1);
  p.rest1 = float(1 - beta1);
  p.beta2 = float(beta2);
  p.rest2 = float(1 - beta2);
  p.stepSize = float(learningRate / (1 - std::pow(beta1, step)));
  p.inverseSqrtBiasCorrection2 = float(1 / std::sqrt(1 - std::pow(beta2, step)));
  return args.finish(args.ok() && engine->kernels->adamw(*engine->pool, p));
}

// weightedSum(engine, rows, columns, out, outStart, outStride, a, aStart, aStride, b, bStart, bStride, scaleA, scaleB)
napi_value weightedSum(napi_env env, napi_callback_info info) {
  Arguments args(env, info, "weightedSum");
  Engine* engine = args.engine();
  WeightedSumArguments p = {};
  p.rows = args.positive("rows");
  p.columns = args.positive("columns");
  const auto part = [&](const char* name, Index* stride) {
    Index size;
    float* data = args.floatsOfAnySize(name, &size);
    const Index start = args.count("start");
    *stride = args.positive("stride");
    if (args.ok() && (*stride < p.columns || start + (p.rows - 1) * *stride + p.columns > size)) args.fail("%s is too small", name);
    return args.ok() ? data + start : nullptr;
  };
  p.out = part("out", &p.outStride);
  p.a = part("a", &p.aStride);
  p.b = part("b", &p.bStride);
  p.scaleA = float(args.number("scaleA"));
  p.scaleB = float(args.number("scaleB"));
  return args.finish(args.ok() && engine->kernels->weightedSum(*engine->pool, p));
}

// normalise(engine, array, eps)
napi_value normalise(napi_env env, napi_callback_info info) {
  Arguments args(env, info, "normalise");
  Engine* engine = args.engine();
  Index size;
  float* data = args.floatsOfAnySize("array", &size);
  const double eps = args.number("eps");
  return args.finish(args.ok() && engine->kernels->normalise(*engine->pool, data, size, eps));
}

}  // namespace lockstep
