"""Embeddings through OpenAI's client, and rerank."""

import base64
import json
import math
import struct
import urllib.request

import openai
import pytest

from .conftest import MODEL


def cosine(a, b):
    return sum(x * y for x, y in zip(a, b)) / math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))


def test_texts_alike_are_near(client):
    texts = ["The cat sleeps on the sofa.", "A cat is sleeping on the couch.", "Interest rates rose by two percent."]
    answer = client.embeddings.create(model=MODEL, input=texts, encoding_format="float")
    assert [entry.index for entry in answer.data] == [0, 1, 2]
    cat, couch, rates = (entry.embedding for entry in answer.data)
    assert cosine(cat, couch) > cosine(cat, rates)
    assert math.isclose(sum(value * value for value in cat), 1, rel_tol=1e-4)
    assert answer.usage.prompt_tokens == answer.usage.total_tokens > 20
    # One by one they are the same, bit for bit.
    for text, entry in zip(texts, answer.data):
        alone = client.embeddings.create(model=MODEL, input=text, encoding_format="float")
        assert alone.data[0].embedding == entry.embedding


def test_base64_is_the_same(client):
    plain = client.embeddings.create(model=MODEL, input="hello", encoding_format="float").data[0].embedding
    # Without a format the client asks for base64 and decodes it.
    assert client.embeddings.create(model=MODEL, input="hello").data[0].embedding == pytest.approx(plain)
    raw = json.loads(client.embeddings.with_raw_response.create(model=MODEL, input="hello", encoding_format="base64").text)
    packed = base64.b64decode(raw["data"][0]["embedding"])
    assert list(struct.unpack(f"<{len(packed) // 4}f", packed)) == pytest.approx(plain)


def test_dimensions_tokens_and_errors(client):
    assert len(client.embeddings.create(model=MODEL, input=[1, 2, 3], dimensions=8).data[0].embedding) == 8
    for bad in ({"input": ""}, {"input": []}, {"input": [10**9]}, {"input": "a", "dimensions": 10**6}):
        with pytest.raises(openai.BadRequestError):
            client.embeddings.create(model=MODEL, **bad)
    with pytest.raises(openai.NotFoundError):
        client.embeddings.create(model="nobody", input="a")


def test_rerank(client):
    body = {"model": MODEL, "query": "Where does the cat sleep?", "top_n": 2, "return_documents": True,
            "documents": ["Interest rates rose by two percent.", "The cat sleeps on the sofa.", "It rained."]}
    request = urllib.request.Request(f"{str(client.base_url).rstrip('/')}/rerank", json.dumps(body).encode(),
                                     {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as response:
        answer = json.load(response)
    assert len(answer["results"]) == 2 and answer["results"][0]["relevance_score"] >= answer["results"][1]["relevance_score"]
    assert "embeddings" in answer["method"]
