// The kernels of this instruction set. The table must be a constant: nothing here may run on a machine without the set.
#include "gemm.h"
#include "gemmBf16.h"
#include "kernels.h"

namespace lockstep::LOCKSTEP_ISA {

bool linearForward(ThreadPool&, const LinearForwardArguments&);
bool linearBackward(ThreadPool&, const LinearBackwardArguments&);
bool attentionForward(ThreadPool&, const AttentionForwardArguments&);
bool attentionBackward(ThreadPool&, const AttentionBackwardArguments&);
bool attentionDecode(ThreadPool&, const AttentionDecodeArguments&);
bool layerNormForward(ThreadPool&, const LayerNormForwardArguments&);
bool layerNormBackward(ThreadPool&, const LayerNormBackwardArguments&);
bool rmsNormForward(ThreadPool&, const RmsNormForwardArguments&);
bool rmsNormBackward(ThreadPool&, const RmsNormBackwardArguments&);
bool rope(ThreadPool&, const RopeArguments&);
bool gatedActivationForward(ThreadPool&, const GatedActivationArguments&);
bool gatedActivationBackward(ThreadPool&, const GatedActivationArguments&);
bool activationForward(ThreadPool&, const ActivationArguments&);
bool activationBackward(ThreadPool&, const ActivationArguments&);
bool embeddingForward(ThreadPool&, const EmbeddingForwardArguments&);
bool embeddingBackward(ThreadPool&, const EmbeddingBackwardArguments&);
bool crossEntropy(ThreadPool&, const CrossEntropyArguments&);
bool linearCrossEntropy(ThreadPool&, const LinearCrossEntropyArguments&);
bool adamw(ThreadPool&, const AdamwArguments&);
bool squaredNorm(ThreadPool&, const float*, Index, double*);
bool weightedSum(ThreadPool&, const WeightedSumArguments&);
bool normalise(ThreadPool&, float*, Index, double);
bool dropout(ThreadPool&, const DropoutForwardArguments&);
bool add(ThreadPool&, FloatArray, FloatArray, FloatArray, Index);
bool copy(ThreadPool&, FloatArray, FloatArray, Index);
bool zero(ThreadPool&, float*, Index);
void addInto(float*, const float*, Index);
double fmaLimit(ThreadPool&, double);
double bf16Limit(ThreadPool&, double);
double readBandwidth(ThreadPool&, const float*, Index, double);

size_t workspaceBytes() {
  return gemmWorkspaceBytes() > gemmBf16WorkspaceBytes() ? gemmWorkspaceBytes() : gemmBf16WorkspaceBytes();
}

constinit const KernelTable kernelTable = {workspaceBytes,
                                 linearForward,
                                 linearBackward,
                                 attentionForward,
                                 attentionBackward,
                                 attentionDecode,
                                 layerNormForward,
                                 layerNormBackward,
                                 rmsNormForward,
                                 rmsNormBackward,
                                 rope,
                                 gatedActivationForward,
                                 gatedActivationBackward,
                                 activationForward,
                                 activationBackward,
                                 embeddingForward,
                                 embeddingBackward,
                                 crossEntropy,
                                 linearCrossEntropy,
                                 adamw,
                                 squaredNorm,
                                 weightedSum,
                                 normalise,
                                 dropout,
                                 add,
                                 copy,
                                 zero,
                                 addInto,
                                 fmaLimit,
                                 bf16Limit,
                                 readBandwidth};

}  // namespace lockstep::LOCKSTEP_ISA
