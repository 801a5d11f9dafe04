"""Makes mutants of modules with cosmic-ray's operators, and says what each of them changes.

A place is a piece of source that operators can change. Not counted are places in annotations, in
calls of the logger and below `if TYPE_CHECKING`, and mutants that say the same (`is` for `==`).
"""

from __future__ import annotations

import ast
import difflib
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random

from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code
from cosmic_ray.operators.operator import Operator
from cosmic_ray.plugins import get_operator, operator_names

Position = tuple[int, int]
Span = tuple[Position, Position]

SAME = {
    f"ReplaceComparisonOperator_{name}" for name in ("Is_Eq", "IsNot_NotEq", "Eq_Is", "NotEq_IsNot")
}
"""Comparisons of None, enum members and small numbers give the same with either operator."""

FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


@dataclass(frozen=True)
class Mutant:
    """`lines` are those whose tests can tell; None means that importing the module runs it."""

    path: str
    line: int
    function: str
    operator: str
    text: str
    lines: frozenset[int] | None

    def diff(self, before: str) -> str:
        lines = difflib.unified_diff(before.splitlines(), self.text.splitlines(), lineterm="", n=1)
        return "\n".join(list(lines)[2:])


@cache
def operators() -> dict[str, Operator]:
    """Those that need no arguments, by name."""
    found = {}
    for full_name in operator_names():
        operator, name = get_operator(full_name), full_name.partition("/")[2]
        if not operator.arguments() and name not in SAME:
            found[name] = operator()
    return found


class Module:
    """A file's source, and where each of its statements and functions is."""

    def __init__(self, root: Path, path: str) -> None:
        self.path = path
        self.source = (root / path).read_text()
        self._lines = self.source.splitlines()
        self.tree = ast.parse(self.source)
        self.skipped = [self._span(node) for node in skipped(self.tree)]

    def _span(self, node: ast.expr | ast.stmt) -> Span:
        """As parso counts: characters, where `ast` counts bytes."""
        assert node.end_lineno is not None and node.end_col_offset is not None
        return (
            (node.lineno, self._column(node.lineno, node.col_offset)),
            (node.end_lineno, self._column(node.end_lineno, node.end_col_offset)),
        )

    def _column(self, line: int, column: int) -> int:
        return len(self._lines[line - 1].encode()[:column].decode())

    def places(self) -> dict[Span, list[tuple[str, int]]]:
        """For each place the operators that change it, with the number of the occurrence."""
        found: dict[Span, list[tuple[str, int]]] = defaultdict(list)
        nodes = list(ast_nodes(get_ast(self.source)))
        for name, operator in operators().items():
            occurrence = 0
            for node in nodes:
                for span in operator.mutation_positions(node):
                    if not any(first <= span[0] < last for first, last in self.skipped):
                        found[span].append((name, occurrence))
                    occurrence += 1
        return found

    def mutant(self, span: Span, name: str, occurrence: int) -> Mutant | None:
        """None for what doesn't compile, and for what is the same program."""
        text = mutate_code(self.source, operators()[name], occurrence)
        try:
            if text is None or ast.dump(ast.parse(text)) == ast.dump(self.tree):
                return None
        except SyntaxError:
            return None
        line = span[0][0]
        function, lines = self._where(line)
        return Mutant(self.path, line, function, name, text, lines)

    def _where(self, line: int) -> tuple[str, frozenset[int] | None]:
        """The function or class around a line, and the lines of the statement there.

        For a function's decorators and defaults it is its body; for a module or class None.
        """
        names: list[str] = []
        lines: frozenset[int] | None = None
        inner: list[ast.stmt] = self.tree.body
        while statement := next((one for one in inner if line in extent(one)), None):
            inner = [one for one in ast.iter_child_nodes(statement) if isinstance(one, ast.stmt)]
            inner += blocks_of(statement)
            body = getattr(statement, "body", [])
            in_body = any(line in extent(one) for one in inner)
            if isinstance(statement, (*FUNCTIONS, ast.ClassDef)):
                names.append(statement.name)
            if isinstance(statement, FUNCTIONS):
                lines = frozenset(range(body[0].lineno, (statement.end_lineno or 0) + 1))
            elif lines is not None and not in_body:
                last = body[0].lineno - 1 if body else statement.end_lineno or 0
                lines = frozenset(range(statement.lineno, max(last, statement.lineno) + 1))
            if not in_body:
                break
        return ".".join(names), lines


def extent(statement: ast.stmt) -> range:
    """Its lines, with its decorators."""
    decorators = getattr(statement, "decorator_list", [])
    first = min([statement.lineno, *(one.lineno for one in decorators)])
    return range(first, (statement.end_lineno or 0) + 1)


def blocks_of(statement: ast.stmt) -> list[ast.stmt]:
    """Statements in `except` and `case`, which aren't children of the statement itself."""
    parts = [*getattr(statement, "handlers", []), *getattr(statement, "cases", [])]
    return [one for part in parts for one in part.body]


def skipped(tree: ast.Module) -> Iterator[ast.expr | ast.stmt]:
    for node in ast.walk(tree):
        match node:
            case ast.AnnAssign(annotation=annotation):
                yield annotation
            case ast.arg(annotation=ast.expr() as annotation):
                yield annotation
            case ast.FunctionDef(returns=ast.expr() as annotation):
                yield annotation
            case ast.If(test=ast.Name(id="TYPE_CHECKING")):
                yield node
            case ast.Call(func=ast.Attribute(value=ast.Name(id="log"))):
                yield node


def drawn(root: Path, paths: list[str], count: int, random: Random) -> list[Mutant]:
    """So many mutants, each at a place of its own; any place is as likely as any other."""
    modules = [Module(root, path) for path in paths]
    places = [
        (module, span, choices)
        for module in modules
        for span, choices in sorted(module.places().items())
    ]
    random.shuffle(places)
    found: list[Mutant] = []
    for module, span, choices in places:
        if len(found) == count:
            break
        mutant = module.mutant(span, *random.choice(choices))
        if mutant is not None:
            found.append(mutant)
    return found
