package lockbroker

import (
	"context"
	"fmt"
	"net"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/lockbroker/lockbroker/clients/go/internal/core"
	pb "github.com/lockbroker/lockbroker/clients/go/lockbroker/v1"
)

// broker is one of a client's brokers.
type broker struct {
	endpoint endpoint
	files    tlsFiles
	// within is the longest time for which a connection is made.
	within time.Duration

	mu sync.Mutex
	// channel is the one for single calls; nil if there is none.
	channel *channel
	// isClosed: there is to be none any more.
	isClosed bool
}

// channel is a connection to a broker, and why there is none.
type channel struct {
	conn    *grpc.ClientConn
	trouble *trouble
	// users are the single calls under way.
	users int
}

// open makes a channel that connects once. HTTP/2's keepalive stays off: it would close a stream that is silent, and
// closing is the client's word.
func (b *broker) open() (*channel, error) {
	trouble := &trouble{}
	var once sync.Once
	dial := func(ctx context.Context, _ string) (net.Conn, error) {
		// gRPC would connect again by itself. A link is one connection.
		err := error(unavailable("", "the connection was closed"))
		var conn net.Conn
		once.Do(func() {
			ctx, cancel := context.WithTimeout(ctx, b.within)
			defer cancel()
			if conn, err = dialAny(ctx, b.endpoint.network, b.endpoint.address); err != nil {
				trouble.noteDial(err)
			}
		})
		if err == nil && !b.endpoint.isTLS {
			conn = &plainConn{Conn: conn, endpoint: b.endpoint.name, trouble: trouble}
		}
		return conn, err
	}
	options := []grpc.DialOption{
		grpc.WithContextDialer(dial),
		grpc.WithNoProxy(),
		grpc.WithAuthority(b.endpoint.authority()),
		grpc.WithDisableServiceConfig(),
		grpc.WithDisableRetry(),
		grpc.WithIdleTimeout(0),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: backoff.DefaultConfig, MinConnectTimeout: b.within}),
	}
	if b.endpoint.isTLS {
		options = append(options, grpc.WithTransportCredentials(newTLSCredentials(b.endpoint, b.files, trouble)))
	} else {
		options = append(options, grpc.WithTransportCredentials(insecure.NewCredentials()))
	}
	// The address is not gRPC's to parse: a path may have a question mark.
	conn, err := grpc.NewClient("passthrough:///broker", options...)
	if err != nil {
		return nil, noEndpoint(b.endpoint.name, err.Error())
	}
	return &channel{conn: conn, trouble: trouble}, nil
}

// connect makes a new connection, and waits until it stands. Otherwise it says why there is none, and if that is because
// the two sides do not agree.
func (b *broker) connect(ctx context.Context) (*channel, *core.Failure, *Error) {
	channel, err := b.open()
	if err != nil {
		return nil, toFailure(err), nil
	}
	channel.conn.Connect()
	for {
		state := channel.conn.GetState()
		if state == connectivity.Ready {
			return channel, nil, nil
		}
		isOver := state == connectivity.TransientFailure || state == connectivity.Shutdown
		if isOver || !channel.conn.WaitForStateChange(ctx, state) {
			failure, disagreement := channel.explain(core.Unavailable(brokenText("no connection")))
			channel.conn.Close()
			return nil, &failure, disagreement
		}
	}
}

// explain puts the reason for which the two sides cannot talk in the place of the failure that it led to.
func (c *channel) explain(failure core.Failure) (core.Failure, *Error) {
	disagreement, dial := c.trouble.found()
	switch {
	case disagreement != nil:
		return core.Failure{Code: core.CodeHandshake, Message: disagreement.Message}, disagreement
	case dial != nil:
		return core.Unavailable(dial.Error()), nil
	}
	return failure, nil
}

// brokenText says why a connection that stood may have been closed. The broker has no way to say so.
func brokenText(cause string) string {
	return fmt.Sprintf("it was closed before an answer came (%s): the broker has as many clients as its --max-connections "+
		"allows, or is ending, and its log says which; or what listens there speaks TLS (https://)", cause)
}

// borrow returns the channel for single calls. If it has no connection any more, there is a new one.
func (b *broker) borrow() (*channel, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.isClosed {
		return nil, closedError("")
	}
	if b.channel != nil {
		switch b.channel.conn.GetState() {
		case connectivity.TransientFailure, connectivity.Shutdown, connectivity.Idle:
			b.drop(b.channel)
		}
	}
	if b.channel == nil {
		channel, err := b.open()
		if err != nil {
			return nil, err
		}
		channel.conn.Connect()
		b.channel = channel
	}
	b.channel.users++
	return b.channel, nil
}

// giveBack ends a single call. A channel that is of no use is not used again.
func (b *broker) giveBack(used *channel, isBroken bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	used.users--
	if isBroken {
		b.drop(used)
	}
	if used != b.channel && used.users == 0 {
		used.conn.Close()
	}
}

// drop takes a channel out of use. The last call on it closes it.
func (b *broker) drop(used *channel) {
	if b.channel == used {
		b.channel = nil
		if used.users == 0 {
			used.conn.Close()
		}
	}
}

func (b *broker) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.isClosed = true
	if b.channel != nil {
		b.drop(b.channel)
	}
}

// call makes one single call. It is again where another broker may do better.
func (b *broker) call(
	ctx context.Context, within time.Duration, lock string, call func(context.Context, pb.LockServiceClient) error,
) (err error, again bool) {
	channel, err := b.borrow()
	if err != nil {
		return err, false
	}
	limited, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	err = call(limited, pb.NewLockServiceClient(channel.conn))
	if err == nil {
		b.giveBack(channel, false)
		return nil, false
	}
	return b.failed(ctx, lock, channel, err, limitOf(limited, within))
}

// limit is the longest time that an answer may take, and whether it is over.
type limit struct {
	within time.Duration
	isOver bool
}

func limitOf(limited context.Context, within time.Duration) limit {
	return limit{within, limited.Err() != nil}
}

// failed ends a single call that failed, and says why. It is again where another broker may do better.
func (b *broker) failed(
	ctx context.Context, lock string, channel *channel, err error, limit limit,
) (made error, again bool) {
	failure := fromError(err)
	// What has no reason is not a broker's word: a connection that broke, or a proxy.
	hasNoAnswer := failure.Reason == "" && !failure.Code.IsFinal()
	again = (failure.Code == core.CodeUnavailable || hasNoAnswer) && ctx.Err() == nil
	b.giveBack(channel, again && failure.Reason == "")
	switch {
	case ctx.Err() != nil:
		return givenUp(ctx, lock), false
	case failure.Reason != "":
		return fromFailure(lock, failure), again
	}
	if limit.isOver {
		text := fmt.Sprintf("no answer from the broker at %s within %v", b.endpoint.name, limit.within)
		return unavailable(lock, text), again
	}
	if failure.Code == core.CodeUnavailable {
		explained, disagreement := channel.explain(core.Unavailable(brokenText(failure.Message)))
		if disagreement != nil {
			return disagreement, again
		}
		failure.Message = fmt.Sprintf("no connection to a broker at %s: %s", b.endpoint.name, explained.Message)
	}
	return fromFailure(lock, failure), again
}
