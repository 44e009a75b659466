// The functions that the addon exports. Each function reads and checks its arguments (src/engine/native/addon.ts has their types) and calls a
// kernel.
#pragma once

#include <node_api.h>

namespace lockstep {

napi_value instructionSets(napi_env, napi_callback_info);
napi_value createEngine(napi_env, napi_callback_info);
napi_value disposeEngine(napi_env, napi_callback_info);
napi_value misalignment(napi_env, napi_callback_info);
napi_value adviseHugePages(napi_env, napi_callback_info);
napi_value fmaLimit(napi_env, napi_callback_info);
napi_value bf16Limit(napi_env, napi_callback_info);
napi_value readBandwidth(napi_env, napi_callback_info);

napi_value zero(napi_env, napi_callback_info);
napi_value add(napi_env, napi_callback_info);
napi_value copy(napi_env, napi_callback_info);
napi_value addInto(napi_env, napi_callback_info);
napi_value dropout(napi_env, napi_callback_info);
napi_value embeddingForward(napi_env, napi_callback_info);
napi_value embeddingBackward(napi_env, napi_callback_info);
napi_value layerNormForward(napi_env, napi_callback_info);
napi_value layerNormBackward(napi_env, napi_callback_info);
napi_value rmsNormForward(napi_env, napi_callback_info);
napi_value rmsNormBackward(napi_env, napi_callback_info);
napi_value rope(napi_env, napi_callback_info);
napi_value gatedActivationForward(napi_env, napi_callback_info);
napi_value gatedActivationBackward(napi_env, napi_callback_info);
napi_value linearForward(napi_env, napi_callback_info);
napi_value linearBackward(napi_env, napi_callback_info);
napi_value activationForward(napi_env, napi_callback_info);
napi_value activationBackward(napi_env, napi_callback_info);
napi_value attentionForward(napi_env, napi_callback_info);
napi_value attentionBackward(napi_env, napi_callback_info);
napi_value attentionDecode(napi_env, napi_callback_info);
napi_value crossEntropy(napi_env, napi_callback_info);
napi_value linearCrossEntropy(napi_env, napi_callback_info);
napi_value squaredNorm(napi_env, napi_callback_info);
napi_value adamw(napi_env, napi_callback_info);
napi_value weightedSum(napi_env, napi_callback_info);
napi_value normalise(napi_env, napi_callback_info);

}  // namespace lockstep
