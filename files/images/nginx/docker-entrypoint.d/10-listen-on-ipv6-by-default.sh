#!/bin/sh
# Makes the image's own default.conf listen on IPv6; one that somebody else wrote is left alone.
set -eu

file=/etc/nginx/conf.d/default.conf

say() {
    [ -n "${NGINX_ENTRYPOINT_QUIET_LOGS:-}" ] || echo "${0##*/}: info: $*"
    exit 0
}

[ -e /proc/net/if_inet6 ] || say "ipv6 not available"
[ -f "$file" ] || say "$file is not a file or does not exist"
touch "$file" 2> /dev/null || say "can not modify $file (read-only file system?)"
! grep -qF 'listen [::]:80;' "$file" || say "IPv6 listen already enabled"
cmp -s "$file" /usr/share/nginx/default.conf || say "$file differs from the packaged version"
sed -i 's/^    listen 80;$/&\n    listen [::]:80;/' "$file"
say "Enabled listen on IPv6 in $file"
