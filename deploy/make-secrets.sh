#!/bin/sh
# Makes up the secrets that docker-compose.yml mounts. What is there already stays.
set -eu
cd "$(dirname "$0")/.."

mkdir -p secrets
# The folder keeps other people of this machine out; the files are readable, since a container's
# user, who has another number, reads them.
chmod 700 secrets

random() {
  LC_ALL=C tr -dc 'A-Za-z0-9' </dev/urandom | head -c 50
}

make_secret() {
  if [ -s "secrets/$1" ]; then
    echo "secrets/$1 stays"
  else
    printf '%s' "$2" >"secrets/$1"
    chmod 644 "secrets/$1"
    echo "secrets/$1 made"
  fi
}

make_secret postgres_password "$(random)"
make_secret database_url "postgres://rollcall:$(cat secrets/postgres_password)@postgres:5432/rollcall"
make_secret redis_password "$(random)"
make_secret redis_url "redis://:$(cat secrets/redis_password)@redis:6379/0"
make_secret secret_key "$(random)"
make_secret audit_key "$(random)"
make_secret metrics_token "$(random)"
