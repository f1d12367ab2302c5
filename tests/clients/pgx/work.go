// pgx 4 with its own interface: statement cache, batches, CopyFrom, transactions, LISTEN, cancel by context.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/jackc/pgconn"
	"github.com/jackc/pgx/v4"
)

const heavy = "select count(*) from generate_series(1, 100000) a, generate_series(1, 100000) b"

// Filled in by scripts/install.sh: the Debian package's.
var version = "?"

var url, role, keeps = os.Args[1], os.Args[2], os.Args[3]
var background = context.Background()

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func equal(found, expected any, what string) {
	if found != expected {
		panic(fmt.Sprintf("%s: expected %v, found %v", what, expected, found))
	}
}

func ok(feature string)           { fmt.Println("ok", feature) }
func skip(feature, reason string) { fmt.Printf("skip %s: %s\n", feature, reason) }

func connect() *pgx.Conn {
	config, err := pgx.ParseConfig(url)
	must(err)
	// What pgx's documentation says for a pooler that keeps no prepared statements.
	config.PreferSimpleProtocol = keeps == "nothing"
	conn, err := pgx.ConnectConfig(background, config)
	must(err)
	return conn
}

func text(conn *pgx.Conn, query string, arguments ...any) string {
	var found string
	must(conn.QueryRow(background, query, arguments...).Scan(&found))
	return found
}

func failure(err error) *pgconn.PgError {
	var failure *pgconn.PgError
	if !errors.As(err, &failure) {
		panic(fmt.Sprintf("no server error: %v", err))
	}
	return failure
}

func reads(conn *pgx.Conn) {
	equal(text(conn, "select count(*)::text from items"), "1000", "count")
	var tags []string
	var price float64
	must(conn.QueryRow(background, "select tags, price from items where id = $1", 7).Scan(&tags, &price))
	equal(strings.Join(tags, ",")+fmt.Sprint(price), "t1,ü7", "types")
	ok("parameters and types")
	for n := 1; n <= 10; n++ {
		equal(text(conn, "select name from items where id = $1", n), fmt.Sprintf("item %d", n), "repeated")
	}
	if keeps == "nothing" {
		skip("statement cache", "PgBouncer 1.18 keeps no prepared statements in transaction mode")
	} else {
		ok("statement cache")
	}
	_, err := conn.Exec(background, "select nope from items")
	equal(failure(err).Code, "42703", "unknown column")
	equal(text(conn, "select 'on'"), "on", "after an error")
	ok("errors, and going on after them")
	batch := &pgx.Batch{}
	for n := 1; n <= 50; n++ {
		batch.Queue("select name from items where id = $1", n)
	}
	results := conn.SendBatch(background, batch)
	for n := 1; n <= 50; n++ {
		var name string
		must(results.QueryRow().Scan(&name))
		equal(name, fmt.Sprintf("item %d", n), "batch")
	}
	must(results.Close())
	ok("batch of queries")
	transaction, err := conn.BeginTx(background, pgx.TxOptions{IsoLevel: pgx.Serializable, AccessMode: pgx.ReadOnly, DeferrableMode: pgx.Deferrable})
	must(err)
	var level string
	must(transaction.QueryRow(background, "show transaction_isolation").Scan(&level))
	equal(level, "serializable", "isolation")
	inner, err := transaction.Begin(background)
	must(err)
	_, err = inner.Exec(background, "select 1 / 0")
	equal(failure(err).Code, "22012", "division")
	must(inner.Rollback(background))
	must(transaction.Commit(background))
	ok("transaction options, savepoint")
}

func cancels() {
	conn := connect()
	within, stop := context.WithTimeout(background, 500*time.Millisecond)
	defer stop()
	started := time.Now()
	_, err := conn.Exec(within, heavy)
	equal(err != nil && time.Since(started) < 10*time.Second, true, "cancelled")
	_ = conn.Close(background)
	ok("cancel by context (pgx closes the connection)")
}

func writes(conn *pgx.Conn) {
	var made int32
	must(conn.QueryRow(background, "insert into items (name, details) values ($1, $2) returning id", "new", `{"a": 1}`).Scan(&made))
	rows := make([][]any, 300)
	for n := range rows {
		rows[n] = []any{made, fmt.Sprintf("line %d", n)}
	}
	if keeps == "nothing" {
		skip("CopyFrom", "it prepares a statement, and PgBouncer 1.18 keeps none in transaction mode")
	} else {
		count, err := conn.CopyFrom(background, pgx.Identifier{"parts"}, []string{"item_id", "label"}, pgx.CopyFromRows(rows))
		must(err)
		equal(count, int64(300), "copied")
		done, err := conn.Exec(background, "delete from parts where item_id = $1", made)
		must(err)
		equal(done.RowsAffected(), int64(300), "deleted")
		ok("CopyFrom in binary, delete")
	}
	batch := &pgx.Batch{}
	for n := 0; n < 50; n++ {
		batch.Queue("insert into parts (item_id, label) values ($1, $2)", made, "batch")
	}
	batch.Queue("update items set price = $1 where id = $2", 3, made)
	must(conn.SendBatch(background, batch).Close())
	ok("insert, batch of writes")
}

func notifies() {
	if keeps != "all" {
		skip("listen and notify", "a transaction pooler keeps no LISTEN")
		return
	}
	listener, sender := connect(), connect()
	_, err := listener.Exec(background, "listen news")
	must(err)
	_, err = sender.Exec(background, "select pg_notify('news', $1)", "hello")
	must(err)
	within, stop := context.WithTimeout(background, 10*time.Second)
	defer stop()
	note, err := listener.WaitForNotification(within)
	must(err)
	equal(note.Payload, "hello", "notification")
	must(listener.Close(background))
	must(sender.Close(background))
	ok("listen and notify")
}

func refusals(conn *pgx.Conn) {
	list, err := os.ReadFile(os.Getenv("REFUSALS"))
	must(err)
	for _, line := range strings.Split(string(list), "\n") {
		row := strings.Split(line, "\t")
		if row[0] != role {
			continue
		}
		_, err := conn.Exec(background, row[2])
		found := failure(err)
		equal(strings.Contains(row[1], found.Code) && strings.HasPrefix(found.Message, "pgwarden: "), true, row[2]+": "+found.Message)
		equal(found.Detail != "" && found.Hint != "", true, "DETAIL and HINT")
		equal(text(conn, "select 'on'"), "on", "after a refusal")
		batch := &pgx.Batch{}
		batch.Queue("select 1")
		batch.Queue(row[2])
		equal(strings.HasPrefix(failure(conn.SendBatch(background, batch).Close()).Message, "pgwarden: "), true, "in a batch")
	}
	if role != "unrestricted" {
		ok("refusals, also in a batch")
	}
}

func main() {
	conn := connect()
	fmt.Println("version pgx", version)
	reads(conn)
	cancels()
	if role != "read-only" {
		writes(conn)
	}
	if role == "unrestricted" || role == "application" {
		notifies()
	}
	refusals(conn)
	must(conn.Close(background))
}
