// Messages that a consumer did not accept: when they come again, and the dead-letter queue.
// Owns cases about sending back; they wait for delay levels, so they start first.
package main

import (
	"time"

	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
)

func retryCases() []testCase {
	return []testCase{
		{"retry.dlq", slowSeconds, retryDeadLetter},
		{"retry.later", slowSeconds, retryLater},
		{"order.held", slowSeconds, orderHeld},
	}
}

func retryLater(s *stage) {
	topic := s.topic("t", 1)
	into := &inbox{verdict: consumer.ConsumeRetryLater}
	into.reject = func(m *primitive.MessageExt) bool { return m.ReconsumeTimes == 0 && string(m.Body) == "fails once" }
	s.push("g", topic, "*", into)
	message := text(topic, "fails once").WithTag("red").WithKeys([]string{"k"})
	message.WithProperty("colour", "rouge é")
	sent := s.send(message)
	s.sendAll(topic, []string{"is fine"})
	into.waitFor(3)
	var times []time.Time
	var last *primitive.MessageExt
	for i, one := range into.all() {
		if string(one.Body) == "fails once" {
			times, last = append(times, into.times[i]), one
		}
	}
	equal("deliveries of the failed message", 2, len(times))
	equal("reconsume times", int32(1), last.ReconsumeTimes)
	equal("id", sent.MsgID, last.MsgId)
	equal("tag", "red", last.GetTags())
	equal("property", "rouge é", last.GetProperty("colour"))
	equal("property RETRY_TOPIC", topic, last.GetProperty("RETRY_TOPIC"))
	within("time to the retry", 9500*time.Millisecond, 60*time.Second, times[1].Sub(times[0]))
}

func retryDeadLetter(s *stage) {
	topic := s.topic("t", 1)
	into := &inbox{verdict: consumer.ConsumeRetryLater, reject: func(*primitive.MessageExt) bool { return true }}
	s.push("g", topic, "*", into, consumer.WithMaxReconsumeTimes(1))
	message := text(topic, "always fails").WithTag("red")
	message.WithProperty("colour", "rouge é")
	sent := s.send(message)
	into.waitFor(2)
	dlq := "%DLQ%" + s.unique("g")
	until("a dead-letter topic", 30*time.Second, func() bool { return len(tryQueues(s, dlq)) == 1 },
		func() any { return "none" })
	dead := s.stored(dlq, 1)
	equal("dead letters", 1, len(dead))
	equal("body", "always fails", string(dead[0].Body))
	equal("id", sent.MsgID, dead[0].MsgId)
	equal("tag", "red", dead[0].GetTags())
	equal("property", "rouge é", dead[0].GetProperty("colour"))
	equal("property RETRY_TOPIC", topic, dead[0].GetProperty("RETRY_TOPIC"))
	equal("deliveries before", 2, into.size())
}

// tryQueues lists the queues of a topic that may not exist yet.
func tryQueues(s *stage, topic string) (queues []*primitive.MessageQueue) {
	defer func() { _ = recover() }()
	return s.queues(topic)
}

// orderHeld: a message that is not accepted holds its queue until it is.
func orderHeld(s *stage) {
	topic := s.topic("t", 1)
	refusals := 0
	into := &inbox{verdict: consumer.SuspendCurrentQueueAMoment}
	into.reject = func(m *primitive.MessageExt) bool {
		if string(m.Body) != "hold-00002" || refusals == 2 {
			return false
		}
		refusals++
		return true
	}
	s.sendAll(topic, numbered("hold-", 5))
	s.push("g", topic, "*", into, consumer.WithConsumerOrder(true),
		consumer.WithSuspendCurrentQueueTimeMillis(200*time.Millisecond))
	into.waitFor(7)
	equal("deliveries in order", []string{"hold-00000", "hold-00001", "hold-00002", "hold-00002", "hold-00002",
		"hold-00003", "hold-00004"}, bodies(into.all()))
}
