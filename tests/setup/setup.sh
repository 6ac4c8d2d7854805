#!/usr/bin/env bash
# Installs what calipress is built and tested with. Each step leaves a stamp of what it was made from, so that a second
# run does nothing and says nothing. `./dev setup` calls it.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
deps="${CALIPRESS_DEPS:-$HOME/.cache/calipress}"

# Go programs: module, version, program. A change here builds again.
go_tools=(
  "github.com/versity/versitygw/cmd/versitygw v1.8.0"
  "github.com/fullstorydev/grpcurl/cmd/grpcurl v1.9.4"
)
# The oldest, a middle and (in the venv) the newest loader that outputs are checked with.
older_compressed_tensors=(0.15.0 0.17.0)
bench_requirement="llmcompressor==0.14.0.1"

usage() {
  cat <<'TEXT'
usage: setup.sh [--build-only] [--bench] [--no-packages]
  --build-only   leave out what only the tests need (older loaders, a real S3 server, grpcurl)
  --bench        also a virtual environment with llm-compressor, to measure against
  --no-packages  do not touch Debian packages (they come with the image)
Everything but Debian packages goes to $CALIPRESS_DEPS (default ~/.cache/calipress).
TEXT
}

tests=1 bench=0 packages=1
for argument in "$@"; do
  case "$argument" in
    --build-only) tests=0 ;;
    --bench) bench=1 ;;
    --no-packages) packages=0 ;;
    -h | --help) usage; exit 0 ;;
    *) usage >&2; exit 2 ;;
  esac
done

say() { echo "setup: $*" >&2; }
die() { say "$*"; exit 1; }

mkdir -p "$deps/stamps" "$deps/logs" "$deps/bin"
exec 8>"$deps/.setup.lock"
flock 8  # two set-ups would write the same files

hash_of() { cat "$@" | sha256sum | cut -d' ' -f1; }
hash_text() { printf '%s' "$1" | sha256sum | cut -d' ' -f1; }

# step NAME HASH PROOF TITLE COMMAND...: runs the command, its output in a log, unless NAME was made from HASH and the
# file PROOF is still there.
step() {
  local name=$1 hash=$2 proof=$3 title=$4 start=$SECONDS
  shift 4
  if [ -e "$proof" ] && [ "$(cat "$deps/stamps/$name" 2>/dev/null)" = "$hash" ]; then return 0; fi
  say "$title ..."
  if ! "$@" >"$deps/logs/$name.log" 2>&1; then
    tail -n 25 "$deps/logs/$name.log" >&2
    die "$name failed; the whole output is in $deps/logs/$name.log"
  fi
  [ -e "$proof" ] || die "$name did not make $proof; see $deps/logs/$name.log"
  echo "$hash" >"$deps/stamps/$name"
  say "$name: $((SECONDS - start)) s"
}

install_packages() {
  command -v dpkg-query >/dev/null || die "no dpkg here: install the equivalents of tests/setup/debian-packages.txt, \
then run again with --no-packages"
  local wanted missing=() package
  mapfile -t wanted < <(grep -v '^#' "$here/debian-packages.txt")
  for package in "${wanted[@]}"; do
    [ "$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing+=("$package")
  done
  [ ${#missing[@]} -eq 0 ] && return 0
  local as_root=()
  if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || die "Debian packages are missing (${missing[*]}) and there is no sudo: install them as root"
    as_root=(sudo)
  fi
  say "Debian packages: ${missing[*]} ..."
  {
    "${as_root[@]}" apt-get update -q &&
      "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${missing[@]}"
  } >"$deps/logs/packages.log" 2>&1 || {
    tail -n 25 "$deps/logs/packages.log" >&2
    die "apt-get failed; the whole output is in $deps/logs/packages.log"
  }
}

find_python() {
  local candidate
  for candidate in "${PYTHON:-}" python3 python3.11; do
    [ -n "$candidate" ] && command -v "$candidate" >/dev/null || continue
    [ "$("$candidate" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)" = 3.11 ] || continue
    command -v "$candidate"
    return 0
  done
  return 1
}

# What set-up cannot install itself; all that is missing is said at once.
check_tools() {
  local lacking=()
  find_python >/dev/null || lacking+=("Python 3.11 (Debian 12's python3; or pyenv; or name one in PYTHON): the wheels are pinned for it")
  command -v cargo >/dev/null || lacking+=("cargo (rustup's stable tool chain): builds the tokenizers library")
  if [ $tests -eq 1 ]; then
    command -v go >/dev/null || lacking+=("go (1.24 or newer, from the Go project's downloads): builds the S3 server and grpcurl for the tests; not needed with --build-only")
  fi
  [ ${#lacking[@]} -eq 0 ] && return 0
  local item
  for item in "${lacking[@]}"; do say "missing: $item"; done
  exit 1
}

pip_in() {
  local venv=$1
  shift
  "$venv/bin/python" -m pip install --no-input --disable-pip-version-check -q "$@"
}

make_venv() {
  [ -x "$1/bin/python" ] || "$(find_python)" -m venv "$1"
  pip_in "$@"
}

# torch's headers without the folders that would shadow the system's fmt, protobuf and pybind11.
link_torch_headers() {
  local from="$deps/venv/lib/python3.11/site-packages/torch/include" to="$deps/torch-include" entry
  rm -rf "$to.new" && mkdir -p "$to.new"
  for entry in "$from"/*; do
    case "$(basename "$entry")" in
      fmt | google | pybind11) ;;
      *) ln -s "$entry" "$to.new/" ;;
    esac
  done
  rm -rf "$to" && mv "$to.new" "$to"
}

build_tokenizers() {
  local crate="$root/compress/tokenizer/rust" out="$deps/tokenizers"
  mkdir -p "$out"
  CARGO_TARGET_DIR="$out/target" cargo build --release --locked --manifest-path "$crate/Cargo.toml"
  cp "$out/target/release/libcalipress_tokenizers.a" "$out/.new.a"
  mv "$out/.new.a" "$out/libcalipress_tokenizers.a"
}

install_go_tool() { GOBIN="$deps/bin" go install "$1@$2"; }

install_older_loader() {
  rm -rf "$deps/ct-$1"
  "$deps/venv/bin/python" -m pip install --no-input --disable-pip-version-check -q --no-deps \
    --target "$deps/ct-$1" "compressed-tensors==$1"
}

[ $packages -eq 1 ] && install_packages
check_tools

# Rust and Go keep the cores busy while wheels are fetched.
crate="$root/compress/tokenizer/rust"
compile() {
  step tokenizers "$(hash_of "$crate/Cargo.toml" "$crate/Cargo.lock" "$crate"/src/*.rs <(cargo --version))" \
    "$deps/tokenizers/libcalipress_tokenizers.a" "the tokenizers library with cargo" build_tokenizers
  [ $tests -eq 1 ] || return 0
  local module version program
  for tool in "${go_tools[@]}"; do
    read -r module version <<<"$tool"
    program=$(basename "$module")
    step "$program" "$(hash_text "$tool")" "$deps/bin/$program" "$program $version with go" install_go_tool "$module" "$version"
  done
}
compile &
compiling=$!
trap 'kill $compiling 2>/dev/null || true' EXIT

# A venv for the tests satisfies the build too, so --build-only never takes packages away.
torch_headers="$deps/torch-include/ATen/ATen.h"
test_hash=$(hash_of "$here/requirements-build.txt" "$here/requirements.txt")
if [ $tests -eq 1 ]; then
  step venv "$test_hash" "$deps/venv/bin/pytest" "Python wheels for the build and the tests" \
    make_venv "$deps/venv" -r "$here/requirements.txt"
elif [ "$(cat "$deps/stamps/venv" 2>/dev/null)" != "$test_hash" ]; then
  step venv-build "$(hash_of "$here/requirements-build.txt")" "$deps/venv/bin/python" "Python wheels for the build" \
    make_venv "$deps/venv" -r "$here/requirements-build.txt"
fi
step torch-include "$(hash_text "$deps $(grep '^torch==' "$here/requirements-build.txt") without fmt google pybind11")" \
  "$torch_headers" "links to torch's headers" link_torch_headers
if [ $tests -eq 1 ]; then
  for version in "${older_compressed_tensors[@]}"; do
    step "ct-$version" "$version" "$deps/ct-$version/compressed_tensors/__init__.py" "compressed-tensors $version" \
      install_older_loader "$version"
  done
fi
if [ $bench -eq 1 ]; then
  step bench-venv "$bench_requirement" "$deps/bench-venv/bin/python" "llm-compressor in its own environment" \
    make_venv "$deps/bench-venv" "$bench_requirement"
fi
wait $compiling
trap - EXIT
