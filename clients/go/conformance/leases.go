package main

import (
	"context"
	"errors"

	"github.com/lockbroker/lockbroker/clients/go"
)

func (t *testee) leaseOf(name string) *lockbroker.Lease {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.leases[name]
}

func (t *testee) keepLease(name string, lease *lockbroker.Lease) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.leases[name] = lease
}

func (t *testee) lease(ctx context.Context, told command) (answer, error) {
	var options []lockbroker.LeaseOption
	for _, option := range common(told) {
		options = append(options, option)
	}
	if told.TTLMS != nil {
		options = append(options, lockbroker.TTL(span(*told.TTLMS)))
	}
	lease, err := t.client(told).Lease(ctx, told.Name, options...)
	if err != nil {
		return nil, err
	}
	t.keepLease(told.Lock, lease)
	return granted(lease), nil
}

func (t *testee) renew(ctx context.Context, told command) (answer, error) {
	lease := t.leaseOf(told.Lock)
	switch err := lease.Renew(ctx); {
	case errors.Is(err, lockbroker.ErrReleased):
		return answer{"lost": answer{"reason": "ENDED"}}, nil
	case err != nil:
		return nil, err
	}
	return renewed(lease), nil
}

func (t *testee) adoptLease(ctx context.Context, told command) (answer, error) {
	lease, err := t.client(told).AdoptLease(ctx, told.Name, told.LockID)
	if err != nil {
		return nil, err
	}
	t.keepLease(told.Lock, lease)
	return renewed(lease), nil
}

func renewed(lease *lockbroker.Lease) answer {
	return answer{"renewed": answer{"remaining_ms": lease.Remaining().Milliseconds()}}
}
