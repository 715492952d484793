package core

import (
	"fmt"
	"time"
)

const (
	// LongestDial is the longest time that a new connection and its Session may take to answer; less where several brokers
	// share the time.
	LongestDial = 3 * time.Second
	// mostBetweenDials is the longest pause between two dials.
	mostBetweenDials = 2 * time.Second
)

// DialTime returns how long one dial may take if an answer may take that long and there are so many endpoints.
func DialTime(answerTimeout time.Duration, endpoints int) time.Duration {
	return min(answerTimeout/time.Duration(endpoints), LongestDial)
}

// dialState says how far a dial is.
type dialState int

const (
	// idle: there is none.
	idle dialState = iota
	// connecting: the connection is being made.
	connecting
	// opening: Open was sent.
	opening
)

// dialer makes links: it knows at which endpoint the next one is tried, when, and for how long.
type dialer struct {
	state dialState
	// link, at and until are the dial under way: its link, its endpoint, and when it has failed.
	link  LinkID
	at    int
	until Moment
	// sent is the moment at which Open was sent, in opening.
	sent Moment

	// within is the longest time of one dial.
	within time.Duration
	// endpoint is the one to try next.
	endpoint  int
	endpoints int
	lastLink  LinkID
	// next is the earliest moment of the next dial.
	next Moment
	// tries are the dials since a heartbeat was acknowledged.
	tries int
}

func newDialer(endpoints int, answerTimeout time.Duration, now Moment) dialer {
	return dialer{within: DialTime(answerTimeout, endpoints), endpoints: endpoints, next: now}
}

// isDialling reports whether that link is being dialled.
func (d *dialer) isDialling(link LinkID) bool { return d.state != idle && d.link == link }

// dial dials if it is time.
func (d *dialer) dial(now Moment, chance func() float64, out *[]Output) {
	if d.state != idle || now < d.next {
		return
	}
	d.lastLink++
	d.next = now.Add(Pause(d.tries, mostBetweenDials, chance()))
	d.tries++
	d.state, d.link, d.at, d.until = connecting, d.lastLink, d.endpoint, now.Add(d.within)
	*out = append(*out, Dial{d.link, d.at})
}

// connected opens the Session on a connection that stands, unless it comes too late.
func (d *dialer) connected(link LinkID, now Moment, out *[]Output) {
	if d.state == connecting && d.link == link {
		d.state, d.sent = opening, now
		*out = append(*out, Send{link, Open{}})
	}
}

// opened takes the dial as done, and returns its endpoint and when Open was sent.
func (d *dialer) opened(link LinkID) (endpoint int, sent Moment, ok bool) {
	if d.state != opening || d.link != link {
		return 0, 0, false
	}
	d.state = idle
	return d.at, d.sent, true
}

// failed takes the dial as failed, and returns its endpoint.
func (d *dialer) failed(link LinkID) (endpoint int, ok bool) {
	if !d.isDialling(link) {
		return 0, false
	}
	d.state = idle
	d.turnFrom(d.at)
	return d.at, true
}

// late reports whether the dial has taken too long, and its failure.
func (d *dialer) late(now Moment) (LinkID, Failure, bool) {
	if d.state == idle || d.until > now {
		return 0, Failure{}, false
	}
	return d.link, Unavailable(fmt.Sprintf("no broker answered within %v", d.within)), true
}

// turnFrom turns from an endpoint that was of no use to the next, unless it has been turned from already.
func (d *dialer) turnFrom(endpoint int) {
	if d.endpoint == endpoint {
		d.endpoint = (endpoint + 1) % d.endpoints
	}
}

// startOver starts the pauses over: a broker keeps its word.
func (d *dialer) startOver(now Moment) {
	d.tries, d.next = 0, now
}

// due returns the moment at which a dial is late, or the next one may be made if it is needed.
func (d *dialer) due(needed bool) Moment {
	switch {
	case d.state != idle:
		return d.until
	case needed:
		return d.next
	}
	return never
}
