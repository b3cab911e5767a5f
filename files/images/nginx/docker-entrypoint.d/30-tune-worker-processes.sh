#!/bin/sh
# Where the environment wants it, sets the number of workers in the image's own nginx.conf.
set -eu

[ -n "${NGINX_ENTRYPOINT_WORKER_PROCESSES_AUTOTUNE:-}" ] || exit 0
if ! touch /etc/nginx/nginx.conf 2> /dev/null; then
    echo "${0##*/}: error: can not modify /etc/nginx/nginx.conf (read-only file system?)" >&2
    exit 0
fi
sed -i "s/^worker_processes .*/worker_processes $(nproc);/" /etc/nginx/nginx.conf
