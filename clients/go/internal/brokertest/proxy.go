package brokertest

import (
	"io"
	"net"
	"sync"
	"testing"
)

// Proxy passes connections on to a broker, and spoils them on command.
type Proxy struct {
	// URL is where it listens.
	URL      string
	target   string
	listener net.Listener

	mu    sync.Mutex
	conns []*net.TCPConn
	// isHole: nothing passes any more, and nothing is closed.
	isHole bool
	passed *sync.Cond
}

// StartProxy starts a proxy before a broker.
func StartProxy(t testing.TB, broker *Broker) *Proxy {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	proxy := &Proxy{URL: "http://" + listener.Addr().String(), target: broker.Address, listener: listener}
	proxy.passed = sync.NewCond(&proxy.mu)
	go proxy.serve()
	t.Cleanup(func() {
		listener.Close()
		proxy.Reset()
		proxy.Open()
	})
	return proxy
}

func (p *Proxy) serve() {
	for {
		accepted, err := p.listener.Accept()
		if err != nil {
			return
		}
		connected, err := net.Dial("tcp", p.target)
		if err != nil {
			accepted.Close()
			continue
		}
		here, there := accepted.(*net.TCPConn), connected.(*net.TCPConn)
		p.mu.Lock()
		p.conns = append(p.conns, here, there)
		p.mu.Unlock()
		go p.pass(here, there)
		go p.pass(there, here)
	}
}

func (p *Proxy) pass(from, to *net.TCPConn) {
	buffer := make([]byte, 16<<10)
	for {
		length, err := from.Read(buffer)
		p.mu.Lock()
		for p.isHole {
			p.passed.Wait()
		}
		p.mu.Unlock()
		if length > 0 {
			if _, err := to.Write(buffer[:length]); err != nil {
				return
			}
		}
		if err == io.EOF {
			_ = to.CloseWrite()
		}
		if err != nil {
			return
		}
	}
}

// Hole lets nothing pass any more, as a network that is cut does.
func (p *Proxy) Hole() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.isHole = true
}

// Open ends Hole.
func (p *Proxy) Open() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.isHole = false
	p.passed.Broadcast()
}

// Reset resets all connections, on both sides.
func (p *Proxy) Reset() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, conn := range p.conns {
		_ = conn.SetLinger(0)
		conn.Close()
	}
	p.conns = nil
}

// Close closes all connections, on both sides, as a proxy does in a reload.
func (p *Proxy) Close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, conn := range p.conns {
		_ = conn.CloseWrite()
	}
	p.conns = nil
}

// ResetClients resets the clients' connections only: the broker hears nothing.
func (p *Proxy) ResetClients() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for at := 0; at < len(p.conns); at += 2 {
		_ = p.conns[at].SetLinger(0)
		p.conns[at].Close()
	}
}
