// The Go suite's program: lists its cases, or runs those named in CASES and prints a line for each.
// Owns the conversation with the runner (see harness/session.py) and the goroutines; holds no case.
package main

import (
	"bufio"
	"fmt"
	"os"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"github.com/apache/rocketmq-client-go/v2/rlog"
)

// casesAtOnce is more than there are cores: most cases wait for the broker.
const casesAtOnce = 8

// usualSeconds is the limit of a case that waits for no timer of the broker.
const usualSeconds = 60

// slowSeconds is the limit of a case that consumes: a consumer rebalances every 20 s, and a first retry needs two.
const slowSeconds = 150

type testCase struct {
	name    string
	seconds int
	body    func(*stage)
}

// allCases names those that wait longest first, so that they do not begin last.
func allCases() []testCase {
	var all []testCase
	for _, part := range [][]testCase{retryCases(), pushCases(), pullCases(), sendCases(), refuseCases()} {
		all = append(all, part...)
	}
	return all
}

var lines sync.Mutex

func say(format string, values ...any) {
	lines.Lock()
	defer lines.Unlock()
	fmt.Printf(format+"\n", values...)
}

var (
	oneRequest sync.Mutex
	answers    = bufio.NewScanner(os.Stdin)
)

// ask requests what only the runner can do, such as creating a topic for this client.
func ask(request string) error {
	oneRequest.Lock()
	defer oneRequest.Unlock()
	say("#%s", request)
	if !answers.Scan() {
		return fmt.Errorf("the runner gave no answer to #%s", request)
	}
	if answers.Text() != "done" {
		return fmt.Errorf("the runner answered #%s with %s", request, answers.Text())
	}
	return nil
}

// outcome runs the body and returns why it failed, or nothing.
func outcome(one testCase, s *stage) (reason string) {
	defer func() {
		if failure := recover(); failure != nil {
			reason = fmt.Sprint(failure)
			if _, expected := failure.(failed); !expected {
				fmt.Fprintf(os.Stderr, "%s: %v\n%s\n", one.name, failure, debug.Stack())
			}
		}
	}()
	one.body(s)
	return ""
}

func run(one testCase) {
	say("start %s", one.name)
	began := time.Now()
	s := newStage(one.name)
	done := make(chan string, 1)
	go func() { done <- outcome(one, s) }()
	var reason string
	select {
	case reason = <-done:
	case <-time.After(time.Duration(one.seconds) * time.Second):
		reason = fmt.Sprintf("did not end within %d s", one.seconds)
	}
	millis := time.Since(began).Milliseconds()
	if reason == "" {
		say("ok %s %d", one.name, millis)
	} else {
		say("not ok %s %d # %s", one.name, millis, strings.Join(strings.Fields(reason), " "))
	}
	s.close()
}

func main() {
	rlog.SetLogLevel("error")
	if len(os.Args) == 2 && os.Args[1] == "--list" {
		for _, one := range allCases() {
			say("%s %d", one.name, one.seconds)
		}
		return
	}
	wanted := map[string]bool{}
	for _, name := range strings.Split(os.Getenv("CASES"), ",") {
		wanted[name] = true
	}
	slots := make(chan struct{}, casesAtOnce)
	var open sync.WaitGroup
	for _, one := range allCases() {
		if !wanted[one.name] {
			continue
		}
		one := one
		open.Add(1)
		slots <- struct{}{}
		go func() {
			defer func() { <-slots; open.Done() }()
			run(one)
		}()
	}
	open.Wait()
}
