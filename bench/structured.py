#!/usr/bin/env python3
"""What structured output costs and whether it holds: tokens a second with a schema beside free text, and many random
requests of which every answer must be valid JSON under its schema.

    bench/structured.py --lem build/release/bin/lem --model FILE [--requests 1000] [--rounds 7] [--out FILE.json]

Needs the packages openai and jsonschema. Method: bench/README.md.
"""

import argparse
import concurrent.futures
import datetime
import json
import os
import platform
import random
import socket
import statistics
import subprocess
import time
import urllib.error
import urllib.request

import jsonschema
import openai

WORDS = "name title city colour size price count status kind owner notes date email score level".split()
SUBJECTS = "a cat, a bicycle, a house by the sea, a train, a recipe, a book, a planet, an invoice, a robot, a song".split(", ")

# Long text under a loose schema, so that the model's work is that of free text and only the masks differ.
LONG = {"type": "object", "properties": {"story": {"type": "string", "minLength": 400}}, "required": ["story"],
        "additionalProperties": False}
# Many fields: keys are forced, values are not.
RECORD = {"type": "object", "properties": {
    "title": {"type": "string", "maxLength": 80}, "kind": {"enum": ["animal", "plant", "thing"]}, "legs": {"type": "integer",
    "minimum": 0, "maximum": 8}, "colours": {"type": "array", "items": {"type": "string", "maxLength": 20}, "minItems": 2,
    "maxItems": 4}, "description": {"type": "string", "maxLength": 200}, "alive": {"type": "boolean"}},
    "required": ["title", "kind", "legs", "colours", "description", "alive"], "additionalProperties": False}


def random_schema(rng, depth=0):
    kind = rng.choice(["string", "string", "integer", "number", "boolean", "enum", "const", "any_of", "array", "object",
                       "pattern", "null"] if depth < 3 else ["string", "integer", "boolean", "enum"])
    if kind == "string":
        return {"type": "string", "maxLength": rng.randint(1, 30)}
    if kind == "integer":
        low = rng.randint(-1000, 1000)
        return {"type": "integer", "minimum": low, "maximum": low + rng.randint(0, 5000)}
    if kind == "number":
        return {"type": "number", "minimum": 0, "maximum": rng.randint(1, 100)}
    if kind in ("boolean", "null"):
        return {"type": kind}
    if kind == "enum":
        return {"enum": rng.sample(["red", "green", "blue", 1, 2.5, None, True, "é\"\n"], rng.randint(1, 5))}
    if kind == "const":
        return {"const": rng.choice(["fixed", 42, [1, "two"], {"a": None}])}
    if kind == "any_of":
        return {"anyOf": [random_schema(rng, depth + 1) for _ in range(rng.randint(1, 3))]}
    if kind == "pattern":
        return {"type": "string", "pattern": rng.choice(["^[A-Z]{2}-[0-9]{4}$", "^[a-z]+@[a-z]+\\.(com|org)$", "^#[0-9a-f]{6}$"]),
                "maxLength": 24}
    if kind == "array":
        return {"type": "array", "items": random_schema(rng, depth + 1), "maxItems": rng.randint(1, 4)}
    return random_object(rng, depth + 1)


def random_object(rng, depth=0):
    names = rng.sample(WORDS, rng.randint(1, 5))
    return {"type": "object", "properties": {name: random_schema(rng, depth + 1) for name in names},
            "required": [name for name in names if rng.random() < 0.8], "additionalProperties": False}


def start(lem, model):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen([lem, "serve", "--model", model, "--port", str(port), "--context-length", "1024", "--placement",
                                "all cpu"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while True:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/ready", timeout=5).close()
            return process, openai.OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="-", max_retries=0, timeout=600)
        except (OSError, urllib.error.HTTPError):
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit("lem serve does not start") from None
            time.sleep(0.1)


def decode_speed(client, model, seed, **form):
    """Tokens a second from the first text to the last, as a client sees it."""
    stream = client.chat.completions.create(
        model=model, messages=[{"role": "user", "content": "Tell me a long story about a cat."}], max_tokens=160, seed=seed,
        temperature=0.8, stream=True, stream_options={"include_usage": True}, **form)
    times, usage = [], None
    for chunk in stream:
        if chunk.usage:
            usage = chunk.usage
        elif chunk.choices and (chunk.choices[0].delta.content or chunk.choices[0].delta.tool_calls):
            times.append(time.perf_counter())
    if len(times) < 30:
        return None  # too short to be timed
    return (usage.completion_tokens - 1) / (times[-1] - times[0])


def form_of(schema):
    return {"response_format": {"type": "json_schema", "json_schema": {"name": "answer", "strict": True, "schema": schema}}}


def measure_speed(client, model, rounds):
    tools = [{"type": "function", "function": {"name": "look_up", "description": "Looks a word up", "parameters": {
        "type": "object", "properties": {"word": {"type": "string"}}, "required": ["word"]}}}]
    forms = {"free": {}, "schema_long_string": form_of(LONG), "schema_record": form_of(RECORD),
             "tools_auto": {"tools": tools}}
    samples = {name: [] for name in forms}
    for name, form in forms.items():
        decode_speed(client, model, 1, **form)  # compiles the grammar
    for seed in range(rounds):
        order = list(forms)
        random.Random(seed).shuffle(order)
        for name in order:
            samples[name].append(decode_speed(client, model, seed, **forms[name]))
    record = {}
    for name, values in samples.items():
        pairs = [(value, free) for value, free in zip(values, samples["free"]) if value and free]
        record[name] = {"tokens_per_s": [value and round(value, 2) for value in values],
                        "median": round(statistics.median(value for value, _ in pairs), 2),
                        "median_ratio_to_free": round(statistics.median(value / free for value, free in pairs), 3)}
    return record


def one_request(client, model, seed):
    rng = random.Random(seed)
    schema = random_object(rng)
    try:
        answer = client.chat.completions.create(
            model=model, messages=[{"role": "user", "content": f"Describe {rng.choice(SUBJECTS)} as JSON."}], max_tokens=300,
            temperature=rng.choice([0, 0.7, 1.0, 1.5]), seed=seed, **form_of(schema))
    except openai.APIStatusError as error:
        return {"outcome": "refused", "seed": seed, "why": error.message[:200], "schema": schema}
    choice = answer.choices[0]
    outcome = {"outcome": choice.finish_reason, "tokens": answer.usage.completion_tokens}
    if choice.finish_reason == "length":
        return outcome
    try:
        jsonschema.Draft202012Validator(schema).validate(json.loads(choice.message.content))
        return outcome
    except (json.JSONDecodeError, jsonschema.ValidationError) as error:
        return {"outcome": "invalid", "seed": seed, "why": str(error)[:300], "text": choice.message.content, "schema": schema}


def random_requests(client, model, count, threads, seconds):
    began = time.monotonic()

    def ask(seed):
        return one_request(client, model, seed) if time.monotonic() - began < seconds else None

    with concurrent.futures.ThreadPoolExecutor(threads) as pool:
        results = [result for result in pool.map(ask, range(count)) if result]
    outcomes = {}
    for result in results:
        outcomes[result["outcome"]] = outcomes.get(result["outcome"], 0) + 1
    bad = [result for result in results if result["outcome"] in ("invalid", "refused")]
    return {"requests": len(results), "outcomes": outcomes, "tokens": sum(result.get("tokens", 0) for result in results),
            "seconds": round(time.monotonic() - began, 1), "examples_of_bad": bad[:5]}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lem", default="build/release/bin/lem")
    parser.add_argument("--model", required=True)
    parser.add_argument("--requests", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=8, help="requests at once")
    parser.add_argument("--seconds", type=float, default=3600, help="no random request begins later than this")
    parser.add_argument("--out")
    options = parser.parse_args()
    process, client = start(options.lem, options.model)
    try:
        model = client.models.list().data[0].id
        record = {
            "what": "structured output: decode speed with a form beside free text (ratios of interleaved runs), and random "
                    "schemas of which every answer that ended by itself must validate",
            "command": f"bench/structured.py --model {os.path.basename(options.model)} --requests {options.requests} "
                       f"--rounds {options.rounds} --threads {options.threads} --seconds {options.seconds:g}",
            "time_utc": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
            "machine": {"processors": os.cpu_count(), "kernel": platform.release(), "load_average": os.getloadavg()},
            "model": model,
        }
        if options.rounds:
            record["speed"] = measure_speed(client, model, options.rounds)
        if options.requests:
            record["random_requests"] = random_requests(client, model, options.requests, options.threads,
                                                        options.seconds)
    finally:
        process.terminate()
        process.wait(30)
    text = json.dumps(record, indent=1, ensure_ascii=False)
    print(text)
    if options.out:
        with open(options.out, "w", encoding="utf-8") as file:
            file.write(text + "\n")
    bad = record.get("random_requests", {}).get("examples_of_bad")
    return 1 if bad else 0


if __name__ == "__main__":
    raise SystemExit(main())
