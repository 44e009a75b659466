#!/usr/bin/env bash
# Installs the `tensorflow` device of the tfjs engine on any Node.js: compiles the binding of @tensorflow/tfjs-node against the C library in a
# current wheel of TensorFlow. The package alone would download a library from 2021, for Node 22 or older.
#
#   scripts/tfjsNode.sh [--wheel NAME] [--package NAME] [FOLDER]
#
# FOLDER is the project to install into, by default this checkout. Needs python3 with venv, make and a C++ compiler, and downloads about 300 MB.
# For CUDA, pass `--wheel tensorflow --package @tensorflow/tfjs-node-gpu`; this has not been tried.
set -euo pipefail

wheel=tensorflow-cpu package=@tensorflow/tfjs-node
while [ $# -gt 1 ]; do
  case $1 in
    --wheel) wheel=$2 && shift 2 ;;
    --package) package=$2 && shift 2 ;;
    *) break ;;
  esac
done
project="$(cd "${1:-"$(dirname "$0")/.."}" && pwd)"
for tool in python3 make c++; do
  command -v "$tool" >/dev/null || { echo "$tool is not installed" >&2 && exit 1; }
done

scratch="$(mktemp -d)"
trap 'rm -rf "$scratch"' EXIT
python3 -m venv "$scratch"
"$scratch/bin/pip" install --quiet --no-deps "$wheel"
tensorflow="$(echo "$scratch"/lib/python3*/site-packages/tensorflow)"
[ -d "$tensorflow/include" ] || { echo "the wheel $wheel has no headers of TensorFlow" >&2 && exit 1; }

# Without the package's install script, which downloads the old library. It is an optional peer of the project: nothing is saved.
cd "$project"
npm install --no-save --save-dev --ignore-scripts --no-audit --no-fund "$package@4.22.0"
cd "node_modules/$package"
mkdir -p deps/lib
cp -r "$tensorflow/include" deps/include
for name in tensorflow_cc tensorflow_framework; do cp "$tensorflow/lib$name.so.2" deps/lib/; done
# The names that the package's build links to.
ln -sf libtensorflow_cc.so.2 deps/lib/libtensorflow.so
ln -sf libtensorflow_framework.so.2 deps/lib/libtensorflow_framework.so
napi=8
npx --yes node-gyp rebuild "--module_path=$PWD/lib/napi-v$napi" --module_name=tfjs_binding \
  "--napi_version=$napi" "--napi_build_version=$napi"

cd "$project"
node --eval "
const tf = require('$package');
const [sum] = tf.matMul(tf.ones([1, 3]), tf.ones([3, 1])).dataSync();
if (sum !== 3) throw new Error('a product of ones gave ' + sum);
console.log('$package works, on ' + tf.getBackend());
"
