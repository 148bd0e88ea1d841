#!/usr/bin/env python3
"""Masks of Lemonade's grammars beside llguidance's: the same schemas, instances and vocabulary, in turns.

    bench/compare_llguidance.py --model FILE --schemas FOLDER [--limit 500] [--lem-bench PROGRAM] [--out bench/results/NAME.json]

FOLDER holds files {"schema": ..., "tests": [{"data": ..., "valid": true}]}, as maskbench/data of guidance-ai/jsonschemabench
has them (not part of this repository). Needs: pip install llguidance==1.9.1 gguf numpy. Method: bench/README.md.
"""

import argparse
import datetime
import json
import os
import pathlib
import platform
import random
import statistics
import subprocess
import time

import llguidance
import llguidance.numpy
import numpy
from gguf import GGUFReader

from compare_llamacpp import ROOT, machine

CHUNK = 25  # schemas that one engine does before it is the other's turn


class Vocabulary:
    """The tokens of a GGUF with a byte-level vocabulary, as llguidance wants them."""

    def __init__(self, path):
        fields = GGUFReader(path).fields
        assert fields["tokenizer.ggml.model"].contents() == "gpt2", "the model's vocabulary is not byte-level"
        printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
        others = [byte for byte in range(256) if byte not in printable]
        to_byte = {chr(byte): byte for byte in printable} | {chr(256 + i): byte for i, byte in enumerate(others)}
        types = fields["tokenizer.ggml.token_type"].contents()
        self.tokens, self.special_token_ids = [], []
        for token_id, (token, kind) in enumerate(zip(fields["tokenizer.ggml.tokens"].contents(), types, strict=True)):
            if kind == 3:
                self.special_token_ids.append(token_id)
                self.tokens.append(token.encode())
            else:
                self.tokens.append(bytes(to_byte[c] for c in token) if all(c in to_byte for c in token) else token.encode())
        self.eos_token_id = fields["tokenizer.ggml.eos_token_id"].contents()
        self.bos_token_id = None
        self.longest = {}
        for token_id, token in enumerate(self.tokens):
            self.longest.setdefault(token, token_id)

    def __call__(self, text):  # greedy: only what tokens there are matters
        data, ids = text.encode() if isinstance(text, str) else text, []
        while data:
            size = next(n for n in range(min(len(data), 32), 0, -1) if data[:n] in self.longest)
            ids.append(self.longest[data[:size]])
            data = data[size:]
        return ids


def run_llguidance(tokenizer, mask, schema, texts):
    begin = time.perf_counter()
    grammar = llguidance.LLMatcher.grammar_from_json_schema(json.dumps(schema))
    first = llguidance.LLMatcher(tokenizer, grammar)
    if first.is_error():
        return {"error": first.get_error()}
    compile_ms = (time.perf_counter() - begin) * 1e3
    masks, cpu, results = [], [], []
    for text in texts:
        matcher, accepted = first.deep_copy(), True
        for token in tokenizer.tokenize_str(text):
            cpu_begin, begin = time.thread_time_ns(), time.perf_counter()
            llguidance.numpy.fill_next_token_bitmask(matcher, mask, 0)
            masks.append((time.perf_counter() - begin) * 1e6)
            cpu.append((time.thread_time_ns() - cpu_begin) / 1e3)
            if not mask[0, token // 32] >> (token % 32) & 1 or not matcher.consume_token(token):
                accepted = False
                break
        results.append("accept" if accepted and matcher.is_accepting() else "reject")
    return {"compile_ms": compile_ms, "masks": masks, "masks_cpu": cpu, "results": results}


def quantiles(values):
    ordered = sorted(values)
    return {name: round(ordered[min(len(ordered) - 1, int(q * len(ordered)))], 3)
            for name, q in (("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("max", 1))} if ordered else {}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=pathlib.Path, required=True)
    parser.add_argument("--schemas", type=pathlib.Path, required=True)
    parser.add_argument("--limit", type=int, default=500)
    parser.add_argument("--lem-bench", type=pathlib.Path, default=ROOT / "build/release/bin/lem-bench")
    parser.add_argument("--out", type=pathlib.Path)
    arguments = parser.parse_args()
    files = sorted(arguments.schemas.glob("*.json"))
    random.Random(1).shuffle(files)
    cases = [json.loads(path.read_text(encoding="utf-8")) for path in files[: arguments.limit]]
    lem = subprocess.Popen([arguments.lem_bench, "grammar", "--batch", "--all-masks", "--model", arguments.model],
                           stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    vocabulary = Vocabulary(arguments.model)
    tokenizer = llguidance.LLTokenizer(llguidance.TokenizerWrapper(vocabulary), n_vocab=len(vocabulary.tokens))
    mask = numpy.zeros((1, (len(vocabulary.tokens) + 31) // 32), dtype=numpy.int32)
    engines = {name: {"masks": [], "masks_cpu": [], "compile": [], "first": [], "compiled": 0, "false_accepts": 0, "valid": 0, "valid_accepted": 0,
                      "schema_p99": []} for name in ("lem", "llguidance")}
    both = 0

    def book(name, case, answer):
        if "error" in answer:
            return
        own = engines[name]
        own["compiled"] += 1
        own["compile"].append(answer["compile_ms"])
        own["masks"] += answer["masks"]
        own["masks_cpu"] += answer["masks_cpu"]
        if answer["masks"]:
            own["first"].append(answer["masks"][0])
            own["schema_p99"].append(quantiles(answer["masks_cpu"])["p99"])
        for test, result in zip(case["tests"], answer["results"], strict=True):
            own["false_accepts"] += result == "accept" and not test["valid"]
            own["valid"] += test["valid"]
            own["valid_accepted"] += result == "accept" and test["valid"]

    for begin in range(0, len(cases), CHUNK):
        chunk = cases[begin : begin + CHUNK]
        texts = [[json.dumps(test["data"], ensure_ascii=False) for test in case["tests"]] for case in chunk]
        compiled = []
        for case, instances in zip(chunk, texts, strict=True):
            lem.stdin.write(json.dumps({"schema": case["schema"], "instances": instances}) + "\n")
            lem.stdin.flush()
            answer = json.loads(lem.stdout.readline())
            compiled.append("error" not in answer)
            book("lem", case, answer)
        for case, instances, ours in zip(chunk, texts, compiled, strict=True):
            answer = run_llguidance(tokenizer, mask, case["schema"], instances)
            both += ours and "error" not in answer
            book("llguidance", case, answer)
    lem.stdin.close()
    lem.wait()
    record = {
        "what": "JSON Schemas: compile time and time of every token mask, Lemonade and llguidance in turns of "
                f"{CHUNK} schemas, one thread each; wall clock, and processor time of the thread beside it, for others use the machine too",
        "command": f"bench/compare_llguidance.py --model {arguments.model.name} --schemas maskbench/data --limit {arguments.limit}",
        "time_utc": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "machine": machine(),
        "load_average": os.getloadavg(),
        "python": platform.python_version(),
        "llguidance": llguidance.get_version() if hasattr(llguidance, "get_version") else "1.9.1",
        "model": arguments.model.name,
        "vocabulary": len(vocabulary.tokens),
        "schemas": len(cases),
        "compiled_by_both": both,
        "engines": {
            name: {
                "compiled": own["compiled"],
                "valid_instances": own["valid"],
                "valid_accepted": own["valid_accepted"],
                "false_accepts": own["false_accepts"],
                "masks": len(own["masks"]),
                "mask_us": quantiles(own["masks"]) | {"mean": round(statistics.fmean(own["masks"]), 3)},
                "mask_cpu_us": quantiles(own["masks_cpu"]),
                "mask_us_first": quantiles(own["first"]),
                "mask_cpu_us_p99_of_a_schema": quantiles(own["schema_p99"]),
                "compile_ms": quantiles(own["compile"]),
            }
            for name, own in engines.items()
        },
    }
    text = json.dumps(record, indent=1)
    if arguments.out:
        arguments.out.write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
