#!/bin/sh
# Fuzz the core built with AddressSanitizer and UBSan: sh fuzz/sanitize.sh [COUNT] (inputs for each target; default 100000,
# or the variable COUNT). SEED picks other inputs. Whatever is found ends it with a report and exit status 1.
set -eu
cd "$(dirname "$0")/.."
count=${1:-${COUNT:-100000}}
python=$PWD/.venv/bin/python

# The decoders are copied: a build of this kind must not end up in the working tree. Of the rest of the package
# only the books are needed.
mkdir -p .sanitize/src/hepswitch
cp setup.py .sanitize/
cp -r src/hepswitch/wire src/hepswitch/books.py .sanitize/src/hepswitch/
find .sanitize/src -name '*.c' -delete -o -name '*.cpython-*' -delete
echo '"""The decoders alone."""' >.sanitize/src/hepswitch/__init__.py
printf '[project]\nname = "hepswitch"\nversion = "0"\n[tool.setuptools.packages.find]\nwhere = ["src"]\n' >.sanitize/pyproject.toml
echo 'building the core with AddressSanitizer and UBSan …'
(cd .sanitize && HEPSWITCH_SANITIZE=1 "$python" setup.py --quiet build_ext --inplace >build.log 2>&1) || { cat .sanitize/build.log; exit 1; }

# The interpreter is not instrumented: the runtime comes in front of it. Its own allocator would hide overruns, and what
# it never frees is no leak of ours.
LD_PRELOAD="$(gcc -print-file-name=libasan.so) $(gcc -print-file-name=libubsan.so)" \
ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1 PYTHONMALLOC=malloc \
PYTHONPATH=$PWD/.sanitize/src \
    "$python" fuzz/run.py --count "$count" --seed "${SEED:-1}" --core "$PWD/.sanitize/src"
