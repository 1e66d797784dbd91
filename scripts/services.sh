#!/usr/bin/env bash
# Real PostgreSQL, MariaDB and Redis servers for the tests, on loopback, each in a directory of its
# own under target/services/. Nothing of the machine's own servers is touched.
#
#   scripts/services.sh up [postgres] [mariadb] [redis]   start them (all by default); safe to repeat
#   scripts/services.sh down [NAME...]                    stop those that `up` started, and only those
#   scripts/services.sh status                            what runs where
#   scripts/services.sh env                               exports for the tests: eval "$(... env)"
#
# What always holds: a server listens on 127.0.0.1 only, on a port found free at its start; it has
# TLS with a certificate of target/services/ca.pem; its administrator's password is random and in
# target/services/NAME/admin.password (0600), never on a command line. Every statement is logged,
# so that the tests can show that no password reaches a log.
set -euo pipefail
umask 077

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
base=${CARGO_TARGET_DIR:-$root/target}/services
all=(postgres mariadb redis)
admin=pentad_admin

say() { printf 'services: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

# ---------------------------------------------------------------------------------- packages

declare -A package=([postgres]=postgresql [mariadb]=mariadb-server [redis]=redis-server)

postgres_bin() { # the newest installed major's directory
    local dir
    dir=$(find /usr/lib/postgresql -mindepth 2 -maxdepth 2 -name bin 2>/dev/null | sort -V | tail -n 1)
    if [[ -n $dir ]]; then echo "$dir"; else dirname "$(command -v initdb)"; fi
}

installed() {
    case $1 in
        postgres) [[ -x $(postgres_bin 2>/dev/null)/initdb ]] ;;
        mariadb) command -v mariadbd mariadb-install-db mariadb-admin >/dev/null ;;
        redis) command -v redis-server redis-cli >/dev/null ;;
    esac
}

install_missing() {
    local missing=() name
    for name in "$@"; do installed "$name" || missing+=("${package[$name]}"); done
    command -v openssl >/dev/null || missing+=(openssl)
    ((${#missing[@]})) || return 0

    local sudo=()
    if ((EUID != 0)); then
        sudo=(sudo -n)
        "${sudo[@]}" true 2>/dev/null || die "missing: run as root: apt-get install ${missing[*]}"
    fi
    say "installing ${missing[*]}"
    # Debian starts a server when its package is installed; Debian's own switch against that.
    local policy=/usr/sbin/policy-rc.d ours=
    if [[ ! -e $policy ]]; then
        printf '#!/bin/sh\nexit 101\n' | "${sudo[@]}" tee "$policy" >/dev/null
        "${sudo[@]}" chmod 755 "$policy"
        ours=1
    fi
    local rc=0
    {
        "${sudo[@]}" apt-get -qq update &&
            "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive \
                apt-get -qq -y --no-install-recommends install "${missing[@]}"
    } >"$base/install.log" 2>&1 || rc=$?
    [[ -z $ours ]] || "${sudo[@]}" rm -f "$policy"
    ((rc == 0)) || die "apt-get failed; see $base/install.log"
}

# ------------------------------------------------------------------------------- certificates

certificates() {
    [[ -s $base/ca.pem ]] && openssl x509 -checkend 86400 -noout -in "$base/server.pem" >/dev/null && return
    say "making a CA and a server certificate"
    local tmp
    tmp=$(mktemp -d "$base/tls.XXXXXX")
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 365 \
        -keyout "$tmp/ca.key" -out "$tmp/ca.pem" -subj '/CN=Pentad test CA' \
        -addext 'basicConstraints=critical,CA:TRUE' -addext 'keyUsage=critical,keyCertSign' 2>/dev/null
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes \
        -keyout "$tmp/server.key" -out "$tmp/server.csr" -subj '/CN=localhost' 2>/dev/null
    openssl x509 -req -in "$tmp/server.csr" -CA "$tmp/ca.pem" -CAkey "$tmp/ca.key" \
        -set_serial "0x$(openssl rand -hex 8)" -days 365 -out "$tmp/server.pem" -extfile <(
            printf '%s\n' 'subjectAltName=DNS:localhost,IP:127.0.0.1,IP:::1' \
                'basicConstraints=critical,CA:FALSE' 'extendedKeyUsage=serverAuth'
        ) 2>/dev/null
    mv "$tmp/server.key" "$tmp/server.pem" "$tmp/ca.pem" "$base/" # the CA's key is not kept
    rm -r "$tmp"
}

# --------------------------------------------------------------------------------- processes

# The server of NAME runs: the process of its pid file is alive and is ours, not a successor that
# got the same number.
running() {
    local pid dir=$base/$1
    pid=$(head -n 1 "$dir/pid" 2>/dev/null) || return 1
    [[ $pid =~ ^[0-9]+$ ]] || return 1
    case $1 in
        # Redis renames its process; its working directory tells.
        redis) [[ $(readlink "/proc/$pid/cwd" 2>/dev/null) == "$dir/data" ]] ;;
        *) tr '\0' '\n' <"/proc/$pid/cmdline" 2>/dev/null | grep -qF -- "$dir/" ;;
    esac
}

free_port() {
    local port
    for _ in {1..200}; do
        port=$((20000 + RANDOM % 12000)) # below Linux's range for outgoing connections
        (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || { echo "$port"; return; }
    done
    die "no free port found"
}

wait_for() { # SECONDS COMMAND...
    local end=$((SECONDS + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        ((SECONDS < end)) || return 1
        sleep 0.1
    done
}

stop() {
    local name=$1 pid
    if ! running "$name"; then rm -f "$base/$name/pid"; return; fi
    pid=$(head -n 1 "$base/$name/pid")
    case $name in
        postgres) kill -INT "$pid" ;; # "fast" shutdown: sessions end, data is flushed
        *) kill -TERM "$pid" ;;
    esac
    gone() { ! kill -0 "$pid" 2>/dev/null; }
    wait_for 30 gone || die "$name (pid $pid) does not stop; see $base/$name/server.log"
    rm -f "$base/$name/pid" "$base/$name/port"
    say "$name stopped"
}

password_of() {
    [[ -s $base/$1/admin.password ]] || openssl rand -hex 24 | tr -d '\n' >"$base/$1/admin.password"
    cat "$base/$1/admin.password"
}

# ---------------------------------------------------------------------------------- PostgreSQL

as_postgres() { # PostgreSQL refuses to run as root
    if ((EUID == 0)); then runuser -u postgres -- "$@"; else "$@"; fi
}

start_postgres() {
    local dir=$base/postgres bin port=$1
    bin=$(postgres_bin)
    if ((EUID == 0)); then
        id postgres >/dev/null 2>&1 || useradd --system --no-create-home --shell /usr/sbin/nologin postgres
        # To be passed through, not looked into; whoever builds under umask 077 made target/ so.
        chmod a+x "$base" "${base%/*}"
        chown postgres: "$dir"
        as_postgres test -w "$dir" ||
            die "the user postgres can't reach $dir: build below a directory that it may pass, or set CARGO_TARGET_DIR"
    fi
    if [[ ! -s $dir/data/PG_VERSION ]]; then
        rm -rf "$dir/data"
        password_of postgres >"$dir/pwfile"
        ((EUID != 0)) || chown postgres: "$dir/pwfile"
        (cd / && as_postgres "$bin/initdb" -D "$dir/data" -U "$admin" -A scram-sha-256 --pwfile="$dir/pwfile" \
            -E UTF8 --locale=C.UTF-8) >"$dir/initdb.log" 2>&1 || die "initdb failed; see $dir/initdb.log"
        rm -f "$dir/pwfile"
        cat >>"$dir/data/postgresql.conf" <<CONF
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
external_pid_file = '$dir/pid'
password_encryption = 'scram-sha-256'
fsync = on
ssl = on
ssl_cert_file = '$dir/server.pem'
ssl_key_file = '$dir/server.key'
log_statement = 'all'
log_connections = on
CONF
    fi
    # Members of these roles are let in unasked, or send their password in the clear: what tests need
    # to show that such a login is taken for no proof.
    printf '%s\n' 'host all +let_in_unasked 127.0.0.1/32 trust' \
        'host all +asked_in_the_clear 127.0.0.1/32 password' \
        'host all all 127.0.0.1/32 scram-sha-256' 'host replication all 127.0.0.1/32 scram-sha-256' \
        >"$dir/data/pg_hba.conf"
    install -m 600 "$base/server.key" "$base/server.pem" "$dir/"
    # Log and key belong to the account that the server runs under.
    touch "$dir/server.log"
    ((EUID != 0)) || chown postgres: "$dir/server.log" "$dir/server.key" "$dir/server.pem"
    (cd / && as_postgres "$bin/pg_ctl" -D "$dir/data" -l "$dir/server.log" -o "-p $port" -w -t 60 start) >/dev/null 2>&1
}

# ------------------------------------------------------------------------------------- MariaDB

start_mariadb() {
    local dir=$base/mariadb port=$1 user
    user=$(id -un)
    if [[ ! -d $dir/data/mysql ]]; then
        rm -rf "$dir/data"
        mariadb-install-db --no-defaults --user="$user" --datadir="$dir/data" \
            --auth-root-authentication-method=normal --skip-test-db >"$dir/install.log" 2>&1 ||
            die "mariadb-install-db failed; see $dir/install.log"
    fi
    install -m 600 "$base/server.key" "$base/server.pem" "$base/ca.pem" "$dir/"
    cat >"$dir/init.sql" <<SQL
CREATE USER IF NOT EXISTS '$admin'@'%' IDENTIFIED BY '$(password_of mariadb)';
GRANT ALL PRIVILEGES ON *.* TO '$admin'@'%' WITH GRANT OPTION;
ALTER USER 'root'@'localhost' IDENTIFIED BY '$(password_of mariadb)';
DROP USER IF EXISTS ''@'localhost', ''@'$(hostname)';
SET GLOBAL general_log = ON;
SQL
    printf '[client]\nprotocol=tcp\nhost=127.0.0.1\nport=%s\nuser=%s\npassword=%s\n' \
        "$port" "$admin" "$(password_of mariadb)" >"$dir/client.cnf"
    setsid mariadbd --no-defaults --user="$user" --datadir="$dir/data" --socket="$dir/socket" \
        --pid-file="$dir/pid" --bind-address=127.0.0.1 --port="$port" --skip-name-resolve \
        --ssl-ca="$dir/ca.pem" --ssl-cert="$dir/server.pem" --ssl-key="$dir/server.key" \
        --innodb-buffer-pool-size=32M --general-log-file="$dir/general.log" --log-error="$dir/server.log" \
        --init-file="$dir/init.sql" </dev/null >/dev/null 2>&1 &
    wait_for 60 mariadb-admin --defaults-extra-file="$dir/client.cnf" ping
}

# --------------------------------------------------------------------------------------- Redis

start_redis() {
    local dir=$base/redis port=$1 tls_port
    tls_port=$(free_port)
    install -d "$dir/data"
    install -m 600 "$base/server.key" "$base/server.pem" "$dir/"
    if [[ ! -s $dir/users.acl ]]; then
        printf 'user default off\nuser %s on #%s ~* &* +@all\n' "$admin" \
            "$(printf %s "$(password_of redis)" | sha256sum | cut -d ' ' -f 1)" >"$dir/users.acl"
    fi
    cat >"$dir/redis.conf" <<CONF
bind 127.0.0.1
port $port
tls-port $tls_port
tls-cert-file $dir/server.pem
tls-key-file $dir/server.key
tls-ca-cert-file $base/ca.pem
tls-auth-clients no
dir $dir/data
aclfile $dir/users.acl
pidfile $dir/pid
logfile $dir/server.log
loglevel verbose
daemonize yes
slowlog-log-slower-than 0
slowlog-max-len 4096
CONF
    redis-server "$dir/redis.conf" >/dev/null
    pong() {
        REDISCLI_AUTH=$(cat "$dir/admin.password") redis-cli -h 127.0.0.1 -p "$port" --user "$admin" ping |
            grep -q PONG
    }
    wait_for 30 pong && echo "$tls_port" >"$dir/tls-port"
}

# ------------------------------------------------------------------------------------ commands

up() {
    mkdir -p "$base"
    base=$(cd "$base" && pwd -P) # as /proc shows it
    exec 9>"$base/.lock"
    flock 9 # two at once would start each server twice
    install_missing "$@"
    certificates
    local name port try
    for name in "$@"; do
        if running "$name" && [[ -s $base/$name/port ]]; then continue; fi
        stop "$name"
        mkdir -p "$base/$name"
        password_of "$name" >/dev/null
        for try in 1 2 3; do # somebody may take the port between the look and the start
            port=$(free_port)
            if "start_$name" "$port" 9>&-; then
                echo "$port" >"$base/$name/port"
                say "$name listens on 127.0.0.1:$port"
                continue 2
            fi
            stop "$name"
        done
        die "$name did not start; see $base/$name/server.log"
    done
}

status() {
    local name
    for name in "${all[@]}"; do
        if running "$name"; then
            echo "$name: runs, 127.0.0.1:$(cat "$base/$name/port"), pid $(head -n 1 "$base/$name/pid")"
        else
            echo "$name: stopped"
        fi
    done
}

exports() {
    local name prefix dir
    for name in "${all[@]}"; do
        running "$name" || continue
        prefix=PENTAD_TEST_${name^^} dir=$base/$name
        printf 'export %s=%q\n' \
            "${prefix}_ADDR" "127.0.0.1:$(cat "$dir/port")" \
            "${prefix}_ADMIN" "$admin" \
            "${prefix}_PASSWORD_FILE" "$dir/admin.password" \
            "${prefix}_CA" "$base/ca.pem" \
            "${prefix}_LOG" "$dir/server.log"
    done
    ! running mariadb || printf 'export %s=%q\n' PENTAD_TEST_MARIADB_GENERAL_LOG "$base/mariadb/general.log"
    ! running redis || printf 'export %s=%q\n' PENTAD_TEST_REDIS_TLS_ADDR "127.0.0.1:$(cat "$base/redis/tls-port")"
}

command=${1:-help}
(($# == 0)) || shift
names=("$@")
((${#names[@]})) || names=("${all[@]}")
for name in "${names[@]}"; do
    [[ " ${all[*]} " == *" $name "* ]] || die "unknown service '$name'; there are: ${all[*]}"
done
[[ ! -d $base ]] || base=$(cd "$base" && pwd -P)

case $command in
    up) up "${names[@]}" ;;
    down)
        [[ -d $base ]] || exit 0
        exec 9>"$base/.lock"
        flock 9
        for name in "${names[@]}"; do stop "$name"; done
        ;;
    status) status ;;
    env) exports ;;
    *) sed -n '2,14s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; [[ $command == help ]] ;;
esac
