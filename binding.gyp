{
  "targets": [
    {
      "target_name": "lockstep_native",
      "sources": ["native/addon.cc"],
      "cflags_cc": ["-std=c++20", "-O3", "-Wall", "-Wextra"],
      "cflags_cc!": ["-std=gnu++17", "-fno-rtti"],
      "defines": ["NAPI_VERSION=8"]
    }
  ]
}
