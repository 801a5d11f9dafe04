"""All settings, read from the environment. The README's configuration table lists them."""

from __future__ import annotations

import os
import secrets
import sys
from pathlib import Path

import dj_database_url
from celery.schedules import crontab
from django.core.exceptions import ImproperlyConfigured
from kombu import Exchange, Queue

from dashboard.env import (
    env_bool,
    env_float,
    env_int,
    env_list,
    env_path,
    env_secret,
    env_str,
)
from dashboard.modes import restrict_to_owner
from persons.billing.tariff import parse as parse_tariff
from persons.db.sqlite import Connection
from persons.vision.tokens import Secret

BASE_DIR = Path(__file__).resolve().parent.parent
DATA_DIR = env_path("ROLLCALL_DATA", BASE_DIR / "var")
restrict_to_owner(DATA_DIR)

DEBUG = env_bool("ROLLCALL_DEBUG", False)


def _own_secret(name: str) -> str:
    """A secret of this installation, generated once, readable by its owner alone.

    Only for one machine: several servers must share ROLLCALL_SECRET_KEY, which a system check
    verifies.
    """
    path = DATA_DIR / name
    if not path.exists():
        draft = path.with_suffix(f".{secrets.token_hex(4)}")
        draft.touch(mode=0o600)
        draft.write_text(secrets.token_urlsafe(48), encoding="utf-8")
        try:
            # A hard link fails if another process was first: its secret is kept.
            path.hardlink_to(draft)
        except FileExistsError:
            pass
        finally:
            draft.unlink()
    return path.read_text(encoding="utf-8")


SECRET_KEY = env_secret("ROLLCALL_SECRET_KEY") or _own_secret("secret_key")
SECRET_KEY_IS_LOCAL = not env_secret("ROLLCALL_SECRET_KEY")

# Signs audit seals and erasure certificates. Previous keys are listed by their public halves.
AUDIT_KEY = Secret(env_secret("ROLLCALL_AUDIT_KEY") or _own_secret("audit_key"))
AUDIT_KEY_IS_LOCAL = not env_secret("ROLLCALL_AUDIT_KEY")
AUDIT_PUBLIC_KEYS = env_list("ROLLCALL_AUDIT_PUBLIC_KEYS")
# Destination of seal copies: a folder, or s3://bucket/prefix. Empty for none.
AUDIT_SEALS = env_str("ROLLCALL_AUDIT_SEALS")

# This machine's own names are always allowed: health checks use them.
ALLOWED_HOSTS = [*env_list("ROLLCALL_HOSTS"), "127.0.0.1", "localhost", "[::1]"]
CSRF_TRUSTED_ORIGINS = env_list("ROLLCALL_ORIGINS")

# True behind HTTPS. Over plain HTTP on one machine, secure cookies would make sign-in impossible.
HTTPS = env_bool("ROLLCALL_HTTPS", False)
SESSION_COOKIE_SECURE = HTTPS
CSRF_COOKIE_SECURE = HTTPS
SECURE_SSL_REDIRECT = HTTPS
SECURE_REDIRECT_EXEMPT = [r"^healthz$", r"^readyz$"]
SECURE_HSTS_SECONDS = 31_536_000 if HTTPS else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = HTTPS
SECURE_HSTS_PRELOAD = HTTPS
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if HTTPS else None
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
X_FRAME_OPTIONS = "DENY"
# Number of our own proxies in front: that many addresses at the end of X-Forwarded-For are
# trusted.
TRUSTED_PROXIES = env_int("ROLLCALL_TRUSTED_PROXIES", 0, minimum=0)

INSTALLED_APPS = [
    # First: its `changepassword` is Django's with an entry in the audit.
    "persons",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.humanize",
    "django_htmx",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "dashboard",
]

MIDDLEWARE = [
    # Before anything that could fail and put the request into an error report.
    "dashboard.middleware.take_key",
    "django.middleware.security.SecurityMiddleware",
    "dashboard.middleware.StaticFiles",
    "dashboard.middleware.RequestContextMiddleware",
    "dashboard.clients.route_api_calls",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
]

ROOT_URLCONF = "dashboard.urls"
DEFAULT_EXCEPTION_REPORTER = "dashboard.reports.Reporter"
DEFAULT_EXCEPTION_REPORTER_FILTER = "dashboard.reports.ReporterFilter"
WSGI_APPLICATION = "dashboard.wsgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "dashboard.context.team",
            ],
        },
    },
]

DATABASES = {
    "default": dj_database_url.parse(
        env_secret("DATABASE_URL") or f"sqlite:///{DATA_DIR / 'rollcall.sqlite3'}",
        conn_max_age=60,
        conn_health_checks=True,
    )
}
if DATABASES["default"]["ENGINE"].endswith("sqlite3"):
    # WAL lets pages read while a worker writes; IMMEDIATE takes the write lock at BEGIN, so that
    # two writers wait for each other instead of failing half-way; FULL survives a power cut.
    DATABASES["default"]["OPTIONS"] = {
        "timeout": 30,
        "transaction_mode": "IMMEDIATE",
        "factory": Connection,
        "init_command": (
            "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA mmap_size=134217728;"
        ),
    }
    DATABASES["default"]["CONN_MAX_AGE"] = 0
else:
    # Only `persons.db.tables` prepares statements, those of a client's call.
    DATABASES["default"].setdefault("OPTIONS", {}).setdefault("prepare_threshold", 1_000_000)

AUTH_USER_MODEL = "persons.User"
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {
        "NAME": "django.contrib.auth.password_validation.MinimumLengthValidator",
        "OPTIONS": {"min_length": 10},
    },
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
LOGIN_URL = "login"
LOGIN_REDIRECT_URL = "home"
LOGOUT_REDIRECT_URL = "login"

REDIS_URL = env_secret("REDIS_URL")
# Prefix of every key, for one Redis that serves several installations.
REDIS_PREFIX = env_str("ROLLCALL_REDIS_PREFIX")
CACHES = {
    "default": {
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
        "LOCATION": REDIS_URL,
        "OPTIONS": {"serializer": "dashboard.caching.JsonSerializer"},
        "KEY_PREFIX": f"{REDIS_PREFIX}cache",
    }
    if REDIS_URL
    else {"BACKEND": "dashboard.caching.Memory"}
}

LANGUAGE_CODE = "en-gb"
USE_TZ = True
TIME_ZONE = env_str("ROLLCALL_TIME_ZONE", "UTC")
USE_I18N = False
# SQLite leaves out an index's extra (INCLUDE) columns, hence W040; the key alone is enough there.
SILENCED_SYSTEM_CHECKS = ["models.W040"]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

STATIC_URL = "/static/"
STATIC_ROOT = DATA_DIR / "static"
STATICFILES_DIRS = [BASE_DIR / "static"]
MEDIA_ROOT = DATA_DIR / "media"
STORAGES = {
    "default": {
        "BACKEND": "persons.files.storage.ContentStorage",
        "OPTIONS": {"location": str(MEDIA_ROOT)},
    },
    "staticfiles": {
        "BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"
        if DEBUG or "pytest" in sys.modules
        else "dashboard.static_files.ModuleStorage",
    },
}
# Prefix ("/protected/") of the internal location where nginx serves MEDIA_ROOT: Rollcall checks
# access, nginx sends the bytes.
X_ACCEL_PREFIX = env_str("ROLLCALL_X_ACCEL_PREFIX")

# Uploads go to disk as they stream in: a hundred photos at once are never held in memory.
FILE_UPLOAD_HANDLERS = ["persons.files.unfinished.IncomingUploadHandler"]
FILE_UPLOAD_TEMP_DIR = str(DATA_DIR / "incoming")
Path(FILE_UPLOAD_TEMP_DIR).mkdir(exist_ok=True)
# Django's own default opens them to all accounts.
FILE_UPLOAD_PERMISSIONS = 0o600
SNAPSHOT_MAX_BYTES = env_int("ROLLCALL_SNAPSHOT_MAX_MB", 4000, minimum=1) * 1_000_000
UPLOAD_MAX_BYTES = env_int("ROLLCALL_UPLOAD_MAX_MB", 50, minimum=1) * 1_000_000
DATA_UPLOAD_MAX_NUMBER_FILES = 200
# A selection of 5,000 photos has one field each.
DATA_UPLOAD_MAX_NUMBER_FIELDS = 6000

# The broker only wakes workers. Without Redis its messages are files in the data folder.
BROKER_DIR = DATA_DIR / "broker"
CELERY_BROKER_URL = REDIS_URL or "filesystem://localhost"
CELERY_BROKER_TRANSPORT = None if REDIS_URL else "dashboard.broker:Transport"
CELERY_BROKER_TRANSPORT_OPTIONS: dict[str, object] = (
    {"visibility_timeout": 3600, "global_keyprefix": REDIS_PREFIX}
    if REDIS_URL
    else {
        "data_folder_in": str(BROKER_DIR / "messages"),
        "data_folder_out": str(BROKER_DIR / "messages"),
        "control_folder": str(BROKER_DIR / "control"),
        "polling_interval": 0.2,
    }
)
if not REDIS_URL:
    for _folder in ("messages", "control"):
        (BROKER_DIR / _folder).mkdir(parents=True, exist_ok=True)
# Workers alternate between the queue of albums and that of everything else: see `persons.work`.
CELERY_TASK_QUEUES = [
    Queue(name, Exchange(name), routing_key=name) for name in ("celery", "photos")
]
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_SERIALIZER = "json"
CELERY_ACCEPT_CONTENT = ["json"]
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_TASK_ALWAYS_EAGER = False
CELERY_BEAT_SCHEDULE_FILENAME = str(DATA_DIR / "beat-schedule")
SWEEP_SECONDS = env_int("ROLLCALL_SWEEP_SECONDS", 10, minimum=1)
SEAL_SECONDS = env_int("ROLLCALL_SEAL_SECONDS", 5, minimum=1)
CELERY_BEAT_SCHEDULE = {
    "sweep": {
        "task": "persons.tasks.sweep",
        "schedule": SWEEP_SECONDS,
    },
    "seal_audit": {
        "task": "persons.tasks.seal_audit",
        "schedule": SEAL_SECONDS,
    },
    "verify_audit": {
        "task": "persons.tasks.verify_audit",
        # At night, in the installation's time zone.
        "schedule": crontab(hour=3, minute=20),
    },
}

# Bearer token for reading /metrics from other machines.
METRICS_TOKEN = env_secret("ROLLCALL_METRICS_TOKEN")

# A claim not renewed for this many seconds belongs to a dead worker, and its work is done again.
LEASE_SECONDS = env_int("ROLLCALL_LEASE_SECONDS", 45, minimum=1)
# A call without a recorded end counts as cut off after this many seconds.
CALL_SECONDS = 300
MAX_ATTEMPTS = env_int("ROLLCALL_MAX_ATTEMPTS", 8, minimum=1)
# Days for which erasure certificates are kept.
CERTIFICATE_DAYS = env_int("ROLLCALL_CERTIFICATE_DAYS", 1096, minimum=1)

# The demo team, made by `make run`.
DEMO = env_bool("ROLLCALL_DEMO", True)
DEMO_PASSWORD = env_secret("ROLLCALL_DEMO_PASSWORD")

# The cloud, or another server with the same API, such as another Rollcall. Empty for the embedded
# recogniser. Needs either a service token or client credentials.
VISION_URL = env_str("VISION_URL")
VISION_PROVIDER = env_str("VISION_PROVIDER", "mcs")
VISION_TOKEN = Secret(env_secret("VISION_TOKEN"))
VISION_CLIENT_ID = env_str("VISION_CLIENT_ID")
VISION_CLIENT_SECRET = Secret(env_secret("VISION_CLIENT_SECRET"))
VISION_OAUTH_URL = env_str("VISION_OAUTH_URL", "https://mcs.mail.ru/auth/oauth/v1/token")
VISION_CONNECT_SECONDS = env_float("VISION_CONNECT_SECONDS", 5.0)
VISION_READ_SECONDS = env_float("VISION_READ_SECONDS", 60.0)
# The account's rate limits, over all workers; 0 for none.
VISION_REQUESTS_PER_SECOND = env_float("VISION_REQUESTS_PER_SECOND", 0.0)
VISION_IMAGES_PER_SECOND = env_float("VISION_IMAGES_PER_SECOND", 0.0)
# Encrypts what the database must not hold in clear. Derived from the secret key if not set.
ENCRYPTION_KEY = Secret(env_secret("ROLLCALL_ENCRYPTION_KEY"))

# The cloud's tariff: monthly image counts, and the price per image up to each. Source: the
# vendor's list.
try:
    TARIFF = parse_tariff(
        env_str("ROLLCALL_TARIFF", "1000000:0.06, 10000000:0.05, 100000000:0.04, 0.03"),
        env_str("ROLLCALL_CURRENCY", "₽"),
    )
except ValueError as _error:
    raise ImproperlyConfigured(f"ROLLCALL_TARIFF: {_error}.") from None
# How long a stored answer is reused for the same picture; 0 never reuses one.
REUSE_HOURS = env_int("ROLLCALL_REUSE_HOURS", 24, minimum=0)

# The embedded recogniser: OpenCV's threads inside one inference. Several workers share cores.
ENGINE_THREADS = env_int("ROLLCALL_ENGINE_THREADS", 1, minimum=1)
ENGINE_DETECTOR = env_str("ROLLCALL_ENGINE_DETECTOR")
ENGINE_EMBEDDER = env_str("ROLLCALL_ENGINE_EMBEDDER")

# Helper processes that open pictures: how many run at once on this machine, and the limits of
# each.
DECODERS = env_int("ROLLCALL_DECODERS", min(4, max(2, os.cpu_count() or 2)), minimum=1)
DECODER_BYTES = env_int("ROLLCALL_DECODER_MB", 1500, minimum=400) * 1_000_000
DECODER_SECONDS = env_int("ROLLCALL_DECODER_SECONDS", 12, minimum=1)

REST_FRAMEWORK = {
    # Sessions only. Another way to authenticate would be added beside it, in
    # persons.rest.authentication.
    "DEFAULT_AUTHENTICATION_CLASSES": ["persons.rest.authentication.Session"],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_PARSER_CLASSES": ["persons.rest.parsers.Json"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "DEFAULT_PAGINATION_CLASS": "persons.rest.pagination.ByKey",
    "DEFAULT_METADATA_CLASS": None,
    "EXCEPTION_HANDLER": "persons.rest.errors.handle",
    "PAGE_SIZE": 50,
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Rollcall",
    "DESCRIPTION": "Galleries, people, history and audit of a team. What writes carries the CSRF "
    "token in `X-CSRFToken`. Errors have a `code` for programs and a `detail` for people.",
    "VERSION": "1",
    "SCHEMA_PATH_PREFIX": r"/rest(/teams/\{team\}(?=/.))?",
    "COMPONENT_SPLIT_REQUEST": True,
    "ENUM_NAME_OVERRIDES": {
        "PhotoState": "persons.models.PhotoState",
        "EnrolmentState": "persons.models.EnrolmentState",
    },
    "SERVE_INCLUDE_SCHEMA": False,
    "SERVE_PERMISSIONS": ["rest_framework.permissions.IsAuthenticated"],
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
}

LOG_LEVEL = env_str("ROLLCALL_LOG_LEVEL", "INFO").upper()
# Django's own logging configuration with URL secrets masked.
LOGGING_CONFIG = "dashboard.redaction.configure"
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "{asctime} {levelname} {name}: {message}", "style": "{"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["console"], "level": LOG_LEVEL},
    "loggers": {
        # Vision's token is in query strings, so libraries that log URLs are silenced.
        "urllib3": {"level": "WARNING"},
        "requests": {"level": "WARNING"},
        "PIL": {"level": "WARNING"},
    },
}
