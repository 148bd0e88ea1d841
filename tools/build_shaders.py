#!/usr/bin/env python3
"""Compiles src/device/vulkan/shaders/*.comp to SPIR-V and keeps the manifest beside the results.

The results are checked in, so that building Lemonade needs no shader compiler. After a change of a shader:

    tools/build_shaders.py            compiles all of them
    tools/build_shaders.py --check    changes nothing; exits 1 unless manifest, sources and results agree, the results
                                      pass spirv-val, and compiling again gives the same bytes. The last two are left
                                      out, with a note, where spirv-val or the manifest's compiler is not installed.
"""

import argparse
import hashlib
import json
import pathlib
import shutil
import subprocess
import sys
import tempfile

FOLDER = pathlib.Path(__file__).resolve().parent.parent / "src/device/vulkan/shaders"
SPIRV = FOLDER / "spirv"
MANIFEST = SPIRV / "manifest.json"
TARGET = "vulkan1.3"
# Optimised: drivers inline and fold anyway, but all of them load a smaller module faster.
FLAGS = [f"--target-env={TARGET}", "-O"]


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def compiler_version():
    """The lines of `glslc --version` that name versions, or None without glslc."""
    if not shutil.which("glslc"):
        return None
    lines = subprocess.run(["glslc", "--version"], check=True, capture_output=True, text=True).stdout.splitlines()
    return [line for line in lines if line and not line.startswith("Target")]


def shaders():
    return sorted(FOLDER.glob("*.comp"))


def compile_shader(source, target):
    subprocess.run(["glslc", *FLAGS, str(source), "-o", str(target)], check=True)


def build():
    version = compiler_version()
    if version is None:
        sys.exit("glslc is not installed; it is in scripts/packages-test.txt")
    SPIRV.mkdir(exist_ok=True)
    names = {source.stem for source in shaders()}
    for old in SPIRV.glob("*.spv"):
        if old.stem not in names:
            old.unlink()
    for source in shaders():
        compile_shader(source, SPIRV / f"{source.stem}.spv")
    manifest = {
        "compiler": version,
        "flags": FLAGS,
        "sources": {path.name: sha256(path) for path in sorted(FOLDER.glob("*.comp")) + sorted(FOLDER.glob("*.glsl"))},
        "results": {path.name: sha256(path) for path in sorted(SPIRV.glob("*.spv"))},
    }
    MANIFEST.write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
    print(f"{len(names)} shaders compiled")


def check_hashes(manifest):
    sources = {path.name: path for path in [*FOLDER.glob("*.comp"), *FOLDER.glob("*.glsl")]}
    results = {path.name: path for path in SPIRV.glob("*.spv")}
    for kind, found in (("sources", sources), ("results", results)):
        for name in sorted(set(found) | set(manifest[kind])):
            if name not in found:
                yield f"{name} is in the manifest but not in the folder"
            elif manifest[kind].get(name) != sha256(found[name]):
                yield f"{name} is not what the manifest says"
    for source in shaders():
        if f"{source.stem}.spv" not in results:
            yield f"{source.name} was never compiled"


def check_valid():
    if not shutil.which("spirv-val"):
        print("note: spirv-val is not installed; the shaders were not validated")
        return
    for path in sorted(SPIRV.glob("*.spv")):
        result = subprocess.run(["spirv-val", "--target-env", TARGET, "--scalar-block-layout", str(path)],
                                capture_output=True, text=True, check=False)
        if result.returncode != 0:
            yield f"{path.name}: {result.stdout}{result.stderr}".strip()


def check_same_bytes(manifest):
    if compiler_version() != manifest["compiler"]:
        print(f"note: {manifest['compiler'][0]} is not installed; the shaders were not compiled again")
        return
    with tempfile.TemporaryDirectory() as folder:
        for source in shaders():
            target = pathlib.Path(folder) / f"{source.stem}.spv"
            compile_shader(source, target)
            if target.read_bytes() != (SPIRV / target.name).read_bytes():
                yield f"{source.name} compiles to something else than {target.name}"


def check():
    manifest = json.loads(MANIFEST.read_text(encoding="utf-8"))
    problems = [*check_hashes(manifest)]
    if not problems:
        problems = [*check_valid(), *check_same_bytes(manifest)]
    for problem in problems:
        print(problem)
    if problems:
        sys.exit("run tools/build_shaders.py and commit what it writes")
    print(f"{len(shaders())} shaders agree with the manifest")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 if something does not agree")
    if parser.parse_args().check:
        check()
    else:
        build()


if __name__ == "__main__":
    main()
