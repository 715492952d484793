// Package lockbroker is the Go client of lockbroker, a service that hands out named locks.
//
//	client, err := lockbroker.Connect("unix:/run/lockbroker/lb.sock")
//	if err != nil { … }
//	defer client.Close()
//	lock, err := client.Lock(ctx, "reports", lockbroker.Wait(10*time.Second))
//	var held *lockbroker.NotAcquiredError
//	if errors.As(err, &held) { … } // held.Reason, held.Owner
//	if err != nil { … }
//	defer lock.Release()
//	work(lock.Context(), lock.Token())
//
// All locks of a client share one stream to a broker. When the process ends, in whatever way, the stream ends and the locks
// are released. While the process lives, the client sends heartbeats. When the broker goes away or falls silent, the client
// moves its locks to another broker, and they are not free in between. A program that can keep no connection takes leases:
// [Client.Lease].
//
// A lock over a network is advisory: a holder that is stopped for longer than its lock's ttl wakes up without the lock. Let
// whatever must not be corrupted check the fencing token, [Lock.Token].
package lockbroker

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/lockbroker/lockbroker/clients/go/internal/clock"
	"github.com/lockbroker/lockbroker/clients/go/internal/core"
	pb "github.com/lockbroker/lockbroker/clients/go/lockbroker/v1"
)

// defaultServer is where a broker listens unless it is told otherwise.
const defaultServer = "http://127.0.0.1:28551"

func now() clock.Moment { return clock.Now() }

// Client asks brokers for locks. All its methods may be called by several goroutines at once.
type Client struct {
	brokers *brokers
	owner   string
	session *session
	lastKey atomic.Uint64
	timeout time.Duration
	// ttl is that of leases that have none of their own; nil for the broker's default.
	ttl *time.Duration
}

// Connect makes a client of the brokers at server: http://HOST:PORT, https://HOST:PORT, HOST:PORT or unix:/PATH. Several
// brokers of one store, with commas between them, are asked in turn: one that does not answer costs its share of the time, and
// no more. It connects only when it is first asked for something.
//
// If server is empty, it is read from the environment: LOCKBROKER_SERVER, LOCKBROKER_CLIENT_TLS_CA, LOCKBROKER_CLIENT_TLS_CERT
// and LOCKBROKER_CLIENT_TLS_KEY, as the command line does.
//
// It returns an [*Error] of the kind ErrEndpoint, ErrTLS or ErrInvalid.
func Connect(server string, options ...ClientOption) (*Client, error) {
	settings := settings{answerTimeout: DefaultAnswerTimeout, logger: slog.New(slog.DiscardHandler)}
	if server == "" {
		var err error
		if server, err = fromEnvironment(&settings.files); err != nil {
			return nil, err
		}
	}
	for _, option := range options {
		option.setClient(&settings)
	}
	if settings.answerTimeout <= 0 {
		return nil, &Error{Kind: ErrInvalid, Message: fmt.Sprintf("an answer timeout of %v leaves no time for an answer",
			settings.answerTimeout)}
	}
	endpoints, err := parseEndpoints(server, settings.files)
	if err != nil {
		return nil, err
	}
	if _, err := settings.files.read(); err != nil {
		return nil, err
	}
	brokers := newBrokers(endpoints, settings.files, settings.answerTimeout)
	client := &Client{
		brokers: brokers, owner: settings.owner, session: newSession(brokers, settings), timeout: settings.answerTimeout,
		ttl: settings.ttl,
	}
	go client.session.run()
	return client, nil
}

// fromEnvironment reads where the brokers are, and the files for TLS. A variable that is set and empty is an error: without
// it, other locks would be taken than the others take.
func fromEnvironment(files *tlsFiles) (server string, err error) {
	read := func(name, otherwise string, kind error) string {
		value, isSet := os.LookupEnv(name)
		switch {
		case !isSet:
			return otherwise
		case strings.TrimSpace(value) == "" && err == nil:
			err = &Error{Kind: kind, Message: name + " is empty: unset it, or give it a value"}
		}
		return value
	}
	server = read("LOCKBROKER_SERVER", defaultServer, ErrEndpoint)
	files.ca = read("LOCKBROKER_CLIENT_TLS_CA", "", ErrTLS)
	files.cert = read("LOCKBROKER_CLIENT_TLS_CERT", "", ErrTLS)
	files.key = read("LOCKBROKER_CLIENT_TLS_KEY", "", ErrTLS)
	return server, err
}

// Lock waits for the lock name, 1 to 128 bytes without control characters, until it is granted, the limit of [Wait] is over,
// or ctx ends. It waits through a broker that goes away, at the next one, and through a store that is away.
//
// The end of ctx before the grant leaves the queue at once. After the grant it ends [Lock.Context], and the lock is held until
// [Lock.Release].
//
// It returns a [*NotAcquiredError] if the wait is over, the error of ctx if that has ended, and otherwise an [*Error]. A wait
// that is shorter than the [AnswerTimeout] may take that long to find out that there is no broker.
func (c *Client) Lock(ctx context.Context, name string, options ...LockOption) (*Lock, error) {
	return c.ask(ctx, core.Acquire{Spec: core.LockSpec{Name: name}, Wait: &core.Wait{}}, options)
}

// TryLock asks for the lock name, once; [Wait] and [PollInterval] change nothing. It returns a [*NotAcquiredError] if somebody
// else has it.
func (c *Client) TryLock(ctx context.Context, name string, options ...LockOption) (*Lock, error) {
	return c.ask(ctx, core.Acquire{Spec: core.LockSpec{Name: name}}, options)
}

// Adopt takes over the grant that lockID names, from whoever holds it: another process, say, that has handed it on. Its fencing
// token stays. The former holder is told that it has lost the lock.
func (c *Client) Adopt(ctx context.Context, name, lockID string, options ...LockOption) (*Lock, error) {
	if lockID == "" {
		return nil, &Error{Kind: ErrInvalid, Lock: name, Message: "there is no lock id to adopt"}
	}
	return c.ask(ctx, core.Acquire{Spec: core.LockSpec{Name: name}, Adopt: lockID}, options)
}

// Do waits for the lock name as [Client.Lock] does, runs work, and releases the lock when work returns or panics. It returns
// the error of work. If there is none, it returns a [*LostError] if the lock was lost meanwhile: the work is done, and its last
// step may not have been under the lock.
func (c *Client) Do(ctx context.Context, name string, work func(*Lock) error, options ...LockOption) (err error) {
	lock, err := c.Lock(ctx, name, options...)
	if err != nil {
		return err
	}
	defer func() {
		lost, wasLost := lock.Release().(*LostError)
		if err == nil && wasLost {
			err = lost
		}
		// If nobody has confirmed the release, the lock runs out by itself.
	}()
	return work(lock)
}

// maxTextBytes is the most bytes of a name, an owner or a lock id that are sent. A broker refuses much shorter ones, each with an
// answer of its own; but it ends a Session, with all its locks, for a message of more than 4 KiB.
const maxTextBytes = 1024

const (
	// maxBesideValue is the same of a lock with a value, which all has to fit into one message.
	maxBesideValue = 512
	// mostAlso is the most locks that are asked for together with another.
	mostAlso = 15
	// mostTogetherBytes is the most that several may take, whose texts are sent in one message.
	mostTogetherBytes = 3800
	// besideTexts is what one of several takes beside its name and its owner: its id, its times, and what frames them.
	besideTexts = 100
)

// sendable returns an error for texts that would end the Session, and with it all other locks, and for a limit that cannot be.
func sendable(acquire core.Acquire) error {
	name := acquire.Spec.Name
	if err := checkShares(acquire); err != nil {
		return err
	}
	invalid := func(format string, values ...any) error {
		return &Error{Kind: ErrInvalid, Lock: name, Message: fmt.Sprintf(format, values...)}
	}
	type text struct{ what, text string }
	texts := []text{{"name", name}, {"owner", acquire.Spec.Owner}, {"lock id", acquire.Adopt}}
	also, others := acquire.Spec.Also, acquire.Spec.Others()
	together := len(name) + len(acquire.Spec.Owner) + besideTexts
	for _, name := range others {
		texts = append(texts, text{"name", name})
		together += len(name) + len(acquire.Spec.Owner) + besideTexts
	}
	most := maxTextBytes
	if acquire.Spec.Value != nil {
		most = maxBesideValue
	}
	for _, text := range texts {
		switch {
		case len(text.text) > most:
			return invalid("the %s has %d bytes, and brokers take at most 128", text.what, len(text.text))
		case !utf8.ValidString(text.text):
			return invalid("the %s is not UTF-8", text.what)
		}
	}
	switch {
	case len(also) > mostAlso:
		return invalid("%d other locks are asked for together with it: take at most %d", len(also), mostAlso)
	case len(others) > 0 && together > mostTogetherBytes:
		return invalid("the names of the locks that are asked for together, and the owner, are too long for one message")
	}
	if len(also) > 0 && acquire.Spec.Value != nil {
		return invalid("a value is for one lock alone, and others are asked for together with it")
	}
	return checkValue(name, acquire.Spec.Value)
}

// checkShares returns an error for a limit or a weight that cannot be.
func checkShares(acquire core.Acquire) error {
	spec := acquire.Spec
	if err := checkLimit(spec.Name, spec.Limit); err != nil || spec.Weight == nil {
		return err
	}
	weight, most := *spec.Weight, mostAlso+1
	if spec.Limit != nil {
		most = min(most, *spec.Limit)
	}
	var text string
	switch {
	case weight < 1 || weight > most:
		text = fmt.Sprintf("a weight of %d: take 1 to %d", weight, most)
	case weight > 1 && len(spec.Also) > 0:
		text = "a weight is for one lock alone, and others are asked for together with it"
	case weight > 1 && acquire.Adopt != "":
		text = "a weight is for permits that are asked for, and this grant has its own"
	default:
		return nil
	}
	return &Error{Kind: ErrInvalid, Lock: spec.Name, Message: text}
}

func (c *Client) ask(ctx context.Context, acquire core.Acquire, options []LockOption) (*Lock, error) {
	name := acquire.Spec.Name
	if ctx.Err() != nil {
		return nil, givenUp(ctx, name)
	}
	acquire.Key = core.Key(c.lastKey.Add(1))
	acquire.Spec.Owner = c.owner
	for _, option := range options {
		option.setLock(&acquire)
	}
	if err := sendable(acquire); err != nil {
		return nil, err
	}
	answered := make(chan answer, 1)
	if !c.session.do(func() { c.session.begin(acquire, answered) }) {
		return nil, closedError(name)
	}
	select {
	case answer := <-answered:
		if answer.err != nil {
			return nil, answer.err
		}
		// Grants nothing to a caller who has ended the context.
		if ctx.Err() == nil {
			return newLock(ctx, c.session, acquire, answer), nil
		}
	case <-ctx.Done():
	case <-c.session.ended:
		return nil, closedError(name)
	}
	// If a grant is on its way, it is released too.
	c.session.do(func() { c.session.giveUp(acquire.Key) })
	return nil, givenUp(ctx, name)
}

// givenUp is the error of a call whose context has ended.
func givenUp(ctx context.Context, name string) error {
	err, cause := ctx.Err(), context.Cause(ctx)
	if cause == err {
		return fmt.Errorf("lockbroker: lock %q: given up: %w", name, err)
	}
	return fmt.Errorf("lockbroker: lock %q: given up: %w: %w", name, err, cause)
}

// ReleaseOutcome is the effect of [Client.ReleaseID].
type ReleaseOutcome int

const (
	// Released: the call ended the grant.
	Released ReleaseOutcome = iota + 1
	// NotHeld: nothing was done, for nobody holds the lock.
	NotHeld
	// HeldByAnother: nothing was done, for somebody else holds the lock.
	HeldByAnother
)

func (o ReleaseOutcome) String() string {
	switch o {
	case Released:
		return "released"
	case NotHeld:
		return "not held"
	case HeldByAnother:
		return "held by another"
	}
	return fmt.Sprintf("outcome %d", int(o))
}

// ReleaseID releases the grant that lockID names, whoever holds it and at whichever broker. Its holder, if there is one, is
// told. If the grant has ended, it changes nothing and says so.
//
// It returns an [*Error]: ErrUnavailable if no broker answers in time, and then the release may still happen; ErrInvalid if
// lockID is no lock id.
func (c *Client) ReleaseID(ctx context.Context, name, lockID string) (ReleaseOutcome, error) {
	return c.brokers.releaseWith(ctx, name, lockID)
}

// LockState is the state of a lock.
type LockState int

const (
	// StateUnknown: nobody can tell: no broker answers, or the brokers' store is away, or has lost its memory. The lock may be held
	// as before. Only [Client.Observe] tells this.
	StateUnknown LockState = iota
	// StateFree: nobody has it.
	StateFree
	// StateHeld: somebody holds it. If they share it, [LockInfo.SharedCount] says how many.
	StateHeld
	// StateLingering: it was released and nobody can acquire it yet.
	StateLingering
	// StateRevoked: it was revoked, and nobody can acquire it until its holder no longer believes in it.
	StateRevoked
)

func (s LockState) String() string {
	switch s {
	case StateUnknown:
		return "unknown"
	case StateFree:
		return "free"
	case StateHeld:
		return "held"
	case StateLingering:
		return "lingering"
	case StateRevoked:
		return "revoked"
	}
	return fmt.Sprintf("state %d", int(s))
}

// LockInfo is a lock as others see it.
type LockInfo struct {
	// State is the state of the lock.
	State LockState
	// Owner is the holder's label; empty if it has none or it is not known, and for a lock that is shared: each permit has one of
	// its own.
	Owner string
	// FreeWithin: the lock is free this long after the broker looked, at the latest, if nobody renews it; 0 when free.
	FreeWithin time.Duration
	// Remaining is the time for which the given lock id stays valid, counted from when the answer came. 0 if no lock id was
	// given, or if this broker does not keep the lock.
	Remaining time.Duration
	// Token is the holder's fencing token; 0 if it is not known.
	Token int64
	// HeldFor is the time since the lock was granted or last reattached; 0 if it is not known. Where another broker granted
	// it, this is as exact as the wall clocks of the two.
	HeldFor time.Duration
	// Etag names what the lock is now, for those who revoke it. It is no secret. Empty when free, and for a lock that is shared:
	// each permit has one of its own.
	Etag string
	// SharedCount is the number of permits that are held, if the lock is shared, and neither a lock id nor a permit was asked
	// about.
	SharedCount int
}

// Get looks at a lock without touching it. If lockID, which may be empty, names the present grant and the broker keeps it, the
// answer says for how long it is valid.
func (c *Client) Get(ctx context.Context, name, lockID string) (LockInfo, error) {
	return c.look(ctx, &pb.GetLockRequest{Name: name, LockId: lockID})
}

// GetPermit looks at one permit of a lock that is shared: 0 to 4,095. [Client.Get] without a lock id tells how many are held.
func (c *Client) GetPermit(ctx context.Context, name string, permit int) (LockInfo, error) {
	// A broker refuses whatever does not fit.
	written := int32(max(-1, min(permit, maxPermits)))
	return c.look(ctx, &pb.GetLockRequest{Name: name, Permit: &written})
}

func (c *Client) look(ctx context.Context, request *pb.GetLockRequest) (LockInfo, error) {
	name, sent := request.GetName(), now()
	var answer *pb.GetLockResponse
	err := c.brokers.call(ctx, name, func(ctx context.Context, stub pb.LockServiceClient) (err error) {
		answer, err = stub.GetLock(ctx, request)
		return err
	})
	if err != nil {
		return LockInfo{}, err
	}
	info := LockInfo{
		Owner: answer.GetOwner(), Token: answer.GetFencingToken(), Etag: answer.GetEtag(),
		SharedCount: int(answer.GetSharedCount()),
	}
	switch answer.GetState() {
	case pb.GetLockResponse_STATE_FREE:
		info.State = StateFree
	case pb.GetLockResponse_STATE_HELD:
		info.State = StateHeld
	case pb.GetLockResponse_STATE_LINGERING:
		info.State = StateLingering
	case pb.GetLockResponse_STATE_REVOKED:
		info.State = StateRevoked
	default:
		return LockInfo{}, unexpected(name, "a lock without a state")
	}
	info.FreeWithin, _ = fromWire(answer.GetFreeWithin())
	info.HeldFor, _ = fromWire(answer.GetHeldFor())
	if expires, ok := fromWire(answer.GetExpiresAfterRequest()); ok {
		info.Remaining = sent.Add(expires).Remaining()
	}
	return info, nil
}

// Close releases all locks that the client holds, ends all its calls, and closes its connections. It waits until a broker has
// confirmed the releases, for the [AnswerTimeout] at most, and a moment for the connections. Leases stand for what is left of
// their ttl.
func (c *Client) Close() error {
	c.brokers.end()
	c.session.do(func() { c.session.close(c.timeout) })
	<-c.session.ended
	c.brokers.close()
	return nil
}
