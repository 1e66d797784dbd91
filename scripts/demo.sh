#!/usr/bin/env bash
# A guided tour: ./dev demo [--ci] [--no-services] [--release]
#
# Two hundred accounts on a real PostgreSQL and a real Redis get new passwords, all at once; then
# again, and half-way the server is killed. What is claimed is shown at the targets themselves: by
# psql, and by a raw AUTH on a socket.
#
#   --ci           end by itself; exit 0 only if everything held
#   --no-services  no database servers: 200 variables of a .env file instead
#   --release      an optimised build of pentad
#
# PENTAD_DEMO_BINARY names a program that is built already.
set -euo pipefail
usual_umask=$(umask)
umask 077
export LC_ALL=C # lengths are bytes
cd "$(dirname "${BASH_SOURCE[0]}")/.."
root=$PWD
# Settings of the user's own Pentad are not the demo's.
for name in $(compgen -e PENTAD_); do [[ $name == PENTAD_DEMO_BINARY ]] || unset "$name"; done

ci='' servers=yes profile=debug
for option in "$@"; do
    case $option in
        --ci) ci=yes ;;
        --no-services) servers='' ;;
        --release) profile=release ;;
        *) echo "there is no option $option; see ./dev help" >&2; exit 2 ;;
    esac
done

# ---------------------------------------------------------------------------------- telling

if [[ -t 1 && -z ${NO_COLOR:-} ]]; then
    bold=$'\e[1m' dim=$'\e[2m' red=$'\e[31m' green=$'\e[32m' plain=$'\e[0m'
else
    bold='' dim='' red='' green='' plain=''
fi
started=$SECONDS
now_ms() { date +%s%3N; }
seconds_since() { local ms=$(($(now_ms) - $1)); printf '%d.%d s' $((ms / 1000)) $((ms % 1000 / 100)); }
chapter() { printf '\n%s%s%s\n' "$bold" "$*" "$plain"; }
tell() { printf '  %s\n' "$*"; }
shown() { printf '  %s$ %s%s\n' "$dim" "$*" "$plain"; }
broken=0 summary=()
holds() { # CLAIM VERDICT DETAIL: for the reader now, and for the table at the end
    local mark="${green}holds${plain}"
    if [[ $2 != yes ]]; then mark="${red}BROKEN${plain}"; broken=$((broken + 1)); fi
    printf '  %s  %s (%s)\n' "$mark" "$1" "$3"
    summary+=("$2|$1|$3")
}
die() { printf '%s%s%s\n' "$red" "$*" "$plain" >&2; exit 1; }

# ---------------------------------------------------------------------------------- stage

here=$(mktemp -d "${TMPDIR:-/tmp}/pentad-demo.XXXXXX")
server='' stop_at_end=() accounts_made=''
clean_up() {
    local rc=$?
    trap - EXIT
    [[ -z $server ]] || { kill -TERM "$server" && wait "$server"; } 2>/dev/null || true
    [[ -z $accounts_made ]] || drop_accounts || true
    ((${#stop_at_end[@]} == 0)) || scripts/services.sh down "${stop_at_end[@]}" 2>/dev/null || true
    rm -rf "$here"
    exit "$rc"
}
trap clean_up EXIT
trap 'exit 130' INT TERM

pentad=${CARGO_TARGET_DIR:-$root/target}/$profile/pentad
build() {
    [[ -z ${PENTAD_DEMO_BINARY:-} ]] || { pentad=$PENTAD_DEMO_BINARY; return; }
    chapter "Building pentad"
    local begun flags=(--locked --quiet -p pentad --bin pentad)
    begun=$(now_ms)
    [[ $profile == debug ]] || flags+=(--release)
    tell "cargo build ${flags[*]}  ${dim}(some minutes the first time)${plain}"
    # What is built is also run by others: PostgreSQL's user passes target/, a test runs as nobody.
    (umask "$usual_umask" && cargo build "${flags[@]}") || die "the build failed"
    tell "built in $(seconds_since "$begun")"
}

# ------------------------------------------------------------------------------- the targets

# Accounts are rows of two arrays: where and who. Values live in shell variables only.
where=() who=() old=() new=()
mark=d$(od -An -N3 -tx1 /dev/urandom | tr -d ' \n') # so that two demos don't meet
count=200 postgres_count=150

start_services() {
    chapter "Starting PostgreSQL and Redis"
    local before name
    before=$(scripts/services.sh status 2>/dev/null)
    for name in postgres redis; do
        grep -q "^$name: runs" <<<"$before" || stop_at_end+=("$name")
    done
    scripts/services.sh up postgres redis 2>&1 | sed 's/^/  /'
    eval "$(scripts/services.sh env)"
}

pg_admin() {
    PGPASSWORD=$(cat "$PENTAD_TEST_POSTGRES_PASSWORD_FILE") psql -qXAt -v ON_ERROR_STOP=1 \
        -h "${PENTAD_TEST_POSTGRES_ADDR%:*}" -p "${PENTAD_TEST_POSTGRES_ADDR#*:}" \
        -U "$PENTAD_TEST_POSTGRES_ADMIN" -d postgres
}
redis_admin() { # commands on standard input
    REDISCLI_AUTH=$(cat "$PENTAD_TEST_REDIS_PASSWORD_FILE") redis-cli --no-auth-warning \
        -h "${PENTAD_TEST_REDIS_ADDR%:*}" -p "${PENTAD_TEST_REDIS_ADDR#*:}" \
        --user "$PENTAD_TEST_REDIS_ADMIN"
}

# What people choose.
seasons=(Spring Summer Autumn Winter)
human_password() { printf '%s%d' "${seasons[$1 % 4]}" $((2012 + $1 % 13)); }

make_accounts() {
    local i
    accounts_made=yes
    for ((i = 1; i <= count; i++)); do
        if [[ -z $servers ]]; then
            where+=(envfile) who+=("SERVICE_${i}_KEY") old+=("$(human_password "$i")")
        elif ((i <= postgres_count)); then
            where+=(postgres) who+=("${mark}_app$i") old+=("$(human_password "$i")")
        else
            where+=(redis) who+=("${mark}_cache$i") old+=("$(human_password "$i")")
        fi
    done
    if [[ -z $servers ]]; then
        chapter "A .env file with $count keys, as people write them"
        for i in "${!who[@]}"; do printf '%s=%s\n' "${who[i]}" "${old[i]}"; done >"$here/app.env"
        tell "$here/app.env"
        return
    fi
    chapter "$postgres_count PostgreSQL roles and $((count - postgres_count)) Redis users, with passwords as people choose them"
    for i in "${!who[@]}"; do
        [[ ${where[i]} != postgres ]] || printf "CREATE ROLE %s LOGIN PASSWORD '%s';\n" "${who[i]}" "${old[i]}"
    done | pg_admin
    for i in "${!who[@]}"; do
        [[ ${where[i]} != redis ]] || printf 'ACL SETUSER %s on >%s ~%s:* +@read\n' "${who[i]}" "${old[i]}" "$mark"
    done | redis_admin | sort | uniq -c | awk '$2 != "OK" { exit 1 }' || die "Redis refused an account"
    tell "such as ${who[0]} / ${old[0]}"
}

drop_accounts() {
    [[ -n $servers ]] || return 0
    local i
    for i in "${!who[@]}"; do
        [[ ${where[i]} != postgres ]] || echo "DROP ROLE IF EXISTS ${who[i]};"
    done | pg_admin 2>/dev/null
    for i in "${!who[@]}"; do
        [[ ${where[i]} != redis ]] || echo "ACL DELUSER ${who[i]}"
    done | redis_admin >/dev/null
    redis_admin >/dev/null <<<"ACL SAVE"
}

# A login as a consumer would do it. Says yes, no, or what else happened.
log_in() { # WHERE WHO VALUE
    local said
    case $1 in
        postgres)
            if said=$(PGPASSWORD=$3 PGCONNECT_TIMEOUT=10 psql -qXAt -h "${PENTAD_TEST_POSTGRES_ADDR%:*}" \
                -p "${PENTAD_TEST_POSTGRES_ADDR#*:}" -U "$2" -d postgres -c 'SELECT current_user' 2>&1); then
                if [[ $said == "$2" ]]; then echo yes; else echo "odd: $said"; fi
            elif [[ $said == *"password authentication failed"* ]]; then
                echo no
            else
                echo "odd: $said"
            fi
            ;;
        redis) # redis-cli goes on as the default user after a refused AUTH; a socket does not
            exec 3<>"/dev/tcp/${PENTAD_TEST_REDIS_ADDR%:*}/${PENTAD_TEST_REDIS_ADDR#*:}"
            # One write: the protocol's own form, each part with its length.
            printf '*3\r\n$4\r\nAUTH\r\n$%d\r\n%s\r\n$%d\r\n%s\r\n' "${#2}" "$2" "${#3}" "$3" >&3
            IFS= read -r -t 10 said <&3 || said="no answer"
            exec 3>&-
            case $said in
                +OK*) echo yes ;;
                -WRONGPASS*) echo no ;;
                *) echo "odd: $said" ;;
            esac
            ;;
        envfile) # the file is the target: what a program that loads it would get
            if grep -qxF -- "$2=$3" "$here/app.env" || grep -qxF -- "$2='$3'" "$here/app.env" ||
                grep -qxF -- "$2=\"$3\"" "$here/app.env"; then echo yes; else echo no; fi
            ;;
    esac
}

# Tries every account with a set of values, four at a time. Prints "YES NO ODD".
try_all() { # old|new
    local -n values=$1
    local lane lanes=4 i tried
    for ((lane = 0; lane < lanes; lane++)); do
        for ((i = lane; i < count; i += lanes)); do
            tried=$(log_in "${where[i]}" "${who[i]}" "${values[i]}")
            case $tried in yes | no) echo "$tried"; ;; *) echo "odd ${who[i]}: $tried" >&2; echo odd ;; esac
        done >"$here/lane.$lane" &
        lane_pids+=("$!")
    done
    wait "${lane_pids[@]}"
    lane_pids=()
    cat "$here"/lane.* | awk '{ n[$1]++ } END { print n["yes"] + 0, n["no"] + 0, n["odd"] + 0 }'
}
lane_pids=()

prove() { # WHAT
    local yes no odd
    read -r yes no odd < <(try_all old)
    holds "$1: all $count old passwords are refused" "$( ((no == count)) && echo yes || echo no)" \
        "$no refused, $yes accepted, $odd unclear"
    read -r yes no odd < <(try_all new)
    holds "$1: all $count new passwords log in" "$( ((yes == count)) && echo yes || echo no)" \
        "$yes accepted, $no refused, $odd unclear"
}

# ----------------------------------------------------------------------------------- pentad

path_of() { printf 'demo/%s/%03d' "${where[$1]}" "$(($1 + 1))"; }

start_server() { # where it listens is known only after the first start
    # The one directory whose files the server may read and replace: the demo's own.
    export PENTAD_FILES_BELOW=$here
    rm -f "$here/store/address"
    "$pentad" --dir "$here/store" server --listen "${listen:-127.0.0.1:0}" >>"$here/server.log" 2>&1 &
    server=$!
    local tries
    for ((tries = 0; tries < 300; tries++)); do
        [[ ! -s $here/store/address ]] || break
        kill -0 "$server" 2>/dev/null || die "the server ended: $(tail -n 3 "$here/server.log")"
        sleep 0.1
    done
    [[ -s $here/store/address ]] || die "the server does not start; see $here/server.log"
    PENTAD_ADDR=$(cat "$here/store/address")
    listen=${PENTAD_ADDR#*://}
    export PENTAD_ADDR PENTAD_TOKEN_FILE=$here/token
}
listen=''

set_up_pentad() {
    chapter "A new Pentad, in a directory of its own"
    shown "pentad init; pentad server"
    local init
    init=$("$pentad" --dir "$here/store" init --json) || die "pentad init failed"
    [[ $init =~ \"token\":\"(pntd_[^\"]+)\" ]] || die "pentad init showed no token"
    printf '%s\n' "${BASH_REMATCH[1]}" >"$here/token"
    start_server
    tell "listens at $PENTAD_ADDR"
}

# One target and the password of its administrating account, which goes in through a pipe.
add_target() { # NAME SYSTEM PREFIX
    local address=PENTAD_TEST_$3_ADDR admin=PENTAD_TEST_$3_ADMIN file=PENTAD_TEST_$3_PASSWORD_FILE
    "$pentad" -q put "admin/$1" --kind password <"${!file}" >/dev/null
    shown "pentad target put $1 --system $2 --address ${!address} --admin-account ${!admin} --admin-credential admin/$1 --plain"
    "$pentad" -q target put "$1" --system "$2" --address "${!address}" --plain \
        --admin-account "${!admin}" --admin-credential "admin/$1" >/dev/null
}

import() {
    chapter "Importing $count credentials from a CSV file"
    local i lane
    for i in "${!who[@]}"; do printf '%s,%s,password\n' "$(path_of "$i")" "${old[i]}"; done |
        { echo 'path,value,kind'; cat; } >"$here/import.csv"
    if [[ -n $servers ]]; then
        add_target postgres postgresql POSTGRES
        add_target redis redis REDIS
    else
        shown "pentad target put envfile --system envfile --address $here/app.env"
        "$pentad" -q target put envfile --system envfile --address "$here/app.env" >/dev/null
    fi
    shown "pentad import import.csv --accept-weak --yes"
    "$pentad" import "$here/import.csv" --accept-weak --yes --quiet | sed 's/^/  /'
    rm -f "$here/import.csv"
    shown "pentad put $(path_of 0) --metadata --target ${where[0]} --account ${who[0]}   # and so on"
    for lane in 0 1 2 3; do
        for ((i = lane; i < count; i += 4)); do
            "$pentad" -q put "$(path_of "$i")" --metadata --target "${where[i]}" --account "${who[i]}" >/dev/null
        done &
        lane_pids+=("$!")
    done
    wait "${lane_pids[@]}" || die "some could not be bound to their accounts"
    lane_pids=()
    for i in $(printf '%s\n' "${where[@]}" | sort -u); do
        [[ $i == envfile ]] && continue
        shown "pentad target check $i"
        "$pentad" target check "$i" | sed 's/^/  /'
    done
}

cut_lines() { # to the terminal's width
    awk -v width="$((${COLUMNS:-$(tput cols 2>/dev/null || echo 110)} - 4))" \
        '{ print (length($0) > width) ? substr($0, 1, width - 1) "…" : $0 }'
}
excerpt() { awk -v most="$1" 'NR <= most { print "  " $0 } END { if (NR > most) printf "  … and %d more\n", NR - most }'; }

look_at_them() { # expects REFUSED of them to be refused by policy
    local rc=0
    shown "pentad check --prefix demo/"
    "$pentad" -q check --prefix demo/ >"$here/check" 2>"$here/check.err" || rc=$?
    cut_lines <"$here/check" | excerpt 5
    sed 's/^pentad: /  /; /^hint/d' "$here/check.err"
    refused=$(grep -c ' refused ' "$here/check" || true)
    if ((rc != 0 && rc != 6)); then die "pentad check failed with status $rc"; fi
}

# Reads every current value, each read on record, in one go and through no file.
read_values() {
    local i arguments=() entry name
    for i in "${!who[@]}"; do arguments+=(--env "V$i=$(path_of "$i")"); done
    new=()
    while IFS= read -r -d '' entry; do
        name=${entry%%=*}
        [[ ! $name =~ ^V[0-9]+$ ]] || new[${name#V}]=${entry#*=}
    done < <("$pentad" run "${arguments[@]}" -- env -0)
    ((${#new[@]} == count)) || die "only ${#new[@]} of $count values could be read"
}

first_batch() {
    chapter "What a rotation would do"
    shown "pentad rotate --prefix demo/ --plan"
    "$pentad" rotate --prefix demo/ --plan >"$here/plan"
    cut_lines <"$here/plan" | excerpt 4

    chapter "Rotating all $count, in parallel"
    shown "pentad rotate --prefix demo/"
    local begun rc=0
    begun=$(now_ms)
    # Its own progress bar, where there is a terminal.
    "$pentad" rotate --prefix demo/ >"$here/rotated" || rc=$?
    sed 's/^/  /' "$here/rotated"
    holds "all $count were rotated" "$( ((rc == 0)) && echo yes || echo no)" "in $(seconds_since "$begun")"
}

unfinished() { "$pentad" -q rotations --batch "$1" --unfinished | awk 'NR > 1 { n++ } END { print n + 0 }'; }

# Starts a batch and kills the server when about half of it is done. Fails if the batch was faster.
kill_half_way() {
    local said left
    said=$("$pentad" rotate --prefix demo/ --no-wait) || die "the batch was not accepted: $said"
    batch=${said##* }
    while left=$(unfinished "$batch"); do
        if ((left * 10 <= count * 7)); then break; fi
    done
    kill -KILL "$server"
    wait "$server" 2>/dev/null || true
    server=''
    ((left > 0)) || return 1
    killed="$((count - left)) of $count done, $left under way or waiting"
    tell "${bold}kill -9${plain} with $killed"
}

second_batch() {
    chapter "Again, and this time the server dies half-way"
    "$pentad" audit checkpoint --out "$here/kept.note" 2>"$here/kept.key" >/dev/null
    vkey=$(sed -n 's/^key: //p' "$here/kept.key")
    tell "a signed checkpoint of the audit log is kept aside"
    shown "pentad rotate --prefix demo/ --no-wait"
    local tries begun left killed=""
    for tries in 1 2 3; do
        old=("${new[@]}")
        if kill_half_way; then break; fi
        tell "the batch was done before it could be killed; once more"
        ((tries < 3)) || die "three batches were faster than the look at them"
        start_server
        read_values
    done
    holds "the server was killed in the middle of the work" "$([[ -n $killed ]] && echo yes || echo no)" "$killed"
    shown "pentad server"
    begun=$(now_ms)
    start_server
    tell "up again after $(seconds_since "$begun"); it looks at each target what became of what was under way"
    [[ -n $servers ]] || tell "(a file has no connection to kill: it waits 20 s until nothing sent earlier can happen)"
    while left=$(unfinished "$batch") && ((left > 0)); do
        (($(now_ms) - begun < 120000)) || break
        sleep 0.2
    done
    holds "after the crash: every rotation came to its end" "$( ((left == 0)) && echo yes || echo no)" \
        "in $(seconds_since "$begun"), $left left"
    local ends
    ends=$("$pentad" -q rotations --batch "$batch" | awk 'NR > 1 { n[$4]++ } END { for (step in n) printf "%d %s ", n[step], step }')
    holds "after the crash: none is lost, none diverged" "$([[ $ends == "$count done " ]] && echo yes || echo no)" "${ends% }"
}

audit_holds() {
    chapter "The audit log, against the checkpoint that was kept aside"
    shown "pentad audit verify --checkpoint kept.note --key $vkey"
    local rc=0
    "$pentad" --dir "$here/store" audit verify --checkpoint "$here/kept.note" --key "$vkey" >"$here/audit" 2>&1 || rc=$?
    excerpt 6 <"$here/audit"
    holds "the audit log verifies, over the crash" "$( ((rc == 0)) && echo yes || echo no)" "status $rc"
}

# -------------------------------------------------------------------------------------- tour

build
[[ -z $servers ]] || start_services
make_accounts
set_up_pentad
import

chapter "Judging what was imported"
look_at_them
holds "weak passwords are recognised" "$( ((refused == count)) && echo yes || echo no)" "$refused of $count refused by policy"

first_batch
chapter "Proof, at the targets themselves"
read_values
prove "first rotation"
look_at_them
holds "what Pentad made is strong" "$( ((refused == 0)) && echo yes || echo no)" "$refused refused"

second_batch
chapter "Proof again"
read_values
prove "after kill -9"
audit_holds

chapter "Summary"
width=0
for line in "${summary[@]}"; do
    IFS='|' read -r _ claim _ <<<"$line"
    ((${#claim} <= width)) || width=${#claim}
done
for line in "${summary[@]}"; do
    IFS='|' read -r verdict claim detail <<<"$line"
    if [[ $verdict == yes ]]; then colour=$green word='holds '; else colour=$red word=BROKEN; fi
    printf '  %s%s%s  %-*s  %s\n' "$colour" "$word" "$plain" "$width" "$claim" "$detail"
done
printf '\n  %d of %d claims hold; %d min %d s\n' $((${#summary[@]} - broken)) "${#summary[@]}" \
    $(((SECONDS - started) / 60)) $(((SECONDS - started) % 60))

if [[ -z $ci ]]; then
    chapter "It is yours until Ctrl-C"
    tell "In another terminal:"
    printf '\n    export PENTAD_ADDR=%s PENTAD_TOKEN_FILE=%s\n    PATH=%s:$PATH\n    pentad list --prefix demo/ --limit 5\n    pentad get %s\n    pentad rotate %s\n    pentad history %s\n    pentad audit list --limit 10\n\n' \
        "$PENTAD_ADDR" "$PENTAD_TOKEN_FILE" "$(dirname "$pentad")" "$(path_of 0)" "$(path_of 0)" "$(path_of 0)"
    wait "$server" || true
fi
((broken == 0))
