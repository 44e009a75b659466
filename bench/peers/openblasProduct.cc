// OpenBLAS' matrix product (https://github.com/OpenMathLib/OpenBLAS).
#include <cblas.h>

#include "productPeer.h"

// The configuration begins with the name and the version.
const char* peerVersion() {
  static char version[32];
  return std::sscanf(openblas_get_config(), "OpenBLAS %31s", version) == 1 ? version : "of unknown version";
}


std::vector<Call> waysOf(const Product& product, const void* a, const void* b, float* c) {
  if (product.bf16) return {};
  return {[product, a = static_cast<const float*>(a), b = static_cast<const float*>(b), c] {
    const auto [bf16, m, k, n, transposedA, transposedB, accumulate] = product;
    cblas_sgemm(CblasRowMajor, transposedA ? CblasTrans : CblasNoTrans, transposedB ? CblasTrans : CblasNoTrans, m, n, k, 1, a,
                transposedA ? m : k, b, transposedB ? k : n, accumulate ? 1.0f : 0.0f, c, n);
  }};
}

int main() { return servePeer(); }
