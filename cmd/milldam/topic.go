package main

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/milldam/milldam/core/config"
)

func (a *app) topicCommand() *cobra.Command {
	c := &cobra.Command{Use: "topic", Short: "Make, list, describe, change and delete topics"}
	return family(c, a.topicCreate(), a.topicList(), a.topicDescribe(), a.topicDelete(), a.topicConfig(), a.topicAddPartitions())
}

// settings reads key=value flags.
func settings(list []string) (map[string]*string, error) {
	out := map[string]*string{}
	for _, s := range list {
		key, value, ok := strings.Cut(s, "=")
		if !ok || key == "" {
			return nil, codedf(exitUsage, "%q is no key=value", s)
		}
		value = config.KafkaValue(key, value)
		out[key] = &value
	}
	return out, nil
}

func (a *app) topicCreate() *cobra.Command {
	var partitions int32
	var replicas int16
	var config []string
	var ifNotExists, dryRun bool
	c := &cobra.Command{Use: "create TOPIC...", Short: "Make topics", Args: usage(cobra.MinimumNArgs(1)), RunE: func(cmd *cobra.Command, args []string) error {
		set, err := settings(config)
		if err != nil {
			return err
		}
		cl, admin, err := a.connect(cmd.Context())
		if err != nil {
			return err
		}
		defer cl.Close()
		create := admin.CreateTopics
		if dryRun {
			create = admin.ValidateCreateTopics
		}
		made, err := create(cmd.Context(), partitions, replicas, set, args...)
		if err != nil {
			return err
		}
		var failed error
		done := 0
		for _, name := range args {
			r := made[name]
			switch {
			case errors.Is(r.Err, kerr.TopicAlreadyExists) && ifNotExists:
				a.say("topic %s is there already", name)
			case r.Err != nil:
				failed = errors.Join(failed, topicError(name, r.Err, r.ErrMessage))
				continue
			case dryRun:
				a.say("topic %s would be made", name)
			default:
				a.say("topic %s made", name)
			}
			done++
		}
		return outcome(done, failed)
	}}
	c.Flags().Int32VarP(&partitions, "partitions", "p", -1, "number of partitions; -1 is the cluster's default")
	c.Flags().Int16VarP(&replicas, "replicas", "r", -1, "number of replicas; -1 is the cluster's default")
	c.Flags().StringArrayVarP(&config, "config", "c", nil, "key=value of a topic config, as in retention.ms=7d")
	c.Flags().BoolVar(&ifNotExists, "if-not-exists", false, "a topic that is there is no error")
	c.Flags().BoolVar(&dryRun, "dry-run", false, "only check")
	return c
}

// topicRow is a topic in lists.
type topicRow struct {
	Name       string `json:"name"`
	Partitions int    `json:"partitions"`
	Replicas   int    `json:"replicas"`
	Internal   bool   `json:"internal"`
	Offsets    int64  `json:"offsets"`
}

func (a *app) topicList() *cobra.Command {
	var filter string
	var internal bool
	c := &cobra.Command{Use: "list", Aliases: []string{"get", "ls"}, Short: "List topics", Args: usage(cobra.NoArgs), RunE: func(cmd *cobra.Command, _ []string) error {
		match, err := regexp.Compile(filter)
		if err != nil {
			return codedf(exitUsage, "-i: %w", err)
		}
		cl, admin, err := a.connect(cmd.Context())
		if err != nil {
			return err
		}
		defer cl.Close()
		topics, err := admin.ListTopicsWithInternal(cmd.Context())
		if err != nil {
			return err
		}
		topics.FilterInternal()
		if internal {
			if topics, err = admin.ListTopicsWithInternal(cmd.Context()); err != nil {
				return err
			}
		}
		offsets, err := offsetCounts(cmd.Context(), admin, topics.Names())
		if err != nil {
			return err
		}
		rows, names, table := []topicRow{}, []string{}, [][]string{}
		for _, t := range topics.Sorted() {
			if !match.MatchString(t.Topic) {
				continue
			}
			r := topicRow{Name: t.Topic, Partitions: len(t.Partitions), Replicas: t.Partitions.NumReplicas(), Internal: t.IsInternal, Offsets: offsets[t.Topic]}
			rows, names = append(rows, r), append(names, r.Name)
			table = append(table, []string{r.Name, strconv.Itoa(r.Partitions), strconv.Itoa(r.Replicas), strconv.FormatInt(r.Offsets, 10)})
		}
		return a.print(map[string]any{"apiVersion": "v1", "topics": rows}, names, []string{"TOPIC", "PARTITIONS", "REPLICAS", "OFFSETS"}, table)
	}}
	c.Flags().StringVarP(&filter, "match", "i", "", "only topics that this regular expression matches")
	c.Flags().BoolVar(&internal, "internal", false, "internal topics too")
	return c
}

// offsetCounts is end less start offsets of each topic; where it is compacted, or has transactions, there are fewer records.
func offsetCounts(ctx context.Context, admin *kadm.Client, names []string) (map[string]int64, error) {
	counts := map[string]int64{}
	if len(names) == 0 {
		return counts, nil
	}
	ends, err := served(admin.ListEndOffsets(ctx, names...))
	if err != nil {
		return nil, err
	}
	starts, err := served(admin.ListStartOffsets(ctx, names...))
	if err != nil {
		return nil, err
	}
	ends.Each(func(o kadm.ListedOffset) {
		if s, ok := starts.Lookup(o.Topic, o.Partition); ok && o.Err == nil && s.Err == nil {
			counts[o.Topic] += o.Offset - s.Offset
		}
	})
	return counts, nil
}

// partitionRow is a partition in a description.
type partitionRow struct {
	Partition int32   `json:"partition"`
	Leader    int32   `json:"leader"` // -1 without
	Replicas  []int32 `json:"replicas"`
	ISR       []int32 `json:"isr"`
	Offline   []int32 `json:"offline"` // replicas whose files are damaged
	Start     int64   `json:"start"`   // -1 where there is nobody to ask, likewise end
	End       int64   `json:"end"`
}

// offsetOr is a partition's offset in a list, -1 when it is not known.
func offsetOr(list kadm.ListedOffsets, topic string, partition int32) int64 {
	if o, ok := list.Lookup(topic, partition); ok && o.Err == nil {
		return o.Offset
	}
	return -1
}

// orNone is a number in a table, - for one that is not there.
func orNone(n int64) string {
	if n < 0 {
		return "-"
	}
	return fmt.Sprint(n)
}

// served leaves partitions that have no leader out of a list of offsets: nobody knows theirs.
func served(list kadm.ListedOffsets, err error) (kadm.ListedOffsets, error) {
	var some *kadm.ShardErrors
	if !errors.As(err, &some) {
		return list, err
	}
	for _, e := range some.Errs {
		if !errors.Is(e.Err, kerr.LeaderNotAvailable) {
			return list, err
		}
	}
	return list, nil
}

func (a *app) topicDescribe() *cobra.Command {
	return &cobra.Command{Use: "describe TOPIC", Short: "Show a topic's partitions and configuration", Args: usage(cobra.ExactArgs(1)), RunE: func(cmd *cobra.Command, args []string) error {
		cl, admin, err := a.connect(cmd.Context())
		if err != nil {
			return err
		}
		defer cl.Close()
		topics, err := admin.ListTopicsWithInternal(cmd.Context(), args[0])
		if err != nil {
			return err
		}
		t := topics[args[0]]
		if t.Err != nil {
			return topicError(args[0], t.Err, "")
		}
		starts, err := served(admin.ListStartOffsets(cmd.Context(), args[0]))
		if err != nil {
			return err
		}
		ends, err := served(admin.ListEndOffsets(cmd.Context(), args[0]))
		if err != nil {
			return err
		}
		var rows []partitionRow
		var table [][]string
		for _, p := range t.Partitions.Sorted() {
			row := partitionRow{p.Partition, p.Leader, p.Replicas, p.ISR, append([]int32{}, p.OfflineReplicas...), offsetOr(starts, args[0], p.Partition), offsetOr(ends, args[0], p.Partition)}
			rows = append(rows, row)
			table = append(table, []string{fmt.Sprint(p.Partition), orNone(int64(p.Leader)), fmt.Sprint(p.Replicas), fmt.Sprint(p.ISR), fmt.Sprint(p.OfflineReplicas), orNone(row.Start), orNone(row.End)})
		}
		set, err := topicSettings(cmd.Context(), admin, args[0])
		if err != nil {
			return err
		}
		id := base64.RawURLEncoding.EncodeToString(t.ID[:]) // as Kafka's tools write it
		if a.output == "table" {
			fmt.Fprintf(a.out, "topic %s, id %s\n\n", t.Topic, id)
			if err := a.table([]string{"PARTITION", "LEADER", "REPLICAS", "ISR", "OFFLINE", "START", "END"}, table); err != nil {
				return err
			}
			fmt.Fprintln(a.out)
			var configs [][]string
			for _, key := range slices.Sorted(maps.Keys(set)) {
				configs = append(configs, []string{key, set[key].Value, set[key].Source})
			}
			return a.table([]string{"CONFIG", "VALUE", "SOURCE"}, configs)
		}
		return a.encode(map[string]any{"apiVersion": "v1", "name": t.Topic, "id": id, "partitions": rows, "config": set})
	}}
}

// setting is a config value that is not a default.
type setting struct {
	Value  string `json:"value"`
	Source string `json:"source"`
}

// topicSettings are the configs of a topic that are not Kafka's defaults.
func topicSettings(ctx context.Context, admin *kadm.Client, topic string) (map[string]setting, error) {
	described, err := admin.DescribeTopicConfigs(ctx, topic)
	if err != nil {
		return nil, err
	}
	set := map[string]setting{}
	for _, r := range described {
		if r.Err != nil {
			return nil, topicError(topic, r.Err, r.ErrMessage)
		}
		for _, c := range r.Configs {
			if source := c.Source.String(); source != "DEFAULT_CONFIG" {
				set[c.Key] = setting{c.MaybeValue(), strings.ToLower(source)}
			}
		}
	}
	return set, nil
}

func (a *app) topicDelete() *cobra.Command {
	var execute bool
	c := &cobra.Command{Use: "delete TOPIC...", Short: "Delete topics; without --execute only say what would go", Args: usage(cobra.MinimumNArgs(1)), RunE: func(cmd *cobra.Command, args []string) error {
		cl, admin, err := a.connect(cmd.Context())
		if err != nil {
			return err
		}
		defer cl.Close()
		if !execute {
			return a.planTopicDelete(cmd.Context(), admin, args)
		}
		deleted, err := admin.DeleteTopics(cmd.Context(), args...)
		if err != nil {
			return err
		}
		return a.deleted("topic", args, func(name string) error {
			if r := deleted[name]; r.Err != nil {
				return topicError(name, r.Err, r.ErrMessage)
			}
			return nil
		})
	}}
	c.Flags().BoolVar(&execute, "execute", false, "do it")
	return c
}

// planTopicDelete says what would go.
func (a *app) planTopicDelete(ctx context.Context, admin *kadm.Client, names []string) error {
	topics, err := admin.ListTopicsWithInternal(ctx, names...)
	if err != nil {
		return err
	}
	var failed error
	for _, name := range names {
		if err := topics[name].Err; err != nil {
			failed = errors.Join(failed, topicError(name, err, ""))
		}
	}
	if failed != nil {
		return failed
	}
	counts, err := offsetCounts(ctx, admin, names)
	if err != nil {
		return err
	}
	for _, name := range names {
		a.say("topic %s with up to %s would be deleted", name, counted(counts[name], "record"))
	}
	a.say("PLAN ONLY: run again with --execute.")
	return nil
}

func (a *app) topicConfig() *cobra.Command {
	var remove []string
	c := &cobra.Command{Use: "config TOPIC [KEY=VALUE...]", Short: "Show a topic's configuration, or change it", Args: usage(cobra.MinimumNArgs(1)), RunE: func(cmd *cobra.Command, args []string) error {
		set, err := settings(args[1:])
		if err != nil {
			return err
		}
		cl, admin, err := a.connect(cmd.Context())
		if err != nil {
			return err
		}
		defer cl.Close()
		if len(set) == 0 && len(remove) == 0 {
			return a.showConfig(cmd.Context(), admin, args[0])
		}
		var ops []kadm.AlterConfig
		for _, key := range slices.Sorted(maps.Keys(set)) {
			ops = append(ops, kadm.AlterConfig{Op: kadm.SetConfig, Name: key, Value: set[key]})
		}
		for _, key := range remove {
			ops = append(ops, kadm.AlterConfig{Op: kadm.DeleteConfig, Name: key})
		}
		altered, err := admin.AlterTopicConfigs(cmd.Context(), ops, args[0])
		if err != nil {
			return err
		}
		for _, r := range altered {
			if r.Err != nil {
				return topicError(args[0], r.Err, r.ErrMessage)
			}
		}
		a.say("topic %s changed", args[0])
		return nil
	}}
	c.Flags().StringSliceVar(&remove, "delete", nil, "keys that go back to their defaults")
	return c
}

func (a *app) showConfig(ctx context.Context, admin *kadm.Client, topic string) error {
	described, err := admin.DescribeTopicConfigs(ctx, topic)
	if err != nil {
		return err
	}
	all := map[string]setting{}
	var rows [][]string
	for _, r := range described {
		if r.Err != nil {
			return topicError(topic, r.Err, r.ErrMessage)
		}
		for _, c := range r.Configs {
			s := setting{c.MaybeValue(), strings.ToLower(c.Source.String())}
			all[c.Key] = s
			rows = append(rows, []string{c.Key, s.Value, s.Source})
		}
	}
	return a.print(map[string]any{"apiVersion": "v1", "name": topic, "config": all}, slices.Sorted(maps.Keys(all)), []string{"CONFIG", "VALUE", "SOURCE"}, rows)
}

func (a *app) topicAddPartitions() *cobra.Command {
	return &cobra.Command{Use: "add-partitions TOPIC TOTAL", Short: "Raise a topic's number of partitions to TOTAL", Args: usage(cobra.ExactArgs(2)), RunE: func(cmd *cobra.Command, args []string) error {
		total, err := strconv.Atoi(args[1])
		if err != nil {
			return codedf(exitUsage, "%q is no number of partitions", args[1])
		}
		cl, admin, err := a.connect(cmd.Context())
		if err != nil {
			return err
		}
		defer cl.Close()
		grown, err := admin.UpdatePartitions(cmd.Context(), total, args[0])
		if err != nil {
			return err
		}
		if r := grown[args[0]]; r.Err != nil {
			return topicError(args[0], r.Err, r.ErrMessage)
		}
		a.say("topic %s has %d partitions; records with keys may now go to other partitions than before", args[0], total)
		return nil
	}}
}
