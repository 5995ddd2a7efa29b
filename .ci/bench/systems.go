package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// The systems that are compared, by what they promise when they acknowledge.
const (
	ours           = "milldam"            // the default: an acknowledgement follows its sync
	oursReplicated = "milldam replicated" // does not wait for the disk
	kafkaDefault   = "kafka"              // does not wait for the disk
	kafkaSynced    = "kafka synced"       // syncs before every acknowledgement
)

var allSystems = []string{ours, oursReplicated, kafkaDefault, kafkaSynced}

// server is a system under test. It may be stopped and started again on what it has.
type server struct {
	name string
	addr string
	pid  int
	// topic is what the loads write to and read.
	topic      string
	partitions int // of the topic; 0 is no topic
	// broken is why it does not serve, until it is made anew.
	broken error
	// written is what the topic has got in measurements.
	written float64

	began, answered time.Time // its process, and its first answer after that
	// launch starts it; it need not listen yet. What it sends on the channel came before it listened, or says that it does.
	launch func(s *server) (<-chan error, error)
	// launched is called when it has answered.
	launched func(s *server) error
	halt     func(s *server) error
	remove   func(s *server) error // its data, and the process if there is one
}

// systems returns the named ones, none of them started.
func (t *tools) systems(names []string) ([]*server, error) {
	var list []*server
	for _, name := range names {
		var s *server
		var err error
		switch name {
		case ours:
			s = t.milldamServer(name, "durable")
		case oursReplicated:
			s = t.milldamServer(name, "replicated")
		case kafkaDefault:
			s, err = kafkaServer(name, "bench-default", "")
		case kafkaSynced:
			s, err = kafkaServer(name, "bench-synced", "log.flush.interval.messages=1")
		default:
			err = fmt.Errorf("-systems: %q is none of %s", name, strings.Join(allSystems, ", "))
		}
		if err != nil {
			return nil, err
		}
		list = append(list, s)
	}
	return list, nil
}

// milldamServer is a node with a folder of its own.
func (t *tools) milldamServer(name, flush string) *server {
	dir := t.scratch()
	var ended chan error
	s := &server{name: name, launched: func(*server) error { return nil }}
	s.launch = func(s *server) (<-chan error, error) {
		if s.addr == "" {
			addr, err := freeAddr()
			if err != nil {
				return nil, err
			}
			s.addr = addr
		}
		file := filepath.Join(dir, "milldam.yaml")
		text := fmt.Sprintf("node: { data_dir: %q }\nlisteners: { kafka: [%q], console: none }\nlog: { flush: %s }\n", filepath.Join(dir, "data"), s.addr, flush)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			return nil, err
		}
		var log bytes.Buffer
		cmd := exec.Command(t.program, "server", "-c", file)
		cmd.Stderr = &log
		s.began = time.Now()
		if err := cmd.Start(); err != nil {
			return nil, fmt.Errorf("start milldam (make build makes it): %w", err)
		}
		s.pid, ended = cmd.Process.Pid, make(chan error, 1)
		ending := ended
		go func() {
			err := cmd.Wait()
			if err != nil {
				err = fmt.Errorf("milldam: %w\n%s", err, log.String())
			}
			ending <- err
		}()
		return ended, nil
	}
	s.halt = func(s *server) error {
		return errors.Join(syscall.Kill(s.pid, syscall.SIGTERM), <-ended)
	}
	s.remove = func(s *server) error {
		if s.pid != 0 && syscall.Kill(s.pid, syscall.SIGKILL) == nil {
			<-ended // it was killed: how it ended says nothing
		}
		return os.RemoveAll(filepath.Join(dir, "data"))
	}
	return s
}

// kafkaSettings let the files of a deleted topic go after a second, not a minute, in which they would go while the next load is measured.
const kafkaSettings = "log.segment.delete.delay.ms=1000"

// kafkaServer is Apache Kafka, one node, with the memory and collector of its own start script.
func kafkaServer(name, instance, set string) (*server, error) {
	script, err := filepath.Abs("../shared/peers/kafka/kafka.sh")
	if err != nil {
		return nil, err
	}
	// A name of its own: a run beside this one, or one that was killed, has another.
	instance += "-" + strconv.Itoa(os.Getpid())
	run := func(args ...string) (string, error) {
		cmd := exec.Command(script, args...)
		cmd.Env = append(os.Environ(), "KAFKA_INSTANCE="+instance, "KAFKA_SET="+strings.TrimSpace(kafkaSettings+"\n"+set))
		var out, log bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &log
		if err := cmd.Run(); err != nil {
			return "", fmt.Errorf("kafka.sh %s: %w\n%s", strings.Join(args, " "), err, log.String())
		}
		return out.String(), nil
	}
	findProcess := func(s *server) error {
		status, err := run("status")
		if err == nil {
			if _, err := fmt.Sscanf(status, "node 1: pid %d,", &s.pid); err != nil {
				return fmt.Errorf("kafka.sh status says %q", status)
			}
		}
		return err
	}
	s := &server{name: name}
	s.launch = func(s *server) (<-chan error, error) {
		if s.addr == "" {
			addr, err := freePair()
			if err != nil {
				return nil, err
			}
			s.addr = addr
		}
		port := s.addr[strings.LastIndexByte(s.addr, ':')+1:]
		failed := make(chan error, 1)
		go func() {
			_, err := run("start", "1", port)
			// The script gives a broker a minute, which does not suffice for many partitions on a busy machine.
			if err != nil && findProcess(&server{}) != nil {
				failed <- err
			}
		}()
		return failed, nil
	}
	s.launched = func(s *server) error {
		if err := findProcess(s); err != nil {
			return err
		}
		s.began, err = processStart(s.pid)
		return err
	}
	s.halt = func(s *server) error { // the script kills one that takes half a minute, as with many partitions
		if err := syscall.Kill(s.pid, syscall.SIGTERM); err != nil {
			return err
		}
		if err := awaitEnd(s.pid); err != nil {
			return err
		}
		_, err := run("stop")
		return err
	}
	s.remove = func(s *server) error {
		if s.pid != 0 {
			_ = syscall.Kill(s.pid, syscall.SIGKILL) // it may have ended; its data are deleted
		}
		_, err := run("wipe")
		return err
	}
	return s, nil
}

// freePair is an address whose port and the next are free; Kafka's controller takes the next.
func freePair() (string, error) {
	for range 20 {
		addr, err := freeAddr()
		if err != nil {
			return "", err
		}
		host, port, _ := strings.Cut(addr, ":")
		n, err := strconv.Atoi(port)
		if err != nil {
			return "", err
		}
		l, err := net.Listen("tcp", net.JoinHostPort(host, strconv.Itoa(n+1)))
		if err == nil {
			return addr, l.Close()
		}
	}
	return "", errors.New("no two free ports in a row")
}

// start starts the server, and returns when it has answered a Metadata request: with the leaders of as many partitions of its topic.
func (s *server) start(partitions int) error {
	failed, err := s.launch(s)
	if err == nil {
		err = s.await(failed, pollStart, func(ctx context.Context) bool { return s.leads(ctx, partitions) })
	}
	s.answered = time.Now()
	if err == nil {
		err = s.launched(s)
	}
	if err != nil {
		return fmt.Errorf("start %s: %w", s.name, err)
	}
	return nil
}

func (s *server) stop() error {
	err := s.halt(s)
	s.pid = 0
	return err
}

// wipe ends it at once and deletes its data.
func (s *server) wipe() error {
	err := s.remove(s)
	s.pid = 0
	return err
}

const (
	// patience is how long a system may take for anything: Kafka with 10,000 partitions takes most of a minute.
	patience = 3 * time.Minute
	// pollStart is how exactly a start is measured.
	pollStart = 2 * time.Millisecond
	// pollTopic leaves a system alone that makes or deletes thousands of partitions: an answer about all of them is work as well.
	pollTopic = 200 * time.Millisecond
)

// await asks reached, with pauses, until it says so.
func (s *server) await(failed <-chan error, pause time.Duration, reached func(context.Context) bool) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	tick := time.NewTicker(pause)
	defer tick.Stop()
	for !reached(ctx) {
		select {
		case err := <-failed:
			return fmt.Errorf("it ended: %w", err)
		case <-ctx.Done():
			return fmt.Errorf("%s was not there within %s", s.name, patience)
		case <-tick.C:
		}
	}
	return nil
}

// ask calls fn with an admin client that tries once.
func (s *server) ask(ctx context.Context, fn func(context.Context, *kadm.Client) bool) bool {
	conn, err := net.DialTimeout("tcp", s.addr, time.Second) // much cheaper than a client, for one that does not listen yet
	if err != nil || conn.Close() != nil {
		return false
	}
	cl, err := kgo.NewClient(kgo.SeedBrokers(s.addr), kgo.RequestRetries(0))
	if err != nil {
		return false
	}
	defer cl.Close()
	return fn(ctx, kadm.NewClient(cl))
}

// leads says whether Metadata is answered, with leaders of that many partitions.
func (s *server) leads(ctx context.Context, partitions int) bool {
	return s.ask(ctx, func(ctx context.Context, a *kadm.Client) bool {
		if partitions == 0 {
			_, err := a.BrokerMetadata(ctx)
			return err == nil
		}
		m, err := a.Metadata(ctx, s.topic)
		if err != nil || len(m.Topics[s.topic].Partitions) != partitions {
			return false
		}
		for _, p := range m.Topics[s.topic].Partitions {
			if p.Err != nil || p.Leader < 0 {
				return false
			}
		}
		return true
	})
}

// serves says whether the partitions of the topic have their logs: metadata comes before them.
func (s *server) serves(ctx context.Context, partitions int) bool {
	return s.ask(ctx, func(ctx context.Context, a *kadm.Client) bool {
		ends, err := a.ListEndOffsets(ctx, s.topic)
		return err == nil && ends.Error() == nil && len(ends[s.topic]) == partitions
	})
}

// admin calls fn with an admin client.
func (s *server) admin(fn func(context.Context, *kadm.Client) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cl, err := kgo.NewClient(kgo.SeedBrokers(s.addr))
	if err != nil {
		return err
	}
	defer cl.Close()
	a := kadm.NewClient(cl)
	a.SetTimeoutMillis(int32(patience.Milliseconds()))
	return fn(ctx, a)
}

// partitionsAtOnce is fewer than Kafka takes in one request.
const partitionsAtOnce = 5000

// createTopic makes the topic that the loads use from now on.
func (s *server) createTopic(name string, partitions int) error {
	s.topic, s.partitions = name, partitions
	err := s.admin(func(ctx context.Context, a *kadm.Client) error {
		forever := "-1" // the generator's records may be of 1970
		first := min(partitions, partitionsAtOnce)
		if _, err := a.CreateTopic(ctx, int32(first), 1, map[string]*string{"retention.ms": &forever}, name); err != nil || first == partitions {
			return err
		}
		rest, err := a.UpdatePartitions(ctx, partitions, name)
		return errors.Join(err, rest.Error())
	})
	if err == nil {
		err = s.await(nil, pollTopic, func(ctx context.Context) bool { return s.serves(ctx, partitions) })
	}
	if err != nil {
		return fmt.Errorf("create a topic of %d partitions: %w", partitions, err)
	}
	return nil
}

// deleteTopic returns when the topic and its files are gone.
func (s *server) deleteTopic() error {
	var dirs []string
	err := s.admin(func(ctx context.Context, a *kadm.Client) error {
		all, err := a.DescribeAllLogDirs(ctx, nil)
		if err != nil {
			return err
		}
		all.Each(func(d kadm.DescribedLogDir) { dirs = append(dirs, d.Dir) })
		_, err = a.DeleteTopic(ctx, s.topic)
		return err
	})
	if err == nil {
		err = s.await(nil, pollTopic, func(context.Context) bool { return !hasFiles(dirs, s.topic) })
	}
	if err != nil {
		return fmt.Errorf("delete the topic %s: %w", s.topic, err)
	}
	s.partitions = 0
	return nil
}
