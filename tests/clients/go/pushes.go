// Push consumers: delivery, tags, sharing, broadcasting, order, where a group begins, delay.
// Owns cases about what is delivered to whom; what is not accepted is in retries.go.
package main

import (
	"context"
	"fmt"
	"sort"
	"time"

	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
)

func pushCases() []testCase {
	return []testCase{
		{"push.rebalance", slowSeconds, pushRebalance},
		{"push.shared", slowSeconds, pushShared},
		{"order.per_queue", slowSeconds, orderPerQueue},
		{"push.broadcast", slowSeconds, pushBroadcast},
		{"push.offset_survives", slowSeconds, pushOffsetSurvives},
		{"push.backlog", slowSeconds, pushBacklog},
		{"delay.level_1", slowSeconds, func(s *stage) { delayLevel(s, 1, time.Second) }},
		{"delay.level_2", slowSeconds, func(s *stage) { delayLevel(s, 2, 5*time.Second) }},
		{"push.concurrent", slowSeconds, pushConcurrent},
		{"push.tags", slowSeconds, pushTags},
		{"push.sql", slowSeconds, pushSQL},
		{"push.two_groups", slowSeconds, pushTwoGroups},
		{"push.woken", slowSeconds, pushWoken},
		{"push.from_first", slowSeconds, func(s *stage) { pushFrom(s, consumer.ConsumeFromFirstOffset) }},
		{"push.from_last", slowSeconds, func(s *stage) { pushFrom(s, consumer.ConsumeFromLastOffset) }},
		{"push.from_timestamp", slowSeconds, func(s *stage) { pushFrom(s, consumer.ConsumeFromTimestamp) }},
	}
}

// sendToEach sends count messages to each queue in turn and returns what each queue must deliver.
func (s *stage) sendToEach(topic, prefix string, count int) map[int][]string {
	expected := map[int][]string{}
	queues := s.queues(topic)
	for i := 0; i < count; i++ {
		for _, queue := range queues {
			body := fmt.Sprintf("%s%d-%03d", prefix, queue.QueueId, i)
			message := text(topic, body)
			message.Queue = queue
			s.send(message)
			expected[queue.QueueId] = append(expected[queue.QueueId], body)
		}
	}
	return expected
}

// warm sends one message to each queue until the consumer has seen all queues: a new one may pause at first.
func (s *stage) warm(topic string, into *inbox) {
	seen := into.size()
	total := 0
	for _, expected := range s.sendToEach(topic, "warm-", 1) {
		total += len(expected)
	}
	into.waitFor(seen + total)
}

func pushConcurrent(s *stage) {
	topic := s.topic("t", 4)
	into := &inbox{}
	s.push("g", topic, "*", into)
	texts := numbered("push-", 100)
	s.sendAll(topic, texts)
	into.exactly(texts)
	for _, message := range into.all() {
		equal("reconsume times", int32(0), message.ReconsumeTimes)
	}
}

func pushTags(s *stage) {
	topic := s.topic("t", 2)
	var expected []string
	for i := 0; i < 40; i++ {
		tag := string("ABCD"[i%4])
		body := fmt.Sprintf("tag-%s-%d", tag, i)
		s.send(text(topic, body).WithTag(tag))
		if i%2 == 0 {
			expected = append(expected, body)
		}
	}
	some, all := &inbox{}, &inbox{}
	s.push("some", topic, "A || C", some)
	s.push("all", topic, "*", all)
	some.exactly(expected)
	all.waitFor(40)
	equal("all tags", 40, all.size())
}

// pushSQL: an expression over properties; a message that is not accepted comes again under the same expression.
func pushSQL(s *stage) {
	topic := s.topic("t", 2)
	for i := 1; i <= 8; i++ {
		colour := []string{"red", "blue"}[i%2]
		message := text(topic, fmt.Sprintf("%d-%s", i, colour))
		message.WithProperty("size", fmt.Sprint(i))
		message.WithProperty("colour", colour)
		s.send(message)
	}
	into := &inbox{verdict: consumer.ConsumeRetryLater}
	into.reject = func(m *primitive.MessageExt) bool { return string(m.Body) == "6-red" && m.ReconsumeTimes == 0 }
	s.pushOf("g", topic, consumer.MessageSelector{Type: consumer.SQL92, Expression: "size > 3 AND colour = 'red'"}, into)
	into.exactly([]string{"4-red", "6-red", "6-red", "8-red"})
}

func pushBroadcast(s *stage) {
	topic := s.topic("t", 2)
	inboxes := []*inbox{{}, {}}
	for _, into := range inboxes {
		s.push("g", topic, "*", into, consumer.WithConsumerModel(consumer.BroadCasting))
	}
	texts := numbered("cast-", 30)
	s.sendAll(topic, texts)
	for _, into := range inboxes {
		into.exactly(texts)
	}
}

// waitShared sends a message to each queue until both consumers have got some of one round, and none got all.
func (s *stage) waitShared(topic string, one, two *inbox) {
	until("both consumers share the queues", waitTime, func() bool {
		first, second := one.size(), two.size()
		s.sendToEach(topic, "share-", 1)
		until("a round is delivered", waitTime, func() bool { return one.size()-first+two.size()-second >= 4 },
			func() any { return one.size() - first + two.size() - second })
		return one.size()-first == 2 && two.size()-second == 2
	}, func() any { return "not shared" })
}

func pushShared(s *stage) {
	topic := s.topic("t", 4)
	one, two := &inbox{}, &inbox{}
	s.push("g", topic, "*", one)
	s.push("g", topic, "*", two)
	s.waitShared(topic, one, two)
	first, second := one.size(), two.size()
	s.sendAll(topic, numbered("shared-", 80))
	until("80 deliveries", waitTime, func() bool { return one.size()-first+two.size()-second >= 80 },
		func() any { return one.size() - first + two.size() - second })
	got := append(bodies(one.all()[first:]), bodies(two.all()[second:])...)
	equal("each message once", numbered("shared-", 80), sorted(got))
	equal("the first consumer's share", 40, one.size()-first)
}

// pushRebalance stops one of two consumers; this client only closes its connection, and the broker must notice.
func pushRebalance(s *stage) {
	topic := s.topic("t", 4)
	one, two := &inbox{}, &inbox{}
	leaving := s.push("g", topic, "*", one)
	s.push("g", topic, "*", two)
	s.waitShared(topic, one, two)
	must("shutdown", leaving.Shutdown())
	texts := numbered("left-", 40)
	s.sendAll(topic, texts)
	missing := func() []string {
		seen := map[string]bool{}
		for _, body := range append(bodies(one.all()), bodies(two.all())...) {
			seen[body] = true
		}
		var lost []string
		for _, body := range texts {
			if !seen[body] {
				lost = append(lost, body)
			}
		}
		return lost
	}
	until("the other takes over", waitTime, func() bool { return len(missing()) == 0 }, func() any { return missing() })
	queues := map[int]bool{}
	for _, message := range two.all() {
		queues[message.Queue.QueueId] = true
	}
	equal("queues that the other has served", 4, len(queues))
}

func pushTwoGroups(s *stage) {
	topic := s.topic("t", 2)
	texts := numbered("groups-", 30)
	s.sendAll(topic, texts)
	for _, group := range []string{"g1", "g2"} {
		into := &inbox{}
		s.push(group, topic, "*", into)
		into.exactly(texts)
	}
}

func pushOffsetSurvives(s *stage) {
	topic := s.topic("t", 2)
	for round := 0; round < 2; round++ {
		into := &inbox{}
		made := s.push("g", topic, "*", into)
		texts := numbered(fmt.Sprintf("round-%d-", round), 20)
		s.sendAll(topic, texts)
		into.exactly(texts)
		must("shutdown", made.Shutdown())
	}
}

func pushWoken(s *stage) {
	topic := s.topic("t", 1)
	into := &inbox{}
	s.push("g", topic, "*", into)
	s.warm(topic, into)
	var delays []time.Duration
	for i := 0; i < 5; i++ {
		// The consumer needs a moment to ask again and be parked.
		time.Sleep(300 * time.Millisecond)
		began := time.Now()
		s.sendAll(topic, []string{fmt.Sprint("wake-", i)})
		into.waitFor(i + 2)
		delays = append(delays, time.Since(began))
	}
	sort.Slice(delays, func(a, b int) bool { return delays[a] < delays[b] })
	within("median time to delivery", 0, time.Second, delays[2])
}

// pushFrom: on a young topic the broker answers offset 0 for a new group, so each choice begins there.
func pushFrom(s *stage, where consumer.ConsumeFromWhere) {
	topic := s.topic("t", 2)
	texts := numbered("from-", 20)
	s.sendAll(topic, texts)
	into := &inbox{}
	s.push("g", topic, "*", into, consumer.WithConsumeFromWhere(where),
		consumer.WithConsumeTimestamp(time.Now().Add(time.Hour).Format("20060102150405")))
	into.exactly(texts)
}

func pushBacklog(s *stage) {
	topic := s.topic("t", 4)
	texts := numbered("backlog-", 5000)
	for from := 0; from < len(texts); from += 100 {
		var batch []*primitive.Message
		for _, body := range texts[from : from+100] {
			batch = append(batch, text(topic, body))
		}
		_, err := s.producer().SendSync(context.Background(), batch...)
		must("send batch", err)
	}
	into := &inbox{}
	s.push("g", topic, "*", into, consumer.WithConsumeMessageBatchMaxSize(32))
	into.exactly(texts)
}

func orderPerQueue(s *stage) {
	topic := s.topic("t", 3)
	expected := s.sendToEach(topic, "order-", 30)
	into := &inbox{}
	s.push("g", topic, "*", into, consumer.WithConsumerOrder(true))
	into.waitFor(90)
	got := map[int][]string{}
	for _, message := range into.all() {
		got[message.Queue.QueueId] = append(got[message.Queue.QueueId], string(message.Body))
	}
	equal("bodies by queue", expected, got)
}

func delayLevel(s *stage, level int, wait time.Duration) {
	topic := s.topic("t", 1)
	into := &inbox{}
	s.push("g", topic, "*", into)
	s.warm(topic, into)
	began := time.Now()
	s.send(text(topic, "late").WithDelayTimeLevel(level).WithKeys([]string{"k"}))
	into.waitFor(2)
	within("time to delivery", wait-20*time.Millisecond, wait+6*time.Second, time.Since(began))
	got := into.all()[1]
	equal("body", "late", string(got.Body))
	equal("topic", topic, got.Topic)
	equal("queue offset", int64(1), got.QueueOffset)
}
