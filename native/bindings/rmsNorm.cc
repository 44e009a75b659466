#include "../arguments.h"
#include "bindings.h"

namespace lockstep {

// rmsNormForward(engine, n, c, eps, out, rstd, inp, weight)
napi_value rmsNormForward(napi_env env, napi_callback_info info) {
  Arguments args(env, info, "rmsNormForward");
  Engine* engine = args.engine();
  RmsNormForwardArguments p = {};
  p.n = args.positive("n");
  p.c = args.positive("c");
  p.eps = float(args.number("eps"));
  p.out = args.anyFloats("out", sizeOf(p.n, p.c));
  p.rstd = args.floats("rstd", p.n);
  p.inp = args.floats("inp", sizeOf(p.n, p.c));
  p.weight = args.floats("weight", p.c);
  return args.finish(args.ok() && engine->kernels->rmsNormForward(*engine->pool, p));
}

// rmsNormBackward(engine, n, c, accumulate, dinp | null, dweight | null, dout, inp, weight, rstd)
napi_value rmsNormBackward(napi_env env, napi_callback_info info) {
  Arguments args(env, info, "rmsNormBackward");
  Engine* engine = args.engine();
  RmsNormBackwardArguments p = {};
  p.n = args.positive("n");
  p.c = args.positive("c");
  p.accumulate = args.flag("accumulate");
  p.dinp = args.floatsOrNull("dinp", sizeOf(p.n, p.c));
  p.dweight = args.floatsOrNull("dweight", p.c);
  p.dout = args.anyFloats("dout", sizeOf(p.n, p.c));
  p.inp = args.floats("inp", sizeOf(p.n, p.c));
  p.weight = args.floats("weight", p.c);
  p.rstd = args.floats("rstd", p.n);
  if (args.ok() && p.dinp == nullptr && p.dweight == nullptr) args.fail("expected dinp or dweight");
  return args.finish(args.ok() && engine->kernels->rmsNormBackward(*engine->pool, p));
}

}  // namespace lockstep
