package lockbroker

import (
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
)

// endpoint is where a broker listens.
type endpoint struct {
	// name is the endpoint as given, for people.
	name string
	// network and address are what net.Dial takes.
	network, address string
	// isTLS says to speak TLS.
	isTLS bool
}

// parseEndpoints reads endpoints with commas between them.
func parseEndpoints(text string, files tlsFiles) ([]endpoint, error) {
	var endpoints []endpoint
	for part := range strings.SplitSeq(text, ",") {
		endpoint, err := parseEndpoint(strings.TrimSpace(part))
		if err != nil {
			return nil, err
		}
		if files != (tlsFiles{}) && endpoint.network == "tcp" && !strings.Contains(endpoint.name, "://") {
			// Plain text would be a surprise: the files say that TLS is meant.
			return nil, noEndpoint(endpoint.name, fmt.Sprintf(
				"with certificates it has to say if it speaks TLS: https://%[1]s or http://%[1]s", endpoint.name))
		}
		endpoints = append(endpoints, endpoint)
	}
	return endpoints, nil
}

func parseEndpoint(text string) (endpoint, error) {
	if path, isUnix := strings.CutPrefix(text, "unix:"); isUnix {
		path = strings.TrimPrefix(path, "//")
		if path == "" {
			return endpoint{}, noEndpoint(text, "there is no path")
		}
		return endpoint{name: text, network: "unix", address: path}, nil
	}
	full := text
	if !strings.Contains(text, "://") {
		full = "http://" + text
	}
	parsed, err := url.Parse(full)
	if err != nil {
		return endpoint{}, noEndpoint(text, err.Error())
	}
	port := parsed.Port()
	switch {
	case parsed.Scheme != "http" && parsed.Scheme != "https":
		return endpoint{}, noEndpoint(text, "there is no scheme "+parsed.Scheme+"://")
	case parsed.Hostname() == "":
		return endpoint{}, noEndpoint(text, "there is no host")
	case parsed.User != nil:
		return endpoint{}, noEndpoint(text, "there is a user in it; a broker knows clients by their certificates")
	case strings.Trim(parsed.Path, "/") != "" || parsed.RawQuery != "" || parsed.Fragment != "":
		return endpoint{}, noEndpoint(text, "there is something after the port")
	// A URL has the port of its scheme; a host alone is a port forgotten.
	case port == "" && full != text:
		return endpoint{}, noEndpoint(text, "there is no port")
	case port == "" && parsed.Scheme == "https":
		port = "443"
	case port == "":
		port = "80"
	default:
		if number, err := strconv.ParseUint(port, 10, 16); err != nil || number == 0 {
			return endpoint{}, noEndpoint(text, "the port is no number from 1 to 65535")
		}
	}
	address := net.JoinHostPort(parsed.Hostname(), port)
	return endpoint{name: text, network: "tcp", address: address, isTLS: parsed.Scheme == "https"}, nil
}

// host is the name that the broker's certificate has to be for.
func (e endpoint) host() string {
	host, _, err := net.SplitHostPort(e.address)
	if err != nil {
		return e.address
	}
	return host
}

// authority is what requests name as the server.
func (e endpoint) authority() string {
	if e.network == "unix" {
		return "localhost"
	}
	return e.address
}

func noEndpoint(text, reason string) error {
	return &Error{Kind: ErrEndpoint, Message: fmt.Sprintf(
		"%q: %s; write http://HOST:PORT, https://HOST:PORT, HOST:PORT or unix:/PATH", text, reason)}
}
