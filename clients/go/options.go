package lockbroker

import (
	"log/slog"
	"time"

	"github.com/lockbroker/lockbroker/clients/go/internal/core"
)

// DefaultAnswerTimeout is the default of [AnswerTimeout].
const DefaultAnswerTimeout = 5 * time.Second

// ClientOption is a setting of a client.
type ClientOption interface{ setClient(*settings) }

// LockOption is a property of a lock that is asked for, or the way to wait for it.
type LockOption interface{ setLock(*core.Acquire) }

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

// TTL sets the ttl of all locks of the client: for so long a lock outlives a holder that falls silent. 5 s up to the broker's
// --max-ttl, to the millisecond. Default: the broker's, 15 s.
func TTL(ttl time.Duration) ClientOption {
	return clientOption(func(settings *settings) { settings.ttl = &ttl })
}

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

// OwnerOption is what [Owner] returns. It is an option of a client and of a lock.
type OwnerOption string

// Owner sets a label that is shown to others who ask for the lock; up to 128 bytes without control characters. As an option
// of a client it is the label of all locks that have none of their own. Default: none.
func Owner(label string) OwnerOption { return OwnerOption(label) }

func (o OwnerOption) setClient(settings *settings) { settings.owner = string(o) }

func (o OwnerOption) setLock(acquire *core.Acquire) { acquire.Spec.Owner = string(o) }

// Linger sets the time after the release for which nobody can acquire the lock; up to 1 h, to the millisecond. Default: 0.
func Linger(linger time.Duration) LockOption {
	return lockOption(func(acquire *core.Acquire) { acquire.Spec.Linger = &linger })
}

// Wait sets the longest wait of [Client.Lock], exact to 50 ms, or to 150 ms while the store is slow; 0 tries once. Default: until the lock is granted or the context
// ends.
func Wait(limit time.Duration) LockOption {
	return lockOption(func(acquire *core.Acquire) {
		if acquire.Wait != nil {
			until := now().Add(min(max(0, limit), far))
			acquire.Wait.Until = &until
		}
	})
}

// PollInterval sets the least time between two of the broker's polls for a lock that another broker holds; 1 ms to 1 h.
// Default: the broker's choice.
func PollInterval(interval time.Duration) LockOption {
	return lockOption(func(acquire *core.Acquire) {
		if acquire.Wait != nil {
			acquire.Wait.PollInterval = &interval
		}
	})
}
