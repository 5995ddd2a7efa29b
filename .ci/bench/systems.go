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
	"slices"
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
	// launch starts it and returns when the process runs; it need not listen yet.
	launch func(s *server) error
	halt   func(s *server) error
	remove func(s *server) error // its data
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
	var cmd *exec.Cmd
	var log bytes.Buffer
	return &server{
		name: name,
		launch: func(s *server) error {
			if s.addr == "" {
				addr, err := freeAddr()
				if err != nil {
					return err
				}
				s.addr = addr
			}
			file := filepath.Join(dir, "milldam.yaml")
			text := fmt.Sprintf("node: { data_dir: %q }\nlisteners: { kafka: [%q], console: none }\nlog: { flush: %s }\n", filepath.Join(dir, "data"), s.addr, flush)
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				return err
			}
			cmd = exec.Command("bin/milldam", "server", "-c", file)
			log.Reset()
			cmd.Stderr = &log
			if err := cmd.Start(); err != nil {
				return fmt.Errorf("start bin/milldam (make build makes it): %w", err)
			}
			s.pid = cmd.Process.Pid
			return nil
		},
		halt: func(*server) error {
			err := cmd.Process.Signal(syscall.SIGTERM)
			if ended := cmd.Wait(); ended != nil {
				err = errors.Join(err, fmt.Errorf("milldam: %w\n%s", ended, log.String()))
			}
			return err
		},
		remove: func(*server) error { return os.RemoveAll(dir) },
	}
}

// kafkaServer is Apache Kafka, one node, with the memory and collector of its own start script.
func kafkaServer(name, instance, set string) (*server, error) {
	script, err := filepath.Abs("../shared/peers/kafka/kafka.sh")
	if err != nil {
		return nil, err
	}
	run := func(args ...string) (string, error) {
		cmd := exec.Command(script, args...)
		cmd.Env = append(os.Environ(), "KAFKA_INSTANCE="+instance, "KAFKA_SET="+set)
		var out, log bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &log
		if err := cmd.Run(); err != nil {
			return "", fmt.Errorf("kafka.sh %s: %w\n%s", strings.Join(args, " "), err, log.String())
		}
		return out.String(), nil
	}
	return &server{
		name: name,
		launch: func(s *server) error {
			if s.addr == "" {
				addr, err := freePair()
				if err != nil {
					return err
				}
				s.addr = addr
			}
			port := s.addr[strings.LastIndexByte(s.addr, ':')+1:]
			if _, err := run("start", "1", port); err != nil {
				return err
			}
			status, err := run("status")
			if err != nil {
				return err
			}
			if _, err := fmt.Sscanf(status, "node 1: pid %d,", &s.pid); err != nil {
				return fmt.Errorf("kafka.sh status says %q", status)
			}
			return nil
		},
		halt:   func(*server) error { _, err := run("stop"); return err },
		remove: func(*server) error { _, err := run("wipe"); return err },
	}, nil
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

// start starts the server and returns when it serves the partitions of the topic.
func (s *server) start(partitions int) error {
	if err := s.launch(s); err != nil {
		return fmt.Errorf("start %s: %w", s.name, err)
	}
	return s.await(partitions)
}

func (s *server) stop() error {
	s.pid = 0
	return s.halt(s)
}

// wipe ends it and deletes its data.
func (s *server) wipe() error {
	var err error
	if s.pid != 0 {
		err = s.stop()
	}
	return errors.Join(err, s.remove(s))
}

// patience is how long a system may take to serve: Kafka with 10,000 partitions takes most of a minute.
const patience = 3 * time.Minute

// await returns when that many partitions of the topic are served; with 0, when the broker answers.
func (s *server) await(partitions int) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for ctx.Err() == nil {
		if s.serves(ctx, partitions) {
			return nil
		}
		select {
		case <-ctx.Done():
		case <-time.After(2 * time.Millisecond):
		}
	}
	return fmt.Errorf("%s does not answer within %s", s.name, patience)
}

func (s *server) serves(ctx context.Context, partitions int) bool {
	cl, err := kgo.NewClient(kgo.SeedBrokers(s.addr), kgo.RequestRetries(0), kgo.DialTimeout(time.Second))
	if err != nil {
		return false
	}
	defer cl.Close()
	a := kadm.NewClient(cl)
	if partitions == 0 {
		_, err := a.BrokerMetadata(ctx)
		return err == nil
	}
	ends, err := a.ListEndOffsets(ctx, benchTopic)
	return err == nil && ends.Error() == nil && len(ends[benchTopic]) == partitions
}

const benchTopic = "bench"

// admin calls fn with an admin client.
func (s *server) admin(fn func(context.Context, *kadm.Client) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	cl, err := kgo.NewClient(kgo.SeedBrokers(s.addr))
	if err != nil {
		return err
	}
	defer cl.Close()
	a := kadm.NewClient(cl)
	a.SetTimeoutMillis(120_000)
	return fn(ctx, a)
}

// partitionsAtOnce is fewer than Kafka takes in one request.
const partitionsAtOnce = 5000

func (s *server) createTopic(partitions int) error {
	err := s.admin(func(ctx context.Context, a *kadm.Client) error {
		forever := "-1" // the generator's records may be of 1970
		first := min(partitions, partitionsAtOnce)
		if _, err := a.CreateTopic(ctx, int32(first), 1, map[string]*string{"retention.ms": &forever}, benchTopic); err != nil || first == partitions {
			return err
		}
		rest, err := a.UpdatePartitions(ctx, partitions, benchTopic)
		return errors.Join(err, rest.Error())
	})
	if err != nil {
		return fmt.Errorf("create the topic: %w", err)
	}
	return s.await(partitions)
}

func (s *server) deleteTopic() error {
	return s.admin(func(ctx context.Context, a *kadm.Client) error {
		_, err := a.DeleteTopic(ctx, benchTopic)
		if err != nil {
			return fmt.Errorf("delete the topic: %w", err)
		}
		for {
			list, err := a.ListTopics(ctx)
			if err != nil || !slices.Contains(list.Names(), benchTopic) {
				return err
			}
		}
	})
}

// ticksPerSecond is what /proc counts processor time in; Linux has no other value for programs.
const ticksPerSecond = 100

// cpuSeconds is what the broker's process has used so far.
func (s *server) cpuSeconds() (float64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", s.pid))
	if err != nil {
		return 0, err
	}
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	user, err := strconv.ParseFloat(fields[11], 64)
	if err != nil {
		return 0, err
	}
	system, err := strconv.ParseFloat(fields[12], 64)
	return (user + system) / ticksPerSecond, err
}

// residentMiB is the memory of the broker's process that is resident.
func (s *server) residentMiB() (float64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kib, err := strconv.ParseFloat(strings.Fields(rest)[0], 64)
			return kib / 1024, err
		}
	}
	return 0, fmt.Errorf("process %d has no resident memory", s.pid)
}
