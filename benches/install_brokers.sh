#!/bin/sh
# The peers' brokers that are no Python packages, into the environment $1. What cannot be had is named, and its rows are skipped.
set -u

want() { # command, Debian package
  command -v "$1" >/dev/null && return
  if [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null; then
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$2" </dev/null >/dev/null 2>&1 && return
  fi
  echo "bench: $1 is missing (Debian package $2): its rows will be skipped" >&2
}

want nats-server nats-server
want redis-server redis-server
if [ ! -x "$1/bin/busrtd" ]; then
  nice cargo install --quiet --root "$1" --locked --bin busrtd --no-default-features --features server,rpc busrt ||
    echo "bench: busrtd could not be built: its rows will be skipped" >&2
fi
exit 0
