package lockbroker

import (
	"log/slog"
	"slices"
	"time"

	"github.com/lockbroker/lockbroker/clients/go/internal/core"
)

// DefaultAnswerTimeout is the default of [AnswerTimeout].
const DefaultAnswerTimeout = 5 * time.Second

// ClientOption is a setting of a client.
type ClientOption interface{ setClient(*settings) }

// LockOption is a property of a lock that is asked for, or the way to wait for it.
type LockOption interface{ setLock(*core.Acquire) }

// LeaseOption is a property of a lease that is asked for, or the way to wait for it.
type LeaseOption interface{ setLease(*leaseAsk) }

// DowngradeOption is a property of a lock that is to be shared from now on.
type DowngradeOption interface{ setDowngrade(*core.Share) }

// CommonOption is an option of a lock and of a lease.
type CommonOption interface {
	LockOption
	LeaseOption
}

// settings are those of a client.
type settings struct {
	ttl           *time.Duration
	owner         string
	answerTimeout time.Duration
	files         tlsFiles
	logger        *slog.Logger
}

type clientOption func(*settings)

func (o clientOption) setClient(settings *settings) { o(settings) }

type lockOption func(*core.Acquire)

func (o lockOption) setLock(acquire *core.Acquire) { o(acquire) }

// specOption is a property that a lock and a lease have alike.
type specOption func(*core.LockSpec)

func (o specOption) setLock(acquire *core.Acquire) { o(&acquire.Spec) }

func (o specOption) setLease(ask *leaseAsk) { o(&ask.spec) }

// TTLOption is what [TTL] returns. It is an option of a client and of a lease.
type TTLOption time.Duration

// TTL sets a ttl. As an option of a client it is that of all its locks: for so long a lock outlives a holder that falls silent.
// As an option of a lease it is the time for which the lease stands without renewal. 5 s up to the broker's --max-ttl, to the
// millisecond. Default: the client's, or the broker's, 15 s.
func TTL(ttl time.Duration) TTLOption { return TTLOption(ttl) }

func (o TTLOption) setClient(settings *settings) { settings.ttl = (*time.Duration)(&o) }

func (o TTLOption) setLease(ask *leaseAsk) { ask.ttl = (*time.Duration)(&o) }

// AnswerTimeout sets the longest time that a broker's answer may take, connecting included, beyond the wait that was asked
// for. After that a call fails with ErrUnavailable. More than 0; default: [DefaultAnswerTimeout].
func AnswerTimeout(timeout time.Duration) ClientOption {
	return clientOption(func(settings *settings) { settings.answerTimeout = min(timeout, far) })
}

// TLSAuthorities sets the PEM file with the authorities that may sign the broker's certificate, for an https:// endpoint. It
// is read again for every connection. Default: the authorities that the system trusts.
func TLSAuthorities(file string) ClientOption {
	return clientOption(func(settings *settings) { settings.files.ca = file })
}

// TLSIdentity sets the PEM files with the client's certificate and its private key, for an https:// endpoint. They are read
// again for every connection. Default: none.
func TLSIdentity(cert, key string) ClientOption {
	return clientOption(func(settings *settings) { settings.files.cert, settings.files.key = cert, key })
}

// Logger sets a logger for what happens behind the calls: streams that end, locks that move, locks that nobody can release
// any more. Default: nothing is logged.
func Logger(logger *slog.Logger) ClientOption {
	return clientOption(func(settings *settings) { settings.logger = logger })
}

// OwnerOption is what [Owner] returns. It is an option of a client, of a lock and of a lease.
type OwnerOption string

// Owner sets a label that is shown to others who ask for the lock; up to 128 bytes without control characters. As an option
// of a client it is the label of all locks and leases that have none of their own. Default: none.
func Owner(label string) OwnerOption { return OwnerOption(label) }

func (o OwnerOption) setClient(settings *settings) { settings.owner = string(o) }

func (o OwnerOption) setLock(acquire *core.Acquire) { acquire.Spec.Owner = string(o) }

func (o OwnerOption) setLease(ask *leaseAsk) { ask.spec.Owner = string(o) }

// Linger sets the time after the release for which nobody can acquire the lock; up to 1 h, to the millisecond. Default: 0.
func Linger(linger time.Duration) CommonOption {
	return specOption(func(spec *core.LockSpec) { spec.Linger = &linger })
}

// MinHold sets the time after the grant for which nobody else can acquire the lock, whenever and however this client ends; up
// to 1 h, to the millisecond. For jobs that must not run twice on machines whose clocks differ. Default: 0.
func MinHold(minHold time.Duration) CommonOption {
	return specOption(func(spec *core.LockSpec) { spec.MinHold = &minHold })
}

// maxPermits is the most that can share a lock at a time.
const maxPermits = 4096

// Shared shares the lock: others who share it may have it at the same time, each with a permit of its own, and nobody has it alone
// meanwhile. See [Lock.Permit] and [Limit]. Default: nobody else has it.
func Shared() CommonOption {
	return specOption(func(spec *core.LockSpec) { spec.IsShared = true })
}

// LimitOption is what [Limit] returns. It is an option of a lock, of a lease and of [Lock.Downgrade].
type LimitOption int

// Limit shares the lock, as [Shared] does, among so many at a time: 1 to 4,096. Others are an [*Error] of the kind ErrInvalid. All
// who use the name should say the same. Default: 4,096, if the lock is shared.
func Limit(limit int) LimitOption { return LimitOption(limit) }

func (o LimitOption) setSpec(spec *core.LockSpec) { spec.IsShared, spec.Limit = true, (*int)(&o) }

func (o LimitOption) setLock(acquire *core.Acquire) { o.setSpec(&acquire.Spec) }

func (o LimitOption) setLease(ask *leaseAsk) { o.setSpec(&ask.spec) }

func (o LimitOption) setDowngrade(share *core.Share) { share.Limit = (*int)(&o) }

// Weight shares the lock, as [Shared] does, and takes so many permits at once: all of them or none, for one [Lock], whose [Lock.Locks]
// lists them. 1 to 16, and at most the [Limit]; others are an [*Error] of the kind ErrInvalid. While one waits for several, others get
// no new ones. When one is lost, all are. Not together with [Also], and not for [Client.Adopt]. Default: 1, if the lock is shared.
func Weight(weight int) LockOption {
	return lockOption(func(acquire *core.Acquire) { acquire.Spec.IsShared, acquire.Spec.Weight = true, &weight })
}

// Also asks for other locks together with this one, in the same way: all of them or none, for one [Lock], whose [Lock.Locks] lists
// them. At most 15, all with different names; more are an [*Error] of the kind ErrInvalid. Whoever asks for several waits for nobody
// in a circle, in whatever order the names are said. When one is lost, all are. Not together with [MinHold] or
// a [Value].
func Also(names ...string) LockOption {
	return lockOption(func(acquire *core.Acquire) {
		acquire.Spec.Also = append(slices.Clip(acquire.Spec.Also), names...)
	})
}

// Value sets the value for those who observe the lock, by [Client.Observe]: where a leader can be reached, say. Up to 1,024 bytes; it
// may be empty, and nil is empty. More are an [*Error] of the kind ErrInvalid, before anything is sent. [Lock.Update] gives the lock
// another one. Not for a lock that is [Shared]. Default: none.
func Value(value []byte) LockOption {
	return lockOption(func(acquire *core.Acquire) { acquire.Spec.Value = append([]byte{}, value...) })
}

// KeepOnDisconnect keeps the lock until its validity is over when the connection ends, however that ends: a proxy that closes
// connections, as in a reload, costs no lock then. The price: if this process dies, others wait until the validity is over.
// Release and Close release it at once all the same.
func KeepOnDisconnect() LockOption {
	return lockOption(func(acquire *core.Acquire) { acquire.Spec.IsKept = true })
}

// Wait sets the longest wait, exact to 50 ms, or to 150 ms while the store is slow; 0 tries once. Default of [Client.Lock]: until
// the lock is granted or the context ends. Default of [Client.Lease]: 0, and brokers take at most 30 s there.
func Wait(limit time.Duration) CommonOption { return waitOption(min(max(0, limit), far)) }

type waitOption time.Duration

func (o waitOption) setLock(acquire *core.Acquire) {
	if acquire.Wait != nil {
		until := now().Add(time.Duration(o))
		acquire.Wait.Until = &until
	}
}

func (o waitOption) setLease(ask *leaseAsk) { ask.wait = time.Duration(o) }

// PollInterval sets the least time between two of the broker's polls for a lock that another broker holds; 1 ms to 1 h.
// Default: the broker's choice.
func PollInterval(interval time.Duration) LockOption {
	return lockOption(func(acquire *core.Acquire) {
		if acquire.Wait != nil {
			acquire.Wait.PollInterval = &interval
		}
	})
}
