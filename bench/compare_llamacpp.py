#!/usr/bin/env python3
"""Decode and prefill speed of Lemonade beside llama.cpp, interleaved, on the same files with the same threads.

    bench/compare_llamacpp.py --model FILE [--model FILE]... [--threads 2] [--rounds 5] [--out bench/results/NAME.json]

The peer is llama.cpp as the PyPI package xllamacpp ships it (pip install xllamacpp), with flash attention on and off; or
a build of one's own: --llama-bench PROGRAM. Method: bench/README.md.
"""

import argparse
import datetime
import json
import os
import pathlib
import platform
import resource
import statistics
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
FEATURES = ("avx2", "fma", "f16c", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16", "avx512_fp16", "amx_int8", "amx_bf16")
RUNS_A_PROCESS = 3


def first_match(path, key):
    for line in pathlib.Path(path).read_text(encoding="utf-8").splitlines():
        if line.startswith(key):
            return line.split(":", 1)[1].strip()
    return ""


def machine():
    flags = first_match("/proc/cpuinfo", "flags").split()
    return {
        "cpu": first_match("/proc/cpuinfo", "model name"),
        "processors": os.cpu_count(),
        "features": [name for name in FEATURES if name in flags],
        "memory_kib": int(first_match("/proc/meminfo", "MemTotal").split()[0]),
        "kernel": platform.release(),
    }


def busy_seconds():
    """CPU time that all processes of the machine have used."""
    user, nice, system, _idle, _iowait, irq, softirq, *_ = map(int, pathlib.Path("/proc/stat").read_text(
        encoding="utf-8").split("\n")[0].split()[1:])
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")


def child_seconds():
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def run_json(command):
    """Standard output of a program as JSON, and the CPU time that others used meanwhile."""
    busy, own = busy_seconds(), child_seconds()
    result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False)
    if result.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))} failed with {result.returncode}:\n{result.stderr[-2000:]}")
    foreign = max(0.0, (busy_seconds() - busy) - (child_seconds() - own))
    return json.loads(result.stdout), foreign


def command_line(arguments):
    """How this was called, with files by their names: folders of one machine say nothing to others."""
    files = {*arguments.model, arguments.lem_bench, arguments.llama_bench}
    return " ".join(["bench/compare_llamacpp.py", *(pathlib.Path(word).name if word in files else word
                                                    for word in sys.argv[1:])])


def run_lem(arguments, model):
    command = [arguments.lem_bench, "model", "--model", model, "--threads", arguments.threads, "--prefill",
               arguments.prefill, "--decode", arguments.decode, "--runs", RUNS_A_PROCESS, "--json"]
    tests, foreign = run_json([str(word) for word in command])
    return {test["test"]: test["tokens_per_s"] for test in tests}, foreign


def run_llama_bench(arguments, model, flash_attention):
    command = [arguments.llama_bench, "-m", model, "-t", arguments.threads, "-p", arguments.prefill, "-n", arguments.decode,
               "-fa", int(flash_attention), "-r", RUNS_A_PROCESS, "-o", "json"]
    tests, foreign = run_json([str(word) for word in command])
    return {"prefill" if test["n_prompt"] else "decode": max(test["samples_ts"]) for test in tests}, foreign


def run_xllamacpp(arguments, model, flash_attention):
    command = [sys.executable, __file__, "--model", model, "--threads", arguments.threads, "--prefill", arguments.prefill,
               "--decode", arguments.decode, "--peer-worker", "on" if flash_attention else "off"]
    return run_json([str(word) for word in command])


def peer_worker(arguments):
    """One process of the peer: prints the best of a few runs as JSON."""
    import xllamacpp  # pylint: disable=import-outside-toplevel

    params = xllamacpp.CommonParams()
    params.model.path = arguments.model[0]
    params.n_ctx = max(2048, arguments.prefill + 1, arguments.decode + 2)
    params.n_parallel = 1
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = arguments.threads
    kinds = xllamacpp.llama_flash_attn_type
    params.flash_attn_type = (kinds.LLAMA_FLASH_ATTN_TYPE_ENABLED if arguments.peer_worker == "on"
                              else kinds.LLAMA_FLASH_ATTN_TYPE_DISABLED)
    params.verbosity = -1
    # The library logs to both streams; the result goes to where standard output was.
    result_fd = os.dup(1)
    os.dup2(2, 1)
    server = xllamacpp.Server(params)

    def timings(num_prompt, num_predict):
        # The prompt: ids spread over the vocabulary as in lem-bench. Greedy, and the cheapest sampler there is.
        answer = server.handle_completions({
            "prompt": [(i * 7919 + 11) % arguments.vocab_size for i in range(num_prompt)], "n_predict": num_predict,
            "cache_prompt": False, "ignore_eos": True, "temperature": 0, "top_k": 1, "samplers": ["top_k"]})
        return answer["timings"]

    best = {"prefill": 0.0, "decode": 0.0}
    for run in range(RUNS_A_PROCESS + 1):
        prefill = timings(arguments.prefill, 1)
        decode = timings(1, arguments.decode + 1)
        if run == 0:
            continue  # warms up, as lem-bench does
        assert prefill["prompt_n"] == arguments.prefill and decode["predicted_n"] == arguments.decode + 1
        best["prefill"] = max(best["prefill"], 1000 * prefill["prompt_n"] / prefill["prompt_ms"])
        # The clock of predicted_ms starts when the first token is there, so it covers one step less than it counts.
        best["decode"] = max(best["decode"], 1000 * (decode["predicted_n"] - 1) / decode["predicted_ms"])
    os.write(result_fd, json.dumps(best).encode())
    os._exit(0)  # the library's threads do not always end


def peer_version(arguments):
    if arguments.llama_bench:
        return f"llama-bench {arguments.llama_bench}"
    import importlib.metadata  # pylint: disable=import-outside-toplevel

    code = "import xllamacpp; print(xllamacpp.get_system_info())"
    info = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False).stdout.strip()
    return f"xllamacpp {importlib.metadata.version('xllamacpp')}: {info}"


def summarise(samples):
    """Of each engine and test: the best and the median over all rounds; and Lemonade against the best peer."""
    tests = {}
    for test in ("prefill", "decode"):
        engines = {engine: [rates[test] for rates in rounds] for engine, rounds in samples.items()}
        rows = {engine: {"best": max(rates), "median": statistics.median(rates)} for engine, rates in engines.items()}
        peer = max((engine for engine in rows if engine != "lem"), key=lambda engine: rows[engine]["best"])
        tests[test] = {"tokens_per_s": rows, "best_peer": peer, "ratio_of_best": rows["lem"]["best"] / rows[peer]["best"],
                       "ratio_of_median": rows["lem"]["median"] / rows[peer]["median"]}
    return tests


def compare(arguments):
    run_peer = run_llama_bench if arguments.llama_bench else run_xllamacpp
    engines = {
        "lem": run_lem,
        "llama.cpp fa=on": lambda arguments, model: run_peer(arguments, model, True),
        "llama.cpp fa=off": lambda arguments, model: run_peer(arguments, model, False),
    }
    report = {
        "command": command_line(arguments),
        "time_utc": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "commit": subprocess.run(["git", "-C", ROOT, "describe", "--always", "--dirty"], capture_output=True, text=True,
                                 check=False).stdout.strip(),
        "machine": machine(), "threads": arguments.threads, "peer": peer_version(arguments),
        "method": f"{arguments.rounds} rounds, engines taking turns, one process each with a warm-up and "
                  f"{RUNS_A_PROCESS} runs of which the best counts; rates in tokens/s",
        "models": [],
    }
    for model in arguments.model:
        samples, foreign = {engine: [] for engine in engines}, {engine: [] for engine in engines}
        for round_idx in range(arguments.rounds):
            for engine, run in engines.items():
                rates, seconds = run(arguments, model)
                samples[engine].append(rates)
                foreign[engine].append(round(seconds, 2))
                print(f"{pathlib.Path(model).name} round {round_idx + 1}: {engine:<17} prefill {rates['prefill']:8.1f}  "
                      f"decode {rates['decode']:7.1f}  (others used {seconds:.1f} s of CPU)", file=sys.stderr, flush=True)
        tests = summarise(samples)
        report["models"].append({"file": pathlib.Path(model).name, "size_bytes": os.path.getsize(model),
                                 "prefill_tokens": arguments.prefill, "decode_tokens": arguments.decode, "tests": tests,
                                 "samples": samples, "foreign_cpu_seconds": foreign})
        for test, result in tests.items():
            print(f"{pathlib.Path(model).name} {test}: lem {result['tokens_per_s']['lem']['best']:.1f}, {result['best_peer']} "
                  f"{result['tokens_per_s'][result['best_peer']]['best']:.1f} tokens/s, ratio {result['ratio_of_best']:.2f}")
    return report


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", action="append", required=True)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--prefill", type=int, default=512)
    parser.add_argument("--decode", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--lem-bench", default=str(ROOT / "build/release/bin/lem-bench"))
    parser.add_argument("--llama-bench", help="a llama-bench program to compare with instead of xllamacpp")
    parser.add_argument("--vocab-size", type=int, default=49152, help="token ids of the peer's prompt stay below this")
    parser.add_argument("--out", type=pathlib.Path)
    parser.add_argument("--peer-worker", choices=("on", "off"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.peer_worker:
        peer_worker(arguments)
        return
    report = compare(arguments)
    if arguments.out:
        arguments.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
