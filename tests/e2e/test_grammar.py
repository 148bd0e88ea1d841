"""lem-bench grammar against two oracles: jsonschema says which instances fit, llguidance which it would let through."""

import json
import os
import pathlib
import subprocess

import jsonschema
import llguidance
import pytest

from . import schema_samples

NUM_SCHEMAS = 300


@pytest.fixture(scope="module")
def bench(lem_binary, smollm2):
    program = pathlib.Path(lem_binary).with_name("lem-bench")
    assert os.access(program, os.X_OK), f"{program} is built with lem"

    def run(*arguments, stdin=""):
        result = subprocess.run([program, "grammar", "--model", smollm2, *map(str, arguments)], input=stdin, text=True,
                                capture_output=True, timeout=300, check=False)
        return result.returncode, result.stdout

    return run


def run_batch(bench, cases):
    lines = "".join(json.dumps({"schema": schema, "instances": texts}) + "\n" for schema, texts in cases)
    code, output = bench("--batch", stdin=lines)
    answers = [json.loads(line) for line in output.splitlines()]
    assert code == 0 and len(answers) == len(cases)
    return answers


def llguidance_accepts(schema, texts):
    """None for a schema that it cannot compile."""
    tokenizer = llguidance.LLTokenizer("byte")
    grammar = llguidance.LLMatcher.grammar_from_json_schema(json.dumps(schema))
    first = llguidance.LLMatcher(tokenizer, grammar)
    if first.is_error():
        return None
    results = []
    for text in texts:
        matcher, tokens = first.deep_copy(), tokenizer.tokenize_str(text)
        fits = matcher.validate_tokens(tokens) == len(tokens)
        results.append(fits and matcher.consume_tokens(tokens) and matcher.is_accepting())
    return results


def test_random_schemas(bench):
    cases = [schema_samples.samples(seed) for seed in range(NUM_SCHEMAS)]
    accepted = wrong = compared = 0
    for (schema, texts), answer in zip(cases, run_batch(bench, cases), strict=True):
        assert "error" not in answer, (schema, answer)
        validator = jsonschema.Draft202012Validator(schema, format_checker=jsonschema.FormatChecker())
        oracle = llguidance_accepts(schema, texts)
        for i, (text, result) in enumerate(zip(texts, answer["results"], strict=True)):
            fits = validator.is_valid(json.loads(text))
            if result == "accept":
                accepted += 1
                assert fits, f"a false accept: {schema} and {text}"
            elif fits:
                wrong += 1
                # Escapes of printable characters are more than llguidance takes; all it takes is taken.
                assert not oracle or not oracle[i], f"a false reject: {schema} and {text}"
            compared += oracle is not None
    assert accepted > NUM_SCHEMAS and compared > 8 * NUM_SCHEMAS
    assert wrong < 0.1 * accepted, f"{wrong} instances that fit are rejected, most by the order of their properties"


def test_instances_line_by_line(bench, tmp_path):
    schema = tmp_path / "schema.json"
    schema.write_text(json.dumps({"type": "object", "properties": {"n": {"type": "integer", "maximum": 9}}, "required": ["n"],
                                  "additionalProperties": False}))
    code, output = bench("--schema", schema, "--json", stdin='{"n": 3}\n{"n":10}\n{"n": 3, "m": 1}\n\n{"n":-4}\n[]\n')
    answer = json.loads(output)
    assert code == 0
    assert answer["results"] == ["accept", "reject", "reject", "accept", "reject"]
    assert answer["compile_ms"] >= 0 and set(answer["mask_us"]) >= {"p50", "p99", "max"}


@pytest.mark.parametrize(
    ("text", "message"),
    [("{", "not JSON"), ('{"type":"array","contains":{}}', "'contains'"), ('{"items":' * 20000 + "{}" + "}" * 20000, "200"),
     ('{"$ref":"#"}', "no output"), ("", "not JSON")],
)
def test_errors_are_json(bench, tmp_path, text, message):
    schema = tmp_path / "schema.json"
    schema.write_text(text)
    code, output = bench("--schema", schema, "--json", stdin="{}\n")
    assert code == 1
    assert message in json.loads(output)["error"]


def test_a_missing_file_is_an_error(bench, tmp_path):
    code, output = bench("--schema", tmp_path / "none.json", "--json")
    assert code == 1 and "none.json" in json.loads(output)["error"]
