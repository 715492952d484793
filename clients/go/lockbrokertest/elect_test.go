package lockbrokertest_test

import (
	"errors"
	"testing"

	"github.com/lockbroker/lockbroker/clients/go"
	"github.com/lockbroker/lockbroker/clients/go/lockbrokertest"
)

func TestItKnowsNeitherValuesNorObservers(t *testing.T) {
	t.Parallel()
	client := connect(t, lockbrokertest.Start(t))
	lock, err := client.TryLock(t.Context(), "leader", lockbroker.Value([]byte("here")))
	if err != nil {
		t.Fatal(err)
	}
	if err := lock.Update(t.Context(), []byte("there")); !errors.Is(err, lockbroker.ErrUnexpected) {
		t.Errorf("have %v", err)
	}
	for _, err := range client.Observe(t.Context(), "leader") {
		if !errors.Is(err, lockbroker.ErrUnexpected) {
			t.Errorf("have %v", err)
		}
		break
	}
	if err := lock.Check(); err != nil {
		t.Error(err)
	}
}
