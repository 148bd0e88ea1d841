"""Completions with the official Python client."""

import json
import math

import openai
import pytest

from .conftest import GOLDEN, MODEL

# Model: golden results, and how far from exact arithmetic the mean may be.
GOLDEN_LOGITS = {
    "smollm2-135m": ("smollm2-135m-instruct-q4_1", 0.036),
    "gemma3-270m": ("gemma3-270m-q4_k_m", 0.037),
    "qwen2.5-coder-0.5b": ("qwen2.5-coder-0.5b-instruct-q4_k_m", 0.016),
}


def complete(client, prompt="The sky is", model=MODEL, **options):
    options = {"max_tokens": 8, "temperature": 0, **options}
    return client.completions.create(model=model, prompt=prompt, **options)


def golden_ids(text):
    golden = json.loads((GOLDEN / "smollm2-135m-instruct-q4_1.tokens.json").read_text())
    return next(case["ids"] for case in golden["cases"] if case["text"] == text)


def test_answer(client):
    answer = complete(client)
    assert answer.id.startswith("cmpl-") and answer.object == "text_completion"
    assert answer.choices[0].text and answer.choices[0].finish_reason == "length"
    assert answer.usage.completion_tokens == 8


def test_stream_is_the_same_answer(client):
    chunks = list(complete(client, stream=True, stream_options={"include_usage": True}))
    whole = complete(client)
    assert "".join(choice.text for chunk in chunks for choice in chunk.choices) == whole.choices[0].text
    assert chunks[-1].usage == whole.usage and chunks[-2].choices[0].finish_reason == "length"


def test_default_is_16_tokens(client):
    answer = client.completions.create(model=MODEL, prompt="1 2 3 4 5", temperature=0, extra_body={"ignore_eos": True})
    assert answer.usage.completion_tokens == 16


def test_prompts_of_every_form(client):
    golden = json.loads((GOLDEN / "smollm2-135m-instruct-q4_1.tokens.json").read_text())
    case = next(case for case in golden["cases"] if 4 < len(case["ids"]) < 40 and case["ids"] == case["ids_parse_special"])
    text, ids = case["text"], case["ids"]
    expected = complete(client, ids).choices[0].text
    assert complete(client, text).choices[0].text == expected  # this model has no BOS
    assert [choice.text for choice in complete(client, [text, text]).choices] == [expected] * 2
    assert [choice.text for choice in complete(client, [ids, ids]).choices] == [expected] * 2
    assert complete(client, ids).usage.prompt_tokens == len(ids)


def test_several_prompts_and_choices_are_in_order(client):
    answer = complete(client, ["One", "Two"], n=2, echo=True, max_tokens=2)
    assert [choice.index for choice in answer.choices] == [0, 1, 2, 3]
    assert [choice.text[:3] for choice in answer.choices] == ["One", "One", "Two", "Two"]


def test_echo_with_logprobs(client):
    answer = complete(client, "The sky is", echo=True, logprobs=2, max_tokens=3)
    choice = answer.choices[0]
    logprobs = choice.logprobs
    assert choice.text.startswith("The sky is")
    assert len(logprobs.tokens) == answer.usage.prompt_tokens + 3
    assert "".join(logprobs.tokens) == choice.text
    assert logprobs.token_logprobs[0] is None and logprobs.top_logprobs[0] is None
    for i, token in enumerate(logprobs.tokens):
        assert choice.text[logprobs.text_offset[i]:].startswith(token)
        if i > 0:
            assert logprobs.top_logprobs[i][token] == logprobs.token_logprobs[i] <= 0
            assert 2 <= len(logprobs.top_logprobs[i]) <= 3


def test_scoring_alone(client):
    """What evaluation harnesses do: echo with log probabilities and nothing generated, or one token."""
    both = complete(client, "Paris is the capital of France", echo=True, logprobs=1, max_tokens=1).choices[0].logprobs
    alone = complete(client, "Paris is the capital of France", echo=True, logprobs=1, max_tokens=0)
    assert alone.choices[0].finish_reason == "length" and alone.usage.completion_tokens == 0
    assert alone.choices[0].text == "Paris is the capital of France"
    assert alone.choices[0].logprobs.token_logprobs == both.token_logprobs[:-1]
    assert complete(client, max_tokens=0).choices[0].text == ""


def test_streamed_echo_has_the_same_logprobs(client):
    whole = complete(client, echo=True, logprobs=1, max_tokens=4).choices[0].logprobs
    tokens, offsets, values = [], [], []
    for chunk in complete(client, echo=True, logprobs=1, max_tokens=4, stream=True):
        for choice in chunk.choices:
            if choice.logprobs:
                tokens += choice.logprobs.tokens
                offsets += choice.logprobs.text_offset
                values += choice.logprobs.token_logprobs
    assert (tokens, offsets, values) == (whole.tokens, whole.text_offset, whole.token_logprobs)


@pytest.mark.parametrize("model", GOLDEN_LOGITS)
def test_log_probabilities_are_near_exact_arithmetic(client, served, model):
    if model not in served:
        pytest.skip(f"no {model} in LEM_TEST_MODELS")
    stem, bar = GOLDEN_LOGITS[model]
    differences = []
    for case in json.loads((GOLDEN / f"{stem}.logits.json").read_text())["cases"]:
        prompt, greedy = case["prompt_ids"], case["greedy_ids"]
        answer = complete(client, prompt + greedy, model, echo=True, logprobs=1, max_tokens=0)
        found = answer.choices[0].logprobs.token_logprobs
        expected = case["prompt_logprobs"] + [step["top_logprobs"][0] for step in case["steps"]]
        assert len(found) == len(expected) and found[0] is None
        differences += [abs(a - b) for a, b in zip(found[1:], expected[1:])]
    mean = math.fsum(differences) / len(differences)
    print(f"{model}: mean |d logprob| {mean:.4f} over {len(differences)} tokens")
    assert mean <= bar


@pytest.mark.parametrize(("options", "param"), [
    ({"prompt": [1, 99_999_999]}, "prompt"),
    ({"prompt": []}, "prompt"),
    ({"prompt": [[1], []]}, "prompt[1]"),
    ({"suffix": "end"}, "suffix"),
    ({"best_of": 1, "n": 2}, "best_of"),
    ({"best_of": 2, "echo": True}, "best_of"),
    ({"logprobs": 21}, "logprobs"),
    ({"max_tokens": -5}, "max_tokens"),
    ({"max_tokens": 2048}, "prompt"),
])
def test_refusals_name_the_parameter(client, options, param):
    with pytest.raises(openai.BadRequestError) as caught:
        complete(client, **options)
    assert caught.value.param == param


def test_best_of(client):
    """The likeliest by token, of answers that are the same as without it."""
    def mean(choice):
        return sum(choice.logprobs.token_logprobs) / len(choice.logprobs.token_logprobs)

    options = {"max_tokens": 6, "temperature": 1.5, "seed": 5, "logprobs": 0}
    made = complete(client, n=4, **options)
    best = complete(client, n=2, best_of=4, **options)
    expected = sorted(made.choices, key=mean, reverse=True)[:2]
    assert [choice.text for choice in best.choices] == [choice.text for choice in expected]
    assert [choice.index for choice in best.choices] == [0, 1]
    assert best.usage.completion_tokens == made.usage.completion_tokens
    without = complete(client, n=2, best_of=4, **{**options, "logprobs": None})
    assert [(choice.text, choice.logprobs) for choice in without.choices] == [(choice.text, None) for choice in expected]


def test_suffix_is_filled_in(client, served):
    model = "qwen2.5-coder-0.5b"
    if model not in served:
        pytest.skip(f"no {model}.gguf in LEM_TEST_MODELS")
    answer = client.completions.create(model=model, prompt="def add(a, b):\n    return ", suffix="\n\nprint(add(1, 2))\n", max_tokens=16, temperature=0)
    assert answer.choices[0].text.strip().startswith("a + b")


def test_tokens_and_back(port, client):
    def post(path, body):
        return client.post(f"http://127.0.0.1:{port}{path}", cast_to=object, body=body)

    tokens = post("/tokenize", {"model": MODEL, "content": "Why is the sky blue?"})
    assert tokens["count"] == len(tokens["tokens"]) > 4
    assert post("/v1/detokenize", {"model": MODEL, "tokens": tokens["tokens"]})["content"] == "Why is the sky blue?"
    pieces = post("/v1/tokenize", {"model": MODEL, "content": "blue sky", "with_pieces": True})["tokens"]
    assert "".join(piece["piece"] for piece in pieces) == "blue sky"
    chat = post("/tokenize", {"model": MODEL, "messages": [{"role": "user", "content": "Why is the sky blue?"}]})
    assert chat["count"] == 36
