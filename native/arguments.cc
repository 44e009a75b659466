#include "arguments.h"

#include <cmath>
#include <cstdarg>
#include <cstdio>
#include <cstring>
#include <new>

namespace lockstep {

Index sizeOf(Index a, Index b, Index c) {
  Index product;
  if (__builtin_mul_overflow(a, b, &product) || __builtin_mul_overflow(product, c, &product)) return INT64_MAX;
  return product;
}

Arguments::Arguments(napi_env env, napi_callback_info info, const char* function)
    : env_(env), function_(function), count_(sizeof values_ / sizeof *values_) {
  ok_ = napi_get_cb_info(env, info, &count_, values_, nullptr, nullptr) == napi_ok;
}

void Arguments::fail(const char* format, ...) {
  if (!ok_) return;
  ok_ = false;
  char reason[256], message[320];
  va_list list;
  va_start(list, format);
  vsnprintf(reason, sizeof reason, format, list);
  va_end(list);
  snprintf(message, sizeof message, "%s: %s", function_, reason);
  napi_throw_type_error(env_, nullptr, message);
}

napi_value Arguments::next() {
  const size_t capacity = sizeof values_ / sizeof *values_;
  if (index_ >= count_ || index_ >= capacity) {
    fail("expected more than %zu arguments", count_);
    return nullptr;
  }
  return values_[index_++];
}

bool Arguments::isNull(napi_value value) {
  napi_valuetype type;
  return value != nullptr && napi_typeof(env_, value, &type) == napi_ok && (type == napi_null || type == napi_undefined);
}

double Arguments::number(const char* name) {
  const napi_value value = next();
  double result = 0;
  if (ok_ && napi_get_value_double(env_, value, &result) != napi_ok) fail("expected a number for %s", name);
  return ok_ ? result : 0;
}

Index Arguments::count(const char* name) {
  const double value = number(name);
  if (ok_ && !(value >= 0 && value < 2147483648.0 && value == std::floor(value))) {
    fail("expected an integer of at least 0 for %s but received %g", name, value);
  }
  return ok_ ? Index(value) : 0;
}

Index Arguments::positive(const char* name) {
  const Index value = count(name);
  if (ok_ && value == 0) fail("expected an integer of at least 1 for %s but received 0", name);
  return ok_ ? value : 1;
}

bool Arguments::flag(const char* name) {
  const napi_value value = next();
  bool result = false;
  if (ok_ && napi_get_value_bool(env_, value, &result) != napi_ok) fail("expected a boolean for %s", name);
  return ok_ && result;
}

void Arguments::text(const char* name, char* into, size_t capacity) {
  const napi_value value = next();
  size_t length = 0;
  into[0] = 0;
  if (ok_ && napi_get_value_string_utf8(env_, value, into, capacity, &length) != napi_ok) {
    fail("expected a string for %s", name);
  }
}

Activation Arguments::activation(const char* name) {
  char kind[32];
  text(name, kind, sizeof kind);
  if (!ok_ || strcmp(kind, "none") == 0) return Activation::none;
#define LOCKSTEP_MATCH(known, Type) \
  if (strcmp(kind, #known) == 0) return Activation::known;
  LOCKSTEP_ACTIVATIONS(LOCKSTEP_MATCH)
#undef LOCKSTEP_MATCH
  fail("expected an activation of native/activations.h or 'none' for %s but received '%s'", name, kind);
  return Activation::none;
}

Engine* Arguments::engine() {
  const Index handle = count("engine");
  Engine* engine = ok_ ? findEngine(env_, handle) : nullptr;
  if (ok_ && engine == nullptr) fail("engine %lld is disposed or was never created", static_cast<long long>(handle));
  return engine;
}

void* Arguments::typedArray(const char* name, napi_typedarray_type type, const char* typeName, Index size,
                            Index* actualSize) {
  return typedArrayOf(next(), name, type, typeName, size, actualSize);
}

void* Arguments::typedArrayOf(napi_value value, const char* name, napi_typedarray_type type, const char* typeName, Index size,
                              Index* actualSize) {
  if (!ok_) return nullptr;
  napi_typedarray_type actualType;
  size_t length = 0;
  void* data = nullptr;
  napi_value buffer = nullptr;
  size_t offset = 0;
  if (napi_get_typedarray_info(env_, value, &actualType, &length, &data, &buffer, &offset) != napi_ok ||
      actualType != type) {
    fail("expected a %s for %s", typeName, name);
    return nullptr;
  }
  if (actualSize != nullptr) {
    *actualSize = Index(length);
  } else if (Index(length) != size) {
    fail("expected %lld elements in %s but received %zu", static_cast<long long>(size), name, length);
    return nullptr;
  }
  if (data == nullptr && length > 0) fail("%s has no memory", name);
  if (!ok_) return nullptr;
  const size_t elementBytes = type == napi_float64_array ? 8 : type == napi_uint16_array ? 2 : 4;
  fence_.open(env_, buffer, offset, data, length * elementBytes);
  return data;
}

float* Arguments::floats(const char* name, Index size) {
  return static_cast<float*>(typedArray(name, napi_float32_array, "Float32Array", size, nullptr));
}

float* Arguments::floatsOfAnySize(const char* name, Index* size) {
  *size = 0;
  return static_cast<float*>(typedArray(name, napi_float32_array, "Float32Array", 0, size));
}

Arguments::FloatsList Arguments::listOfFloats(const char* name, Index count) {
  const napi_value list = next();
  uint32_t length = 0;
  if (ok_ && (napi_get_array_length(env_, list, &length) != napi_ok || Index(length) != count)) {
    fail("expected an array of %lld for %s", static_cast<long long>(count), name);
  }
  FloatsList arrays(ok_ ? new (std::nothrow) FloatsOfSize[size_t(count)] : nullptr);
  if (ok_ && arrays == nullptr) fail("out of memory");
  for (uint32_t i = 0; ok_ && i < length; i++) {
    napi_value value = nullptr;
    if (napi_get_element(env_, list, i, &value) != napi_ok) fail("expected a Float32Array for %s", name);
    arrays[i].data = static_cast<float*>(typedArrayOf(value, name, napi_float32_array, "Float32Array", 0, &arrays[i].size));
  }
  return arrays;
}

double* Arguments::doublesOfAnySize(const char* name, Index* size) {
  *size = 0;
  return static_cast<double*>(typedArray(name, napi_float64_array, "Float64Array", 0, size));
}

double* Arguments::doubles(const char* name, Index size) {
  return static_cast<double*>(typedArray(name, napi_float64_array, "Float64Array", size, nullptr));
}

int32_t* Arguments::ints(const char* name, Index size) {
  return static_cast<int32_t*>(typedArray(name, napi_int32_array, "Int32Array", size, nullptr));
}

bool Arguments::skipNull() {
  if (index_ >= count_ || !isNull(values_[index_])) return false;
  index_++;
  return true;
}

float* Arguments::floatsOrNull(const char* name, Index size) { return skipNull() ? nullptr : floats(name, size); }
int32_t* Arguments::intsOrNull(const char* name, Index size) { return skipNull() ? nullptr : ints(name, size); }

FloatArray Arguments::anyFloats(const char* name, Index size) {
  napi_typedarray_type type = napi_float32_array;
  if (ok_ && index_ < count_) napi_get_typedarray_info(env_, values_[index_], &type, nullptr, nullptr, nullptr, nullptr);
  const bool bfloat16 = type == napi_uint16_array;
  return {typedArray(name, bfloat16 ? napi_uint16_array : napi_float32_array, "Float32Array or Uint16Array", size, nullptr), bfloat16};
}

FloatArray Arguments::anyFloatsOrNull(const char* name, Index size) {
  return skipNull() ? FloatArray{nullptr, false} : anyFloats(name, size);
}

void Arguments::apart(const char* name, FloatArray array, Index size, const char* otherName, FloatArray other, Index otherSize) {
  if (!ok_ || array.data == nullptr || other.data == nullptr) return;
  const auto begin = reinterpret_cast<uintptr_t>(array.data), otherBegin = reinterpret_cast<uintptr_t>(other.data);
  const uintptr_t end = begin + uintptr_t(size) * (array.bfloat16 ? 2 : 4);
  const uintptr_t otherEnd = otherBegin + uintptr_t(otherSize) * (other.bfloat16 ? 2 : 4);
  if (begin < otherEnd && otherBegin < end) fail("expected %s and %s to share no memory", name, otherName);
}

const int32_t* Arguments::startsOrNull(const char* name, Index samples, Index time) {
  const int32_t* starts = intsOrNull(name, sizeOf(samples, time));
  checkStarts(name, starts, samples, time);
  return starts;
}

void Arguments::checkStarts(const char* name, const int32_t* starts, Index samples, Index time) {
  for (Index sample = 0; starts != nullptr && ok_ && sample < samples; sample++) {
    const int32_t* ofSample = starts + sample * time;
    for (Index row = 0, least = 0; row < time; least = ofSample[row++]) {
      if (ofSample[row] < least || ofSample[row] > row) {
        fail("expected %s from %lld to %lld at row %lld of sample %lld, received %d", name, static_cast<long long>(least),
             static_cast<long long>(row), static_cast<long long>(row), static_cast<long long>(sample), ofSample[row]);
        break;
      }
    }
  }
}

KeyRanges Arguments::keyRanges(Index samples, Index queries, Index keys) {
  const Index size = sizeOf(samples, queries);
  const int32_t *starts = intsOrNull("starts", size), *ends = intsOrNull("ends", size);
  if (!ok_) return {};
  if (ends == nullptr) {
    if (queries != keys) fail("expected the ends of key ranges of %lld queries", static_cast<long long>(queries));
    else checkStarts("starts", starts, samples, queries);
    return {starts, nullptr};
  }
  for (Index i = 0; i < size; i++) {
    const int32_t start = starts == nullptr ? 0 : starts[i];
    if (start >= 0 && start < ends[i] && ends[i] <= keys) continue;
    fail("expected a range of some of %lld keys at query %lld of sample %lld, received %d to %d", static_cast<long long>(keys),
         static_cast<long long>(i % queries), static_cast<long long>(i / queries), start, ends[i]);
    break;
  }
  return {starts, ends};
}

DropoutArguments Arguments::dropout(Index samples) {
  if (index_ + 1 < count_ && isNull(values_[index_ + 1])) {
    index_ += 2;
    return {nullptr, 0, 1};
  }
  const double rate = number("dropout rate");
  constexpr double steps = 1 << 24;  // of the generator: a rate so close to 1 that all are dropped would overflow the threshold
  if (ok_ && !(rate >= 0 && rate <= 1 - 1 / steps)) fail("expected a dropout rate in [0, 1 - 2^-24] but received %.9g", rate);
  const Index size = sizeOf(samples, 2);
  const void* keys = typedArray("dropout keys", napi_uint32_array, "Uint32Array", size, nullptr);
  if (!ok_) return {nullptr, 0, 1};
  return {static_cast<const uint32_t*>(keys), uint32_t(std::ceil(rate * steps)), float(1 / (1 - rate))};
}

napi_value Arguments::finish(bool enoughMemory) {
  if (ok_ && !enoughMemory) fail("out of memory");
  return nullptr;
}

}  // namespace lockstep
