// lib/pq under database/sql: parameters, prepared statements, transactions, COPY, LISTEN, cancel by context.
package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/lib/pq"
)

const heavy = "select count(*) from generate_series(1, 100000) a, generate_series(1, 100000) b"

// Filled in by scripts/install.sh: the Debian package's.
var version = "?"

var url, role, keeps = os.Args[1], os.Args[2], os.Args[3]

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

func text(db *sql.DB, query string, arguments ...any) string {
	var found string
	must(db.QueryRow(query, arguments...).Scan(&found))
	return found
}

func reads(db *sql.DB) {
	equal(text(db, "select count(*) from items"), "1000", "count")
	var tags []string
	must(db.QueryRow("select tags from items where id = $1", 7).Scan(pq.Array(&tags)))
	equal(strings.Join(tags, ","), "t1,ü", "array")
	ok("parameters and types")
	_, err := db.Exec("select nope from items")
	var failure *pq.Error
	errors.As(err, &failure)
	equal(failure.Position, "8", "error position")
	equal(text(db, "select 'on'"), "on", "after an error")
	ok("error position, and going on after it")
	if keeps == "nothing" {
		skip("prepared statements", "PgBouncer 1.18 keeps none in transaction mode")
	} else {
		statement, err := db.Prepare("select name from items where id = $1")
		must(err)
		for n := 1; n <= 10; n++ {
			var name string
			must(statement.QueryRow(n).Scan(&name))
			equal(name, fmt.Sprintf("item %d", n), "prepared")
		}
		must(statement.Close())
		ok("prepared statement")
	}
	transaction, err := db.BeginTx(context.Background(), &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true})
	must(err)
	var level string
	must(transaction.QueryRow("show transaction_isolation").Scan(&level))
	equal(level, "repeatable read", "isolation")
	must(transaction.Rollback())
	ok("transaction options")
}

func cancels(db *sql.DB) {
	within, stop := context.WithTimeout(context.Background(), 500*time.Millisecond)
	defer stop()
	started := time.Now()
	_, err := db.ExecContext(within, heavy)
	equal(err != nil && time.Since(started) < 10*time.Second, true, "cancelled")
	equal(text(db, "select 'on'"), "on", "after cancel")
	ok("cancel by context")
}

func writes(db *sql.DB) {
	transaction, err := db.Begin()
	must(err)
	var made int
	must(transaction.QueryRow("insert into items (name) values ($1) returning id", "new").Scan(&made))
	must2(transaction.Exec("savepoint here"))
	_, err = transaction.Exec("insert into parts (item_id, label) values (999999, 'none')")
	equal(err != nil, true, "foreign key")
	must2(transaction.Exec("rollback to here"))
	must2(transaction.Exec("update items set price = 2 where id = $1", made))
	copied, err := transaction.Prepare(pq.CopyIn("parts", "item_id", "label"))
	must(err)
	for n := 0; n < 300; n++ {
		must2(copied.Exec(made, fmt.Sprintf("line %d", n)))
	}
	must2(copied.Exec())
	must(copied.Close())
	must(transaction.Commit())
	done, err := db.Exec("delete from parts where item_id = $1", made)
	must(err)
	count, _ := done.RowsAffected()
	equal(count, int64(300), "deleted")
	ok("transaction, savepoint, insert, update, COPY FROM STDIN, delete")
}

func must2(_ any, err error) { must(err) }

func notifies() {
	if keeps != "all" {
		skip("listen and notify", "a transaction pooler keeps no LISTEN")
		return
	}
	listener := pq.NewListener(url, time.Second, time.Minute, nil)
	must(listener.Listen("news"))
	db, err := sql.Open("postgres", url)
	must(err)
	must2(db.Exec("notify news, 'hello'"))
	select {
	case note := <-listener.Notify:
		equal(note.Extra, "hello", "notification")
	case <-time.After(10 * time.Second):
		panic("no notification")
	}
	must(listener.Close())
	must(db.Close())
	ok("listen and notify")
}

func refusals(db *sql.DB) {
	list, err := os.ReadFile(os.Getenv("REFUSALS"))
	must(err)
	for _, line := range strings.Split(string(list), "\n") {
		row := strings.Split(line, "\t")
		if row[0] != role {
			continue
		}
		_, err := db.Exec(row[2])
		var failure *pq.Error
		if !errors.As(err, &failure) || !strings.Contains(row[1], string(failure.Code)) || !strings.HasPrefix(failure.Message, "pgwarden: ") {
			panic(fmt.Sprintf("%s: %v", row[2], err))
		}
		equal(failure.Detail != "" && failure.Hint != "", true, "DETAIL and HINT")
		equal(text(db, "select 'on'"), "on", "after a refusal")
	}
	if role != "unrestricted" {
		ok("refusals")
	}
}

func main() {
	if !strings.Contains(url, "sslmode") {
		url += "?sslmode=disable"
	}
	// What lib/pq's documentation says for a pooler that keeps no prepared statements.
	if keeps == "nothing" {
		url += "&binary_parameters=yes"
	}
	db, err := sql.Open("postgres", url)
	must(err)
	db.SetMaxOpenConns(3)
	fmt.Println("version lib/pq", version)
	reads(db)
	cancels(db)
	if role != "read-only" {
		writes(db)
	}
	if role == "unrestricted" || role == "application" {
		notifies()
	}
	refusals(db)
	must(db.Close())
}
