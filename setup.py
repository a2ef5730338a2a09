"""Builds the Cython core. HEPSWITCH_SANITIZE=1 builds it with AddressSanitizer and UBSan (`make sanitize`)."""

import os
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup

SANITIZE = os.environ.get("HEPSWITCH_SANITIZE") == "1"
FLAGS = ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined", "-O1", "-g", "-fno-omit-frame-pointer"]


def extensions() -> list[Extension]:
    found = []
    for source in sorted(Path("src/hepswitch").rglob("*.pyx")):
        module = ".".join(source.relative_to("src").with_suffix("").parts)
        found.append(
            Extension(
                module,
                [str(source)],
                extra_compile_args=FLAGS if SANITIZE else ["-O3", "-Wno-unused-function"],
                extra_link_args=["-fsanitize=address,undefined"] if SANITIZE else [],
            )
        )
    return found


setup(
    ext_modules=cythonize(
        extensions(),
        include_path=["src"],
        # Bounds are checked in the code itself (hostile bytes go through raw pointers); these directives only
        # take away Python-level niceties that typed code does not use.
        compiler_directives={"language_level": "3", "embedsignature": True, "cdivision": True},
    )
)
