package gocronlock_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-co-op/gocron/v2"

	"github.com/lockbroker/lockbroker/clients/go"
	"github.com/lockbroker/lockbroker/clients/go/gocronlock"
	"github.com/lockbroker/lockbroker/clients/go/internal/brokertest"
	"github.com/lockbroker/lockbroker/clients/go/lockbrokertest"
)

func connect(t *testing.T, server string) *lockbroker.Client {
	t.Helper()
	client, err := lockbroker.Connect(server)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	return client
}

func schedule(t *testing.T, at time.Time, task func(), option gocron.SchedulerOption) gocron.Scheduler {
	t.Helper()
	scheduler, err := gocron.NewScheduler(option)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = scheduler.Shutdown() })
	_, err = scheduler.NewJob(
		gocron.OneTimeJob(gocron.OneTimeJobStartDateTime(at)), gocron.NewTask(task), gocron.WithName("job"))
	if err != nil {
		t.Fatal(err)
	}
	scheduler.Start()
	return scheduler
}

func TestAJobRunsOnOneOfManySchedulers(t *testing.T) {
	t.Parallel()
	broker := brokertest.StartBroker(t)
	var runs, refusals atomic.Int32
	const schedulers = 5
	at := time.Now().Add(300 * time.Millisecond)
	for range schedulers {
		locker := gocronlock.NewLocker(connect(t, broker.URL), lockbroker.Linger(3*time.Second))
		schedule(t, at, func() {
			if lock := locker.Held("job"); lock == nil || lock.Check() != nil || lock.Context().Err() != nil {
				t.Error("it runs without its lock")
			}
			runs.Add(1)
		}, gocron.WithDistributedLocker(&counted{locker, &refusals}))
	}
	brokertest.Eventually(t, "all have tried", func() bool { return runs.Load()+refusals.Load() == schedulers })
	if runs.Load() != 1 {
		t.Errorf("it ran %d times", runs.Load())
	}
}

// counted counts the runs that do not get their lock.
type counted struct {
	*gocronlock.Locker
	refusals *atomic.Int32
}

func (c *counted) Lock(ctx context.Context, key string) (gocron.Lock, error) {
	lock, err := c.Locker.Lock(ctx, key)
	var held *lockbroker.NotAcquiredError
	if errors.As(err, &held) {
		c.refusals.Add(1)
	}
	return lock, err
}

func TestALockIsReleasedWithADeadContext(t *testing.T) {
	t.Parallel()
	broker := lockbrokertest.Start(t)
	locker := gocronlock.NewLocker(connect(t, broker.URL()))
	ctx, cancel := context.WithCancel(t.Context())
	lock, err := locker.Lock(ctx, "job")
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if held := locker.Held("job"); held == nil || held.Context().Err() != nil {
		t.Error("the lock's context ends along with the scheduler's")
	}
	if err := lock.Unlock(ctx); err != nil {
		t.Error(err)
	}
	if _, isHeld := broker.Holder("job"); isHeld || locker.Held("job") != nil {
		t.Error("it is still held")
	}
}

func TestOneIsTheLeader(t *testing.T) {
	t.Parallel()
	broker := brokertest.StartBroker(t)
	first := gocronlock.NewElector(connect(t, broker.URL), "leader")
	isLeader := func(elector *gocronlock.Elector) func() bool {
		return func() bool { return elector.IsLeader(t.Context()) == nil }
	}
	brokertest.Eventually(t, "the first leads", isLeader(first))
	second := gocronlock.NewElector(connect(t, broker.URL), "leader")
	defer second.Close()
	if err := second.IsLeader(t.Context()); !errors.Is(err, gocronlock.ErrNotLeader) {
		t.Errorf("have %v", err)
	}
	var runs atomic.Int32
	schedule(t, time.Now().Add(50*time.Millisecond), func() { runs.Add(1) }, gocron.WithDistributedElector(first))
	schedule(t, time.Now().Add(50*time.Millisecond), func() { runs.Add(100) }, gocron.WithDistributedElector(second))
	brokertest.Eventually(t, "the leader's job runs", func() bool { return runs.Load() > 0 })
	first.Close()
	if err := first.IsLeader(t.Context()); !errors.Is(err, gocronlock.ErrNotLeader) {
		t.Errorf("have %v", err)
	}
	brokertest.Eventually(t, "the second leads", isLeader(second))
	if runs.Load() != 1 {
		t.Errorf("have %d", runs.Load())
	}
}

func TestALostLeadershipIsNoticedAndSoughtAgain(t *testing.T) {
	t.Parallel()
	broker := lockbrokertest.Start(t)
	elector := gocronlock.NewElector(connect(t, broker.URL()), "leader")
	defer elector.Close()
	brokertest.Eventually(t, "it leads", func() bool { return elector.IsLeader(t.Context()) == nil })
	broker.Take("leader", "somebody")
	brokertest.Eventually(t, "it leads no more", func() bool { return elector.IsLeader(t.Context()) != nil })
	brokertest.Eventually(t, "it waits", func() bool { return broker.Waiters("leader") == 1 })
	broker.Free("leader")
	brokertest.Eventually(t, "it leads again", func() bool { return elector.IsLeader(t.Context()) == nil })
}
