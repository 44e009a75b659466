// oneDNN's matrix products (https://github.com/uxlfoundation/oneDNN): the matmul primitive on plain layouts, and dnnl_sgemm.
#include <dnnl.hpp>

#include "productPeer.h"

namespace {

using Dims = dnnl::memory::dims;

dnnl::engine& cpu() {
  static dnnl::engine engine(dnnl::engine::kind::cpu, 0);
  return engine;
}

dnnl::memory::desc matrix(int64_t rows, int64_t columns, bool transposed, bool bf16) {
  const auto type = bf16 ? dnnl::memory::data_type::bf16 : dnnl::memory::data_type::f32;
  return {Dims{rows, columns}, type, transposed ? Dims{1, rows} : Dims{columns, 1}};
}

Call matmul(const Product& product, const void* a, const void* b, float* c) {
  const auto [bf16, m, k, n, transposedA, transposedB, accumulate] = product;
  const auto source = matrix(m, k, transposedA, bf16), weights = matrix(k, n, transposedB, bf16);
  const auto destination = matrix(m, n, false, false);
  dnnl::primitive_attr attributes;
  if (accumulate) {
    dnnl::post_ops operations;
    operations.append_sum(1);
    attributes.set_post_ops(operations);
  }
#if DNNL_VERSION_MAJOR >= 3
  const dnnl::matmul::primitive_desc descriptor(cpu(), source, weights, destination, attributes);
#else
  const dnnl::matmul::primitive_desc descriptor(dnnl::matmul::desc(source, weights, destination), attributes, cpu());
#endif
  const dnnl::matmul primitive(descriptor);
  const std::unordered_map<int, dnnl::memory> arguments = {
      {DNNL_ARG_SRC, dnnl::memory(source, cpu(), const_cast<void*>(a))},
      {DNNL_ARG_WEIGHTS, dnnl::memory(weights, cpu(), const_cast<void*>(b))},
      {DNNL_ARG_DST, dnnl::memory(destination, cpu(), c)},
  };
  return [primitive, arguments, stream = dnnl::stream(cpu())]() mutable {
    primitive.execute(stream, arguments);
    stream.wait();
  };
}

Call sgemm(const Product& product, const void* a, const void* b, float* c) {
  return [product, a = static_cast<const float*>(a), b = static_cast<const float*>(b), c] {
    const auto [bf16, m, k, n, transposedA, transposedB, accumulate] = product;
    const auto status = dnnl_sgemm(transposedA ? 'T' : 'N', transposedB ? 'T' : 'N', m, n, k, 1, a, transposedA ? m : k, b,
                                   transposedB ? k : n, accumulate ? 1.0f : 0.0f, c, n);
    if (status != dnnl_success) throw dnnl::error(status, "dnnl_sgemm failed");
  };
}

}  // namespace

const char* peerVersion() {
  static char text[64];
  const dnnl_version_t* version = dnnl_version();
  std::snprintf(text, sizeof text, "%d.%d.%d", version->major, version->minor, version->patch);
  return text;
}

std::vector<Call> waysOf(const Product& product, const void* a, const void* b, float* c) {
  if (!product.bf16) return {matmul(product, a, b, c), sgemm(product, a, b, c)};
  try {
    return {matmul(product, a, b, c)};
  } catch (const dnnl::error& error) {
    if (error.status == dnnl_unimplemented) return {};
    throw;
  }
}

int main() { return servePeer(); }
