package core

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"testing"
	"time"
)

// folder has the vectors that the clients of all languages share. Its README.md has the format.
const folder = "../../../vectors"

// object is an object of JSON. Numbers in it are float64.
type object = map[string]any

func TestTheCoreDoesWhatTheVectorsSay(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(folder, "*.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	cases := 0
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for line := range bytes.Lines(text) {
			var given object
			if err := json.Unmarshal(line, &given); err != nil {
				t.Fatalf("%s: %v", file, err)
			}
			cases++
			t.Run(given["case"].(string), func(t *testing.T) { replay(t, given) })
		}
	}
	if cases < 30 {
		t.Errorf("%d cases: where are the others?", cases)
	}
}

// replay runs a case, and compares what comes out of each step.
func replay(t *testing.T, given object) {
	known(given, "v", "case", "settings", "chance", "steps")
	settings := given["settings"].(object)
	known(settings, "endpoints", "answer_timeout")
	if given["v"] != 1.0 {
		t.Fatalf("version %v of the format is not known", given["v"])
	}
	told := Settings{AnswerTimeout: span(settings["answer_timeout"])}
	for number := range int(settings["endpoints"].(float64)) {
		told.Endpoints = append(told.Endpoints, fmt.Sprint("broker ", number))
	}
	chances := given["chance"].([]any)
	chance := func() float64 {
		first := chances[0].(float64)
		chances = chances[1:]
		return first
	}
	core := New(told, chance, 0)
	keys := map[Key]bool{}
	for number, step := range given["steps"].([]any) {
		step := step.(object)
		known(step, "at", "in", "out", "due", "valid", "state")
		input := input(step["in"].(object))
		if acquire, ok := input.(Acquire); ok {
			keys[acquire.Key] = true
		}
		made := object{"at": step["at"], "in": step["in"], "out": []any{}}
		for _, output := range core.Handle(moment(step["at"]), input) {
			made["out"] = append(made["out"].([]any), shown(output))
		}
		show(core, keys, made)
		if made := normal(made); !reflect.DeepEqual(made, any(step)) {
			t.Fatalf("step %d:\n have %s\n want %s", number, text(made), text(step))
		}
	}
}

// show puts into made what can be asked of the core.
func show(core *Core, keys map[Key]bool, made object) {
	made["due"] = nil
	if due := core.Due(); due != never {
		made["due"] = millis(time.Duration(due))
	}
	valid, states := object{}, object{}
	for _, key := range slices.Sorted(maps.Keys(keys)) {
		name := strconv.FormatUint(uint64(key), 10)
		if held, ok := core.Held(key); ok && held.IsBroken {
			valid[name] = object{"bounded_by": millis(time.Duration(held.Until))}
		} else if ok {
			valid[name] = millis(time.Duration(held.Until))
		}
		if state := core.State(key); state != "" {
			states[name] = state
		}
	}
	made["valid"], made["state"] = valid, states
}

// input reads an input. It panics on what it does not know, as does everything that it calls.
func input(in object) Input {
	kind, of := only(in)
	link := func() LinkID { return LinkID(of["link"].(float64)) }
	key := func() Key { return Key(of["key"].(float64)) }
	message := func(message Message, keys ...string) Input {
		known(of, append(keys, "link")...)
		return Received{link(), message}
	}
	event := func(event Event, keys ...string) Input {
		return message(LockEvent{LockRef(of["lock_ref"].(float64)), event}, append(keys, "lock_ref")...)
	}
	switch kind {
	case "acquire":
		return acquire(of)
	case "end":
		known(of, "key")
		return End{key()}
	case "value":
		known(of, "key", "value")
		return NewValue{key(), []byte(of["value"].(string))}
	case "share":
		known(of, "key", "limit")
		return Share{key(), maybeNumber(of["limit"])}
	case "dialled":
		known(of, "link", "code", "retry_after")
		return Dialled{link(), maybeFailure(of)}
	case "ended":
		known(of, "link", "code", "retry_after")
		return Ended{link(), *maybeFailure(of)}
	case "released_elsewhere":
		known(of, "key", "code", "retry_after")
		return ReleasedElsewhere{key(), maybeFailure(of)}
	case "timeout":
		known(of)
		return Timeout{}
	case "opened":
		terms := Opened{span(of["ttl"]), span(of["expires_after"]), span(of["heartbeat_interval"])}
		return message(terms, "ttl", "expires_after", "heartbeat_interval")
	case "heartbeat_ack":
		ack := HeartbeatAck{Seq: int64(of["seq"].(float64)), ExpiresAfter: span(of["expires_after"])}
		for _, ref := range of["not_renewed"].([]any) {
			ack.NotRenewed = append(ack.NotRenewed, LockRef(ref.(float64)))
		}
		return message(ack, "seq", "expires_after", "not_renewed")
	case "draining":
		return message(Draining{})
	case "other":
		return message(Other{})
	case "acquired":
		acquired := WasAcquired{Grant: grant(of)}
		if also, ok := of["also"].([]any); ok {
			for _, each := range also {
				known(each.(object), "lock_id", "fencing_token", "permit")
				acquired.Also = append(acquired.Also, grant(each.(object)))
			}
		}
		return event(acquired, "lock_id", "fencing_token", "permit", "also")
	case "not_acquired":
		owner, _ := of["owner"].(string)
		name, _ := of["name"].(string)
		return event(WasRefused{Refusal{byName(refusals, of["reason"]), owner, name}}, "reason", "owner", "name")
	case "lost":
		return event(WasLost{byName(losses, of["reason"])}, "reason")
	case "released":
		return event(WasReleased{})
	case "failed":
		return event(HasFailed{*maybeFailure(of)}, "code", "retry_after")
	}
	panic("no input " + kind)
}

func grant(of object) Grant {
	return Grant{of["lock_id"].(string), int64(of["fencing_token"].(float64)), maybeNumber(of["permit"])}
}

func acquire(of object) Input {
	known(of, "key", "name", "also", "linger", "owner", "value", "shared", "wait", "adopt")
	acquire := Acquire{Key: Key(of["key"].(float64)), Spec: LockSpec{Name: of["name"].(string), Linger: maybeSpan(of["linger"])}}
	acquire.Spec.Owner, _ = of["owner"].(string)
	acquire.Adopt, _ = of["adopt"].(string)
	if value, ok := of["value"].(string); ok {
		acquire.Spec.Value = []byte(value)
	}
	if also, ok := of["also"].([]any); ok {
		for _, name := range also {
			acquire.Spec.Also = append(acquire.Spec.Also, name.(string))
		}
	}
	if shared, ok := of["shared"].(object); ok {
		known(shared, "limit", "weight")
		acquire.Spec.IsShared, acquire.Spec.Limit = true, maybeNumber(shared["limit"])
		acquire.Spec.Weight = maybeNumber(shared["weight"])
	}
	if wait, ok := of["wait"].(object); ok {
		known(wait, "until", "poll_interval")
		acquire.Wait = &Wait{PollInterval: maybeSpan(wait["poll_interval"])}
		if wait["until"] != nil {
			until := moment(wait["until"])
			acquire.Wait.Until = &until
		}
	}
	return acquire
}

// shown writes an output as a vector has it.
func shown(output Output) object {
	switch output := output.(type) {
	case Dial:
		return object{"dial": object{"link": output.Link, "endpoint": output.Endpoint}}
	case Hangup:
		return object{"hangup": object{"link": output.Link}}
	case Granted:
		granted := shownGrant(output.Grant)
		granted["key"] = output.Key
		if len(output.Also) > 0 {
			also := []object{}
			for _, grant := range output.Also {
				also = append(also, shownGrant(grant))
			}
			granted["also"] = also
		}
		return object{"granted": granted}
	case Moved:
		moved := object{"key": output.Key, "lock_id": output.LockID}
		if len(output.Also) > 0 {
			moved["also"] = output.Also
		}
		if output.Permit != nil {
			moved["permit"] = *output.Permit
		}
		return object{"moved": moved}
	case NotShared:
		return object{"not_shared": object{"key": output.Key, "code": nameOf(codes, output.Failure.Code)}}
	case Refused:
		reason := nameOf(refusals, output.Refusal.Reason)
		refused := object{"key": output.Key, "reason": reason, "owner": output.Refusal.Owner}
		if output.Refusal.Name != "" {
			refused["name"] = output.Refusal.Name
		}
		return object{"refused": refused}
	case Failed:
		return object{"failed": object{"key": output.Key, "code": nameOf(codes, output.Failure.Code)}}
	case Lost:
		return object{"lost": object{"key": output.Key, "reason": nameOf(losses, output.Reason)}}
	case Released:
		return object{"released": object{"key": output.Key}}
	case ReleaseElsewhere:
		return object{"release_elsewhere": object{"key": output.Key, "name": output.Name, "lock_id": output.LockID}}
	case Send:
		return shownRequest(output.Link, output.Request)
	}
	panic(fmt.Sprintf("no output %T", output))
}

func shownGrant(grant Grant) object {
	shown := object{"lock_id": grant.LockID, "fencing_token": grant.FencingToken}
	if grant.Permit != nil {
		shown["permit"] = *grant.Permit
	}
	return shown
}

func shownRequest(link LinkID, request Request) object {
	switch request := request.(type) {
	case Open:
		return object{"open": object{"link": link}}
	case Heartbeat:
		return object{"heartbeat": object{"link": link, "seq": request.Seq}}
	case EndLock:
		return object{"end_lock": object{"link": link, "lock_ref": request.LockRef}}
	case Begin:
		begin := object{"link": link, "lock_ref": request.LockRef, "name": request.Spec.Name}
		if len(request.Spec.Also) > 0 {
			begin["also"] = request.Spec.Also
		}
		if request.Spec.Linger != nil {
			begin["linger"] = millis(*request.Spec.Linger)
		}
		if request.Spec.Owner != "" {
			begin["owner"] = request.Spec.Owner
		}
		if request.Spec.Value != nil {
			begin["value"] = string(request.Spec.Value)
		}
		if request.Spec.IsShared {
			shared := object{}
			if request.Spec.Limit != nil {
				shared["limit"] = *request.Spec.Limit
			}
			if request.Spec.Weight != nil {
				shared["weight"] = *request.Spec.Weight
			}
			begin["shared"] = shared
		}
		if request.Reattach != "" {
			begin["reattach"] = request.Reattach
		}
		if len(request.ReattachAlso) > 0 {
			begin["reattach_also"] = request.ReattachAlso
		}
		if request.Wait != nil {
			wait := object{}
			if request.Wait.MaxWait != nil {
				wait["max_wait"] = millis(*request.Wait.MaxWait)
			}
			if request.Wait.PollInterval != nil {
				wait["poll_interval"] = millis(*request.Wait.PollInterval)
			}
			begin["wait"] = wait
		}
		return object{"begin": begin}
	}
	panic(fmt.Sprintf("no request %T", request))
}

var codes = map[string]Code{
	"INVALID_ARGUMENT": CodeInvalidArgument, "PERMISSION_DENIED": CodePermissionDenied,
	"UNAUTHENTICATED": CodeUnauthenticated, "UNIMPLEMENTED": CodeUnimplemented, "HANDSHAKE": CodeHandshake,
	"UNAVAILABLE": CodeUnavailable, "RESOURCE_EXHAUSTED": CodeResourceExhausted, "INTERNAL": CodeInternal,
}

var refusals = map[string]RefusalReason{
	"HELD": RefusedHeld, "LINGERING": RefusedLingering, "MAX_WAIT": RefusedMaxWait,
	"NOT_REATTACHABLE": RefusedNotReattachable, "CANCELLED": RefusedCancelled,
}

var losses = map[string]LostReason{
	"EXPIRED": LostExpired, "GONE": LostGone, "TAKEN_OVER": LostTakenOver, "REVOKED": LostRevoked,
	"RELEASED": LostReleased,
}

func byName[T any](names map[string]T, name any) T {
	value, found := names[name.(string)]
	if !found {
		panic(fmt.Sprintf("no %v", name))
	}
	return value
}

func nameOf[T comparable](names map[string]T, value T) string {
	for name, known := range names {
		if known == value {
			return name
		}
	}
	panic(fmt.Sprintf("no name for %v", value))
}

func maybeFailure(of object) *Failure {
	if of["code"] == nil {
		return nil
	}
	return &Failure{byName(codes, of["code"]), "as the vector says", "", maybeSpan(of["retry_after"])}
}

// known panics if there is another key: that case would test nothing.
func known(of object, keys ...string) {
	for key := range of {
		if !slices.Contains(keys, key) {
			panic(fmt.Sprintf("unknown key %s in %v", key, of))
		}
	}
}

// only returns the one key of an object, and what it has.
func only(of object) (string, object) {
	if len(of) != 1 {
		panic(fmt.Sprintf("one kind is wanted in %v", of))
	}
	for kind, value := range of {
		value, _ := value.(object)
		return kind, value
	}
	panic("not reached")
}

func span(of any) time.Duration { return time.Duration(of.(float64)) * time.Millisecond }

func maybeSpan(of any) *time.Duration {
	if of == nil {
		return nil
	}
	span := span(of)
	return &span
}

func maybeNumber(of any) *int {
	if of == nil {
		return nil
	}
	number := int(of.(float64))
	return &number
}

func moment(of any) Moment { return Moment(span(of)) }

func millis(span time.Duration) int64 {
	if span%time.Millisecond != 0 {
		panic(fmt.Sprintf("%v is not in whole milliseconds", span))
	}
	return span.Milliseconds()
}

// normal returns a value as JSON would bring it back.
func normal(value any) (back any) {
	if err := json.Unmarshal([]byte(text(value)), &back); err != nil {
		panic(err)
	}
	return back
}

func text(value any) string {
	text, err := json.Marshal(value)
	if err != nil {
		panic(err)
	}
	return string(text)
}
