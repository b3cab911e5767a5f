#!/bin/sh
# As in the official image, options and *.conf are passed to redis-server, which runs as redis if started by root.
set -eu

case ${1:-} in
    -* | *.conf) set -- redis-server "$@" ;;
esac

if [ "$1" = redis-server ] && [ "$(id -u)" = 0 ]; then
    find . ! -user redis -exec chown redis {} +
    exec setpriv --reuid=redis --regid=redis --clear-groups "$0" "$@"
fi

[ "$(umask)" != 0022 ] || umask 0077
exec "$@"
