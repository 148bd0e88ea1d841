#!/usr/bin/env python3
"""Load on the server: throughput, time to the first token and between tokens, beside llama.cpp's server on the same file.

    bench/serve_load.py --model FILE [--clients 1,16,32] [--requests 96] [--rounds 3] [--out FILE.json]
    bench/serve_load.py --model FILE --mode latency|background|prefix|poisson [...]

closed: so many clients, each with one request at a time. poisson: requests arrive at --rate a second; goodput counts those
within --slo-ttft-ms and --slo-itl-ms. latency: one fresh prompt at a time on an idle server. background: an interactive
stream beside prompts of 8k tokens. prefix: a prompt of 4k tokens twice, and again after a restart. The peer is the server of
the PyPI package xllamacpp (pip install xllamacpp); --no-peer leaves it out. Method: bench/README.md.
"""

import argparse
import asyncio
import datetime
import json
import os
import pathlib
import random
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request

from compare_llamacpp import ROOT, busy_seconds, machine, peer_version

WORDS = ("river stone engine letter garden market silver window mountain paper signal orange teacher harbour winter copper "
         "planet basket forest mirror candle bridge number summer kitchen island shadow winter thunder pocket travel").split()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def prompt_of(rng, num_words):
    """About 1.2 tokens a word; no two begin alike."""
    return " ".join([str(rng.randrange(10**6)), *(rng.choice(WORDS) for _ in range(num_words))])


class Server:
    def __init__(self, command, environment=None):
        self.port = free_port()
        command = [str(word).replace("PORT", str(self.port)) for word in command]
        self.log = tempfile.TemporaryFile()  # pylint: disable=consider-using-with
        self.process = subprocess.Popen(command, stdout=self.log, stderr=self.log, env={**os.environ, **(environment or {})})
        for _ in range(1200):
            try:
                url = f"http://127.0.0.1:{self.port}/v1/models"
                with urllib.request.urlopen(url, timeout=1) as answer:
                    self.model = json.load(answer)["data"][0]["id"]
                    if self.answers():
                        return
            except OSError:
                pass
            if self.process.poll() is not None:
                break
            time.sleep(0.05)
        self.log.seek(0)
        sys.exit(f"the server does not answer:\n{self.log.read()[-2000:].decode(errors='replace')}")

    def answers(self):
        body = json.dumps({"model": self.model, "prompt": "hello", "max_tokens": 1}).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}/v1/completions", body,
                                         {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status == 200

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def start_lem(arguments, extra=(), environment=None):
    return Server([arguments.lem, "serve", "--model", arguments.model, "--port", "PORT", "--threads", arguments.threads,
                   "--context-length", arguments.context, "--log-level", "warning", *extra], environment)


def start_peer(arguments):
    return Server([sys.executable, __file__, "--model", arguments.model, "--threads", arguments.threads, "--context",
                   arguments.context, "--slots", arguments.slots, "--peer-worker", "PORT"])


def peer_worker(arguments):
    import xllamacpp  # pylint: disable=import-outside-toplevel

    params = xllamacpp.CommonParams()
    params.model.path = arguments.model
    params.n_parallel = arguments.slots
    params.n_ctx = arguments.context * arguments.slots if arguments.context <= 2048 else arguments.context * 2
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = arguments.threads
    kinds = xllamacpp.llama_flash_attn_type
    params.flash_attn_type = (kinds.LLAMA_FLASH_ATTN_TYPE_ENABLED if arguments.flash_attention == "on"
                              else kinds.LLAMA_FLASH_ATTN_TYPE_DISABLED)
    params.cache_prompt = arguments.peer_cache
    params.port = int(arguments.peer_worker)
    params.verbosity = -1
    server = xllamacpp.Server(params)
    print(server.listening_address)
    signal.sigwait({signal.SIGTERM})
    os._exit(0)


async def complete(server, body, on_token=None, fields=""):
    """One streamed completion, with more header fields. Returns the times of its tokens after the request was sent, or the status that refused it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    payload = json.dumps({"model": server.model, "stream": True, "temperature": 0, "ignore_eos": True, **body}).encode()
    head = f"POST /v1/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nConnection: close\r\n" \
           f"{fields}Content-Length: {len(payload)}\r\n\r\n"
    begin = time.perf_counter()
    writer.write(head.encode() + payload)
    times = []
    try:
        status = int((await reader.readline()).split()[1])
        if status != 200:
            return {"status": status, "seconds": time.perf_counter() - begin}
        while line := await reader.readline():
            if not line.startswith(b"data:"):
                continue
            if b"[DONE]" in line:
                break
            if b'"text":"' in line or b'"text": "' in line:
                times.append(time.perf_counter() - begin)
                if on_token is not None and on_token(len(times)):
                    break
        return {"status": 200, "begin": begin, "times": times, "seconds": time.perf_counter() - begin}
    finally:
        writer.close()


def percentile(values, share):
    values = sorted(values)
    return values[min(len(values) - 1, int(share * len(values)))] if values else None


def summary(results, seconds, arguments):
    good = [result for result in results if result["status"] == 200 and result["times"]]
    gaps = [b - a for result in good for a, b in zip(result["times"], result["times"][1:])]
    within = [result for result in good if result["times"][0] * 1000 <= arguments.slo_ttft_ms and
              percentile([b - a for a, b in zip(result["times"], result["times"][1:])] or [0], 0.95) * 1000
              <= arguments.slo_itl_ms]
    ttft = [result["times"][0] for result in good]
    refused = [result["seconds"] for result in results if result["status"] != 200]
    return {"requests": len(results), "answered": len(good), "refused": len(refused),
            "refused_ms_p99": 1000 * percentile(refused, 0.99) if refused else None,
            # By requests and their limits: two tokens may come in one event.
            "tokens_per_s": sum(result["tokens"] for result in good) / seconds, "requests_per_s": len(good) / seconds,
            "goodput_per_s": len(within) / seconds,
            "ttft_ms": {"p50": 1000 * percentile(ttft, 0.5), "p99": 1000 * percentile(ttft, 0.99)} if ttft else None,
            "itl_ms": {"p50": 1000 * percentile(gaps, 0.5), "p99": 1000 * percentile(gaps, 0.99)} if gaps else None}


async def closed_loop(server, arguments, clients, seed):
    rng = random.Random(seed)
    bodies = [{"prompt": prompt_of(rng, arguments.words), "max_tokens": arguments.max_tokens}
              for _ in range(max(arguments.requests, 2 * clients))]
    results = []

    async def client():
        while bodies:
            body = bodies.pop()
            results.append({**await complete(server, body), "tokens": body["max_tokens"]})

    begin = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(clients)))
    return summary(results, time.perf_counter() - begin, arguments)


async def poisson(server, arguments, rate, seed):
    rng = random.Random(seed)
    results, tasks = [], []

    async def one(body):
        results.append({**await complete(server, body), "tokens": body["max_tokens"]})

    begin = time.perf_counter()
    for _ in range(arguments.requests):
        tasks.append(asyncio.create_task(one({"prompt": prompt_of(rng, arguments.words), "max_tokens": arguments.max_tokens})))
        await asyncio.sleep(rng.expovariate(rate))
    await asyncio.gather(*tasks)
    return summary(results, time.perf_counter() - begin, arguments)


async def latency(server, arguments, seed):
    rng = random.Random(seed)
    results = []
    begin = time.perf_counter()
    for _ in range(arguments.requests):
        body = {"prompt": [rng.randrange(1000, 40000) for _ in range(128)], "max_tokens": 8}
        results.append({**await complete(server, body), "tokens": 8})
    return summary(results, time.perf_counter() - begin, arguments)


async def background(server, arguments, seed):
    """An interactive stream and short interactive requests, alone and beside prompts of 8k tokens."""
    rng = random.Random(seed)

    def ids(count):
        return [rng.randrange(1000, 40000) for _ in range(count)]

    async def stream(results):
        # Not the likeliest tokens: these repeat themselves, and what repeats is guessed and comes in bursts.
        body = {"prompt": ids(32), "max_tokens": 300, "temperature": 1, "seed": rng.randrange(1 << 30)}
        results.append({**await complete(server, body), "tokens": 300})

    async def shorts(results, stop):
        while not stop.is_set():
            results.append({**await complete(server, {"prompt": ids(128), "max_tokens": 2}), "tokens": 2})
            await asyncio.sleep(0.1)

    async def long_prompts(stop):
        while not stop.is_set():
            await complete(server, {"prompt": ids(arguments.context - 64), "max_tokens": 1},
                           fields="x-lem-priority: background\r\n")

    report = {}
    for name in ("idle", "beside"):
        streams, firsts, stop = [], [], asyncio.Event()
        busy = [asyncio.create_task(long_prompts(stop)) for _ in range(2)] if name == "beside" else []
        await asyncio.sleep(0.5)
        begin = time.perf_counter()
        # The stream by itself, then requests by themselves: each says one thing.
        await stream(streams)
        await stream(streams)
        ticker = asyncio.create_task(shorts(firsts, stop))
        await asyncio.sleep(6)
        stop.set()
        for task in [ticker, *busy]:
            task.cancel()
        await asyncio.gather(ticker, *busy, return_exceptions=True)
        seconds = time.perf_counter() - begin
        report[name] = {"itl_ms": summary(streams, seconds, arguments)["itl_ms"],
                        "ttft_ms": summary(firsts, seconds, arguments)["ttft_ms"]}
        await asyncio.sleep(1)
    return report


async def prefix_pair(server, arguments, seed):
    rng = random.Random(seed)
    prompt = [rng.randrange(1000, 40000) for _ in range(min(4096, arguments.context - 64))]
    times = []
    for tail in (7, 8):
        result = await complete(server, {"prompt": [*prompt, tail * 1000], "max_tokens": 1})
        times.append(1000 * result["times"][0])
    return times


def run_server(arguments, server, seed):
    """What a mode measures of one server, a result each number of clients or rate."""
    if arguments.mode in ("closed", "poisson"):
        values, run = ((arguments.clients, closed_loop) if arguments.mode == "closed" else (arguments.rate, poisson))
        for value in values:
            busy, own = busy_seconds(), time.perf_counter()
            result = asyncio.run(run(server, arguments, value, f"{seed} {value}"))
            result["machine_busy"] = round((busy_seconds() - busy) / (time.perf_counter() - own), 2)
            yield {arguments.mode: value, **result}
    elif arguments.mode == "latency":
        asyncio.run(latency(server, arguments, "warm"))
        yield asyncio.run(latency(server, arguments, seed))
    elif arguments.mode == "background":
        yield asyncio.run(background(server, arguments, seed))
    else:
        yield {"ttft_ms": asyncio.run(prefix_pair(server, arguments, seed))}


def run_mode(arguments):
    engines = {"lem": start_lem} if arguments.no_peer else {"lem": start_lem, "llama.cpp": start_peer}
    cells = []
    for round_idx in range(arguments.rounds):
        for engine, start in engines.items():
            server = start(arguments)
            try:
                for result in run_server(arguments, server, f"{round_idx}"):
                    cells.append({"engine": engine, "round": round_idx, **result})
                    print(json.dumps(cells[-1]), file=sys.stderr, flush=True)
            finally:
                server.stop()
    return cells


def ratios(arguments, cells):
    """Of each number of clients or rate: the best of the rounds, Lemonade's over the peer's."""
    table = {}
    for value in sorted({cell[arguments.mode] for cell in cells}):
        of = {engine: [cell for cell in cells if cell["engine"] == engine and cell[arguments.mode] == value]
              for engine in {cell["engine"] for cell in cells}}
        row = {engine: {"tokens_per_s": max(cell["tokens_per_s"] for cell in rows),
                        "ttft_p99_ms": min(cell["ttft_ms"]["p99"] for cell in rows),
                        "itl_p99_ms": min(cell["itl_ms"]["p99"] for cell in rows),
                        "median_tokens_per_s": statistics.median(cell["tokens_per_s"] for cell in rows)}
               for engine, rows in of.items()}
        if len(row) == 2:
            row["ratio"] = {"tokens_per_s": row["lem"]["tokens_per_s"] / row["llama.cpp"]["tokens_per_s"],
                            "ttft_p99": row["lem"]["ttft_p99_ms"] / row["llama.cpp"]["ttft_p99_ms"]}
        table[str(value)] = row
    return table


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True)
    parser.add_argument("--lem", default=str(ROOT / "build/release/bin/lem"))
    parser.add_argument("--mode", choices=("closed", "poisson", "latency", "background", "prefix"), default="closed")
    parser.add_argument("--clients", type=lambda text: [int(word) for word in text.split(",")], default=[1, 16, 32])
    parser.add_argument("--rate", type=lambda text: [float(word) for word in text.split(",")], default=[4.0])
    parser.add_argument("--requests", type=int, default=96)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--words", type=int, default=100)
    parser.add_argument("--max-tokens", type=int, default=64)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--context", type=int, default=1024)
    parser.add_argument("--slots", type=int, default=16)
    parser.add_argument("--flash-attention", choices=("on", "off"), default="on")
    parser.add_argument("--peer-cache", action="store_true", help="the peer keeps prompts, as it does by default")
    parser.add_argument("--slo-ttft-ms", type=float, default=1000)
    parser.add_argument("--slo-itl-ms", type=float, default=100)
    parser.add_argument("--no-peer", action="store_true")
    parser.add_argument("--llama-bench", default=None, help=argparse.SUPPRESS)
    parser.add_argument("--peer-worker", help=argparse.SUPPRESS)
    parser.add_argument("--out", type=pathlib.Path)
    arguments = parser.parse_args()
    if arguments.peer_worker:
        peer_worker(arguments)
    cells = run_mode(arguments)
    words = [pathlib.Path(word).name if word in (arguments.model, arguments.lem) else word for word in sys.argv[1:]]
    report = {"command": " ".join(["bench/serve_load.py", *words]),
              "time_utc": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
              "commit": subprocess.run(["git", "-C", ROOT, "describe", "--always", "--dirty"], capture_output=True, text=True,
                                       check=False).stdout.strip(),
              "machine": machine(), "peer": None if arguments.no_peer else peer_version(arguments), "cells": cells}
    if arguments.mode in ("closed", "poisson"):
        report["summary"] = ratios(arguments, cells)
        print(json.dumps(report["summary"], indent=1))
    if arguments.out:
        arguments.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
