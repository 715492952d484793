package main

import (
	"bytes"
	"fmt"
	"regexp"
	"testing"

	"github.com/lockbroker/lockbroker/clients/go/internal/brokertest"
)

func TestAStaleWriterIsRefused(t *testing.T) {
	broker := brokertest.StartBroker(t)
	for number := range 2 {
		var out bytes.Buffer
		if err := run(&out, broker.URL); err != nil {
			t.Fatal(err)
		}
		want := regexp.MustCompile(`^the second writes: <nil>
the first wakes up and writes: token \d+ is stale: somebody has had the lock since
the database has: new
$`)
		if !want.Match(out.Bytes()) {
			t.Error(fmt.Sprintf("run %d: ", number) + out.String())
		}
	}
}
