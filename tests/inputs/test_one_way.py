"""Jobs that have one shared helper are done by it alone: checked in the source."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

from tests.support.processes import ROOT

Check = Callable[[ast.AST], Iterator[str]]

BORDERS = ("dashboard", "persons/rest", "persons/proxy", "persons/actions", "persons/management")
"""What asks `persons.access` for rows, and filters none by who may see them."""
NOT_BY_HAND = {"hidden_from", "records_hidden_from", "seen_by", "entry_is_closed", "GalleryMember"}
OF_ACCESS = {"outside", "with_cover"}
"""Methods of querysets that take the galleries that are closed to a reader."""
MEMBERS = {
    "share.py",
    "sharing.py",
    "teams.py",
}
"""Who is a member of which gallery is what these are about."""


def by_hand(node: ast.AST) -> Iterator[str]:
    """Filters by which galleries a reader may see."""
    match node:
        case ast.Name(id=name) | ast.alias(name=name) if name in NOT_BY_HAND:
            yield name
        case ast.Attribute(attr=name) if name in NOT_BY_HAND:
            yield name
        case ast.Call(func=ast.Attribute(attr=name)) if name in OF_ACCESS:
            yield name
        case ast.Call(func=ast.Attribute(attr="for_list"), args=[_, *_]) if _is_of_people(node):
            yield "for_list"
        case ast.Call(keywords=keywords):
            for keyword in keywords:
                if (keyword.arg or "").endswith("is_open") and not _sets_it(node):
                    yield f"{keyword.arg}="
        case ast.Attribute(value=ast.Name(id="visible"), attr="hidden"):
            yield "visible.hidden"


def _is_of_people(node: ast.Call) -> bool:
    return "Person" in ast.unparse(node)


def _sets_it(node: ast.Call) -> bool:
    return ast.unparse(node.func) in {"set_openness", "dict"}


WHERE = {"gallery", "gallery_id"}


def moved(node: ast.AST) -> Iterator[str]:
    """Writes to where a photo or a face is. A model that fills its own column is none of it."""
    match node:
        case ast.Attribute(value=ast.Name(id="self")):
            return
        case ast.Attribute(attr=attribute, ctx=ast.Store()) if attribute in WHERE:
            yield ast.unparse(node)
        case ast.Call(func=ast.Attribute(attr="update"), keywords=keywords):
            yield from (f"update({one.arg}=)" for one in keywords if one.arg in WHERE)
        case ast.Call(func=ast.Attribute(attr="bulk_update" | "save")):
            texts = (one.value for one in ast.walk(node) if isinstance(one, ast.Constant))
            yield from (f"{ast.unparse(node.func)}({one})" for one in texts if one in WHERE)


MAY_MOVE = {
    "moving.py": "the move",
    "shares.py": "the same gallery, which was read already",
    "links.py": "the same gallery, which was read already",
    "downloads.py": "the same gallery, which was read already",
    "public.py": "the same gallery, which was read already",
    "purging.py": "records of what is deleted",
}

PARSERS = {"isdigit", "isdecimal", "isnumeric", "fromisoformat", "strptime", "parse_datetime"}
REQUEST = ("request.GET", "request.POST", "request.META", "query_params", "asked.get", ".getlist")
STORED = {
    "erasures.py": "a report that was stored",
    "person.py": "what was put into the cache",
    "counts.py": "what was put into the cache",
}
"""What these read was written by ourselves."""


def parsed(node: ast.AST) -> Iterator[str]:
    """Values of a request that are read by anything but `persons.inputs.params`."""
    match node:
        case ast.Call(func=ast.Attribute(attr=name) | ast.Name(id=name)) if name in PARSERS:
            yield ast.unparse(node)
        case ast.Call(func=ast.Name(id="int" | "float"), args=[value, *_]):
            if any(one in ast.unparse(value) for one in REQUEST):
                yield ast.unparse(node)


OPAQUE = {"before", "format", "jobs", "box", "to", "next", "back"}
"""What these hold is compared as it is: a key of the pager, a form of answers, what a page shows,
the address of a gallery or a page."""


def branched(node: ast.AST) -> Iterator[str]:
    """Decisions by a value of a request that nobody has parsed: anything unknown counts as one of
    the answers then."""
    match node:
        case ast.Compare(left=left, comparators=others):
            asked = [left, *others]
        case ast.BoolOp(values=values):
            asked = values
        case ast.If(test=test) | ast.IfExp(test=test) | ast.Match(subject=test):
            asked = [test]
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            asked = [operand]
        case ast.Call(func=ast.Name(id="bool"), args=args):
            asked = args
        case _:
            return
    for one in asked:
        match one:
            case ast.Call(
                func=ast.Attribute(attr="get", value=data), args=[ast.Constant(name), *_]
            ):
                if ast.unparse(data) in ("request.GET", "request.POST") and name not in OPAQUE:
                    yield ast.unparse(one)


PAGERS = {
    "sheets.py": "a gallery's sheets, to be loaded from any place",
    "public.py": "a link's keys are encrypted",
}


def paged(node: ast.AST) -> Iterator[str]:
    """Slices of a page and one more row, by which it is known whether it is the last."""
    match node:
        case ast.Subscript(slice=ast.Slice(upper=ast.BinOp(op=ast.Add(), right=one))):
            if isinstance(one, ast.Constant) and one.value == 1:
                yield ast.unparse(node)


def modules(*folders: str) -> list[str]:
    found = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    return sorted(str(path.relative_to(ROOT)) for path in found if "migrations" not in path.parts)


def names(paths: Iterable[str]) -> set[str]:
    return {Path(path).name for path in paths}


def faults(path: str, check: Check) -> list[str]:
    tree = ast.parse((ROOT / path).read_text())
    return [fault for node in ast.walk(tree) for fault in check(node)]


def test_pages_filter_nothing_by_who_may_see_it() -> None:
    wrong = {path: set(faults(path, by_hand)) for path in modules(*BORDERS)}
    for path, some in wrong.items():
        some -= {"GalleryMember"} if Path(path).name in MEMBERS else set()
    assert {path: some for path, some in wrong.items() if some} == {}


def test_one_move_says_where_photos_and_faces_are() -> None:
    wrong = {path: faults(path, moved) for path in modules("persons", "dashboard")}
    assert names(path for path, some in wrong.items() if some) <= set(MAY_MOVE)


def test_values_of_requests_are_read_by_params() -> None:
    wrong = {path: faults(path, parsed) for path in modules("dashboard/pages", "persons/rest")}
    wrong |= {path: faults(path, parsed) for path in modules("persons/proxy", "persons/management")}
    assert names(path for path, some in wrong.items() if some) <= set(STORED)


def test_no_page_decides_by_a_value_that_is_not_parsed() -> None:
    found = {path: faults(path, branched) for path in modules("dashboard/pages")}
    assert {path: some for path, some in found.items() if some} == {}


def test_lists_go_on_by_the_one_pager() -> None:
    keys = re.compile(r"""[.](get|number|raw)[(]"(before|after|cursor)"|place_of[(]""")
    readers = {
        path for path in modules("dashboard/pages") if keys.search((ROOT / path).read_text())
    }
    wrong = {path for path in readers if faults(path, paged)}
    assert names(wrong) <= set(PAGERS)


@pytest.mark.parametrize(
    ("source", "check"),
    [
        ("hidden = hidden_from(user, team)", by_hand),
        ("from persons.access.galleries import hidden_from", by_hand),
        ("faces = Face.objects.outside(hidden)", by_hand),
        ("Gallery.objects.filter(is_open=True)", by_hand),
        ("photos.filter(gallery__is_open=True)", by_hand),
        ("Person.objects.for_list(hidden)", by_hand),
        ("photo.gallery = into", moved),
        ("face.gallery_id, face.space_id = 1, 2", moved),
        ("photos.update(gallery=into)", moved),
        ("photo.save(update_fields=['gallery'])", moved),
        ("text.isascii() and text.isdigit()", parsed),
        ("int(request.GET['page'])", parsed),
        ("datetime.fromisoformat(text)", parsed),
        ("if request.POST.get('all'): pass", branched),
        ("hidden = request.POST.get('hidden') != '0'", branched),
        ("ticked = bool(request.POST.get('ticked'))", branched),
        ("match request.POST.get('do', 'name'):\n  case 'name': pass", branched),
        ("rows = list(photos[: PAGE + 1])", paged),
    ],
)
def test_another_way_is_found(source: str, check: Check) -> None:
    assert any(list(check(node)) for node in ast.walk(ast.parse(source)))
