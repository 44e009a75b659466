#include "../arguments.h"
#include "bindings.h"

namespace lockstep {

// crossEntropy(engine, n, v, scale, losses, logits, targets, dlogits | null)
napi_value crossEntropy(napi_env env, napi_callback_info info) {
  Arguments args(env, info, "crossEntropy");
  Engine* engine = args.engine();
  CrossEntropyArguments p = {};
  p.n = args.positive("n");
  p.v = args.positive("v");
  p.scale = float(args.number("scale"));
  p.losses = args.floats("losses", p.n);
  p.logits = args.floats("logits", sizeOf(p.n, p.v));
  p.targets = args.ints("targets", p.n);
  p.dlogits = args.floatsOrNull("dlogits", sizeOf(p.n, p.v));
  for (Index i = 0; args.ok() && i < p.n; i++) {
    if (p.targets[i] < -1 || p.targets[i] >= p.v) {
      args.fail("expected targets in [-1, %lld) but target %lld is %d", static_cast<long long>(p.v),
                static_cast<long long>(i), p.targets[i]);
    }
  }
  return args.finish(args.ok() && engine->kernels->crossEntropy(*engine->pool, p));
}

}  // namespace lockstep
