#!/bin/sh
# As in the official image, the scripts in /docker-entrypoint.d run before nginx does, and write into the image's own files.
set -eu

say() {
    [ -n "${NGINX_ENTRYPOINT_QUIET_LOGS:-}" ] || echo "$0: $*"
}

case ${1:-} in
    nginx | nginx-debug)
        say "/docker-entrypoint.d/ is not empty, will attempt to perform configuration"
        for script in /docker-entrypoint.d/*; do
            case $script in
                *.envsh) say "Sourcing $script" && . "$script" ;;
                *.sh) say "Launching $script" && "$script" ;;
                *) say "Ignoring $script" ;;
            esac
        done
        say "Configuration complete; ready for start up"
        ;;
esac

exec "$@"
