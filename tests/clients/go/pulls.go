// The pull consumer: statuses, next offsets, filtering, and polling.
// Owns cases of this client's pull consumer.
package main

import (
	"context"
	"fmt"
	"time"

	rocketmq "github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
)

func pullCases() []testCase {
	return []testCase{
		{"pull.poll", slowSeconds, pullPoll},
		{"pull.found", usualSeconds, pullFound},
		{"pull.offset_illegal", usualSeconds, pullOffsetIllegal},
		{"pull.tags", usualSeconds, pullTags},
	}
}

func (s *stage) pullAt(from rocketmq.PullConsumer, queue *primitive.MessageQueue, offset int64, count int) *primitive.PullResult {
	result, err := from.PullFrom(context.Background(), queue, offset, count)
	must("pull", err)
	return result
}

func pullFound(s *stage) {
	topic := s.topic("t", 1)
	texts := numbered("p-", 40)
	s.sendAll(topic, texts)
	s.stored(topic, 40)
	puller, queue := s.puller(topic, "*"), s.queues(topic)[0]
	ten := s.pullAt(puller, queue, 5, 10)
	equal("status", primitive.PullFound, ten.Status)
	equal("bodies", texts[5:15], bodies(ten.GetMessageExts()))
	equal("next offset", int64(15), ten.NextBeginOffset)
	equal("min offset", int64(0), ten.MinOffset)
	equal("max offset", int64(40), ten.MaxOffset)
	end := s.pullAt(puller, queue, 40, 10)
	equal("status at the end", primitive.PullNoNewMsg, end.Status)
	equal("next offset at the end", int64(40), end.NextBeginOffset)
}

func pullOffsetIllegal(s *stage) {
	topic := s.topic("t", 1)
	s.sendAll(topic, numbered("p-", 5))
	s.stored(topic, 5)
	result := s.pullAt(s.puller(topic, "*"), s.queues(topic)[0], 1_000_000, 10)
	equal("status", primitive.PullOffsetIllegal, result.Status)
	equal("next offset", int64(5), result.NextBeginOffset)
	equal("max offset", int64(5), result.MaxOffset)
}

func pullTags(s *stage) {
	topic := s.topic("t", 1)
	for i := 0; i < 12; i++ {
		tag := "B"
		if i%3 == 0 {
			tag = "A"
		}
		s.send(text(topic, fmt.Sprint("t", i)).WithTag(tag))
	}
	s.stored(topic, 12)
	queue := s.queues(topic)[0]
	some := s.pullAt(s.puller(topic, "A"), queue, 0, 32)
	equal("status", primitive.PullFound, some.Status)
	equal("bodies", []string{"t0", "t3", "t6", "t9"}, bodies(some.GetMessageExts()))
	equal("next offset", int64(12), some.NextBeginOffset)
	none := s.pullAt(s.puller(topic, "C"), queue, 0, 32)
	equal("status without a match", primitive.PullNoMsgMatched, none.Status)
	equal("next offset without a match", int64(12), none.NextBeginOffset)
}

// pullPoll takes messages from subscribed queues and acknowledges them; a second consumer of the group gets the rest.
func pullPoll(s *stage) {
	topic := s.topic("t", 2)
	for round := 0; round < 2; round++ {
		texts := numbered(fmt.Sprintf("poll-%d-", round), 30)
		s.sendAll(topic, texts)
		made, err := rocketmq.NewPullConsumer(consumer.WithNsResolver(resolver()), consumer.WithInstance(instance()),
			consumer.WithGroupName(s.unique("g")), consumer.WithConsumeFromWhere(consumer.ConsumeFromFirstOffset))
		must("new pull consumer", err)
		must("subscribe", made.Subscribe(topic, consumer.MessageSelector{Type: consumer.TAG, Expression: "*"}))
		must("start", made.Start())
		var got []string
		deadline := time.Now().Add(waitTime)
		for len(got) < 30 && time.Now().Before(deadline) {
			request, err := made.Poll(context.Background(), time.Second)
			if consumer.IsNoNewMsgError(err) {
				continue
			}
			must("poll", err)
			got = append(got, bodies(request.GetMsgList())...)
			made.ACK(context.Background(), request, consumer.ConsumeSuccess)
		}
		equal("bodies", texts, sorted(got))
		must("shutdown", made.Shutdown())
	}
}
