// Sending and what is stored: every way a producer of this client has, fields, and topics.
// Owns cases about accepted sends; refused ones are in refusals.go.
package main

import (
	"bytes"
	"context"
	"fmt"
	"math/rand"
	"strings"
	"sync"
	"time"

	"github.com/apache/rocketmq-client-go/v2/admin"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"
)

func sendCases() []testCase {
	return []testCase{
		{"send.sync", usualSeconds, sendSync},
		{"send.async", usualSeconds, sendAsync},
		{"send.oneway", usualSeconds, sendOneway},
		{"send.batch", usualSeconds, sendBatch},
		{"send.compressed", usualSeconds, sendCompressed},
		{"send.sharded", usualSeconds, sendSharded},
		{"send.autocreate", usualSeconds, sendAutocreate},
		{"field.all", usualSeconds, fieldAll},
		{"field.unicode", usualSeconds, fieldUnicode},
		{"field.body_4_mib", usualSeconds, fieldLargestBody},
		{"topic.create_list_delete", usualSeconds, topicLife},
	}
}

func text(topic, body string) *primitive.Message { return primitive.NewMessage(topic, []byte(body)) }

func randomBytes(count int) []byte {
	made := make([]byte, count)
	rand.New(rand.NewSource(7)).Read(made)
	return made
}

func sendSync(s *stage) {
	topic := s.topic("t", 4)
	ids, offsets := map[string]bool{}, map[int][]int64{}
	texts := numbered("sync-", 20)
	for _, body := range texts {
		result := s.send(text(topic, body))
		ids[result.MsgID] = true
		offsets[result.MessageQueue.QueueId] = append(offsets[result.MessageQueue.QueueId], result.QueueOffset)
	}
	equal("distinct ids", 20, len(ids))
	dense := []int64{0, 1, 2, 3, 4}
	equal("queue offsets", map[int][]int64{0: dense, 1: dense, 2: dense, 3: dense}, offsets)
	stored := s.stored(topic, 20)
	equal("stored bodies", texts, sorted(bodies(stored)))
	for _, message := range stored {
		if !ids[message.MsgId] {
			fail("the stored id %s was never given out", message.MsgId)
		}
	}
}

func sendAsync(s *stage) {
	topic := s.topic("t", 4)
	texts := numbered("async-", 100)
	var open sync.WaitGroup
	var lock sync.Mutex
	var errors []error
	good := 0
	open.Add(len(texts))
	for _, body := range texts {
		err := s.producer().SendAsync(context.Background(),
			func(_ context.Context, result *primitive.SendResult, err error) {
				lock.Lock()
				defer lock.Unlock()
				if err != nil {
					errors = append(errors, err)
				} else if result.Status == primitive.SendOK {
					good++
				}
				open.Done()
			}, text(topic, body))
		must("send async", err)
	}
	open.Wait()
	equal("errors", 0, len(errors))
	equal("callbacks with SendOK", 100, good)
	equal("stored bodies", texts, sorted(bodies(s.stored(topic, 100))))
}

func sendOneway(s *stage) {
	topic := s.topic("t", 2)
	texts := numbered("oneway-", 50)
	for _, body := range texts {
		must("send one-way", s.producer().SendOneWay(context.Background(), text(topic, body)))
	}
	equal("stored bodies", texts, sorted(bodies(s.stored(topic, 50))))
}

func sendBatch(s *stage) {
	topic := s.topic("t", 1)
	texts := numbered("batch-", 20)
	var messages []*primitive.Message
	for i, body := range texts {
		messages = append(messages, text(topic, body).WithTag(fmt.Sprint("T", i%3)).WithKeys([]string{fmt.Sprint("k", i)}))
	}
	result, err := s.producer().SendSync(context.Background(), messages...)
	must("send batch", err)
	equal("status", primitive.SendOK, result.Status)
	equal("offset of the first", int64(0), result.QueueOffset)
	equal("offset ids in the answer", 20, len(strings.Split(result.OffsetMsgID, ",")))
	stored := s.stored(topic, 20)
	equal("bodies in order", texts, bodies(stored))
	for i, message := range stored {
		equal("queue offset", int64(i), message.QueueOffset)
		equal("tag", fmt.Sprint("T", i%3), message.GetTags())
		equal("key", fmt.Sprint("k", i), strings.TrimSpace(message.GetKeys()))
	}
}

func sendCompressed(s *stage) {
	topic := s.topic("t", 1)
	body := strings.Repeat("a line that repeats itself\n", 4000)
	s.send(text(topic, body))
	stored := s.stored(topic, 1)[0]
	equal("body after decompression", body, string(stored.Body))
	if stored.StoreSize > 4096 {
		fail("%d bytes stored of a body of %d", stored.StoreSize, len(body))
	}
}

// sendSharded checks that messages of one key share a queue and keep their order there.
func sendSharded(s *stage) {
	topic := s.topic("t", 4)
	hashing := s.producerWith(producer.WithQueueSelector(producer.NewHashQueueSelector()))
	queueOf := map[string]int{}
	for i := 0; i < 40; i++ {
		key := fmt.Sprint("shard-", i%8)
		result, err := hashing.SendSync(context.Background(), text(topic, fmt.Sprintf("%s-%02d", key, i)).WithShardingKey(key))
		must("send", err)
		if queue, known := queueOf[key]; known {
			equal("queue of "+key, queue, result.MessageQueue.QueueId)
		}
		queueOf[key] = result.MessageQueue.QueueId
	}
	last := map[string]string{}
	for _, message := range s.stored(topic, 40) {
		key := message.GetShardingKey()
		equal("queue of "+key, queueOf[key], message.Queue.QueueId)
		if body := string(message.Body); body <= last[key] {
			fail("%s was stored after %s", body, last[key])
		}
		last[key] = string(message.Body)
	}
	equal("keys", 8, len(last))
}

func sendAutocreate(s *stage) {
	topic := s.unique("unseen")
	result := s.send(text(topic, "first"))
	equal("queue offset", int64(0), result.QueueOffset)
	equal("queues of the new topic", 4, len(s.queues(topic)))
	equal("stored", []string{"first"}, bodies(s.stored(topic, 1)))
}

func fieldAll(s *stage) {
	topic := s.topic("t", 3)
	queue := s.queues(topic)[2]
	message := text(topic, "a body").WithTag("the-tag").WithKeys([]string{"k1", "k2"})
	message.Flag = 0x12345678
	message.Queue = queue
	message.WithProperty("one", "1")
	message.WithProperty("with spaces", " v v ")
	before := time.Now().UnixMilli()
	sent := s.send(message)
	after := time.Now().UnixMilli()
	got := s.stored(topic, 1)[0]
	equal("body", "a body", string(got.Body))
	equal("flag", int32(0x12345678), got.Flag)
	equal("tag", "the-tag", got.GetTags())
	equal("keys", []string{"k1", "k2"}, strings.Fields(got.GetKeys()))
	equal("one", "1", got.GetProperty("one"))
	equal("with spaces", " v v ", got.GetProperty("with spaces"))
	equal("topic", topic, got.Topic)
	equal("queue", 2, got.Queue.QueueId)
	equal("queue offset", int64(0), got.QueueOffset)
	equal("id", sent.MsgID, got.MsgId)
	equal("offset id", sent.OffsetMsgID, got.OffsetMsgId)
	equal("store host", broker, got.StoreHost)
	equal("born host", true, strings.HasPrefix(got.BornHost, "127.0.0.1:"))
	equal("reconsume times", int32(0), got.ReconsumeTimes)
	for name, stamp := range map[string]int64{"born": got.BornTimestamp, "store": got.StoreTimestamp} {
		if stamp < before || stamp > after {
			fail("%s time %d is not within %d..%d", name, stamp, before, after)
		}
	}
}

func fieldUnicode(s *stage) {
	topic := s.topic("t", 1)
	texts := []string{"naïve café", "Привет, мир", "消息队列 訊息", "🚀🧪 astral", "عربي עברית"}
	for _, body := range texts {
		message := text(topic, body).WithTag(strings.ReplaceAll(body, " ", "_"))
		message.WithProperty("in "+body, "out "+body)
		s.send(message)
	}
	stored := s.stored(topic, len(texts))
	equal("bodies", texts, bodies(stored))
	for i, message := range stored {
		equal("tag", strings.ReplaceAll(texts[i], " ", "_"), message.GetTags())
		equal("property", "out "+texts[i], message.GetProperty("in "+texts[i]))
	}
}

func fieldLargestBody(s *stage) {
	topic := s.topic("t", 1)
	body := randomBytes(bodyBytesMax)
	open := s.producerWith(producer.WithCompressMsgBodyOverHowmuch(1 << 30))
	result, err := open.SendSync(context.Background(), primitive.NewMessage(topic, body))
	must("send", err)
	equal("status", primitive.SendOK, result.Status)
	if !bytes.Equal(body, s.stored(topic, 1)[0].Body) {
		fail("the largest body came back changed")
	}
}

// topicLife drives the administration part of the client.
func topicLife(s *stage) {
	topic := s.unique("life")
	made, err := admin.NewAdmin(admin.WithResolver(resolver()))
	must("new admin", err)
	listed := func() bool {
		list, err := made.FetchAllTopicList(context.Background())
		must("list", err)
		for _, one := range list.TopicList {
			if one == topic {
				return true
			}
		}
		return false
	}
	equal("listed before", false, listed())
	must("create", made.CreateTopic(context.Background(), admin.WithTopicCreate(topic), admin.WithBrokerAddrCreate(broker),
		admin.WithReadQueueNums(6), admin.WithWriteQueueNums(6)))
	until("listed", 10*time.Second, listed, func() any { return "not" })
	equal("queues", 6, len(s.queues(topic)))
	must("delete", made.DeleteTopic(context.Background(), admin.WithTopicDelete(topic), admin.WithBrokerAddrDelete(broker)))
	until("no longer listed", 10*time.Second, func() bool { return !listed() }, func() any { return "listed" })
}
