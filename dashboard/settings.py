"""Every setting, read from the environment. The README's configuration table lists them."""

from __future__ import annotations

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
from persons.tariff import parse as parse_tariff
from persons.vision.tokens import Secret

BASE_DIR = Path(__file__).resolve().parent.parent
DATA_DIR = env_path("ROLLCALL_DATA", BASE_DIR / "var")
DATA_DIR.mkdir(parents=True, exist_ok=True)

DEBUG = env_bool("ROLLCALL_DEBUG", False)


def _own_secret(name: str) -> str:
    """A secret of this installation, made once, readable by its owner alone.

    Only for one machine: several servers must share ROLLCALL_SECRET_KEY (a system check says so).
    """
    path = DATA_DIR / name
    if not path.exists():
        draft = path.with_suffix(f".{secrets.token_hex(4)}")
        draft.touch(mode=0o600)
        draft.write_text(secrets.token_urlsafe(48), encoding="utf-8")
        try:
            # A hard link fails where another process was first: its secret stays.
            path.hardlink_to(draft)
        except FileExistsError:
            pass
        finally:
            draft.unlink()
    return path.read_text(encoding="utf-8")


SECRET_KEY = env_secret("ROLLCALL_SECRET_KEY") or _own_secret("secret_key")
SECRET_KEY_IS_LOCAL = not env_secret("ROLLCALL_SECRET_KEY")

# Signs the audit's seals and the certificates of erasures. Keys that signed before are listed by
# their public halves.
AUDIT_KEY = Secret(env_secret("ROLLCALL_AUDIT_KEY") or _own_secret("audit_key"))
AUDIT_KEY_IS_LOCAL = not env_secret("ROLLCALL_AUDIT_KEY")
AUDIT_PUBLIC_KEYS = env_list("ROLLCALL_AUDIT_PUBLIC_KEYS")
# Where seals are copied to: a folder, or s3://bucket/prefix. Empty: nowhere.
AUDIT_SEALS = env_str("ROLLCALL_AUDIT_SEALS")

# The names of this machine are always there: health checks call it by them.
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
# How many proxies in front are ours: so many addresses at the end of X-Forwarded-For are true.
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
    # Before anything that could fail and have the request reported.
    "dashboard.middleware.take_key",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "dashboard.middleware.RequestContextMiddleware",
    "dashboard.clients.straight_to_the_proxy",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
]

ROOT_URLCONF = "dashboard.urls"
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
        "init_command": (
            "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA mmap_size=134217728;"
        ),
    }
    DATABASES["default"]["CONN_MAX_AGE"] = 0
else:
    # `persons.tables` prepares the statements of a client's call; nothing else does.
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
# Goes before every key, where one Redis serves several installations.
REDIS_PREFIX = env_str("ROLLCALL_REDIS_PREFIX")
CACHES = {
    "default": {
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
        "LOCATION": REDIS_URL,
        "KEY_PREFIX": f"{REDIS_PREFIX}cache",
    }
    if REDIS_URL
    else {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}
}

LANGUAGE_CODE = "en-gb"
USE_TZ = True
TIME_ZONE = env_str("ROLLCALL_TIME_ZONE", "UTC")
USE_I18N = False
# An index with more columns than its key (W040) has its key alone on SQLite, which is enough there.
SILENCED_SYSTEM_CHECKS = ["models.W040"]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

STATIC_URL = "/static/"
STATIC_ROOT = DATA_DIR / "static"
STATICFILES_DIRS = [BASE_DIR / "static"]
MEDIA_ROOT = DATA_DIR / "media"
STORAGES = {
    "default": {
        "BACKEND": "persons.storage.ContentStorage",
        "OPTIONS": {"location": str(MEDIA_ROOT)},
    },
    "staticfiles": {
        "BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"
        if DEBUG or "pytest" in sys.modules
        else "whitenoise.storage.CompressedManifestStaticFilesStorage",
    },
}
# Where nginx serves MEDIA_ROOT as an internal location, its prefix ("/protected/"): access is asked
# here, bytes are sent there.
X_ACCEL_PREFIX = env_str("ROLLCALL_X_ACCEL_PREFIX")

# Uploads go to disk as they stream in: a hundred photos at once are never held in memory.
FILE_UPLOAD_HANDLERS = ["django.core.files.uploadhandler.TemporaryFileUploadHandler"]
FILE_UPLOAD_TEMP_DIR = str(DATA_DIR / "incoming")
Path(FILE_UPLOAD_TEMP_DIR).mkdir(exist_ok=True)
SNAPSHOT_MAX_BYTES = env_int("ROLLCALL_SNAPSHOT_MAX_MB", 4000, minimum=1) * 1_000_000
UPLOAD_MAX_BYTES = env_int("ROLLCALL_UPLOAD_MAX_MB", 50, minimum=1) * 1_000_000
DATA_UPLOAD_MAX_NUMBER_FILES = 200
# A selection of 5,000 photos is one field each.
DATA_UPLOAD_MAX_NUMBER_FIELDS = 6000

# The broker only rings the bell. Without Redis its messages are files in the data folder.
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
# A drop rings a thousand bells for photos. Workers take in turn from their queue and from that of
# all else, so that neither a merge nor a sweep waits until an album is through.
CELERY_TASK_QUEUES = [
    Queue(name, Exchange(name), routing_key=name) for name in ("celery", "photos")
]
CELERY_TASK_ROUTES = {
    f"persons.tasks.{name}": {"queue": "photos"}
    for name in ("prepare_photo", "recognise_space", "purge_trash", "keep_rules")
}
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
        # A bell that rang while no worker listened is worth nothing later.
        "options": {"expires": SWEEP_SECONDS * 2},
    },
    "seal_audit": {
        "task": "persons.tasks.seal_audit",
        "schedule": SEAL_SECONDS,
        "options": {"expires": SEAL_SECONDS * 2},
    },
    "verify_audit": {
        "task": "persons.tasks.verify_audit",
        # At night, by the installation's own time.
        "schedule": crontab(hour=3, minute=20),
        "options": {"expires": 3600},
    },
}

# Who may read /metrics from elsewhere than this machine: the bearer of this.
METRICS_TOKEN = env_secret("ROLLCALL_METRICS_TOKEN")

# A claim older than this is taken for a dead worker's, and its work is done again.
LEASE_SECONDS = env_int("ROLLCALL_LEASE_SECONDS", 300, minimum=1)
MAX_ATTEMPTS = env_int("ROLLCALL_MAX_ATTEMPTS", 8, minimum=1)
# How long the certificate of an erasure is kept.
CERTIFICATE_DAYS = env_int("ROLLCALL_CERTIFICATE_DAYS", 1096, minimum=1)

# The demo team, made by `make run`.
DEMO = env_bool("ROLLCALL_DEMO", True)
DEMO_PASSWORD = env_secret("ROLLCALL_DEMO_PASSWORD")

# The cloud, or another server that speaks its wire, another Rollcall too. Empty: the embedded
# recogniser. Either a service token, or client credentials.
VISION_URL = env_str("VISION_URL")
VISION_PROVIDER = env_str("VISION_PROVIDER", "mcs")
VISION_TOKEN = Secret(env_secret("VISION_TOKEN"))
VISION_CLIENT_ID = env_str("VISION_CLIENT_ID")
VISION_CLIENT_SECRET = Secret(env_secret("VISION_CLIENT_SECRET"))
VISION_OAUTH_URL = env_str("VISION_OAUTH_URL", "https://mcs.mail.ru/auth/oauth/v1/token")
VISION_CONNECT_SECONDS = env_float("VISION_CONNECT_SECONDS", 5.0)
VISION_READ_SECONDS = env_float("VISION_READ_SECONDS", 60.0)
# The account's ceiling, over all workers; 0 is none.
VISION_REQUESTS_PER_SECOND = env_float("VISION_REQUESTS_PER_SECOND", 0.0)
VISION_IMAGES_PER_SECOND = env_float("VISION_IMAGES_PER_SECOND", 0.0)
# Seals what the database must not hold in clear. Derived from the secret key where it is not set.
ENCRYPTION_KEY = Secret(env_secret("ROLLCALL_ENCRYPTION_KEY"))

# What the cloud costs: images a month and the price of each up to there. Source: the vendor's list.
try:
    TARIFF = parse_tariff(
        env_str("ROLLCALL_TARIFF", "1000000:0.06, 10000000:0.05, 100000000:0.04, 0.03"),
        env_str("ROLLCALL_CURRENCY", "₽"),
    )
except ValueError as _error:
    raise ImproperlyConfigured(f"ROLLCALL_TARIFF: {_error}.") from None
# How long a stored answer stands for a new one of the same picture; 0 asks every time.
REUSE_HOURS = env_int("ROLLCALL_REUSE_HOURS", 24, minimum=0)

# The embedded recogniser. Threads are OpenCV's inside one inference: several workers share cores.
ENGINE_THREADS = env_int("ROLLCALL_ENGINE_THREADS", 1, minimum=1)
ENGINE_DETECTOR = env_str("ROLLCALL_ENGINE_DETECTOR")
ENGINE_EMBEDDER = env_str("ROLLCALL_ENGINE_EMBEDDER")

REST_FRAMEWORK = {
    # A key for programs goes beside it: persons.rest.authentication.
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
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "{asctime} {levelname} {name}: {message}", "style": "{"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["console"], "level": LOG_LEVEL},
    "loggers": {
        # Vision's token travels in query strings: the libraries that print URLs stay quiet.
        "urllib3": {"level": "WARNING"},
        "requests": {"level": "WARNING"},
        "PIL": {"level": "WARNING"},
    },
}
