#!/usr/bin/env python3
"""Products with quantised weights beside OpenBLAS in float32: the same shapes, the same threads, engines taking turns.

    bench/compare_gemm.py [--threads 1] [--rounds 5] [--type Q4_K]... [--shape N,K]... [--rows M]... [--out FILE.json]

OpenBLAS is numpy's (pip install numpy), told this processor's core type, since it does not know every virtual one. Each
figure is the fastest of many short calls: on a busy machine that is what the code can do, the mean is what the others do.
"""

import argparse
import datetime
import json
import os
import pathlib
import subprocess
import sys
import time

import compare_llamacpp as common

SECONDS_A_CELL = 0.4


def openblas_worker(arguments):
    """One process of the peer: prints the best GFLOP/s of each cell as JSON."""
    import numpy  # pylint: disable=import-outside-toplevel

    cells = {}
    for shape in arguments.shape:
        n, k = map(int, shape.split(","))
        weight = numpy.random.default_rng(1).standard_normal((n, k), dtype=numpy.float32).T
        for rows in arguments.rows:
            x = numpy.random.default_rng(2).standard_normal((rows, k), dtype=numpy.float32)
            out = numpy.empty((rows, n), dtype=numpy.float32)
            best, end = float("inf"), time.perf_counter() + SECONDS_A_CELL
            while time.perf_counter() < end:
                begin = time.perf_counter()
                numpy.matmul(x, weight, out=out)
                best = min(best, time.perf_counter() - begin)
            cells[f"{shape} rows {rows}"] = 2e-9 * rows * n * k / best
    print(json.dumps(cells))


def run_openblas(arguments):
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": str(arguments.threads), "OPENBLAS_CORETYPE": arguments.core_type}
    words = [word for shape in arguments.shape for word in ("--shape", shape)]
    words += [word for rows in arguments.rows for word in ("--rows", str(rows))]
    result = subprocess.run([sys.executable, __file__, "--worker", *words], env=environment, check=True, text=True,
                            stdout=subprocess.PIPE)
    return json.loads(result.stdout)


def run_lem(arguments):
    command = [arguments.lem_bench, "kernels", "--threads", str(arguments.threads), "--weights", "1", "--runs",
               str(arguments.runs), "--json"]
    for flag, values in (("--type", arguments.type), ("--shape", arguments.shape), ("--rows", arguments.rows)):
        command += [word for value in values for word in (flag, str(value))]
    return json.loads(subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE).stdout)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lem-bench", default=str(common.ROOT / "build/release/bin/lem-bench"))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--runs", type=int, default=20, help="of each of our cells, a round")
    parser.add_argument("--type", action="append", default=[])
    parser.add_argument("--shape", action="append", default=[])
    parser.add_argument("--rows", action="append", type=int, default=[])
    parser.add_argument("--core-type", default="SAPPHIRERAPIDS" if "avx512_fp16" in common.first_match(
        "/proc/cpuinfo", "flags") else "")
    parser.add_argument("--note", default="", help="what else ran on the machine")
    parser.add_argument("--out")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    arguments.type = arguments.type or ["Q4_0", "Q4_1", "Q5_0", "Q8_0", "Q4_K", "Q6_K"]
    arguments.shape = arguments.shape or ["2048,2048", "1536,512", "8960,1536", "1536,8960"]
    arguments.rows = arguments.rows or [1, 8, 16, 64, 512]
    if arguments.worker:
        openblas_worker(arguments)
        return

    peer, ours = {}, {}
    for _ in range(arguments.rounds):
        for cell, gflops in run_openblas(arguments).items():
            peer[cell] = max(peer.get(cell, 0.0), gflops)
        for result in run_lem(arguments):
            cell = f"{result['n']},{result['k']} rows {result['rows']}"
            best = ours.setdefault(cell, {}).setdefault(result["type"], {"gflops": 0.0, "peak_gflops": 0.0})
            for key, value in best.items():
                best[key] = max(value, result[key])
    cells = []
    for cell, types in ours.items():
        for name, best in types.items():
            cells.append({"shape": cell, "type": name, "gflops": round(best["gflops"], 1),
                          "share_of_integer_peak": round(best["gflops"] / best["peak_gflops"], 3),
                          "openblas_f32_gflops": round(peer[cell], 1), "ratio": round(best["gflops"] / peer[cell], 2)})
            print(f"{cell:24} {name:5} {best['gflops']:8.1f}  OpenBLAS {peer[cell]:7.1f}  ratio {cells[-1]['ratio']}")
    if arguments.out:
        names = (pathlib.Path(word).name if word in (arguments.lem_bench, arguments.out) else word for word in sys.argv[1:])
        record = {"command": " ".join(["bench/compare_gemm.py", *names]),
                  "time_utc": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
                  "commit": subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=common.ROOT, check=True, text=True,
                                           stdout=subprocess.PIPE).stdout.strip(),
                  "machine": common.machine(), "threads": arguments.threads, "openblas_core_type": arguments.core_type,
                  "method": f"{arguments.rounds} rounds in turns; the fastest call of each cell; small weights, near in the caches",
                  "note": arguments.note, "cells": cells}
        pathlib.Path(arguments.out).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
