package lockbroker

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"

	"google.golang.org/grpc/credentials"
)

// tlsFiles are the files by which a client verifies its broker, and proves its own identity. They are read again for every
// connection, so that one made after a certificate was renewed shows the new one.
type tlsFiles struct {
	// ca has the certificates of the authorities that the broker's certificate must come from; empty: the system's.
	ca string
	// cert and key are the client's certificate and its private key; empty for none.
	cert, key string
}

// read makes TLS settings of what the files say now.
func (f tlsFiles) read() (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	wrong := func(format string, arguments ...any) (*tls.Config, error) {
		return nil, &Error{Kind: ErrTLS, Message: fmt.Sprintf(format, arguments...)}
	}
	if f.ca != "" {
		text, err := os.ReadFile(f.ca)
		if err != nil {
			return wrong("cannot read the authorities: %v", err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(text) {
			return wrong("%s has no certificate in PEM", f.ca)
		}
	}
	if (f.cert == "") != (f.key == "") {
		return wrong("a certificate needs its key, and a key its certificate: only one of them is set")
	}
	if f.cert != "" {
		pair, err := tls.LoadX509KeyPair(f.cert, f.key)
		if err != nil {
			return wrong("cannot use the certificate %s with the key %s: %v", f.cert, f.key, err)
		}
		config.Certificates = []tls.Certificate{pair}
	}
	return config, nil
}

// tlsCredentials do TLS by the files, and note why the two sides cannot agree.
type tlsCredentials struct {
	// Everything but the client's handshake is as usual.
	credentials.TransportCredentials
	endpoint endpoint
	files    tlsFiles
	trouble  *trouble
}

func newTLSCredentials(endpoint endpoint, files tlsFiles, trouble *trouble) credentials.TransportCredentials {
	return &tlsCredentials{credentials.NewTLS(&tls.Config{MinVersion: tls.VersionTLS12}), endpoint, files, trouble}
}

func (c *tlsCredentials) ClientHandshake(
	ctx context.Context, authority string, raw net.Conn,
) (net.Conn, credentials.AuthInfo, error) {
	config, err := c.files.read()
	if err != nil {
		c.trouble.noteDial(err)
		return nil, nil, err
	}
	config.ServerName = c.endpoint.host()
	conn, info, err := credentials.NewTLS(config).ClientHandshake(ctx, authority, raw)
	if err != nil {
		c.note(err)
		c.trouble.noteDial(err)
		return nil, nil, err
	}
	return &tlsConn{conn, c}, info, nil
}

func (c *tlsCredentials) Clone() credentials.TransportCredentials {
	return &tlsCredentials{c.TransportCredentials.Clone(), c.endpoint, c.files, c.trouble}
}

// tlsConn notes the broker's verdict on the client's certificate. With TLS 1.3 it comes after the handshake is over for the
// client.
type tlsConn struct {
	net.Conn
	credentials *tlsCredentials
}

func (c *tlsConn) Read(into []byte) (int, error) {
	length, err := c.Conn.Read(into)
	if err != nil {
		c.credentials.note(err)
	}
	return length, err
}

func (c *tlsConn) Write(from []byte) (int, error) {
	length, err := c.Conn.Write(from)
	if err != nil {
		readOn(c)
	}
	return length, err
}

// note notes an error, if it says that the two sides do not agree.
func (c *tlsCredentials) note(err error) {
	var noTLS tls.RecordHeaderError
	if errors.As(err, &noTLS) {
		c.trouble.note(ErrProtocol, c.endpoint.name+" speaks no TLS; write http:// for plain text")
		return
	}
	if why := explain(err); why != "" {
		c.trouble.note(ErrHandshake, fmt.Sprintf("with the broker at %s: %s (%v)", c.endpoint.name, why, err))
	}
}

// explain says what an error of TLS means and what to do; empty if it is none.
func explain(err error) string {
	var (
		authority x509.UnknownAuthorityError
		host      x509.HostnameError
		invalid   x509.CertificateInvalidError
		verify    *tls.CertificateVerificationError
		remote    *net.OpError
	)
	switch {
	case errors.As(err, &authority):
		return "no authority that this client trusts vouches for the broker; name its authority with TLSAuthorities"
	case errors.As(err, &host):
		return "the broker's certificate is for other names; name the broker as one of them, or make a certificate with this " +
			"one in its subjectAltName"
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return "the broker's certificate has expired or is not valid yet, or the clock of this machine is wrong"
	case errors.As(err, &verify):
		return "the broker's certificate is not accepted"
	case errors.As(err, &remote) && remote.Op == "remote error":
		if strings.Contains(err.Error(), "certificate required") {
			return "the broker lets in only clients that show a certificate; give one with TLSIdentity"
		}
		if strings.Contains(err.Error(), "certificate") || strings.Contains(err.Error(), "decrypt") {
			return "the broker does not accept this client's certificate: it has expired, or comes from no authority of the " +
				"broker's --tls-client-ca"
		}
		return "the broker ends the handshake"
	}
	return ""
}
