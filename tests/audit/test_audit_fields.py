"""Every field of an audit entry's payload declares what an erasure does to it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import persons
from persons.audit.fields import FIELDS, undeclared
from persons.audit.words import WORDS
from persons.models import AuditEntry
from tests.support.every_action import ACTIONS, Scene, scene

pytestmark = [pytest.mark.any_database, pytest.mark.thorough]

__all__ = ["scene"]

SOURCES = Path(persons.__file__).parent
WRITERS = {"record", "new_entry", "_record", "_record_many"}

COMPUTED = {
    # Whose action or payload is worked out: here is all that it can be.
    "accounts.py": {"account.sign_in", "account.sign_out", "account.refused", "account.password"},
    "records.py": {"history.export", "history.exported", "evidence.open", "reason.given"},
    "faces.py": {"face.name", "face.reject", "face.ignore", "face.clear"}
    | {"faces.name", "faces.confirm", "faces.reject", "faces.ignore"},
    "trash.py": {"photo.trash", "photo.restore", "photos.trash", "photos.restore", "trash.empty"},
    "sharing.py": {"gallery.open", "gallery.close"},
    "redactions.py": {"audit.redact", "audit.upgrade", "call.adopt"},
    "log.py": {"call.recognize", "call.set", "call.delete", "call.truncate"},
}


def calls() -> Iterator[tuple[str, ast.Call]]:
    for path in sorted(SOURCES.rglob("*.py")):
        if "migrations" in path.parts:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                name = getattr(node.func, "attr", getattr(node.func, "id", ""))
                if name in WRITERS and (named(node, "action") or name.startswith("_record")):
                    yield path.name, node


def named(node: ast.Call, name: str) -> ast.expr | None:
    return next((one.value for one in node.keywords if one.arg == name), None)


def texts(node: ast.AST) -> set[str]:
    """The actions that an expression can be, as far as they are written out."""
    if isinstance(node, ast.JoinedStr):
        return set()
    if isinstance(node, ast.Constant):
        return {node.value} if isinstance(node.value, str) and "." in node.value else set()
    return set().union(*map(texts, ast.iter_child_nodes(node)), set())


def keys(node: ast.expr | None) -> set[str]:
    """Of the dictionaries that are written out in an expression; not of those inside them."""
    if isinstance(node, ast.Dict):
        found = {one.value for one in node.keys if isinstance(one, ast.Constant)}
        spread = [value for key, value in zip(node.keys, node.values, strict=True) if key is None]
        return {str(one) for one in found}.union(*map(keys, spread))
    if isinstance(node, ast.BinOp):
        return keys(node.left) | keys(node.right)
    if isinstance(node, ast.IfExp):
        return keys(node.body) | keys(node.orelse)
    return set()


def test_every_caller_declares_what_it_writes() -> None:
    seen = 0
    for file, node in calls():
        action = named(node, "action")
        actions = texts(action) if action is not None else set()
        actions |= set().union(*(texts(one) for one in node.args), set())
        if not actions:
            actions = COMPUTED.get(file, set())
        said = keys(named(node, "before")) | keys(named(node, "after"))
        known = set().union(*(FIELDS.get(one, {}) for one in actions), set())
        assert actions or not said, f"{file}:{node.lineno}: which action is that?"
        assert actions <= set(FIELDS), f"{file}:{node.lineno}: {actions - set(FIELDS)}"
        assert said <= known, f"{file}:{node.lineno}: {said - known} of {actions}"
        seen += 1
    assert seen > 80


def test_a_name_is_written_by_nobody_who_writes_no_entry_of_it() -> None:
    """Else the audit says of an honest name that it was altered (`persons.chain.facts`)."""
    found = {
        str(path.relative_to(SOURCES))
        for path in sorted(SOURCES.rglob("*.py"))
        if "migrations" not in path.parts
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Assign | ast.AugAssign | ast.AnnAssign)
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
        for part in (target.elts if isinstance(target, ast.Tuple) else [target])
        if isinstance(part, ast.Attribute) and part.attr == "label"
    }
    assert found == {"actions/naming.py"}


def test_every_action_has_words_and_fields() -> None:
    assert set(WORDS) == set(FIELDS)


@pytest.mark.django_db
@pytest.mark.parametrize("action", ACTIONS)
def test_what_an_action_writes_is_declared(scene: Scene, action: str) -> None:
    ACTIONS[action][0](scene)
    for entry in AuditEntry.objects.all():
        assert not undeclared(entry.action, {*entry.before, *entry.after}), entry.action


def test_a_new_key_and_a_new_action_are_noticed() -> None:
    assert undeclared("person.create", {"label", "nickname"}) == {"nickname"}
    assert undeclared("person.praise", {"label"}) == {"label"}
