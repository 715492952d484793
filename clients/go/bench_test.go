package lockbroker_test

import (
	"testing"

	"github.com/lockbroker/lockbroker/clients/go"
	"github.com/lockbroker/lockbroker/clients/go/internal/brokertest"
	pb "github.com/lockbroker/lockbroker/clients/go/lockbroker/v1"
)

// BenchmarkCycle takes a lock and releases it.
func BenchmarkCycle(b *testing.B) {
	broker := brokertest.StartBroker(b)
	client, err := lockbroker.Connect(broker.URL)
	if err != nil {
		b.Fatal(err)
	}
	defer client.Close()
	for b.Loop() {
		lock, err := client.TryLock(b.Context(), "cycle")
		if err != nil {
			b.Fatal(err)
		}
		if err := lock.Release(); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkBareCycle does the same with a bare stub's Acquire and Release.
func BenchmarkBareCycle(b *testing.B) {
	stub := brokertest.StartBroker(b).Stub()
	for b.Loop() {
		stream, err := stub.Acquire(b.Context(), &pb.AcquireRequest{Lock: &pb.LockSpec{Name: "cycle"}})
		if err != nil {
			b.Fatal(err)
		}
		response, err := stream.Recv()
		if err != nil {
			b.Fatal(err)
		}
		id := response.GetEvent().GetAcquired().GetLockId()
		if _, err := stub.Release(b.Context(), &pb.ReleaseRequest{Name: "cycle", LockId: id}); err != nil {
			b.Fatal(err)
		}
		for err == nil {
			_, err = stream.Recv()
		}
	}
}
