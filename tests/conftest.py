"""What every test gets: a data folder of its own, the usual people, and real processes on demand.

Nothing is written to `var/`: the settings read the environment once, so it is changed here, before
anything imports them.
"""

from __future__ import annotations

import atexit
import functools
import gc
import os
import shutil
import sys
import tempfile
import uuid
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import pytest_django
from django.conf import settings as django_settings

if django_settings.configured:
    pytest.exit("Unset DJANGO_SETTINGS_MODULE: the tests choose their settings.", returncode=4)

# What is written and synced there need not survive the tests, so it is memory where there is room:
# a container's 64 MB are too little.
MEMORY = Path("/dev/shm")
ROOMY = MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > 2_000_000_000
DATA = Path(tempfile.mkdtemp(prefix="rollcall-tests-", dir=MEMORY if ROOMY else None)).resolve()
atexit.register(shutil.rmtree, DATA, ignore_errors=True)
# The finders serve static files here; WhiteNoise warns of a folder that is not there.
(DATA / "static").mkdir()

# Only the services may come from outside; whoever runs the tests may have Rollcall configured.
for _name in list(os.environ):
    if _name.startswith(("ROLLCALL_", "VISION_")):
        del os.environ[_name]
os.environ["ROLLCALL_DATA"] = str(DATA)
os.environ["ROLLCALL_REDIS_PREFIX"] = f"rollcall-test-{uuid.uuid4().hex[:12]}:"
# Most tests want Vision asked each time; those of `persons.calls.cache` turn it on.
os.environ["ROLLCALL_REUSE_HOURS"] = "0"
# Nor does PostgreSQL's: libpq hands this to every connection, other processes' too.
os.environ["PGOPTIONS"] = "-c synchronous_commit=off"
os.environ["DJANGO_SETTINGS_MODULE"] = "dashboard.settings"

import django  # noqa: E402
import hypothesis  # noqa: E402

django.setup()
# Settled here. A test process that inherits it would read the settings before its own conftest.
del os.environ["DJANGO_SETTINGS_MODULE"]

from celery import current_app  # noqa: E402
from django.core.cache import cache  # noqa: E402
from django.db import connection, connections  # noqa: E402
from django.test import Client, TransactionTestCase  # noqa: E402
from playwright.sync_api import Browser, Error, Page, expect, sync_playwright  # noqa: E402
from pytest_django.live_server_helper import LiveServer  # noqa: E402

from persons.chain import triggers  # noqa: E402
from persons.models import Membership, Role, Team, User  # noqa: E402
from tests.support import factories, marks, migrated  # noqa: E402
from tests.support.invariants import violations  # noqa: E402
from tests.support.processes import PATIENCE, CeleryProcess, database_url  # noqa: E402

# Every sign-in would else cost a fifth of a second.
django_settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@functools.cache
def _emptying() -> list[str]:
    names = connection.introspection.django_table_names(only_existing=True, include_views=False)
    statements = [f"DELETE FROM {connection.ops.quote_name(name)}" for name in names]
    return statements if connection.vendor == "sqlite" else ["; ".join(statements)]


def _delete_all_rows(case: TransactionTestCase) -> None:
    """In place of `flush` after a test with transactions, which takes a fifth of a second or more:
    its TRUNCATE makes a new file for every table and index, and its signal permissions anew.

    The audit's triggers would refuse it.
    """
    triggers.remove()
    try:
        connection.ops.execute_sql_flush(_emptying())
    finally:
        triggers.install()


TransactionTestCase._fixture_teardown = _delete_all_rows  # type: ignore[attr-defined]

# `pytest --hypothesis-profile=deep` tries ten times as many examples.
hypothesis.settings.register_profile("deep", max_examples=1000)

# The shell is the same browser without a window's parts, which cost a third of its time.
SHELL = Path("/usr/bin/chromium-headless-shell")
CHROMIUM = SHELL if SHELL.exists() else Path("/usr/bin/chromium")
CHROMIUM_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    # A page that asks anybody but this machine for anything fails its test.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
]


def pytest_report_header() -> list[str]:
    redis = "Redis" if django_settings.REDIS_URL else "files"
    chromium = CHROMIUM if CHROMIUM.exists() else "absent: browser tests are skipped"
    return [f"database: {connection.vendor}, broker: {redis}, chromium: {chromium}"]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--services-only",
        action="store_true",
        help="Leave out what needs no database or shows the same on any, and the browser's tests "
        "but for the journey: for the second run, on services.",
    )


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Modules and thousands of tests stay to the end: the garbage collector looks at none of them,
    which is a sixth of all the time."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_itemcollected(item: pytest.Item) -> None:
    """Before `-m` chooses by marks."""
    marks.complete(item)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--services-only"):
        used = [item for item in items if _uses_services(item)]
        config.hook.pytest_deselected(items=[item for item in items if item not in set(used)])
        items[:] = used
    if not CHROMIUM.exists():
        skip = pytest.mark.skip(reason=f"{CHROMIUM} is not there")
        for item in items:
            if item.get_closest_marker("browser"):
                item.add_marker(skip)
    _interleave(items)


SHARE = 6
"""Files that only compute, for each that waits for other processes."""


def _interleave(items: list[pytest.Item]) -> None:
    """Sort files so that several workers end together and leave no processor idle: those that wait
    for browsers and processes go early, the longest first, with others between them."""
    waits = Counter(item.path for item in items if _waits(item))
    others = list(dict.fromkeys(item.path for item in items if item.path not in waits))
    order = {path: n * SHARE for n, (path, _) in enumerate(waits.most_common())}
    order |= {path: n for n, path in enumerate(others)}
    items.sort(key=lambda item: order[item.path])


def _waits(item: pytest.Item) -> bool:
    return any(item.get_closest_marker(name) for name in ("browser", "processes"))


def _uses_services(item: pytest.Item) -> bool:
    fixtures = set(getattr(item, "fixturenames", ()))
    if item.get_closest_marker("services") is not None:
        return True
    if item.get_closest_marker("browser") and item.path.name != "test_journey.py":
        return False
    if item.get_closest_marker("any_database") is not None:
        return False
    marked = item.get_closest_marker("django_db") is not None
    return marked or bool({"db", "transactional_db", "django_db_setup"} & fixtures)


# --- What every test starts from ---


@pytest.fixture(scope="session")
def migrated_alone(request: pytest.FixtureRequest) -> Iterator[ExitStack]:
    """Held until the migrated database is there to be copied."""
    with ExitStack() as stack:
        stack.enter_context(migrated.one_at_a_time(request.config))
        yield stack


@pytest.fixture(scope="session")
def django_db_modify_db_settings(
    django_db_modify_db_settings_parallel_suffix: None,
    django_db_blocker: pytest_django.DjangoDbBlocker,
    migrated_alone: ExitStack,
) -> None:
    """A file instead of SQLite's memory, so that other processes and threads can open it too."""
    if connection.vendor == "sqlite":
        connection.settings_dict["TEST"]["NAME"] = str(DATA / "test.sqlite3")
    else:
        with django_db_blocker.unblock():
            connection.settings_dict["TEST"]["TEMPLATE"] = migrated.template_of_server()


@pytest.fixture(scope="session")
def django_db_keepdb(
    request: pytest.FixtureRequest, django_db_keepdb: bool, migrated_alone: ExitStack
) -> bool:
    if connection.vendor == "sqlite":
        return migrated.take(request.config, DATA / "test.sqlite3") or django_db_keepdb
    return django_db_keepdb


@pytest.fixture(scope="session")
def django_db_setup(
    request: pytest.FixtureRequest,
    django_db_setup: None,
    django_db_blocker: pytest_django.DjangoDbBlocker,
    migrated_alone: ExitStack,
) -> None:
    with django_db_blocker.unblock():
        if connection.vendor == "sqlite":
            migrated.keep(request.config)
        elif not connection.settings_dict["TEST"]["TEMPLATE"]:
            migrated.keep_on_server()
    migrated_alone.close()


@pytest.fixture(autouse=True)
def data_folder() -> Iterator[Path]:
    """The data folder, which each test leaves empty; so are the broker and the cache."""
    yield DATA
    for folder in (DATA / "media", DATA / "incoming", DATA / "broker" / "messages"):
        for path in folder.glob("*") if folder.is_dir() else ():
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
    (DATA / "erasures.jsonl").unlink(missing_ok=True)
    if django_settings.REDIS_URL:
        _forget_redis_keys()
    else:
        cache.clear()
    if backends := sys.modules.get("persons.backends.embedded"):
        # Ids come again after a rollback, so an index of the last test would answer for this one.
        backends.engine_of.cache_clear()
    if ledger := sys.modules.get("persons.people.enrolments"):
        ledger.size_of.cache_clear()


def _forget_redis_keys() -> None:
    """Only our own: FLUSHDB, which `cache.clear` sends, would take a developer's keys too."""
    import redis

    with redis.Redis.from_url(django_settings.REDIS_URL) as client:
        keys = list(client.scan_iter(f"{django_settings.REDIS_PREFIX}*", count=1000))
        if keys:
            client.delete(*keys)


@pytest.fixture(autouse=True)
def marks_are_there(request: pytest.FixtureRequest) -> Iterator[None]:
    with marks.checked(request.node):
        yield


# --- The usual people: Alice owns, Bob is a member, Charlie is a stranger ---


@pytest.fixture
def team(db: None) -> Team:
    return factories.TeamFactory.create(name="Trip", slug="trip")


@pytest.fixture
def alice(team: Team) -> User:
    """Owner."""
    return _member(team, "alice", Role.OWNER)


@pytest.fixture
def bob(team: Team) -> User:
    """Editor."""
    return _member(team, "bob", Role.EDITOR)


@pytest.fixture
def vera(team: Team) -> User:
    """Viewer."""
    return _member(team, "vera", Role.VIEWER)


@pytest.fixture
def audrey(team: Team) -> User:
    """Auditor."""
    return _member(team, "audrey", Role.AUDITOR)


@pytest.fixture
def charlie(db: None) -> User:
    """Owner of another team, and a stranger to `team`."""
    other = factories.TeamFactory.create(name="Others", slug="others")
    return _member(other, "charlie", Role.OWNER)


@pytest.fixture
def everyone(alice: User, bob: User, vera: User, audrey: User, charlie: User) -> dict[str, User]:
    """All of them, by their names."""
    return {user.username: user for user in (alice, bob, vera, audrey, charlie)}


def _member(team: Team, name: str, role: Role) -> User:
    user = factories.UserFactory.create(username=name, first_name=name.capitalize())
    Membership.objects.create(team=team, user=user, role=role)
    return user


@pytest.fixture
def sign_in() -> Callable[[User], Client]:
    """`sign_in(alice)` is a client of hers."""

    def sign_in(user: User) -> Client:
        client = Client()
        client.force_login(user)
        return client

    return sign_in


# --- Celery ---


CHECKED = (
    *("test_actions_", "test_rest_", "test_access_writes", "test_people_"),
    *("test_page_groups", "test_page_many", "test_page_review"),
    *("test_page_selection", "test_page_naming"),
    *("test_changes", "test_merging", "test_grouping", "test_reviewing", "test_moving"),
    *("test_holds", "test_consent", "test_closed_galleries", "test_retention", "test_erasing"),
)
"""How tests of what people do are called: after each of them the database is looked at."""


@pytest.fixture(autouse=True)
def all_is_well(request: pytest.FixtureRequest) -> Iterator[None]:
    """The invariants hold after every action, whatever a test was about."""
    is_of_it = request.path.stem.startswith(CHECKED) and "team" in request.fixturenames
    if not is_of_it or request.node.get_closest_marker("unsettled"):
        yield
        return
    request.getfixturevalue("db")
    yield
    assert violations() == []


@pytest.fixture
def reuse(settings: Any) -> None:
    """Answers are reused, as they are in service."""
    settings.REUSE_HOURS = 24


@pytest.fixture
def eager() -> Iterator[None]:
    """Tasks run at once in this process, and their errors are the test's.

    Bells ring on commit: a test needs `transaction=True`, or
    `django_capture_on_commit_callbacks(execute=True)`. Serialisation is skipped: see `real_worker`.
    """
    before = current_app.conf.task_always_eager, current_app.conf.task_eager_propagates
    current_app.conf.task_always_eager = current_app.conf.task_eager_propagates = True
    yield
    current_app.conf.task_always_eager, current_app.conf.task_eager_propagates = before


@pytest.fixture
def real_worker(
    transactional_db: None, django_db_setup: None, data_folder: Path
) -> Iterator[Callable[..., CeleryProcess]]:
    """`real_worker()` starts a Celery worker on the test's own database, broker and files.

    `real_worker(beat=True)` starts beat too; `concurrency` and environment variables may be given.
    What it returns can be stopped, killed and started again; all of it ends with the test.
    """
    started: list[CeleryProcess] = []

    def start(*, beat: bool = False, concurrency: int = 2, **env: str) -> CeleryProcess:
        process = CeleryProcess(
            data=data_folder,
            database=database_url(connection),
            beat=beat,
            concurrency=concurrency,
            env=env,
        )
        started.append(process)
        process.start()
        return process

    yield start
    for process in started:
        process.kill()


# --- A browser ---


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """A real Chromium that reaches nothing but this machine."""
    # Playwright's synchronous interface runs an event loop in the tests' thread, and Django would
    # refuse every query there.
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "1"
    # While that loop runs, Django keeps other connections for the thread. One that stays open from
    # before would be seen again, and shared, in processes that a test forks: there no loop runs.
    connections.close_all()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser, request: pytest.FixtureRequest) -> Iterator[Page]:
    """A page in a fresh profile, 1440 x 900. An error in any of its scripts fails the test."""
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    page = context.new_page()
    page.set_default_timeout(PATIENCE * 1000)
    expect.set_options(timeout=PATIENCE * 1000)
    errors: list[Error] = []
    # Playwright marks the handlers it gets, and a list's own method can't be marked.
    page.on("pageerror", lambda error: errors.append(error))  # noqa: PLW0108
    yield page
    context.close()
    assert not errors, f"errors in the page's scripts: {errors}"


@pytest.fixture
def live(live_server: LiveServer) -> str:
    """The address of the whole site, served by threads of this process on the test's database."""
    return str(live_server.url)
