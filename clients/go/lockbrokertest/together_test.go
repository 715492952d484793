package lockbrokertest_test

import (
	"testing"

	"github.com/lockbroker/lockbroker/clients/go"
	"github.com/lockbroker/lockbroker/clients/go/lockbrokertest"
)

func TestItDoesNotKnowOfSeveralLocksTogether(t *testing.T) {
	t.Parallel()
	client := connect(t, lockbrokertest.Start(t))
	if lock, err := client.TryLock(t.Context(), "a", lockbroker.Also("b")); err == nil {
		t.Fatalf("have %v", lock)
	}
	// Nothing is left of the attempt.
	for _, name := range []string{"a", "b"} {
		lock, err := client.Lock(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		if err := lock.Release(); err != nil {
			t.Fatal(err)
		}
	}
}
