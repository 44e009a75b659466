{
  # The kernels are one source, compiled once per instruction set (a static library each) and chosen at run time.
  "variables": {
    "kernel_sources": [
      "native/kernels/activation.cc",
      "native/kernels/adamw.cc",
      "native/kernels/attentionBackward.cc",
      "native/kernels/attentionBackwardBf16.cc",
      "native/kernels/attentionDecode.cc",
      "native/kernels/attentionForward.cc",
      "native/kernels/attentionForwardBf16.cc",
      "native/kernels/bf16Limit.cc",
      "native/kernels/blockBf16.cc",
      "native/kernels/crossEntropy.cc",
      "native/kernels/elementwise.cc",
      "native/kernels/embedding.cc",
      "native/kernels/fmaLimit.cc",
      "native/kernels/gemm.cc",
      "native/kernels/gemmBf16.cc",
      "native/kernels/gemv.cc",
      "native/kernels/layerNorm.cc",
      "native/kernels/linear.cc",
      "native/kernels/linearBf16.cc",
      "native/kernels/linearCrossEntropy.cc",
      "native/kernels/matrices.cc",
      "native/kernels/packBf16.cc",
      "native/kernels/readBandwidth.cc",
      "native/kernels/rmsNorm.cc",
      "native/kernels/rope.cc",
      "native/kernels/squaredNorm.cc",
      "native/kernels/table.cc"
    ]
  },
  "target_defaults": {
    # The inner loops of products take two lines of the instruction cache where they begin with one, and three where they do not: 4 %.
    "cflags_cc": ["-std=c++20", "-O3", "-Wall", "-Wextra", "-fno-math-errno", "-fvisibility=hidden", "-falign-loops=64"],
    "cflags_cc!": ["-std=gnu++17", "-std=gnu++20", "-fno-rtti"],
    "defines": ["NAPI_VERSION=8"],
    # On Windows Clang compiles, which comes with Visual Studio: the kernels are written with GCC's vectors.
    "msbuild_toolset": "ClangCL",
    "msvs_settings": {
      "VCCLCompilerTool": { "AdditionalOptions": ["/std:c++20", "/clang:-O3", "/clang:-fno-math-errno"] }
    },
    "xcode_settings": {
      "CLANG_CXX_LANGUAGE_STANDARD": "c++20",
      "GCC_OPTIMIZATION_LEVEL": "3",
      "MACOSX_DEPLOYMENT_TARGET": "11.0",
      "OTHER_CPLUSPLUSFLAGS": ["-Wall", "-Wextra", "-fno-math-errno"]
    }
  },
  "targets": [
    {
      "target_name": "kernels_scalar",
      "type": "static_library",
      "sources": ["<@(kernel_sources)"],
      "defines": ["LOCKSTEP_ISA=scalar"]
    },
    {
      "target_name": "lockstep_native",
      "sources": [
        "native/addon.cc",
        "native/arguments.cc",
        "native/bindings/activation.cc",
        "native/bindings/attention.cc",
        "native/bindings/crossEntropy.cc",
        "native/bindings/elementwise.cc",
        "native/bindings/embedding.cc",
        "native/bindings/engine.cc",
        "native/bindings/layerNorm.cc",
        "native/bindings/linear.cc",
        "native/bindings/optimizer.cc",
        "native/bindings/rmsNorm.cc",
        "native/bindings/rope.cc",
        "native/instructionSet.cc",
        "native/threadPool.cc"
      ],
      # What native/findAddon.cjs compares before it takes an addon.
      "defines": ["LOCKSTEP_SOURCES=<!(node native/findAddon.cjs)"],
      "dependencies": ["kernels_scalar"],
      "conditions": [
        ["OS!='win'", { "libraries": ["-lpthread"] }],
        ["target_arch=='x64'", { "dependencies": ["kernels_avx2", "kernels_avx512"] }],
        ["target_arch=='arm64'", { "dependencies": ["kernels_neon"] }]
      ]
    }
  ],
  "conditions": [
    ["target_arch=='x64'", {
      "targets": [
        {
          "target_name": "kernels_avx2",
          "type": "static_library",
          "sources": ["<@(kernel_sources)"],
          "defines": ["LOCKSTEP_ISA=avx2"],
          "cflags_cc": ["-mavx2", "-mfma"],
          "msvs_settings": { "VCCLCompilerTool": { "AdditionalOptions": ["-mavx2", "-mfma"] } },
          "xcode_settings": { "OTHER_CPLUSPLUSFLAGS": ["-mavx2", "-mfma"] }
        },
        {
          "target_name": "kernels_avx512",
          "type": "static_library",
          "sources": ["<@(kernel_sources)"],
          "defines": ["LOCKSTEP_ISA=avx512"],
          "cflags_cc": ["-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mfma", "-mprefer-vector-width=512"],
          "msvs_settings": {
            "VCCLCompilerTool": {
              "AdditionalOptions": ["-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mfma", "-mprefer-vector-width=512"]
            }
          },
          "xcode_settings": { "OTHER_CPLUSPLUSFLAGS": ["-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mfma"] }
        }
      ]
    }],
    ["target_arch=='arm64'", {
      "targets": [
        {
          "target_name": "kernels_neon",
          "type": "static_library",
          "sources": ["<@(kernel_sources)"],
          "defines": ["LOCKSTEP_ISA=neon"]
        }
      ]
    }]
  ]
}
