"""lem tokenize and lem detokenize against the golden token ids."""

import json

import pytest

from .conftest import GOLDEN, GOLDEN_STEMS, model_path


@pytest.mark.parametrize("name", GOLDEN_STEMS)
def test_golden_token_ids(lem, name):
    model = model_path(name)
    cases = json.loads((GOLDEN / f"{GOLDEN_STEMS[name]}.tokens.json").read_text(encoding="utf-8"))["cases"]
    for case in cases:
        plain = lem("tokenize", "--model", model, stdin=case["text"])
        assert plain.returncode == 0, plain.stderr
        assert json.loads(plain.stdout) == case["ids"], repr(case["text"])
        if case["ids_parse_special"] != case["ids"]:
            special = lem("tokenize", "--model", model, "--special", stdin=case["text"])
            assert json.loads(special.stdout) == case["ids_parse_special"], repr(case["text"])


def test_detokenize_gives_the_text_back(lem, smollm2):
    text = "Tokens, naïve café, 日本語, 🍋‍🟩 and\n\ttabs.  "
    ids = lem("tokenize", "--model", smollm2, stdin=text).stdout
    assert lem("detokenize", "--model", smollm2, stdin=ids).stdout == text


def test_bytes_that_are_not_utf8_get_ids(lem, smollm2):
    result = lem("tokenize", "--model", smollm2, stdin=b"a\xff\xfeb")
    assert result.returncode == 0, result.stderr
    assert len(json.loads(result.stdout)) >= 3


@pytest.mark.parametrize("ids", ["[99999999]", "[-1]", "[1.5]", '["a"]', "{}", "[1", ""])
def test_detokenize_refuses_what_is_not_token_ids(lem, smollm2, ids):
    result = lem("detokenize", "--model", smollm2, stdin=ids)
    assert result.returncode == 1 and result.stdout == "" and result.stderr.startswith("lem: ")
