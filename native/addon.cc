// The export table.
#include <node_api.h>

#include "bindings/bindings.h"
#include "engine.h"

namespace {

// A hash of all that the engine is compiled from, as native/findAddon.cjs computes it: an addon that was compiled before a change is
// refused instead of computing something else.
#define LOCKSTEP_TEXT(x) #x
#define LOCKSTEP_TEXT_OF(x) LOCKSTEP_TEXT(x)
constexpr char sources[] = LOCKSTEP_TEXT_OF(LOCKSTEP_SOURCES);

struct Export {
  const char* name;
  napi_callback function;
};

constexpr Export exportTable[] = {
    {"instructionSets", lockstep::instructionSets},
    {"createEngine", lockstep::createEngine},
    {"disposeEngine", lockstep::disposeEngine},
    {"misalignment", lockstep::misalignment},
    {"adviseHugePages", lockstep::adviseHugePages},
    {"fmaLimit", lockstep::fmaLimit},
    {"bf16Limit", lockstep::bf16Limit},
    {"readBandwidth", lockstep::readBandwidth},
    {"zero", lockstep::zero},
    {"add", lockstep::add},
    {"copy", lockstep::copy},
    {"addInto", lockstep::addInto},
    {"dropout", lockstep::dropout},
    {"embeddingForward", lockstep::embeddingForward},
    {"embeddingBackward", lockstep::embeddingBackward},
    {"layerNormForward", lockstep::layerNormForward},
    {"layerNormBackward", lockstep::layerNormBackward},
    {"rmsNormForward", lockstep::rmsNormForward},
    {"rmsNormBackward", lockstep::rmsNormBackward},
    {"rope", lockstep::rope},
    {"gatedActivationForward", lockstep::gatedActivationForward},
    {"gatedActivationBackward", lockstep::gatedActivationBackward},
    {"linearForward", lockstep::linearForward},
    {"linearBackward", lockstep::linearBackward},
    {"activationForward", lockstep::activationForward},
    {"activationBackward", lockstep::activationBackward},
    {"attentionForward", lockstep::attentionForward},
    {"attentionBackward", lockstep::attentionBackward},
    {"attentionDecode", lockstep::attentionDecode},
    {"crossEntropy", lockstep::crossEntropy},
    {"linearCrossEntropy", lockstep::linearCrossEntropy},
    {"squaredNorm", lockstep::squaredNorm},
    {"adamw", lockstep::adamw},
    {"weightedSum", lockstep::weightedSum},
    {"normalise", lockstep::normalise},
};

napi_value initialise(napi_env env, napi_value exports) {
  if (!lockstep::initialiseEngines(env)) {
    napi_throw_error(env, nullptr, "the native engine could not be set up: out of memory");
    return nullptr;
  }
  napi_value hash;
  if (napi_create_string_latin1(env, sources, NAPI_AUTO_LENGTH, &hash) != napi_ok ||
      napi_set_named_property(env, exports, "sources", hash) != napi_ok) {
    return nullptr;
  }
  for (const Export& entry : exportTable) {
    napi_value function;
    if (napi_create_function(env, entry.name, NAPI_AUTO_LENGTH, entry.function, nullptr, &function) != napi_ok ||
        napi_set_named_property(env, exports, entry.name, function) != napi_ok) {
      return nullptr;
    }
  }
  return exports;
}

}  // namespace

NAPI_MODULE(NODE_GYP_MODULE_NAME, initialise)
