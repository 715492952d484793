package core

import "container/heap"

// call is a call that waits for its answer, and until when.
type call struct {
	key Key
	// check is the moment at which to see if it is over.
	check Moment
	// atMost is the moment at which it is over even if a broker may be there.
	atMost Moment
	// index is its place in the heap.
	index int
}

// calls are those that wait, by their key and by the moment at which to see if they are over.
type calls struct {
	byKey map[Key]*call
	queue callQueue
}

func (c *calls) add(key Key, check, atMost Moment) {
	call := &call{key: key, check: check, atMost: atMost}
	c.byKey[key] = call
	heap.Push(&c.queue, call)
}

// remove forgets a call that has its answer, or needs none any more.
func (c *calls) remove(key Key) {
	if call, found := c.byKey[key]; found {
		delete(c.byKey, key)
		heap.Remove(&c.queue, call.index)
	}
}

// postpone sets another moment at which to see if a call is over.
func (c *calls) postpone(call *call, check Moment) {
	call.check = check
	heap.Fix(&c.queue, call.index)
}

// first returns the call that is to be looked at first; nil if none waits.
func (c *calls) first() *call {
	if len(c.queue) == 0 {
		return nil
	}
	return c.queue[0]
}

func (c *calls) due() Moment {
	if first := c.first(); first != nil {
		return first.check
	}
	return never
}

// callQueue is a heap for container/heap.
type callQueue []*call

func (q callQueue) Len() int { return len(q) }

func (q callQueue) Less(a, b int) bool {
	if q[a].check != q[b].check {
		return q[a].check < q[b].check
	}
	return q[a].key < q[b].key
}

func (q callQueue) Swap(a, b int) {
	q[a], q[b] = q[b], q[a]
	q[a].index, q[b].index = a, b
}

func (q *callQueue) Push(added any) {
	call := added.(*call)
	call.index = len(*q)
	*q = append(*q, call)
}

func (q *callQueue) Pop() any {
	last := len(*q) - 1
	call := (*q)[last]
	(*q)[last] = nil
	*q = (*q)[:last]
	return call
}
