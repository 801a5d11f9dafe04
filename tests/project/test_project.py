"""The project's own rules and entry points: checks, migrations, imports, hooks, make."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.core.management import call_command

from tests.support.processes import PATIENCE, ROOT, child_environment

BIN = Path(sys.executable).parent


@pytest.mark.django_db
def test_migrations_say_what_the_models_say() -> None:
    call_command("makemigrations", check=True, dry_run=True, verbosity=0)


@pytest.mark.processes
def test_imports_point_one_way() -> None:
    result = run(str(BIN / "lint-imports"), "--no-cache", "--no-logo")
    assert result.returncode == 0, result.stdout


@pytest.mark.processes
def test_the_import_contracts_notice_a_broken_one(tmp_path: Path) -> None:
    for name in ("dashboard", "persons"):
        shutil.copytree(ROOT / name, tmp_path / name)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    with (tmp_path / "persons" / "vision" / "limits.py").open("a") as file:
        file.write("\nfrom django.db import models\n")
    with (tmp_path / "persons" / "models" / "teams.py").open("a") as file:
        file.write("\nimport persons.actions.teams\n")
    with (tmp_path / "persons" / "models" / "faces.py").open("a") as file:
        file.write("\nimport persons.models.people\n")
    result = run(str(BIN / "lint-imports"), "--no-cache", "--no-logo", cwd=tmp_path)
    assert result.returncode == 1
    assert "Imports point one way BROKEN" in result.stdout
    assert "The wire and the recogniser know no Django BROKEN" in result.stdout
    assert "The modules of the tables have no import cycle BROKEN" in result.stdout


MOST_LINES = 450
LONGER = {
    # Exports take it along as one file that runs by itself.
    "persons/chain/verify.py",
    # One event loop, whose methods share the state of its connections.
    "dashboard/front/worker.py",
}


def test_a_module_can_be_read_in_one_sitting() -> None:
    """Generated code, that of migrations, is left out."""
    long = {
        str(path.relative_to(ROOT))
        for folder in ("persons", "dashboard")
        for path in (ROOT / folder).rglob("*.py")
        if "migrations" not in path.parts
        and len(path.read_text(encoding="utf-8").splitlines()) > MOST_LINES
    }
    assert long == LONGER


def test_no_comment_of_a_template_ends_on_another_line_where_it_would_be_shown() -> None:
    open_ended = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in (ROOT / "templates").rglob("*.html")
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if line.count("{#") != line.count("#}")
    ]
    assert open_ended == []


DOCUMENTS = ["ARCHITECTURE.md", "THREAT_MODEL.md"] + [
    str(path.relative_to(ROOT))
    for folder in ("persons", "dashboard", "tests")
    for path in sorted((ROOT / folder).rglob("README.md"))
]


def places_named_in(path: Path) -> Iterator[str]:
    """`folder/file.py`, `folder/` and `folder/module.function`, written from any of the roots."""
    for name in re.findall(r"`([\w./-]*/[\w./-]*)`", path.read_text(encoding="utf-8")):
        if not name.startswith(("/", ".", "var/", "upload/", "photos/range")) and "//" not in name:
            yield name


def stands_somewhere(name: str, beside: Path) -> bool:
    roots = (ROOT, ROOT / "persons", ROOT / "dashboard", ROOT / "dashboard/pages", beside)
    if any((root / name).exists() for root in roots):
        return True
    module, _, attribute = name.rpartition(".")
    sources = [root / f"{module}.py" for root in roots]
    sources += [root / module / "__init__.py" for root in roots]
    pattern = re.compile(rf"^(?:def |class )?{re.escape(attribute)}\b", re.MULTILINE)
    return any(one.exists() and pattern.search(one.read_text()) for one in sources)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_what_a_document_names_is_where_it_says(document: str) -> None:
    path = ROOT / document
    lost = [name for name in places_named_in(path) if not stands_somewhere(name, path.parent)]
    assert lost == []


@pytest.mark.processes
def test_the_hooks_configuration_is_valid_and_its_tools_are_here() -> None:
    result = run(str(BIN / "pre-commit"), "validate-config", ".pre-commit-config.yaml")
    assert result.returncode == 0, result.stdout + result.stderr
    words = (ROOT / ".pre-commit-config.yaml").read_text().split()
    tools = {Path(word).name for word in words if word.startswith(".venv/bin/")}
    assert tools >= {"ruff", "mypy", "lint-imports"}
    assert all((BIN / tool).exists() for tool in tools)


@pytest.mark.processes
def test_a_well_set_server_passes_the_deployment_checks(tmp_path: Path) -> None:
    result = manage(
        *("check", "--deploy", "--fail-level", "WARNING"),
        ROLLCALL_DATA=str(tmp_path),
        ROLLCALL_SECRET_KEY="mQ7zPf2LxT9vB4nKc8RwYd3HsGj6AuEe5NbVi1XoZk0pWqJtMy",
        ROLLCALL_AUDIT_KEY="5e" * 32,
        ROLLCALL_HTTPS="1",
        ROLLCALL_HOSTS="rollcall.example.org",
    )
    assert result.returncode == 0, result.stderr


@pytest.mark.processes
def test_a_badly_set_server_is_told_what_is_missing(tmp_path: Path) -> None:
    result = manage("check", "--deploy", "--fail-level", "WARNING", ROLLCALL_DATA=str(tmp_path))
    assert result.returncode == 1
    assert "rollcall.W001" in result.stderr  # its secret key is a file of this machine
    assert "rollcall.W002" in result.stderr  # and so is the key of its audit
    assert "SECURE_SSL_REDIRECT" in result.stderr


@pytest.mark.processes
@pytest.mark.parametrize(
    ("name", "value"), [("ROLLCALL_AUDIT_KEY", "hunter2"), ("ROLLCALL_AUDIT_PUBLIC_KEYS", "ab,cd")]
)
def test_a_key_that_is_none_is_named_and_not_repeated(
    tmp_path: Path, name: str, value: str
) -> None:
    result = manage("check", ROLLCALL_DATA=str(tmp_path), **{name: value})
    assert result.returncode == 1
    assert "rollcall.E004" in result.stderr and name in result.stderr
    assert "hunter2" not in result.stderr


@pytest.mark.processes
def test_a_wrong_setting_names_the_variable_and_what_was_expected(tmp_path: Path) -> None:
    result = manage("check", ROLLCALL_DATA=str(tmp_path), ROLLCALL_SWEEP_SECONDS="often")
    assert result.returncode != 0
    assert "ROLLCALL_SWEEP_SECONDS must be a whole number." in result.stderr


@pytest.mark.processes
def test_make_says_which_python_it_needs(tmp_path: Path) -> None:
    make = shutil.which("make")
    if make is None:
        pytest.skip("make is not there")
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    tools = tmp_path / "bin"
    tools.mkdir()
    for tool in ("sh", "touch", "env"):
        (tools / tool).symlink_to(shutil.which(tool) or tool)
    old = tools / "python3"
    old.write_text("#!/bin/sh\nexit 1\n")  # what 3.10 answers when it is asked whether it is new
    old.chmod(0o755)
    result = subprocess.run(
        [make, ".venv/.run"],
        cwd=tmp_path,
        env={"PATH": str(tools)},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert result.returncode != 0
    assert "Rollcall needs Python 3.11 or newer" in result.stderr
    assert not (tmp_path / ".venv").exists()


def run(
    *command: str, cwd: Path = ROOT, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        cwd=cwd,
        env=child_environment(**env or {}),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def manage(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    return run(sys.executable, "manage.py", *arguments, env=env)
