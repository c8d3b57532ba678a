#!/bin/sh
# Compiles pyproject.toml into hashed locks, one for each place that installs: `make lock`.
# torch and what only its CUDA build needs stay out; TORCH in the Makefile pins it.
set -eu
cd "$(dirname "$0")/.."
UV=${UV:-uv}
WHEELS=${WHEELS:-../shared/wheels}
compile() { # FILE EXTRA...
  out=$1; shift
  args=""
  for extra in "$@"; do args="$args --extra $extra"; done
  # shellcheck disable=SC2086
  "$UV" pip compile pyproject.toml $args --quiet --generate-hashes --no-emit-package torch \
    --python-version 3.11 --python-platform x86_64-manylinux_2_28 --find-links "$WHEELS" \
    --no-emit-find-links --no-emit-index-url --custom-compile-command "make lock" -o "$out"
}
compile locks/operator.txt operator
compile locks/trainer.txt trainer
compile locks/server.txt server
compile locks/dev.txt operator trainer server dev
