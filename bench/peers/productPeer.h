// A matrix product of another library, timed for `npm run bench -- engine` (bench/engine/productPeers.ts): the line protocol and the clock.
//
//   ready VERSION                                      what a peer says first
//   prepare f32|bf16 M K N TA TB ACCUMULATE            c[M,N] = a · b (+ c), row-major; TA: a lies as [K,M]; TB: b lies as [N,K]
//   ok CHECKSUM | unsupported                          computed once from c = 0; CHECKSUM is sumOf(c)
//   time MS                                            calls it for about MS milliseconds
//   us MICROSECONDS                                    of one call
#pragma once

#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <functional>
#include <vector>

struct Product {
  bool bf16;
  int64_t m, k, n;
  bool transposedA, transposedB, accumulate;
};

using Call = std::function<void()>;

// What the library calls itself.
const char* peerVersion();

// Every way that the library has to compute the product, of which the fastest is taken; none if it cannot. a and b hold float,
// or bfloat16 in uint16_t; c holds float.
std::vector<Call> waysOf(const Product&, const void* a, const void* b, float* c);

inline double nowUs() {
  using namespace std::chrono;
  return duration<double, std::micro>(steady_clock::now().time_since_epoch()).count();
}

// The same values as cycledValues in bench/engine/kernelCase.ts.
inline std::vector<uint8_t> operand(int64_t size, bool bf16) {
  std::vector<uint8_t> bytes(size * (bf16 ? 2 : 4));
  for (int64_t i = 0; i < size; i++) {
    const float value = float(double((i * 7919) % 8191) / 8191 - 0.5);
    if (!bf16) {
      std::memcpy(&bytes[i * 4], &value, 4);
      continue;
    }
    uint32_t bits;
    std::memcpy(&bits, &value, 4);
    const uint16_t upper = uint16_t((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);  // to nearest even
    std::memcpy(&bytes[i * 2], &upper, 2);
  }
  return bytes;
}

// Depends on where each value stands; at most about 100,000 of them are looked at.
inline double sumOf(const std::vector<float>& c) {
  const size_t stride = c.size() / 100000 + 1;
  double sum = 0;
  for (size_t i = 0; i < c.size(); i += stride) sum += double(c[i]) * double(i % 7 + 1);
  return sum;
}

inline double timeOf(const Call& call, int repetitions) {
  const double start = nowUs();
  for (int i = 0; i < repetitions; i++) call();
  return (nowUs() - start) / repetitions;
}

inline const Call* fastestOf(const std::vector<Call>& ways) {
  const Call* best = nullptr;
  double bestUs = INFINITY;
  for (const Call& way : ways) {
    double us = INFINITY;
    for (int i = 0; i < 3; i++) us = std::fmin(us, timeOf(way, 1));
    if (us < bestUs) best = &way, bestUs = us;
  }
  return best;
}

inline int servePeer() {
  std::vector<uint8_t> a, b;
  std::vector<float> c;
  std::vector<Call> ways;
  const Call* call = nullptr;
  double callUs = 0;
  std::printf("ready %s\n", peerVersion());
  std::fflush(stdout);
  char line[256];
  while (std::fgets(line, sizeof line, stdin) != nullptr) {
    char type[8];
    long long m, k, n;
    int ta, tb, accumulate;
    double ms;
    if (std::sscanf(line, "prepare %7s %lld %lld %lld %d %d %d", type, &m, &k, &n, &ta, &tb, &accumulate) == 7) {
      const Product product{std::strcmp(type, "bf16") == 0, m, k, n, ta != 0, tb != 0, accumulate != 0};
      a = operand(m * k, product.bf16);
      b = operand(k * n, product.bf16);
      c.assign(m * n, 0.0f);
      ways = waysOf(product, a.data(), b.data(), c.data());
      call = nullptr;
      if (ways.empty()) {
        std::printf("unsupported\n");
      } else {
        call = fastestOf(ways);
        std::memset(c.data(), 0, c.size() * sizeof(float));
        callUs = timeOf(*call, 1);
        std::printf("ok %.9g\n", sumOf(c));
      }
    } else if (call != nullptr && std::sscanf(line, "time %lf", &ms) == 1) {
      if (callUs < 150e3) (*call)();  // others have used the caches meanwhile
      const int repetitions = std::fmax(1, std::round(ms * 1e3 / callUs));
      callUs = timeOf(*call, repetitions);
      std::printf("us %.9g\n", callUs);
    } else {
      std::fprintf(stderr, "expected prepare or time, received %s", line);
      return 2;
    }
    std::fflush(stdout);
  }
  return 0;
}
