#include "../arguments.h"
#include "bindings.h"

namespace lockstep {
namespace {

void checkTokens(Arguments& args, const int32_t* tokens, Index count, Index vocabulary) {
  for (Index i = 0; args.ok() && i < count; i++) {
    if (tokens[i] < 0 || tokens[i] >= vocabulary) {
      args.fail("expected tokens in [0, %lld) but token %lld is %d", static_cast<long long>(vocabulary),
                static_cast<long long>(i), tokens[i]);
    }
  }
}

}  // namespace

// embeddingForward(engine, b, t, c, v, positions, positionOffset, scale, out, tokens, wte, wpe | null, starts | null)
napi_value embeddingForward(napi_env env, napi_callback_info info) {
  Arguments args(env, info, "embeddingForward");
  Engine* engine = args.engine();
  EmbeddingForwardArguments p = {};
  p.b = args.positive("b");
  p.t = args.positive("t");
  p.c = args.positive("c");
  const Index v = args.positive("v");
  const Index positions = args.count("positions");
  p.positionOffset = args.count("positionOffset");
  p.scale = float(args.number("scale"));
  p.out = args.floats("out", sizeOf(p.b, p.t, p.c));
  p.tokens = args.ints("tokens", sizeOf(p.b, p.t));
  p.wte = args.floats("wte", sizeOf(v, p.c));
  p.wpe = args.floatsOrNull("wpe", sizeOf(positions, p.c));
  p.starts = args.startsOrNull("starts", p.b, p.t);
  if (p.wpe != nullptr && p.positionOffset + p.t > positions) args.fail("expected wpe to have a row for every position");
  checkTokens(args, p.tokens, p.b * p.t, v);
  return args.finish(args.ok() && engine->kernels->embeddingForward(*engine->pool, p));
}

// embeddingBackward(engine, b, t, c, v, positions, scale, dwte | null, dwpe | null, dout, tokens, starts | null)
napi_value embeddingBackward(napi_env env, napi_callback_info info) {
  Arguments args(env, info, "embeddingBackward");
  Engine* engine = args.engine();
  EmbeddingBackwardArguments p = {};
  p.b = args.positive("b");
  p.t = args.positive("t");
  p.c = args.positive("c");
  const Index v = args.positive("v");
  const Index positions = args.count("positions");
  p.scale = float(args.number("scale"));
  p.dwte = args.floatsOrNull("dwte", sizeOf(v, p.c));
  p.dwpe = args.floatsOrNull("dwpe", sizeOf(positions, p.c));
  p.dout = args.floats("dout", sizeOf(p.b, p.t, p.c));
  p.tokens = args.ints("tokens", sizeOf(p.b, p.t));
  p.starts = args.startsOrNull("starts", p.b, p.t);
  if (p.dwpe != nullptr && p.t > positions) args.fail("expected dwpe to have a row for every position");
  if (p.dwte != nullptr) checkTokens(args, p.tokens, p.b * p.t, v);
  return args.finish(args.ok() && engine->kernels->embeddingBackward(*engine->pool, p));
}

}  // namespace lockstep
