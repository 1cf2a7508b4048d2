// What one case works with: names of its own, clients that end with it, checks, and an inbox for consumers.
// Owns every client that a case starts; holds no assertion about behaviour.
package main

import (
	"context"
	"fmt"
	"os"
	"reflect"
	"sort"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	rocketmq "github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/admin"
	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"
)

var (
	onStrata  = os.Getenv("TARGET") == "strata"
	broker    = os.Getenv("BROKER")
	instances atomic.Int64
)

// waitTime is how long a consumer may need: it rebalances every 20 s and looks for routes every 30 s.
const waitTime = 70 * time.Second

// settleTime is how long a case looks for a message that must not come.
const settleTime = 400 * time.Millisecond

// failed is a check that did not hold; it ends the case by a panic that the runner of cases expects.
type failed string

func fail(format string, values ...any) {
	panic(failed(fmt.Sprintf(format, values...)))
}

// shown cuts a value to what a reader of one line can use.
func shown(value any) string {
	text := fmt.Sprint(value)
	if len(text) > 120 {
		return fmt.Sprintf("%s... (%d)", text[:120], len(text))
	}
	return text
}

func equal(what string, expected, actual any) {
	if !reflect.DeepEqual(expected, actual) {
		fail("%s: expected %s, got %s", what, shown(expected), shown(actual))
	}
}

func within(what string, low, high, actual time.Duration) {
	if actual < low || actual > high {
		fail("%s: expected %v..%v, got %v", what, low, high, actual)
	}
}

func must(what string, err error) {
	if err != nil {
		fail("%s: %v", what, err)
	}
}

// refused checks that an error carries this response code, in the text form that the client gives it.
func refused(what string, code int, err error) {
	if err == nil {
		fail("%s: expected a refusal with code %d, got none", what, code)
	}
	if text := err.Error(); !strings.Contains(text, fmt.Sprintf("CODE: %d,", code)) &&
		!strings.Contains(text, fmt.Sprintf("CODE: %d ", code)) {
		fail("%s: expected code %d, got %s", what, code, text)
	}
}

func until(what string, limit time.Duration, holds func() bool, state func() any) {
	deadline := time.Now().Add(limit)
	for !holds() {
		if time.Now().After(deadline) {
			fail("%s: not within %v, state %s", what, limit, shown(state()))
		}
		time.Sleep(20 * time.Millisecond)
	}
}

type stage struct {
	name    string
	lock    sync.Mutex
	endings []func()
	shared  rocketmq.Producer
}

func newStage(name string) *stage {
	return &stage{name: os.Getenv("RUN") + "_" + strings.ReplaceAll(name, ".", "_")}
}

func (s *stage) unique(suffix string) string { return s.name + "_" + suffix }

func (s *stage) atEnd(ending func()) {
	s.lock.Lock()
	defer s.lock.Unlock()
	s.endings = append(s.endings, ending)
}

func (s *stage) close() {
	s.lock.Lock()
	endings := s.endings
	s.endings = nil
	s.lock.Unlock()
	for _, ending := range endings {
		ending()
	}
}

// topic creates a topic with this many queues and returns its name once the name servers list it.
func (s *stage) topic(suffix string, queues int) string {
	topic := s.unique(suffix)
	must("topic", ask(fmt.Sprintf("topic %s %d", topic, queues)))
	return topic
}

func resolver() primitive.NsResolver {
	return primitive.NewPassthroughResolver(strings.Split(os.Getenv("NAMESRV"), ";"))
}

func instance() string { return fmt.Sprintf("%s-%d", os.Getenv("RUN"), instances.Add(1)) }

func (s *stage) producerWith(options ...producer.Option) rocketmq.Producer {
	all := append([]producer.Option{
		producer.WithNsResolver(resolver()), producer.WithInstanceName(instance()),
		producer.WithGroupName(s.unique("p")), producer.WithSendMsgTimeout(10 * time.Second), producer.WithRetry(0),
	}, options...)
	made, err := rocketmq.NewProducer(all...)
	must("new producer", err)
	must("start producer", made.Start())
	s.atEnd(func() { _ = made.Shutdown() })
	return made
}

// producer is the case's own, made on first use; its messages name their queue or are spread in turn.
func (s *stage) producer() rocketmq.Producer {
	if s.shared == nil {
		s.shared = s.producerWith(producer.WithQueueSelector(byQueue{producer.NewRoundRobinQueueSelector()}))
	}
	return s.shared
}

// byQueue lets a message choose its queue and spreads the others.
type byQueue struct{ others producer.QueueSelector }

func (b byQueue) Select(message *primitive.Message, queues []*primitive.MessageQueue, last string) *primitive.MessageQueue {
	if message.Queue == nil {
		return b.others.Select(message, queues, last)
	}
	for _, queue := range queues {
		if queue.QueueId == message.Queue.QueueId {
			return queue
		}
	}
	return nil
}

func (s *stage) send(message *primitive.Message) *primitive.SendResult {
	result, err := s.producer().SendSync(context.Background(), message)
	must("send", err)
	equal("status", primitive.SendOK, result.Status)
	return result
}

func (s *stage) sendAll(topic string, bodies []string) {
	for _, body := range bodies {
		s.send(primitive.NewMessage(topic, []byte(body)))
	}
}

// queues lists the topic's queues in the order of their ids.
func (s *stage) queues(topic string) []*primitive.MessageQueue {
	made, err := admin.NewAdmin(admin.WithResolver(resolver()))
	must("new admin", err)
	queues, err := made.FetchPublishMessageQueues(context.Background(), topic)
	must("queues", err)
	sort.Slice(queues, func(a, b int) bool { return queues[a].QueueId < queues[b].QueueId })
	return queues
}

func (s *stage) puller(topic, tags string) rocketmq.PullConsumer {
	made, err := rocketmq.NewPullConsumer(consumer.WithNsResolver(resolver()), consumer.WithInstance(instance()),
		consumer.WithGroupName(s.unique(fmt.Sprintf("look%d", instances.Add(1)))))
	must("new pull consumer", err)
	must("subscribe", made.Subscribe(topic, consumer.MessageSelector{Type: consumer.TAG, Expression: tags}))
	must("start pull consumer", made.Start())
	s.atEnd(func() { _ = made.Shutdown() })
	return made
}

// stored reads everything in a topic, queue after queue, once there are this many messages.
func (s *stage) stored(topic string, count int) []*primitive.MessageExt {
	puller := s.puller(topic, "*")
	queues := s.queues(topic)
	var found []*primitive.MessageExt
	until(fmt.Sprintf("%d messages stored", count), 20*time.Second, func() bool {
		found = nil
		for _, queue := range queues {
			found = append(found, readQueue(puller, queue)...)
		}
		return len(found) >= count
	}, func() any { return len(found) })
	return found
}

type pulled struct {
	result *primitive.PullResult
	err    error
}

// readQueue reads a queue to its end. This client always lets the broker hold a pull for up to 20 s and cannot take it
// back, so an empty queue is one whose pull is not answered at once; the pull is left behind.
func readQueue(puller rocketmq.PullConsumer, queue *primitive.MessageQueue) (found []*primitive.MessageExt) {
	for next := int64(0); ; {
		answer := make(chan pulled, 1)
		go func(from int64) {
			result, err := puller.PullFrom(context.Background(), queue, from, 32)
			answer <- pulled{result, err}
		}(next)
		var got pulled
		select {
		case got = <-answer:
		case <-time.After(time.Second):
			return found
		}
		must("pull", got.err)
		found = append(found, got.result.GetMessageExts()...)
		next = got.result.NextBeginOffset
		if next >= got.result.MaxOffset {
			return found
		}
	}
}

func bodies(messages []*primitive.MessageExt) []string {
	texts := []string{}
	for _, message := range messages {
		texts = append(texts, string(message.Body))
	}
	return texts
}

func sorted(texts []string) []string {
	copied := append([]string{}, texts...)
	sort.Strings(copied)
	return copied
}

func numbered(prefix string, count int) []string {
	texts := []string{}
	for i := 0; i < count; i++ {
		texts = append(texts, fmt.Sprintf("%s%05d", prefix, i))
	}
	return texts
}

// inbox collects what consumers receive; reject says which deliveries they do not accept.
type inbox struct {
	lock     sync.Mutex
	messages []*primitive.MessageExt
	times    []time.Time
	reject   func(*primitive.MessageExt) bool
	verdict  consumer.ConsumeResult
}

func (i *inbox) take(_ context.Context, messages ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
	i.lock.Lock()
	defer i.lock.Unlock()
	verdict := consumer.ConsumeSuccess
	for _, message := range messages {
		i.messages = append(i.messages, message)
		i.times = append(i.times, time.Now())
		if i.reject != nil && i.reject(message) {
			verdict = i.verdict
		}
	}
	return verdict, nil
}

func (i *inbox) all() []*primitive.MessageExt {
	i.lock.Lock()
	defer i.lock.Unlock()
	return append([]*primitive.MessageExt{}, i.messages...)
}

func (i *inbox) size() int { return len(i.all()) }

func (i *inbox) waitFor(count int) {
	until(fmt.Sprintf("%d deliveries", count), waitTime, func() bool { return i.size() >= count },
		func() any { return i.size() })
}

// exactly waits until these bodies came, each once, in any order, and no more follow.
func (i *inbox) exactly(expected []string) {
	i.waitFor(len(expected))
	time.Sleep(settleTime)
	equal("deliveries", len(expected), i.size())
	equal("bodies received", sorted(expected), sorted(bodies(i.all())))
}

// push starts a consumer of the group that puts what it receives into the inbox.
func (s *stage) push(group, topic, tags string, into *inbox, options ...consumer.Option) rocketmq.PushConsumer {
	return s.pushOf(group, topic, consumer.MessageSelector{Type: consumer.TAG, Expression: tags}, into, options...)
}

// pushOf is push with any kind of expression.
func (s *stage) pushOf(group, topic string, wanted consumer.MessageSelector, into *inbox,
	options ...consumer.Option) rocketmq.PushConsumer {
	all := append([]consumer.Option{
		consumer.WithNsResolver(resolver()), consumer.WithInstance(instance()), consumer.WithGroupName(s.unique(group)),
		consumer.WithConsumeFromWhere(consumer.ConsumeFromFirstOffset),
	}, options...)
	made, err := rocketmq.NewPushConsumer(all...)
	must("new push consumer", err)
	must("subscribe", made.Subscribe(topic, wanted, into.take))
	must("start push consumer", made.Start())
	s.atEnd(func() { _ = made.Shutdown() })
	return made
}
