#include "../arguments.h"
#include "bindings.h"

namespace lockstep {

// layerNormForward(engine, n, c, eps, out, mean, rstd, inp, weight, bias | null)
napi_value layerNormForward(napi_env env, napi_callback_info info) {
  Arguments args(env, info, "layerNormForward");
  Engine* engine = args.engine();
  LayerNormForwardArguments p = {};
  p.n = args.positive("n");
  p.c = args.positive("c");
  p.eps = float(args.number("eps"));
  p.out = args.anyFloats("out", sizeOf(p.n, p.c));
  p.mean = args.floats("mean", p.n);
  p.rstd = args.floats("rstd", p.n);
  p.inp = args.floats("inp", sizeOf(p.n, p.c));
  p.weight = args.floats("weight", p.c);
  p.bias = args.floatsOrNull("bias", p.c);
  return args.finish(args.ok() && engine->kernels->layerNormForward(*engine->pool, p));
}

// layerNormBackward(engine, n, c, accumulate, dinp | null, dweight | null, dbias | null, dout, inp, weight, mean, rstd)
napi_value layerNormBackward(napi_env env, napi_callback_info info) {
  Arguments args(env, info, "layerNormBackward");
  Engine* engine = args.engine();
  LayerNormBackwardArguments p = {};
  p.n = args.positive("n");
  p.c = args.positive("c");
  p.accumulate = args.flag("accumulate");
  p.dinp = args.floatsOrNull("dinp", sizeOf(p.n, p.c));
  p.dweight = args.floatsOrNull("dweight", p.c);
  p.dbias = args.floatsOrNull("dbias", p.c);
  p.dout = args.anyFloats("dout", sizeOf(p.n, p.c));
  p.inp = args.floats("inp", sizeOf(p.n, p.c));
  p.weight = args.floats("weight", p.c);
  p.mean = args.floats("mean", p.n);
  p.rstd = args.floats("rstd", p.n);
  if (args.ok() && p.dinp == nullptr && p.dweight == nullptr && p.dbias == nullptr) {
    args.fail("expected dinp, dweight or dbias");
  }
  return args.finish(args.ok() && engine->kernels->layerNormBackward(*engine->pool, p));
}

}  // namespace lockstep
