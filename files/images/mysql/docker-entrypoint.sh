#!/usr/bin/env bash
# As in the official image, an empty data directory is initialised from MYSQL_* and /docker-entrypoint-initdb.d. The role must
# get along with the official one, so this one shares its manners: passwords go into SQL as they are, and nothing records
# that an initialisation was completed.
set -euo pipefail
shopt -s nullglob

log() {
    printf '%s [Entrypoint] %s\n' "$(date --rfc-3339=seconds)" "$*"
}

die() {
    log "ERROR: $*" >&2
    exit 1
}

# file_env NAME: set NAME to the content of the file that NAME_FILE points to.
file_env() {
    local file="$1_FILE"
    if [[ -n ${!file:-} ]]; then
        [[ -z ${!1:-} ]] || die "Both $1 and $file are set: set one of them."
        [[ -r ${!file} ]] || die "$file is ${!file}, which user $(id -u) cannot read: give the file to that user."
        export "$1=$(< "${!file}")"
        unset "$file"
    fi
}

# The client's password is passed in an option file that exists only as a file descriptor, as it is.
root_client() {
    local program=$1
    shift
    "$program" --defaults-extra-file=<(printf '[client]\npassword="%s"\n' "$root_password") \
        --protocol=socket --socket="$socket" --user=root "$@"
}

# Also available to *.sh files in /docker-entrypoint-initdb.d, as in the official image.
docker_process_sql() {
    root_client mysql --comments ${MYSQL_DATABASE:+--database="$MYSQL_DATABASE"} "$@"
}

account_sql() {
    echo "SET SESSION sql_log_bin = 0;"
    if [[ ${MYSQL_ROOT_HOST:=%} != localhost ]]; then
        echo "CREATE USER 'root'@'$MYSQL_ROOT_HOST' IDENTIFIED BY '$MYSQL_ROOT_PASSWORD';"
        echo "GRANT ALL ON *.* TO 'root'@'$MYSQL_ROOT_HOST' WITH GRANT OPTION;"
    fi
    echo "ALTER USER 'root'@'localhost' IDENTIFIED BY '$MYSQL_ROOT_PASSWORD';"
    echo "SET SESSION sql_log_bin = 1;"
    if [[ -n ${MYSQL_DATABASE:-} ]]; then
        echo "CREATE DATABASE IF NOT EXISTS \`$MYSQL_DATABASE\`;"
    fi
    if [[ -n ${MYSQL_USER:-} ]]; then
        echo "CREATE USER '$MYSQL_USER'@'%' IDENTIFIED BY '$MYSQL_PASSWORD';"
        if [[ -n ${MYSQL_DATABASE:-} ]]; then
            # In GRANT, _ is a wildcard; escaped, it matches only itself.
            echo "GRANT ALL ON \`${MYSQL_DATABASE//_/\\_}\`.* TO '$MYSQL_USER'@'%';"
        fi
    fi
}

run_init_files() {
    local file
    for file in /docker-entrypoint-initdb.d/*; do
        log "Running $file"
        case $file in
            *.sh) if [[ -x $file ]]; then "$file"; else . "$file"; fi ;;
            *.sql) docker_process_sql < "$file" ;;
            *.sql.gz) gunzip --stdout "$file" | docker_process_sql ;;
            *) log "Ignoring $file: not *.sh, *.sql or *.sql.gz" ;;
        esac
    done
}

initialise() {
    file_env MYSQL_ROOT_PASSWORD
    file_env MYSQL_PASSWORD
    [[ -n ${MYSQL_ROOT_PASSWORD:-} ]] ||
        die "The data directory is empty and no root password is set: set MYSQL_ROOT_PASSWORD_FILE."
    [[ ${MYSQL_USER:-} != root ]] || die "MYSQL_USER is root, which always exists: choose another name."
    [[ -z ${MYSQL_USER:-} || -n ${MYSQL_PASSWORD:-} ]] ||
        die "MYSQL_USER is $MYSQL_USER without a password: set MYSQL_PASSWORD_FILE."

    log "Initialising $datadir"
    "$@" --initialize-insecure --default-time-zone=SYSTEM
    "$@" --daemonize --skip-networking --mysqlx=OFF --default-time-zone=SYSTEM --socket="$socket"

    root_password=
    mysql_tzinfo_to_sql /usr/share/zoneinfo 2> /dev/null | root_client mysql --database=mysql
    account_sql | root_client mysql --default-character-set=utf8mb4
    root_password=$MYSQL_ROOT_PASSWORD
    run_init_files
    root_client mysqladmin shutdown
    # mysqladmin returns as soon as the server no longer listens; the server removes its PID file last.
    while [[ -e $pid_file ]]; do sleep 0.1; done
    unset MYSQL_ROOT_PASSWORD MYSQL_PASSWORD root_password
    log "MySQL init process done. Ready for start up."
}

[[ ${1:-} != -* ]] || set -- mysqld "$@"

serves=false
if [[ ${1:-} == mysqld ]]; then
    serves=true
    for argument in "$@"; do
        case $argument in
            '-?' | --help | --print-defaults | -V | --version) serves=false ;;
        esac
    done
fi

if [[ $serves == true ]]; then
    if ! options=$("$@" --verbose --help --log-bin-index=/tmp/unused 2>&1); then
        die "mysqld refuses its configuration: $(grep ERROR <<< "$options" || tail -n 3 <<< "$options")"
    fi
    option() {
        awk -v name="$1" '/^[^ ]/ && $1 == name { print $2; exit }' <<< "$options"
    }
    datadir=$(option datadir)
    datadir=${datadir%/}
    socket=$(option socket)
    pid_file=$(option pid-file)

    if [[ $(id -u) == 0 ]]; then
        mkdir -p "$datadir"
        find "$datadir" "${socket%/*}" ! -user mysql -exec chown --no-dereference mysql:mysql {} +
        exec setpriv --reuid=mysql --regid=mysql --init-groups "$0" "$@"
    fi

    [[ -d $datadir/mysql ]] || initialise "$@"
fi

exec "$@"
