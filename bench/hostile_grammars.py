#!/usr/bin/env python3
"""Deep, cyclic and huge schemas, patterns and grammars sent to `lem serve`: each must be answered at once, with HTTP 400
or with a form that can be kept, and the server must live.

    bench/hostile_grammars.py --lem build/release/bin/lem --model FILE [--out FILE.json]

Needs the packages openai and jsonschema (of structured.py). Method: bench/README.md.
"""

import argparse
import datetime
import http.client
import json
import os
import platform
import statistics
import time

from structured import start

DEEP = 20_000


def nested(levels, wrap, core):
    """`wrap` has one "@" where the next level goes. As text: Python's own JSON writer would run out of stack."""
    head, tail = wrap.split("@")
    return head * levels + core + tail * levels


def cases():
    """Name, key of the request, its value as JSON text, whether it has to be refused."""
    string, integer = '{"type":"string"}', '{"type":"integer"}'
    schemas = {
        "arrays in arrays": nested(DEEP, '{"type":"array","items":@}', integer),
        "objects in objects": nested(DEEP, '{"type":"object","properties":{"a":@},"required":["a"]}', integer),
        "allOf in allOf": nested(DEEP, '{"allOf":[@]}', string),
        "anyOf in anyOf": nested(DEEP, '{"anyOf":[@,{"type":"null"}]}', string),
        "not in not": nested(DEEP, '{"not":@}', string),
        "$defs in $defs": nested(DEEP, '{"$defs":{"a":@}}', string),
        "deep const": '{"const":' + "[" * DEEP + "]" * DEEP + "}",
        "$ref to itself": '{"$ref":"#"}',
        "cycle of two $ref": '{"$ref":"#/$defs/a","$defs":{"a":{"$ref":"#/$defs/b"},"b":{"$ref":"#/$defs/a"}}}',
        "allOf of itself": '{"$ref":"#/$defs/a","$defs":{"a":{"allOf":[{"$ref":"#/$defs/a"},{"type":"object"}]}}}',
        "a value that holds itself": '{"type":"array","items":{"$ref":"#"},"minItems":1}',
        "an object that needs itself": '{"type":"object","properties":{"a":{"$ref":"#"}},"required":["a"]}',
    }
    chain = {f"r{i}": {"$ref": f"#/$defs/r{i + 1}"} for i in range(10_000)}
    schemas["10,000 $ref in a row"] = json.dumps({"$ref": "#/$defs/r0", "$defs": chain | {"r10000": {"$ref": "#/$defs/r0"}}})
    doubling = {f"d{i}": {"allOf": [{"$ref": f"#/$defs/d{i + 1}"}, {"$ref": f"#/$defs/d{i + 1}"}]} for i in range(60)}
    schemas["allOf that doubles 60 times"] = json.dumps({"$ref": "#/$defs/d0", "$defs": doubling | {"d60": {"$ref": "#/$defs/d0"}}})
    for name, text in schemas.items():
        yield f"schema: {name}", "schema", text, True
    patterns = {
        "groups in groups": "(" * DEEP + "a" + ")" * DEEP, "repeats in repeats": "(" * 300 + "a" + "{2,9})" * 300,
        "an open group": "(" * DEEP, "classes": "[" * DEEP, "look-ahead in look-ahead": "(?=" * DEEP, "a back-reference": "(a)\\1",
    }
    for name, pattern in patterns.items():
        yield f"regex: {name}", "regex", json.dumps(pattern), True
        yield f"schema pattern: {name}", "schema", json.dumps({"type": "string", "pattern": pattern}), True
    grammars = {
        "groups in groups": "root ::= " + "(" * DEEP + '"a"' + ")" * DEEP, "a rule that begins with itself": 'root ::= root "a" | "b"',
        "a cycle of left calls": 'root ::= a "x"\na ::= b\nb ::= a | "y"', "a rule without an end": 'root ::= "a" root',
        "10,000 rules that only call": "\n".join(["root ::= r0"] + [f"r{i} ::= r{i + 1}" for i in range(10_000)] + ["r10000 ::= r0"]),
        "an unknown rule": "root ::= nothing",
    }
    for name, grammar in grammars.items():
        yield f"GBNF: {name}", "grammar", json.dumps(grammar), True
    lark = {"a terminal of itself": "start: A\nA: A \"x\" | \"y\"", "groups in groups": "start: " + "(" * DEEP + '"a"' + ")" * DEEP}
    for name, grammar in lark.items():
        yield f"Lark: {name}", "grammar", json.dumps(grammar), True
    # What may be kept or refused, but not slowly.
    yield "regex: (x+x+)+y", "regex", json.dumps("(x+x+)+y"), False
    yield "regex: (a|aa|aaa){1,1000}b{1,1000}", "regex", json.dumps("(a|aa|aaa){1,1000}b{1,1000}"), False
    yield "regex: a{1000000}", "regex", json.dumps("a{1000000}"), False
    yield "schema: enum of 20,000", "schema", json.dumps({"enum": [f"value {i}" for i in range(20_000)]}), False
    yield "schema: 2,000 optional properties", "schema", json.dumps(
        {"type": "object", "properties": {f"p{i}": {"type": "string"} for i in range(2000)}, "additionalProperties": False}), False
    yield "schema: oneOf of 300 objects", "schema", json.dumps(
        {"oneOf": [{"type": "object", "properties": {"kind": {"const": f"k{i}"}}, "required": ["kind"]} for i in range(300)]}), False


def body_of(model, key, value):
    form = {"schema": '"response_format":{"type":"json_schema","json_schema":{"name":"a","strict":true,"schema":%s}}',
            "regex": '"regex":%s', "grammar": '"grammar":%s'}[key] % value
    return '{"model":%s,"max_tokens":1,"messages":[{"role":"user","content":"x"}],%s}' % (json.dumps(model), form)


def ask(port, body):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    connection.connect()
    begin = time.perf_counter()
    connection.request("POST", "/v1/chat/completions", body, {"Content-Type": "application/json", "Authorization": "Bearer -"})
    answer = connection.getresponse()
    text = answer.read()
    elapsed = (time.perf_counter() - begin) * 1e3
    connection.close()
    message = ""
    if answer.status != 200:
        message = json.loads(text).get("error", {}).get("message", "")[:160]
    return answer.status, elapsed, message


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lem", default="build/release/bin/lem")
    parser.add_argument("--model", required=True)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out")
    options = parser.parse_args()
    process, client = start(options.lem, options.model)
    rows, bad = [], []
    try:
        model, port = client.models.list().data[0].id, client.base_url.port
        plain = [ask(port, body_of(model, "regex", '"a"'))[1] for _ in range(5)]
        for name, key, value, refused in cases():
            runs = [ask(port, body_of(model, key, value)) for _ in range(options.rounds)]
            rows.append({"case": name, "bytes": len(value), "status": runs[0][0], "ms": [round(run[1], 1) for run in runs],
                         "message": runs[0][2]})
            if runs[0][0] not in (200, 400) or (refused and runs[0][0] != 400):
                bad.append(name)
        alive = process.poll() is None
    finally:
        process.terminate()
        process.wait(30)
    refusals = [min(row["ms"]) for row in rows if row["status"] == 400]
    record = {
        "what": "deep, cyclic and huge forms of answers, by HTTP: status and milliseconds of each round",
        "command": f"bench/hostile_grammars.py --model {os.path.basename(options.model)} --rounds {options.rounds}",
        "time_utc": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "machine": {"processors": os.cpu_count(), "kernel": platform.release(), "load_average": os.getloadavg()},
        "plain_request_ms": round(statistics.median(plain), 1),
        "refusals": len(refusals), "slowest_refusal_ms": max(refusals), "over_50_ms": [
            row["case"] for row in rows if row["status"] == 400 and min(row["ms"]) > 50],
        "server_alive": alive, "unexpected": bad, "cases": rows,
    }
    text = json.dumps(record, indent=1, ensure_ascii=False)
    print(text)
    if options.out:
        with open(options.out, "w", encoding="utf-8") as file:
            file.write(text + "\n")
    return 1 if bad or not alive else 0


if __name__ == "__main__":
    raise SystemExit(main())
