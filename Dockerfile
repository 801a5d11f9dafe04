# syntax=docker/dockerfile:1
# One image for web, worker, beat and every command: docker-compose.yml says which runs what.

FROM python:3.13-slim AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /venv
WORKDIR /build
# Only what names the dependencies, so that a change of code installs nothing again.
COPY pyproject.toml README.md LICENSE ./
RUN /venv/bin/pip install .

FROM python:3.13-slim
RUN useradd --uid 10001 --create-home --shell /usr/sbin/nologin rollcall \
    && install --directory --owner rollcall --group rollcall --mode 700 /data
COPY --from=build /venv /venv
WORKDIR /app
COPY manage.py ./
COPY dashboard ./dashboard
COPY persons ./persons
COPY templates ./templates
COPY static ./static
COPY demo ./demo
ENV PATH=/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    ROLLCALL_DATA=/data
USER 10001
VOLUME /data
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=15s --timeout=5s --start-period=60s --retries=4 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/healthz', timeout=4)"]
CMD ["gunicorn", "dashboard.wsgi", "--config=python:dashboard.gunicorn_conf", "--bind=0.0.0.0:8000"]
