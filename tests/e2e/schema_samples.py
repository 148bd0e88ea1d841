"""Random JSON Schemas as programs write them, with instances that fit and instances that nearly do.

Everything follows from the seed. Instances have their properties in the order of the schema, as constrained output has.
"""

import copy
import json
import random

WORDS = "id name title status kind owner email created tags items count price unit note city zip code lang".split()
TEXTS = ["", "a", "Ada", "x y", "caf\u00e9", "\U0001f600 ok", "two\nlines", 'a "quoted" word', "back\\slash", "12", "long text " * 4]
PATTERNS = [
    ("^[a-z]+$", ["abc", "z"], ["", "aB"]),
    ("^[A-Z]{2}-\\d{1,4}$", ["AB-1", "ZZ-9999"], ["A-1", "AB-12345"]),
    ("foo|bar", ["foo", "a bar"], ["fo"]),
    ("^(?:\\+\\d{1,3} )?\\d{5,8}$", ["12345", "+49 123456"], ["+49", "123456789"]),
    ("^\\S+@\\S+\\.[a-z]{2,}$", ["a@b.de"], ["a@b", "a b@c.de"]),
]
FORMATS = {
    "date": (["2024-02-29", "1999-12-31"], ["2024-13-01", "today"]),
    "date-time": (["2026-11-23T02:15:00Z"], ["2026-11-23"]),
    "uuid": (["123e4567-e89b-12d3-a456-426614174000"], ["123e4567"]),
    "ipv4": (["10.0.0.255"], ["10.0.0.256"]),
    "email": (["a.b@example.org"], ["a.b"]),
}


class Sampler:
    def __init__(self, seed):
        self.random = random.Random(seed)

    def schema(self, depth=3):
        """A schema, and a function that makes an instance of it."""
        leaves = [self.string, self.integer, self.number, self.boolean, self.enum, self.const]
        inner = [self.object, self.object, self.object, self.array, self.tuple, self.any_of, self.all_of, self.map]
        return self.random.choice(inner if depth >= 3 else leaves + inner if depth > 0 else leaves)(depth - 1)

    def string(self, _):
        schema, texts = {"type": "string"}, TEXTS
        choice = self.random.randrange(4)
        if choice == 1:
            pattern, texts, _ = self.random.choice(PATTERNS)
            schema["pattern"] = pattern
        elif choice == 2:
            schema["format"] = self.random.choice(list(FORMATS))
            texts = FORMATS[schema["format"]][0]
        elif choice == 3:
            low, high = self.random.randrange(4), self.random.randrange(4, 30)
            schema |= {"minLength": low, "maxLength": high}
            texts = [text for text in TEXTS if low <= len(text) <= high]
        return schema, lambda: self.random.choice(texts)

    def integer(self, _):
        low = self.random.randrange(-50, 50)
        high = low + self.random.randrange(100)
        schema = {"type": "integer"}
        if self.random.random() < 0.6:
            schema |= {"minimum": low, "maximum": high}
        return schema, lambda: self.random.randint(low, high)

    def number(self, _):
        low = self.random.randrange(-20, 20) / 4
        schema = {"type": "number"} | ({"minimum": low} if self.random.random() < 0.5 else {})
        return schema, lambda: low + self.random.randrange(1, 80) / 8

    def boolean(self, _):
        return {"type": "boolean"}, lambda: self.random.random() < 0.5

    def enum(self, _):
        values = self.random.sample(["red", "green", "a\u00e9", 1, 2.5, None, True], 3)
        return {"enum": values}, lambda: self.random.choice(values)

    def const(self, _):
        value = self.random.choice(["v1", 7, None, {"a": [1, "b"]}])
        return {"const": value}, lambda: copy.deepcopy(value)

    def object(self, depth):
        names = self.random.sample(WORDS, self.random.randrange(1, 6))
        parts = {name: self.schema(depth) for name in names}
        required = [name for name in names if self.random.random() < 0.5]
        schema = {"type": "object", "properties": {name: part for name, (part, _) in parts.items()}}
        if required:
            schema["required"] = required
        closed = self.random.random() < 0.6
        if closed:
            schema["additionalProperties"] = False

        def make():
            value = {name: one() for name, (_, one) in parts.items() if name in required or self.random.random() < 0.6}
            return value if closed or self.random.random() < 0.7 else value | {"extra": [1, {"deep": None}]}

        return schema, make

    def map(self, depth):
        part, one = self.schema(depth)
        schema = {"type": "object", "additionalProperties": part, "maxProperties": 3}
        return schema, lambda: {f"k{i}": one() for i in range(self.random.randrange(4))}

    def array(self, depth):
        part, one = self.schema(depth)
        low = self.random.randrange(3)
        schema = {"type": "array", "items": part, "minItems": low, "maxItems": low + 3}
        return schema, lambda: [one() for _ in range(low + self.random.randrange(4))]

    def tuple(self, depth):
        parts = [self.schema(depth) for _ in range(self.random.randrange(1, 4))]
        schema = {"type": "array", "prefixItems": [part for part, _ in parts], "items": False, "minItems": len(parts)}
        return schema, lambda: [one() for _, one in parts]

    def any_of(self, depth):
        parts = [self.schema(depth) for _ in range(self.random.randrange(2, 4))]
        return {"anyOf": [part for part, _ in parts]}, lambda: self.random.choice(parts)[1]()

    def all_of(self, depth):
        (left, one), (right, other) = self.object(depth), self.object(depth)
        for part in (left, right):
            part.pop("additionalProperties", None)
        for name in list(right["properties"]):
            if name in left["properties"]:
                right["properties"][name] = True
        return {"allOf": [left, right]}, lambda: {**one(), **self._rest(other(), left)}

    def _rest(self, value, left):
        return {name: item for name, item in value.items() if name not in left["properties"]}

    def spoil(self, value):
        """The value with one part changed; it may still fit, which another has to say."""
        value = copy.deepcopy(value)
        if isinstance(value, dict) and value and self.random.random() < 0.8:
            name = self.random.choice(list(value))
            choice = self.random.randrange(3)
            if choice == 0:
                del value[name]
            elif choice == 1:
                value["unknown"] = 1
            else:
                value[name] = self.spoil(value[name])
            return value
        if isinstance(value, list) and value and self.random.random() < 0.8:
            i = self.random.randrange(len(value))
            value[i] = self.spoil(value[i])
            return value if self.random.random() < 0.7 else value + value
        if isinstance(value, str):
            return self.random.choice([value + "!", value[1:], 3, value.upper()])
        return self.random.choice([None, "text", -1000, 0.125, [], {}])


def samples(seed):
    """A schema with a list of instances as text; compact, as json.dumps writes, or with escapes."""
    sampler = Sampler(seed)
    schema, one = sampler.schema()
    values = [one() for _ in range(4)]
    values += [sampler.spoil(value) for value in values for _ in range(2)]
    forms = [{}, {"separators": (",", ":")}, {"ensure_ascii": False}, {"indent": 2, "ensure_ascii": False}]
    return schema, [json.dumps(value, **forms[i % len(forms)]) for i, value in enumerate(values)]
