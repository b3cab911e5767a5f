#!/bin/sh
# Fills in the variables of the environment in templates, and writes the results beside the configuration.
set -eu

templates=${NGINX_ENVSUBST_TEMPLATE_DIR:-/etc/nginx/templates}
suffix=${NGINX_ENVSUBST_TEMPLATE_SUFFIX:-.template}
output=${NGINX_ENVSUBST_OUTPUT_DIR:-/etc/nginx/conf.d}

[ -d "$templates" ] || exit 0
if ! [ -w "$output" ]; then
    echo "${0##*/}: ERROR: $templates exists, but $output is not writable"
    exit 0
fi
names=$(env | sed -n "s/^\([A-Za-z_][A-Za-z0-9_]*\)=.*/\${\1}/p")
find "$templates" -follow -type f -name "*$suffix" | while read -r template; do
    file=$output/${template#"$templates/"}
    mkdir -p "${file%/*}"
    echo "${0##*/}: info: Running envsubst on $template to ${file%"$suffix"}"
    envsubst "$names" < "$template" > "${file%"$suffix"}"
done
