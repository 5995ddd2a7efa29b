package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/milldam/milldam/connect"
	"github.com/milldam/milldam/connect/expression"
)

// tailFlags are what tail takes.
type tailFlags struct {
	from       string
	count      int
	exitAtEnd  bool
	partitions []int32
	format     string
	group      string
	where      string
	isolation  string
}

// The values of --isolation.
const (
	readCommitted   = "read_committed"
	readUncommitted = "read_uncommitted"
)

// clientOptions are those that decide which records are read. The markers of transactions are not printed, but tell that the end is reached
// where they are the last.
func (f tailFlags) clientOptions() []kgo.Opt {
	level := kgo.ReadCommitted()
	if f.isolation == readUncommitted {
		level = kgo.ReadUncommitted()
	}
	return []kgo.Opt{kgo.FetchIsolationLevel(level), kgo.KeepControlRecords()}
}

// listEnds returns the end that a topic has for the reader: what is in transactions that have not ended lies behind it.
func (f tailFlags) listEnds(ctx context.Context, admin *kadm.Client, topic string) (kadm.ListedOffsets, error) {
	if f.isolation == readUncommitted {
		return admin.ListEndOffsets(ctx, topic)
	}
	return admin.ListCommittedOffsets(ctx, topic)
}

func (a *app) tailCommand() *cobra.Command {
	var f tailFlags
	c := &cobra.Command{Use: "tail TOPIC", Short: "Print a topic's records", Args: usage(cobra.ExactArgs(1)), RunE: func(cmd *cobra.Command, args []string) error {
		if err := a.tail(cmd.Context(), args[0], f); err != nil {
			return err
		}
		return cmd.Context().Err() // it was told to stop, and had not come to its own end
	}}
	c.Flags().StringVar(&f.from, "from", "end", "start, end, -N (the last N of each partition), an offset, @-1h or @2026-11-24T10:00:00Z; with -g, where a group without offsets begins")
	c.Flags().IntVarP(&f.count, "count", "n", 0, "stop after this many records")
	c.Flags().BoolVarP(&f.exitAtEnd, "exit", "e", false, "stop at the end the topic has now")
	c.Flags().Int32SliceVarP(&f.partitions, "partitions", "p", nil, "only these partitions")
	c.Flags().StringVarP(&f.format, "format", "f", "%t %p/%o %k %v\n", "%t topic, %p partition, %o offset, %T time, %k key, %v value, %h headers, %% percent")
	c.Flags().StringVarP(&f.group, "group", "g", "", "read as a member of this group, and commit")
	c.Flags().StringVar(&f.isolation, "isolation", readCommitted, "read_committed, or read_uncommitted: also what is in transactions that have not ended or were aborted")
	c.Flags().StringVar(&f.where, "where", "", "only records for which this expression is true, as in value.amount > 100")
	return c
}

func (a *app) tail(ctx context.Context, topic string, f tailFlags) error {
	if a.output != "table" && a.output != "json" {
		return codedf(exitUsage, "-o %s: tail prints lines as -f says, or -o json", a.output)
	}
	if f.isolation != readCommitted && f.isolation != readUncommitted {
		return codedf(exitUsage, "--isolation %s: it is %s or %s", f.isolation, readCommitted, readUncommitted)
	}
	var err error
	if f.format, err = recordFormat(f.format); err != nil {
		return err
	}
	var where expression.Expression
	if f.where != "" {
		if where, err = expression.Compile(f.where, 0); err != nil {
			return codedf(exitUsage, "--where: %w", err)
		}
	}
	if f.group != "" {
		return a.tailGroup(ctx, topic, f, where)
	}
	probe, admin, err := a.connect(ctx)
	if err != nil {
		return err
	}
	defer probe.Close()
	starts, err := startOffsets(ctx, admin, topic, f)
	if err != nil {
		return err
	}
	var ends map[int32]int64
	if f.exitAtEnd {
		listed, err := f.listEnds(ctx, admin, topic)
		if err != nil {
			return err
		}
		ends = map[int32]int64{}
		for p, o := range starts {
			if e, ok := listed.Lookup(topic, p); ok && o.EpochOffset().Offset < e.Offset {
				ends[p] = e.Offset
			}
		}
		if len(ends) == 0 {
			return nil
		}
	}
	cl, _, err := a.connect(ctx, append(f.clientOptions(), kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: starts}))...)
	if err != nil {
		return err
	}
	defer cl.Close()
	return a.printRecords(ctx, cl, f, where, ends)
}

// groupLook is how often a member that stops at the end looks what other members have committed.
const groupLook = time.Second

// tailGroup reads as a member of a group, and commits what it printed or passed over.
func (a *app) tailGroup(ctx context.Context, topic string, f tailFlags, where expression.Expression) error {
	reset := kgo.NewOffset().AtEnd()
	switch f.from {
	case "start":
		reset = kgo.NewOffset().AtStart()
	case "end":
	default:
		return codedf(exitUsage, "with -g, --from is start or end: where to begin when the group has no offset; milldam group reset %s --to %s moves one that has", f.group, f.from)
	}
	cl, admin, err := a.connect(ctx, append(f.clientOptions(),
		kgo.ConsumerGroup(f.group), kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(reset), kgo.AutoCommitMarks())...)
	if err != nil {
		return err
	}
	defer cl.Close()
	if !f.exitAtEnd {
		return a.printRecords(ctx, cl, f, where, nil)
	}
	last, err := f.listEnds(ctx, admin, topic)
	if err == nil {
		err = last.Error()
	}
	if err != nil {
		return topicError(topic, err, "")
	}
	for {
		ends, err := groupLeft(ctx, admin, topic, f, last)
		if err != nil || len(ends) == 0 {
			return err
		}
		// Another member may have some of the partitions, so what is left is looked up again.
		look, cancel := context.WithTimeout(ctx, groupLook)
		err = a.printRecords(look, cl, f, where, ends)
		cancel()
		if err != nil || ctx.Err() != nil || len(ends) == 0 {
			return err
		}
	}
}

// groupLeft returns the end of each partition that the group has not committed up to last.
func groupLeft(ctx context.Context, admin *kadm.Client, topic string, f tailFlags, last kadm.ListedOffsets) (map[int32]int64, error) {
	first, err := admin.ListStartOffsets(ctx, topic)
	if err != nil {
		return nil, err
	}
	committed, err := admin.FetchOffsets(ctx, f.group)
	if err != nil {
		return nil, fmt.Errorf("group %s: %w", f.group, err)
	}
	ends := map[int32]int64{}
	for p, e := range last[topic] {
		at := e.Offset
		if c, ok := committed.Lookup(topic, p); ok && c.At >= 0 {
			at = c.At
		} else if start, ok := first.Lookup(topic, p); ok && f.from == "start" {
			at = start.Offset
		}
		if at < e.Offset {
			ends[p] = e.Offset
		}
	}
	return ends, nil
}

// startOffsets turns --from into an offset for each partition.
func startOffsets(ctx context.Context, admin *kadm.Client, topic string, f tailFlags) (map[int32]kgo.Offset, error) {
	first, err := admin.ListStartOffsets(ctx, topic)
	if err == nil {
		err = first.Error()
	}
	if err != nil {
		return nil, topicError(topic, err, "")
	}
	last, err := admin.ListEndOffsets(ctx, topic)
	if err == nil {
		err = last.Error()
	}
	if err != nil {
		return nil, topicError(topic, err, "")
	}
	if len(first[topic]) == 0 {
		return nil, topicError(topic, kerr.UnknownTopicOrPartition, "")
	}
	at, err := position(ctx, admin, topic, f.from, first, last)
	if err != nil {
		return nil, err
	}
	out := map[int32]kgo.Offset{}
	for p, o := range at {
		if len(f.partitions) == 0 || slices.Contains(f.partitions, p) {
			out[p] = kgo.NewOffset().At(o)
		}
	}
	for _, p := range f.partitions {
		if _, ok := out[p]; !ok {
			return nil, codedf(exitNotFound, "topic %s has no partition %d", topic, p)
		}
	}
	return out, nil
}

// printRecords prints until it was told to stop. ends, when not nil, are the offsets at which partitions are done.
func (a *app) printRecords(ctx context.Context, cl *kgo.Client, f tailFlags, where expression.Expression, ends map[int32]int64) error {
	message := expression.NewMessage(expression.NewRuntime(uint64(time.Now().UnixNano())))
	printed := 0
	for {
		fetches := cl.PollFetches(ctx)
		if ctx.Err() != nil {
			return commitMarked(ctx, cl, f)
		}
		if err := fetches.Err(); err != nil {
			return err
		}
		for _, r := range fetches.Records() {
			done := ends != nil && r.Offset >= ends[r.Partition]-1
			past := ends != nil && r.Offset >= ends[r.Partition]
			if !past {
				if !r.Attrs.IsControl() && matches(where, message, r) {
					if _, err := a.out.Write(a.recordText(f.format, r)); err != nil {
						return err
					}
					printed++
				}
				if f.group != "" {
					cl.MarkCommitRecords(r)
				}
			}
			if done {
				delete(ends, r.Partition)
			}
			if f.count > 0 && printed == f.count || ends != nil && len(ends) == 0 {
				return commitMarked(ctx, cl, f)
			}
		}
	}
}

// commitPatience bounds the last commit of a member that stops.
const commitPatience = 5 * time.Second

// commitMarked commits what a member printed, also when it was told to stop.
func commitMarked(ctx context.Context, cl *kgo.Client, f tailFlags) error {
	if f.group == "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), commitPatience)
	defer cancel()
	return cl.CommitMarkedOffsets(ctx)
}

// matches tells whether a record is asked for. A record for which the expression has no answer (a field is missing, the value is no JSON) is not.
func matches(where expression.Expression, m *expression.Message, r *kgo.Record) bool {
	if where.IsZero() {
		return true
	}
	x := connect.Record{Topic: r.Topic, Partition: r.Partition, Offset: r.Offset, Key: r.Key, Value: r.Value, Timestamp: r.Timestamp}
	for _, h := range r.Headers {
		x.Headers = append(x.Headers, connect.Header{Key: h.Key, Value: h.Value})
	}
	m.Reset(x)
	ok, err := where.Bool(m)
	return ok && err == nil
}
