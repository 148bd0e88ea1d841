#!/usr/bin/env python3
"""Renders the Jinja corpora of tests/data/jinja with the reference implementation (PyPI jinja2, set up as Hugging Face
transformers sets it up) and writes what it says into them as the expected result.

  tools/make_jinja_corpus.py                     refresh the expected results of every corpus
  tools/make_jinja_corpus.py --random 400        also write random.jsonl anew: programs made from a seed
  tools/make_jinja_corpus.py --templates         also write templates.jsonl anew: each template with each conversation

A corpus is a .jsonl file. Each line has "template" (or "template_file", beside the corpus) and may have "messages",
"tools", "add_generation_prompt", "bos_token", "eos_token", "unix_time_s" and "extra"; "conversation" takes those it names
from conversations.json, where a tool may be the name of another entry; lines with "context": true get the variables of
context.json. The result is "expected", or "error" with the reference's words.
"""
import argparse
import datetime
import json
import pathlib
import random

import jinja2
import jinja2.ext
from jinja2.sandbox import ImmutableSandboxedEnvironment

FOLDER = pathlib.Path(__file__).resolve().parent.parent / "tests/data/jinja"


class GenerationTag(jinja2.ext.Extension):
    """{% generation %} renders its body, in a scope of its own."""

    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return jinja2.nodes.CallBlock(self.call_method("render_body"), [], [], body).set_lineno(line)

    def render_body(self, caller):
        return caller()


def environment(unix_time_s):
    def raise_exception(message):
        raise jinja2.exceptions.TemplateError(message)

    def tojson(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
        return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    def strftime_now(time_format):
        now = datetime.datetime.fromtimestamp(unix_time_s, datetime.timezone.utc).replace(tzinfo=None)
        return now.strftime(time_format)

    out = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[GenerationTag, jinja2.ext.loopcontrols])
    out.filters["tojson"] = tojson
    out.globals["raise_exception"] = raise_exception
    out.globals["strftime_now"] = strftime_now
    return out


def load(name):
    return json.loads((FOLDER / name).read_text(encoding="utf-8"))


def with_conversation(case, conversations):
    if "conversation" not in case:
        return case
    out = {**conversations[case["conversation"]], **case}
    out["tools"] = [conversations[tool] for tool in out.get("tools", [])]
    return out


def render(case, context, conversations):
    """The keys that record the result: {"expected": text} or {"error": words}."""
    case = with_conversation(case, conversations)
    source = case.get("template")
    if source is None:
        source = (FOLDER / case["template_file"]).read_text(encoding="utf-8")
    variables = {"documents": None}
    if case.get("context"):
        variables.update(context)
    variables.update(case.get("extra", {}))
    variables.update(
        messages=case.get("messages", []), tools=case.get("tools") or None,
        add_generation_prompt=case.get("add_generation_prompt", True),
        bos_token=case.get("bos_token", ""), eos_token=case.get("eos_token", ""))
    try:
        return {"expected": environment(case.get("unix_time_s", 1)).from_string(source).render(**variables)}
    except Exception as error:  # Python raises what it likes: the kind is part of the record
        return {"error": f"{type(error).__name__}: {error}"}


def refresh(path):
    write(path, [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line])


def write(path, cases):
    context, conversations = load("context.json"), load("conversations.json")
    with path.open("w", encoding="utf-8", newline="\n") as out:
        for case in cases:
            case = {key: value for key, value in case.items() if key not in ("expected", "error")}
            case.update(render(case, context, conversations))
            out.write(json.dumps(case, ensure_ascii=False) + "\n")


class Generator:
    """Random programs over the variables of context.json, mostly well typed."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.pick = self.random.choice
        self.locals = []

    def number(self, depth):
        if depth <= 0:
            return self.pick(["0", "1", "2", "7", "-3", "2.5", "n", "neg", "f", "1e3", "true", "l|length"])
        return self.pick([
            lambda: f"{self.number(depth - 1)} {self.pick(['+', '-', '*', '//', '%', '/'])} {self.number(depth - 1)}",
            lambda: f"({self.number(depth - 1)})",
            lambda: f"-{self.number(0)}",
            lambda: f"{self.number(0)}|{self.pick(['abs', 'int', 'float', 'round', 'round(1)'])}",
            lambda: f"{self.text(depth - 1)}|length",
            lambda: f"({self.items(depth - 1)})|length",
            lambda: f"l[{self.number(0)}]",
            lambda: f"({self.number(depth - 1)} if {self.test(depth - 1)} else {self.number(depth - 1)})",
            lambda: f"{self.text(0)}.{self.pick(['find', 'count', 'rfind'])}({self.text(0)})",
            lambda: f"l|{self.pick(['sum', 'min', 'max', 'first', 'last'])}",
            lambda: f"2 ** {self.pick(['0', '3', '-1', 'n'])}",
        ])()

    def text(self, depth):
        if depth <= 0:
            return self.pick(["'a'", "'b c'", "s", "u", "ws", "'x,y,,z'", "''", "multi", "words[0]",
                              "people[0].name", "'-'", "'l'"] + self.locals)
        return self.pick([
            lambda: f"{self.text(depth - 1)} ~ {self.anything(depth - 1)}",
            lambda: f"({self.text(depth - 1)} + {self.text(depth - 1)})",
            lambda: f"{self.text(0)} * {self.pick(['2', '0', 'n', '-1'])}",
            lambda: f"{self.text(0)}|{self.filter()}",
            lambda: f"({self.text(depth - 1)})|{self.filter()}",
            lambda: f"{self.text(0)}.{self.method()}",
            lambda: f"({self.text(depth - 1)}).{self.method()}",
            lambda: f"({self.items(depth - 1)})|join({self.text(0)})",
            lambda: f"{self.text(0)}[{self.slice()}]",
            lambda: f"({self.items(0)})|tojson",
            lambda: f"({self.anything(depth - 1)})|string",
            lambda: f"'%s-%s' % ({self.anything(0)}, {self.anything(0)})",
            lambda: f"'{{}}={{}}'.format({self.anything(0)}, {self.anything(0)})",
            lambda: f"({self.text(depth - 1)} if {self.test(depth - 1)} else {self.text(depth - 1)})",
            lambda: f"{self.text(0)}.split({self.text(0)}){self.pick(['[0]', '[-1]', '|first', '|last', '|join'])}",
        ])()

    def filter(self):
        return self.pick(["upper", "lower", "title", "capitalize", "trim", "string", "reverse", "length",
                          f"replace({self.text(0)}, {self.text(0)})", "indent(2)", "indent(1, true, true)", "e",
                          "wordcount", "truncate(7, true)", "center(9)", "default('d', true)", "tojson", "urlencode",
                          "first", "last", "list", f"trim({self.text(0)})", "int", "float"])

    def method(self):
        return self.pick(["upper()", "lower()", "title()", "capitalize()", "swapcase()", "strip()", "lstrip()",
                          "rstrip()", f"strip({self.text(0)})", f"replace({self.text(0)}, {self.text(0)})", "split()",
                          f"split({self.text(0)}, 1)", f"rsplit({self.text(0)}, 1)", "splitlines()",
                          f"startswith({self.text(0)})", f"endswith({self.text(0)})", f"join({self.items(0)})",
                          f"partition({self.text(0)})", f"rpartition({self.text(0)})", "zfill(6)", "ljust(6, '.')",
                          "isupper()", "isalpha()", "isdigit()", f"removeprefix({self.text(0)})"])

    def slice(self):
        part = lambda: self.pick(["", "", "0", "1", "2", "-1", "-3", "n", "100", "-100"])
        return self.pick([f"{part()}:{part()}", f"{part()}:{part()}:{self.pick(['', '1', '2', '-1', '-2'])}"])

    def items(self, depth):
        if depth <= 0:
            return self.pick(["l", "words", "[]", "[1, 'a', none]", "range(4)", "(1, 2)", "tree.list",
                              "['b', 'A', 'c']", "people|map(attribute='age')|list"])
        return self.pick([
            lambda: f"({self.items(depth - 1)})[{self.slice()}]",
            lambda: f"({self.items(depth - 1)})|{self.pick(['sort', 'list', 'reverse|list', 'unique|list'])}",
            lambda: f"({self.items(depth - 1)})|map('{self.pick(['string', 'upper', 'length', 'int'])}')|list",
            lambda: f"({self.items(depth - 1)})|{self.pick(['select', 'reject'])}"
                    f"('{self.pick(['string', 'number', 'odd', 'defined', 'none'])}')|list",
            lambda: f"people|{self.pick(['selectattr', 'rejectattr'])}('age', '{self.pick(['eq', 'gt', 'in', 'ne'])}', "
                    f"{self.pick(['30', '25', '[30]'])})|map(attribute='name')|list",
            lambda: f"[{self.anything(depth - 1)}, {self.anything(0)}]",
            lambda: f"({self.items(0)}) + ({self.items(0)})",
            lambda: f"({self.items(0)})|batch({self.pick(['1', '2', '3'])})|list",
            lambda: f"{self.text(0)}.split({self.text(0)})",
            lambda: f"tree.{self.pick(['keys', 'values', 'items'])}()|list",
            lambda: "people|groupby('age')|map(attribute='grouper')|list",
            lambda: f"{{'k': {self.anything(depth - 1)}, {self.text(0)}: {self.number(0)}}}|dictsort",
        ])()

    def test(self, depth):
        if depth <= 0:
            return self.pick(["true", "false", "none", "missing is defined", "tree.flag", "l", "''"])
        return self.pick([
            lambda: f"{self.number(depth - 1)} {self.pick(['<', '>', '==', '!=', '<=', '>='])} {self.number(depth - 1)}",
            lambda: f"{self.test(depth - 1)} {self.pick(['and', 'or'])} {self.test(depth - 1)}",
            lambda: f"not {self.test(depth - 1)}",
            lambda: f"({self.text(0)}) {self.pick(['in', 'not in', '==', '<'])} {self.text(0)}",
            lambda: f"{self.anything(0)} in ({self.items(0)})",
            lambda: f"({self.anything(depth - 1)}) is {self.pick(['', 'not '])}"
                    f"{self.pick(['string', 'number', 'mapping', 'iterable', 'sequence', 'none', 'defined', 'boolean'])}",
            lambda: f"{self.number(0)} is {self.pick(['odd', 'even', 'divisibleby 3', 'integer', 'float'])}",
        ])()

    def anything(self, depth):
        kind = self.pick([self.number, self.text, self.text, self.items, self.test])
        if self.random.random() < 0.05:
            return self.pick(["missing", "none", "tree", "tree.list[2]", "missing.x", "tree.nope", "people[9]"])
        return f"({kind(depth)})" if depth > 0 else kind(depth)

    def space(self):
        return self.pick(["", "", " ", "\n", "\n  ", "  ", "\n\n", "\t"])

    def tag(self, text):
        return "{%" + self.pick(["", "", "-", "+"]) + f" {text} " + self.pick(["", "", "-", "+"]) + "%}" + self.space()

    def statement(self, depth):
        if depth <= 0 or self.random.random() < 0.3:
            show = "{{" + self.pick(["", "-"]) + f" {self.anything(2)} " + self.pick(["", "-"]) + "}}"
            return self.space() + self.pick([show, show, show, "text", "{# note #}", "{#- note -#}"]) + self.space()
        body = lambda: "".join(self.statement(depth - 1) for _ in range(self.random.randint(1, 2)))
        return self.space() + self.pick([
            lambda: self.tag(f"if {self.test(2)}") + body() + self.tag("else") + body() + self.tag("endif"),
            lambda: self.tag(f"if {self.test(1)}") + body() + self.tag(f"elif {self.test(1)}") + body() + self.tag("endif"),
            lambda: self.tag(f"for i in {self.items(1)}") + "{{ i }}" + body() + self.tag("endfor"),
            lambda: self.tag(f"for i in {self.items(1)} if i is {self.pick(['defined', 'string', 'number'])}")
                    + f"{{{{ loop.{self.pick(['index', 'last', 'revindex0', 'length', 'previtem'])} }}}}" + body()
                    + self.tag(self.pick(["break", "continue", f"if {self.test(1)}{' %}{% '}break{' %}{% '}endif"]))
                    + self.tag("else") + body() + self.tag("endfor"),
            lambda: self.tag("for key, value in tree.items()") + "{{ key }}" + body() + self.tag("endfor"),
            lambda: self.tag(f"set v = {self.text(2)}") + body() + "{{ v }}",
            lambda: self.tag("set v") + body() + self.tag("endset") + "{{ v|length }}",
            lambda: self.tag("set ns = namespace(v=0)") + self.tag("for i in l")
                    + self.tag("set ns.v = ns.v + i") + self.tag("endfor") + "{{ ns.v }}",
            lambda: self.tag(f"macro m(a, b={self.number(0)})") + "{{ a }}:{{ b }}" + body() + self.tag("endmacro")
                    + f"{{{{ m({self.text(0)}) }}}}{{{{ m(b=1, a={self.number(0)})|trim }}}}",
            lambda: self.tag(f"filter {self.pick(['upper', 'trim', 'indent', 'title'])}") + body() + self.tag("endfilter"),
            lambda: self.tag(f"with w = {self.text(1)}") + "{{ w }}" + body() + self.tag("endwith"),
        ])() + self.space()

    def program(self):
        return "".join(self.statement(2) for _ in range(self.random.randint(1, 3)))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--random", type=int, default=0, metavar="N", help="write N random programs to random.jsonl")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--templates", action="store_true", help="write each template with each conversation")
    args = parser.parse_args()
    if args.random:
        generator = Generator(args.seed)
        write(FOLDER / "random.jsonl", [{"context": True, "template": generator.program()} for _ in range(args.random)])
    if args.templates:
        conversations = [name for name in load("conversations.json") if not name.startswith("$")]
        write(FOLDER / "templates.jsonl", [
            {"template_file": f"templates/{path.name}", "conversation": name, "bos_token": "<s>", "eos_token": "</s>",
             "unix_time_s": 1767225600}
            for path in sorted((FOLDER / "templates").glob("*.jinja")) for name in conversations])
    for path in sorted(FOLDER.glob("*.jsonl")):
        refresh(path)


if __name__ == "__main__":
    main()
