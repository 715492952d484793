// Package core is the client's half of the protocol, without I/O: what has happened goes in with the moment at which it
// did, and what is to be done comes out. It knows no stream, no goroutine and no clock.
//
// One link is current and takes new locks. Others are on their way out: they drain, are silent, or have ended. A link on
// its way out stays, and sends heartbeats, until each of its locks has been reattached elsewhere or has run out, because
// closing it would release them. lock.go has the life of a single lock.
package core

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/lockbroker/lockbroker/clients/go/internal/clock"
)

const (
	// never is later than every moment.
	never = clock.Never
	// AskAgain is the longest pause before a broker is asked again for what it could not do. Within an old validity there is
	// not much time to be polite.
	AskAgain = 250 * time.Millisecond
	// grace is the time that a broker's answer may still take when a wait is over.
	grace = time.Second
	// checkInterval is the interval at which to check if there is a broker, when a wait is over.
	checkInterval = 50 * time.Millisecond
)

// Settings are what the core has to be told once.
type Settings struct {
	// Endpoints as people name them; at least one.
	Endpoints []string
	// AnswerTimeout is the longest time that an answer may take beyond a wait.
	AnswerTimeout time.Duration
}

// HeldLock is a held lock, as its holder may believe in it.
type HeldLock struct {
	LockID string
	// Also are the ids of the locks that are held together with it.
	Also []string
	// Permit is nil for a lock that is not shared.
	Permit *int
	TTL    time.Duration
	// Until is the end of its validity.
	Until Moment
	// IsBroken: its stream has ended against the client's will. The broker may have taken that for the client's end, so
	// Until only bounds a reattach.
	IsBroken bool
}

// Core is the state of a client's Session, on whatever streams it is.
type Core struct {
	settings  Settings
	chance    func() float64
	locks     map[Key]*lock
	links     links
	dialer    dialer
	elsewhere elsewhere
	// troubles are the reasons for which there is no session with each endpoint; empty if there is none.
	troubles []string
	// refused is the number of dials in a row that failed in a way in which they would fail again.
	refused int
	// askAt is the moment at which to ask again for what a broker has failed to do.
	askAt Moment
	calls calls
}

// New makes a core. chance gives random numbers from 0 up to 1.
func New(settings Settings, chance func() float64, now Moment) *Core {
	return &Core{
		settings:  settings,
		chance:    chance,
		locks:     map[Key]*lock{},
		dialer:    newDialer(len(settings.Endpoints), settings.AnswerTimeout, now),
		elsewhere: elsewhere{},
		troubles:  make([]string, len(settings.Endpoints)),
		askAt:     never,
		calls:     calls{byKey: map[Key]*call{}},
	}
}

// Handle takes what has happened by now, and returns what is to be done. What time has ended comes before the input: a
// message that is read too late revives nothing.
func (c *Core) Handle(now Moment, input Input) []Output {
	var out []Output
	// But a broker whose message waited here for long is not silent.
	if received, ok := input.(Received); ok {
		if link := c.links.get(received.Link); link != nil {
			link.heardAt = now
		}
	}
	c.keepTime(now, &out)
	switch input := input.(type) {
	case Acquire:
		c.acquire(input, now, &out)
	case End:
		c.end(input.Key, now, &out)
	case NewValue:
		// One that was asked for without a value has none: a reattach must not bring one that was refused.
		if lock := c.locks[input.Key]; lock != nil && lock.spec.Value != nil {
			lock.spec.Value = input.Value
		}
	case Share:
		if lock := c.locks[input.Key]; lock != nil {
			c.step(lock, lock.share(input.Limit), now, &out)
		}
	case Dialled:
		if input.Failure == nil {
			c.dialer.connected(input.Link, now, &out)
		} else {
			c.dialFailed(input.Link, *input.Failure, now, &out)
		}
	case Received:
		c.message(input.Link, input.Message, now, &out)
	case Ended:
		c.ended(input.Link, input.Failure, now, &out)
	case ReleasedElsewhere:
		c.elsewhere.ended(input.Key, input.Failure, now, c.chance, &out)
	case Timeout:
	}
	if c.needsLink() {
		c.dialer.dial(now, c.chance, &out)
	}
	c.hangUp(&out)
	return out
}

// Due returns the moment at which to come back if nothing happens before; clock.Never if there is none.
func (c *Core) Due() Moment {
	due := min(c.dialer.due(c.needsLink()), c.elsewhere.due(), c.askAt, c.calls.due())
	for _, link := range c.links.all {
		due = min(due, link.due())
	}
	return due
}

// Held returns a lock that is held and not given up.
func (c *Core) Held(key Key) (HeldLock, bool) {
	lock := c.locks[key]
	if lock == nil || lock.state != held && lock.state != moving {
		return HeldLock{}, false
	}
	link := c.links.get(lock.home.link)
	if link == nil {
		return HeldLock{}, false
	}
	return HeldLock{lock.lockID, lock.also, lock.permit, link.ttl, link.until(lock.home.lockRef), !link.isOpen()}, true
}

// IsEmpty reports whether there is nothing left to hold, to ask for or to release.
func (c *Core) IsEmpty() bool { return len(c.locks) == 0 && len(c.elsewhere) == 0 }

// NextEndpoint returns the number of the endpoint to try next.
func (c *Core) NextEndpoint() int { return c.dialer.endpoint }

// State returns the state of a lock, by the name that it has in the vectors; empty if it has ended.
func (c *Core) State(key Key) string {
	if c.elsewhere[key] != nil {
		return "releasing_elsewhere"
	}
	if lock := c.locks[key]; lock != nil {
		return lock.state.String()
	}
	return ""
}

func (c *Core) needsLink() bool {
	return c.dialer.state == idle && len(c.locks) > 0 && c.links.current() == nil
}

func (c *Core) acquire(input Acquire, now Moment, out *[]Output) {
	answerBy := now.Add(c.settings.AnswerTimeout)
	switch {
	case input.Wait == nil:
		c.calls.add(input.Key, answerBy, answerBy)
	case input.Wait.Until != nil:
		// A broker ends the wait itself. One that is being connected to gets the time that a call without a wait has.
		c.calls.add(input.Key, *input.Wait.Until, max(answerBy, input.Wait.Until.Add(grace)))
	}
	c.locks[input.Key] = &lock{key: input.Key, spec: input.Spec, wait: input.Wait, lockID: input.Adopt}
	c.ask(input.Key, now, out)
}

// step does what a transition of a lock leaves to be done.
func (c *Core) step(lock *lock, left next, now Moment, out *[]Output) {
	if _, isGone := left.(gone); isGone || !lock.isPending() {
		c.calls.remove(lock.key)
	}
	switch left := left.(type) {
	case stay:
	case gone:
		delete(c.locks, lock.key)
	case ask:
		c.ask(lock.key, now, out)
	case askLater:
		after := AskAgain
		if left.after != nil {
			after = min(after, *left.after)
		}
		// Never later than it was, or those that fail one after another would put off all others.
		c.askAt = min(c.askAt, now.Add(after))
	case retire:
		c.retire(left.link, false, now, out)
	case releaseElsewhere:
		delete(c.locks, lock.key)
		c.elsewhere.begin(lock, left.until, out)
	}
}

// end gives up a lock, or the wait for it.
func (c *Core) end(key Key, now Moment, out *[]Output) {
	if lock := c.locks[key]; lock != nil {
		c.step(lock, lock.end(&c.links, now, out), now, out)
	}
}

// ask asks the current link, if there is one, for a lock that is wanted, or for the reattach of one that is held elsewhere.
func (c *Core) ask(key Key, now Moment, out *[]Output) {
	link, lock := c.links.current(), c.locks[key]
	if link != nil && lock != nil {
		lock.place(link, now, out)
	}
}

// askAll asks the current link for everything that it does not know yet, in the order in which it was wanted.
func (c *Core) askAll(now Moment, out *[]Output) {
	if link := c.links.current(); link != nil {
		for _, key := range slices.Sorted(maps.Keys(c.locks)) {
			c.locks[key].place(link, now, out)
		}
	}
}

func (c *Core) dialFailed(link LinkID, failure Failure, now Moment, out *[]Output) {
	endpoint, ok := c.dialer.failed(link)
	if !ok {
		return
	}
	if failure.Code.IsFinal() {
		c.refused++
	} else {
		c.refused = 0
	}
	c.troubled(endpoint, failure.Message)
	// Another broker may take what one refuses.
	if c.refused < len(c.settings.Endpoints) {
		return
	}
	for _, key := range slices.Sorted(maps.Keys(c.locks)) {
		if c.locks[key].isPending() {
			c.fail(key, failure, now, out)
		}
	}
}

// troubled notes why there is no session with an endpoint.
func (c *Core) troubled(endpoint int, why string) {
	if why == "" {
		why = "it gives no reason"
	}
	c.troubles[endpoint] = why
}

// fail ends a call by a failure.
func (c *Core) fail(key Key, failure Failure, now Moment, out *[]Output) {
	c.end(key, now, out)
	*out = append(*out, Failed{key, failure})
}

func (c *Core) message(id LinkID, message Message, now Moment, out *[]Output) {
	link := c.links.get(id)
	if opened, ok := message.(Opened); ok {
		c.opened(id, opened, now, out)
		return
	}
	if link == nil {
		c.notOpened(id, now, out)
		return
	}
	switch message := message.(type) {
	case HeartbeatAck:
		link.acknowledged(message)
		c.dialer.startOver(now)
	case Draining:
		c.retire(id, true, now, out)
	case LockEvent:
		// Ignores what is said of a lock that has moved on or was given up.
		key, found := link.locks[message.LockRef]
		if lock := c.locks[key]; found && lock != nil {
			at := place{id, message.LockRef}
			c.step(lock, lock.event(at, message.Event, &c.links, now, out), now, out)
		}
	}
}

func (c *Core) opened(id LinkID, terms Opened, now Moment, out *[]Output) {
	endpoint, sent, ok := c.dialer.opened(id)
	if !ok {
		return
	}
	clear(c.troubles)
	c.refused = 0
	c.links.all = append(c.links.all, newLink(id, endpoint, sent, now, terms))
	c.askAll(now, out)
}

// notOpened hangs up on a broker that says something else before Opened.
func (c *Core) notOpened(id LinkID, now Moment, out *[]Output) {
	if c.dialer.isDialling(id) {
		*out = append(*out, Hangup{id})
		c.dialFailed(id, Failure{Code: CodeInternal, Message: "the Session did not begin with `opened`"}, now, out)
	}
}

func (c *Core) ended(id LinkID, failure Failure, now Moment, out *[]Output) {
	link := c.links.get(id)
	if link == nil {
		c.dialFailed(id, failure, now, out)
		return
	}
	wasCurrent := link.phase == current
	link.phase = ended
	if wasCurrent {
		c.troubled(link.endpoint, failure.Message)
		c.dialer.turnFrom(link.endpoint)
	}
	c.leave(link, false, now, out)
}

// retire takes a link out of use: what is wanted or held there moves to the next. answers says whether releases that were
// asked for on it are still answered there.
func (c *Core) retire(id LinkID, answers bool, now Moment, out *[]Output) {
	link := c.links.get(id)
	if link == nil {
		return
	}
	if link.phase == current {
		link.phase = retired
		c.dialer.turnFrom(link.endpoint)
	}
	c.leave(link, answers, now, out)
}

func (c *Core) leave(link *link, answers bool, now Moment, out *[]Output) {
	for _, key := range link.keys() {
		if lock := c.locks[key]; lock != nil {
			c.step(lock, lock.leave(link.id, answers, &c.links, now, out), now, out)
		}
	}
	c.askAll(now, out)
}

// keepTime does what it is time for.
func (c *Core) keepTime(now Moment, out *[]Output) {
	for _, link := range c.links.all {
		c.runOut(link, now, out)
	}
	c.elsewhere.keepTime(now, out)
	if link, failure, ok := c.dialer.late(now); ok {
		*out = append(*out, Hangup{link})
		c.dialFailed(link, failure, now, out)
	}
	for _, link := range c.links.all {
		if link.phase == current && link.isSilent(now) {
			c.troubled(link.endpoint, "the broker is silent")
			c.retire(link.id, false, now, out)
		}
	}
	if c.askAt <= now {
		c.askAt = never
		c.askAll(now, out)
	}
	c.giveUp(now, out)
	for _, link := range c.links.all {
		link.beat(now, out)
	}
}

// runOut loses what has run out on a link.
func (c *Core) runOut(link *link, now Moment, out *[]Output) {
	over := link.validity.runOut(now)
	if over == nil {
		return
	}
	var keys []Key
	if over.all {
		keys = link.keys()
	} else {
		for _, ref := range over.some {
			if key, found := link.locks[ref]; found {
				keys = append(keys, key)
			}
		}
	}
	for _, key := range keys {
		lock := c.locks[key]
		if lock != nil && !lock.isPending() && lock.home.link == link.id {
			c.step(lock, lock.lose(LostExpired, &c.links, out), now, out)
		}
	}
}

// giveUp ends the calls that have no answer in time.
func (c *Core) giveUp(now Moment, out *[]Output) {
	for call := c.calls.first(); call != nil && call.check <= now; call = c.calls.first() {
		noBroker := slices.ContainsFunc(c.troubles, func(trouble string) bool { return trouble != "" })
		if noBroker || call.atMost <= now {
			c.calls.remove(call.key)
			c.fail(call.key, Unavailable(c.whyNoAnswer()), now, out)
		} else {
			// Trouble may become known at any time.
			c.calls.postpone(call, min(now.Add(checkInterval), call.atMost))
		}
	}
}

// whyNoAnswer returns why no broker has answered: the troubles with each, as far as they are known.
func (c *Core) whyNoAnswer() string {
	var told []string
	for at, trouble := range c.troubles {
		if trouble != "" {
			told = append(told, fmt.Sprintf("no session with a broker at %s: %s", c.settings.Endpoints[at], trouble))
		}
	}
	if told == nil {
		names := strings.Join(c.settings.Endpoints, ", ")
		return fmt.Sprintf("no answer from the broker at %s within %v", names, c.settings.AnswerTimeout)
	}
	return strings.Join(told, "; ")
}

// hangUp closes the links that are out of use and have no lock left.
func (c *Core) hangUp(out *[]Output) {
	c.links.all = slices.DeleteFunc(c.links.all, func(link *link) bool {
		isOver := link.phase != current && len(link.locks) == 0
		if isOver && link.isOpen() {
			*out = append(*out, Hangup{link.id})
		}
		return isOver
	})
}
