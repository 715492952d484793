// Fencing shows what the fencing token is for: a database takes writes only from the latest holder of the lock. One that has
// slept through the end of its lock and writes when it wakes up is refused.
//
//	go run . [http://127.0.0.1:28551]
package main

import (
	"context"
	"database/sql"
	"fmt"
	"io"
	"log"
	"os"
	"strings"

	_ "modernc.org/sqlite"

	"github.com/lockbroker/lockbroker/clients/go"
)

const name = "example/fencing"

// write writes the report, unless a later holder of the lock has written it.
func write(db *sql.DB, token int64, text string) error {
	result, err := db.Exec(`UPDATE reports SET text = ?1, token = ?2 WHERE id = 1 AND token <= ?2`, text, token)
	if err != nil {
		return err
	}
	if rows, err := result.RowsAffected(); err != nil || rows == 1 {
		return err
	}
	return fmt.Errorf("token %d is stale: somebody has had the lock since", token)
}

func main() {
	// Without an argument: from the environment.
	server := strings.Join(os.Args[1:], ",")
	if err := run(os.Stdout, server); err != nil {
		log.Fatal(err)
	}
}

// run lets one holder sleep through the end of its lock while another one works.
func run(out io.Writer, server string) error {
	db, err := open()
	if err != nil {
		return err
	}
	defer db.Close()
	client, err := lockbroker.Connect(server)
	if err != nil {
		return err
	}
	defer client.Close()
	first, err := client.Lock(context.Background(), name)
	if err != nil {
		return err
	}
	// The first holder is stopped for so long that its lock ends. It does not notice.
	if _, err := client.ReleaseID(context.Background(), name, first.ID()); err != nil {
		return err
	}
	second, err := client.Lock(context.Background(), name)
	if err != nil {
		return err
	}
	defer second.Release()
	fmt.Fprintln(out, "the second writes:", write(db, second.Token(), "new"))
	fmt.Fprintln(out, "the first wakes up and writes:", write(db, first.Token(), "old"))
	var text string
	if err := db.QueryRow(`SELECT text FROM reports`).Scan(&text); err != nil {
		return err
	}
	fmt.Fprintln(out, "the database has:", text)
	return nil
}

// open makes a database with one empty report.
func open() (*sql.DB, error) {
	db, err := sql.Open("sqlite", ":memory:")
	if err != nil {
		return nil, err
	}
	// In memory, each connection would have a database of its own.
	db.SetMaxOpenConns(1)
	_, err = db.Exec(`CREATE TABLE reports (id INTEGER PRIMARY KEY, text TEXT NOT NULL, token INTEGER NOT NULL);
		INSERT INTO reports VALUES (1, '', 0)`)
	return db, err
}
