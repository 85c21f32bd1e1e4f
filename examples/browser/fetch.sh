#!/usr/bin/env bash
# Fetches ONNX Runtime for the web into vendor/, beside the page: three files of the npm package, 14 MB. Needs npm.
set -euo pipefail
cd "$(dirname "$0")"
version=1.30.0
dist=package/dist
mkdir -p vendor
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
npm pack --silent --pack-destination "$work" "onnxruntime-web@$version" >/dev/null
tar -xzf "$work/onnxruntime-web-$version.tgz" -C "$work" \
    "$dist/ort.wasm.min.mjs" "$dist/ort-wasm-simd-threaded.mjs" "$dist/ort-wasm-simd-threaded.wasm"
mv "$work/$dist"/* vendor/
echo "vendor/ holds onnxruntime-web $version. Now serve this folder: python -m http.server" >&2
