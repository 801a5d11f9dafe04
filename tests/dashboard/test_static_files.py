"""Scripts and styles as deployed: hashed names, and imports between modules that resolve."""

import json
import re
from pathlib import Path

import pytest
from django.contrib.staticfiles import finders
from django.core.management import call_command
from pytest_django import Settings

from dashboard.static_files import imports_of
from dashboard.templatetags.rollcall import module

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = ROOT / "static" / "js"
IMPORT = re.compile(r'^(?:import|\} from|export .* from)\b[^;"]*"([^"]+)";', re.MULTILINE)


def imports(file: Path) -> list[Path]:
    return [(file.parent / name).resolve() for name in IMPORT.findall(file.read_text())]


def loaded_with(file: Path) -> set[Path]:
    found = {file}
    waiting = [file]
    while waiting:
        for other in imports(waiting.pop()):
            if other not in found:
                found.add(other)
                waiting.append(other)
    return found


@pytest.mark.thorough
def test_deployed_modules_import_hashed_names_alone(tmp_path: Path, settings: Settings) -> None:
    settings.STATIC_ROOT = tmp_path
    settings.STORAGES = {
        **settings.STORAGES,
        "staticfiles": {"BACKEND": "dashboard.static_files.ModuleStorage"},
    }
    call_command("collectstatic", "--noinput", verbosity=0)
    paths = json.loads((tmp_path / "staticfiles.json").read_text())["paths"]
    deployed = {tmp_path / hashed for hashed in paths.values()}
    scripts = [tmp_path / hashed for name, hashed in paths.items() if name.startswith("js/")]
    assert len(scripts) == len(list(SCRIPTS.rglob("*.js")))
    count = 0
    for script in scripts:
        for other in imports(script):
            assert other in deployed, (script, other)
            count += 1
    assert count == sum(len(imports(file)) for file in SCRIPTS.rglob("*.js")) > 20


def test_imports_form_no_cycle() -> None:
    for file in SCRIPTS.rglob("*.js"):
        for other in imports(file):
            assert file not in loaded_with(other), file


def test_public_pages_load_none_of_the_teams_code() -> None:
    for file in (SCRIPTS / "public").glob("*.js"):
        for other in loaded_with(file):
            assert other.parent.name in ("public", "shared")
    base = (ROOT / "templates" / "public" / "base.html").read_text()
    assert re.findall(r'module "(js/[^"]*)"', base) == ["js/public/public.js"]


def test_pages_name_everything_that_their_scripts_import() -> None:
    for file in SCRIPTS.rglob("*.js"):
        named = {
            ROOT / "static" / name for name in imports_of(str(file.relative_to(ROOT / "static")))
        }
        assert named == loaded_with(file) - {file}


def test_a_module_s_imports_come_before_its_script() -> None:
    html = module("js/public/public.js")
    assert html.startswith('<link rel="modulepreload" href="/static/js/shared/')
    assert html.endswith('<script type="module" src="/static/js/public/public.js"></script>')


@pytest.mark.parametrize("kind", ["css", "js"])
def test_what_templates_load_is_there_and_nothing_is_left_over(kind: str) -> None:
    named = {
        name
        for template in (ROOT / "templates").rglob("*.html")
        # Error pages use no tags: they are shown where nothing else works.
        for name in re.findall(
            r"""(?:static '|module "|"/static/)([^'"]*)['"]""", template.read_text()
        )
        if name.endswith(f".{kind}")
    }
    assert all(finders.find(name) for name in named)
    used = {ROOT / "static" / name for name in named}
    if kind == "js":
        used = {file for entry in used for file in loaded_with(entry)}
    assert used == set((ROOT / "static").rglob(f"*.{kind}"))
