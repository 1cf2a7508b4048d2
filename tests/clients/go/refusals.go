// Requests that must be refused, and features that Strata does not serve yet.
// Owns cases whose outcome is a response code.
package main

import (
	"context"
	"strings"

	rocketmq "github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/admin"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"
)

// bodyBytesMax is the broker's default limit of a body.
const bodyBytesMax = 4 * 1024 * 1024

func refuseCases() []testCase {
	return []testCase{
		{"refuse.large_body", usualSeconds, refuseLargeBody},
		{"refuse.large_properties", usualSeconds, refuseLargeProperties},
		{"refuse.illegal_topic", usualSeconds, refuseIllegalTopic},
		{"refuse.unknown_topic", usualSeconds, refuseUnknownTopic},
		{"refuse.create_illegal_topic", usualSeconds, refuseCreate},
		{"later.transaction", slowSeconds, laterTransaction},
	}
}

func onlyLegalStored(s *stage, topic string) {
	s.sendAll(topic, []string{"legal"})
	equal("stored", []string{"legal"}, bodies(s.stored(topic, 1)))
}

func refuseLargeBody(s *stage) {
	topic := s.topic("t", 1)
	open := s.producerWith(producer.WithCompressMsgBodyOverHowmuch(1 << 30))
	_, err := open.SendSync(context.Background(), primitive.NewMessage(topic, randomBytes(bodyBytesMax+1)))
	refused("a large body", 13, err)
	onlyLegalStored(s, topic)
}

func refuseLargeProperties(s *stage) {
	topic := s.topic("t", 1)
	message := text(topic, "p")
	message.WithProperty("long", strings.Repeat("v", 40_000))
	_, err := s.producer().SendSync(context.Background(), message)
	refused("large properties", 13, err)
	onlyLegalStored(s, topic)
}

// refuseIllegalTopic: this client checks no names, so the broker must.
func refuseIllegalTopic(s *stage) {
	_, err := s.producer().SendSync(context.Background(), text("has space", "x"))
	refused("a name with a space", 29, err)
}

func refuseUnknownTopic(s *stage) {
	alone := s.producerWith(producer.WithCreateTopicKey(s.unique("no_template")))
	_, err := alone.SendSync(context.Background(), text(s.unique("absent"), "x"))
	if err == nil || !strings.Contains(err.Error(), "route info not found") {
		fail("expected a missing route, got %v", err)
	}
}

func refuseCreate(s *stage) {
	made, err := admin.NewAdmin(admin.WithResolver(resolver()))
	must("new admin", err)
	for _, topic := range []string{"has space", "TBW102"} {
		// The client returns no error for an answer that is not 0, so the lists are what can be seen.
		must("create", made.CreateTopic(context.Background(), admin.WithTopicCreate(topic), admin.WithBrokerAddrCreate(broker),
			admin.WithReadQueueNums(3), admin.WithWriteQueueNums(3)))
	}
	list, err := made.FetchAllTopicList(context.Background())
	must("list", err)
	for _, topic := range list.TopicList {
		if topic == "has space" {
			fail("an illegal topic was created")
		}
	}
	equal("queues of the template", 8, len(s.queues("TBW102")))
}

type committing struct{}

func (committing) ExecuteLocalTransaction(message *primitive.Message) primitive.LocalTransactionState {
	if string(message.Body) == "undone" {
		return primitive.RollbackMessageState
	}
	return primitive.CommitMessageState
}

func (committing) CheckLocalTransaction(*primitive.MessageExt) primitive.LocalTransactionState {
	return primitive.UnknowState
}

// laterTransaction: works on Apache; Strata refuses the half message and stores nothing.
func laterTransaction(s *stage) {
	topic := s.topic("t", 1)
	made, err := rocketmq.NewTransactionProducer(committing{}, producer.WithNsResolver(resolver()),
		producer.WithInstanceName(instance()), producer.WithGroupName(s.unique("tx")), producer.WithRetry(0))
	must("new transaction producer", err)
	must("start", made.Start())
	s.atEnd(func() { _ = made.Shutdown() })
	for _, body := range []string{"undone", "done"} {
		_, err := made.SendMessageInTransaction(context.Background(), text(topic, body))
		if onStrata {
			if err == nil || !strings.Contains(err.Error(), "CODE: ") {
				fail("expected the broker's refusal of a half message, got %v", err)
			}
			continue
		}
		must("send in transaction", err)
	}
	if onStrata {
		onlyLegalStored(s, topic)
		return
	}
	equal("visible", []string{"done"}, bodies(s.stored(topic, 1)))
}
