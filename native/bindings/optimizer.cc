// AdamW and the norm it is clipped by.
#include <cmath>

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

// adamw(engine, size, learningRate, beta1, beta2, eps, weightDecay, step, gradScale, param, grad, m, v)
napi_value adamw(napi_env env, napi_callback_info info) {
  Arguments args(env, info, "adamw");
  Engine* engine = args.engine();
  AdamwArguments p = {};
  p.size = args.positive("size");
  const double learningRate = args.number("learningRate");
  const double beta1 = args.number("beta1");
  const double beta2 = args.number("beta2");
  p.eps = float(args.number("eps"));
  const double weightDecay = args.number("weightDecay");
  const double step = double(args.positive("step"));
  p.gradScale = float(args.number("gradScale"));
  p.param = args.floats("param", p.size);
  p.grad = args.floats("grad", p.size);
  p.m = args.floats("m", p.size);
  p.v = args.floats("v", p.size);
  p.beta1 = float(beta1);
  p.beta2 = float(beta2);
  p.decay = float(1 - learningRate * weightDecay);
  p.stepSize = float(learningRate / (1 - std::pow(beta1, step)));
  p.inverseSqrtBiasCorrection2 = float(1 / std::sqrt(1 - std::pow(beta2, step)));
  return args.finish(args.ok() && engine->kernels->adamw(*engine->pool, p));
}

}  // namespace lockstep
