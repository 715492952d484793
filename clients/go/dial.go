package lockbroker

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"
)

// nextAddress is how long an address of a name may take before the next one is tried beside it.
const nextAddress = 250 * time.Millisecond

// dialAny connects to a host by whichever of its addresses answers first. One that swallows packets must not use up the
// time of the others.
func dialAny(ctx context.Context, network, address string) (net.Conn, error) {
	addresses := []string{address}
	if host, port, err := net.SplitHostPort(address); network == "tcp" && err == nil && net.ParseIP(host) == nil {
		found, err := net.DefaultResolver.LookupHost(ctx, host)
		if err != nil {
			return nil, err
		}
		addresses = addresses[:0]
		for _, ip := range found {
			addresses = append(addresses, net.JoinHostPort(ip, port))
		}
	}
	return dialFirst(ctx, network, addresses)
}

// dialFirst connects to whichever of the addresses answers first, and begins with the next one after nextAddress or at a
// failure.
func dialFirst(ctx context.Context, network string, addresses []string) (net.Conn, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type result struct {
		conn net.Conn
		err  error
	}
	results := make(chan result)
	begun, ended := 0, 0
	begin := func() {
		address := addresses[begun]
		begun++
		go func() {
			conn, err := new(net.Dialer).DialContext(ctx, network, address)
			select {
			case results <- result{conn, err}:
			case <-ctx.Done():
				if conn != nil {
					conn.Close()
				}
			}
		}()
	}
	begin()
	var failure error
	for {
		var next <-chan time.Time
		if begun < len(addresses) {
			next = time.After(nextAddress)
		}
		select {
		case result := <-results:
			if result.err == nil {
				return result.conn, nil
			}
			failure = errors.Join(failure, result.err)
			if ended++; ended == len(addresses) {
				return nil, failure
			}
			if begun < len(addresses) {
				begin()
			}
		case <-next:
			begin()
		case <-ctx.Done():
			return nil, errors.Join(failure, ctx.Err())
		}
	}
}

// trouble is the reason for which the two sides of a connection cannot talk to each other, or have none. It may be found
// only after the connection stands, and gRPC's errors have no room for it.
type trouble struct {
	mu sync.Mutex
	// disagreement is that they do not agree on TLS or on the protocol.
	disagreement *Error
	// dial is why there is no connection.
	dial error
}

func (t *trouble) note(kind error, message string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.disagreement == nil {
		t.disagreement = &Error{Kind: kind, Message: message}
	}
}

func (t *trouble) noteDial(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.dial = err
}

func (t *trouble) found() (*Error, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.disagreement, t.dial
}

const (
	// firstOfHTTP2 is the first byte of HTTP/2. A server begins with a frame of settings, and its length is below 2^16.
	firstOfHTTP2 = 0
	// firstOfAlert is the first byte of an alert of TLS: the answer to what is no TLS.
	firstOfAlert = 0x15
)

// plainConn is a connection in plain text whose first byte is looked at.
type plainConn struct {
	net.Conn
	endpoint string
	trouble  *trouble
	heard    bool
}

// readLast is how long the last words of the other side may take.
const readLast = 100 * time.Millisecond

// readOn reads what is left after a write has failed: the other side may have said why before it closed the connection.
func readOn(conn net.Conn) {
	_ = conn.SetReadDeadline(time.Now().Add(readLast))
	var last [256]byte
	for {
		if _, err := conn.Read(last[:]); err != nil {
			return
		}
	}
}

func (c *plainConn) Write(from []byte) (int, error) {
	length, err := c.Conn.Write(from)
	if err != nil {
		readOn(c)
	}
	return length, err
}

func (c *plainConn) Read(into []byte) (int, error) {
	length, err := c.Conn.Read(into)
	if length > 0 && !c.heard {
		c.heard = true
		switch into[0] {
		case firstOfHTTP2:
		case firstOfAlert:
			c.trouble.note(ErrProtocol, c.endpoint+" speaks TLS; write https://")
		default:
			c.trouble.note(ErrProtocol, c.endpoint+
				" does not speak HTTP/2, as brokers do; check the address, or write https:// for TLS")
		}
	}
	return length, err
}
