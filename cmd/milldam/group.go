package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func (a *app) groupCommand() *cobra.Command {
	c := &cobra.Command{Use: "group", Short: "List, describe, reset and delete consumer groups"}
	return family(c, a.groupList(), a.groupDescribe(), a.groupLag(), a.groupDelete(), a.groupReset())
}

// groupRow is a group in a list.
type groupRow struct {
	Name         string `json:"name"`
	State        string `json:"state"`
	Type         string `json:"type"` // classic or consumer; empty from brokers that do not say
	ProtocolType string `json:"protocolType"`
}

func (a *app) groupList() *cobra.Command {
	return &cobra.Command{Use: "list", Aliases: []string{"get", "ls"}, Short: "List groups", Args: usage(cobra.NoArgs), RunE: func(cmd *cobra.Command, _ []string) error {
		cl, _, err := a.connect(cmd.Context())
		if err != nil {
			return err
		}
		defer cl.Close()
		listed, err := kmsg.NewPtrListGroupsRequest().RequestWith(cmd.Context(), cl) // of every broker
		if err == nil {
			err = kerr.ErrorForCode(listed.ErrorCode)
		}
		if err != nil {
			return err
		}
		slices.SortFunc(listed.Groups, func(a, b kmsg.ListGroupsResponseGroup) int { return cmp.Compare(a.Group, b.Group) })
		rows, names, table := []groupRow{}, []string{}, [][]string{}
		for _, g := range listed.Groups {
			r := groupRow{g.Group, g.GroupState, strings.ToLower(g.GroupType), g.ProtocolType}
			rows, names = append(rows, r), append(names, r.Name)
			table = append(table, []string{r.Name, r.State, r.Type, r.ProtocolType})
		}
		return a.print(map[string]any{"apiVersion": "v1", "groups": rows}, names, []string{"GROUP", "STATE", "TYPE", "PROTOCOL TYPE"}, table)
	}}
}

// memberRow is a member in a description.
type memberRow struct {
	ID         string   `json:"id"`
	Instance   string   `json:"instance,omitempty"`
	Client     string   `json:"client"`
	Host       string   `json:"host"`
	Partitions []string `json:"partitions"`
}

// lagRow is one partition's lag.
type lagRow struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Committed int64  `json:"committed"`
	End       int64  `json:"end"`
	Lag       int64  `json:"lag"`
	Member    string `json:"member,omitempty"`
}

func (a *app) groupDescribe() *cobra.Command {
	return &cobra.Command{Use: "describe GROUP", Short: "Show a group's members and what they read", Args: usage(cobra.ExactArgs(1)), RunE: func(cmd *cobra.Command, args []string) error {
		cl, admin, err := a.connect(cmd.Context())
		if err != nil {
			return err
		}
		defer cl.Close()
		g, err := groupState(cmd.Context(), admin, args[0])
		if err != nil {
			return err
		}
		if a.output != "table" {
			return a.encode(map[string]any{"apiVersion": "v1", "name": g.name, "state": g.state, "protocol": g.protocol, "members": g.members, "offsets": g.lag})
		}
		table := [][]string{}
		for _, m := range g.members {
			table = append(table, []string{m.ID, m.Instance, m.Client, m.Host, strings.Join(m.Partitions, " ")})
		}
		fmt.Fprintf(a.out, "group %s, %s\n\n", g.name, g.state)
		if err := a.table([]string{"MEMBER", "INSTANCE", "CLIENT", "HOST", "PARTITIONS"}, table); err != nil {
			return err
		}
		fmt.Fprintln(a.out)
		return a.printLag(g.lag)
	}}
}

func (a *app) printLag(rows []lagRow) error {
	var table [][]string
	for _, r := range rows {
		table = append(table, []string{r.Topic, fmt.Sprint(r.Partition), fmt.Sprint(r.Committed), fmt.Sprint(r.End), fmt.Sprint(r.Lag), r.Member})
	}
	return a.table([]string{"TOPIC", "PARTITION", "COMMITTED", "END", "LAG", "MEMBER"}, table)
}

func (a *app) groupLag() *cobra.Command {
	var most int64
	c := &cobra.Command{Use: "lag GROUP", Short: "Show how far a group is behind", Args: usage(cobra.ExactArgs(1)), RunE: func(cmd *cobra.Command, args []string) error {
		cl, admin, err := a.connect(cmd.Context())
		if err != nil {
			return err
		}
		defer cl.Close()
		g, err := groupState(cmd.Context(), admin, args[0])
		if err != nil {
			return err
		}
		rows := g.lag
		var sum int64
		for _, r := range rows {
			sum += max(r.Lag, 0)
		}
		if a.output == "table" {
			err = a.printLag(rows)
			fmt.Fprintf(a.out, "\ntotal %d\n", sum)
		} else {
			err = a.encode(map[string]any{"apiVersion": "v1", "name": args[0], "lag": sum, "partitions": rows})
		}
		if err == nil && cmd.Flags().Changed("max") && sum > most {
			return codedf(exitCheck, "group %s is %d records behind, more than %d", args[0], sum, most)
		}
		return err
	}}
	c.Flags().Int64Var(&most, "max", 0, "exit with 8 when the lag is larger")
	return c
}

func (a *app) groupDelete() *cobra.Command {
	var execute bool
	c := &cobra.Command{Use: "delete GROUP...", Short: "Delete groups without members, with their offsets; without --execute only say what would go", Args: usage(cobra.MinimumNArgs(1)), RunE: func(cmd *cobra.Command, args []string) error {
		cl, admin, err := a.connect(cmd.Context())
		if err != nil {
			return err
		}
		defer cl.Close()
		if !execute {
			return a.planGroupDelete(cmd.Context(), admin, args)
		}
		deleted, err := admin.DeleteGroups(cmd.Context(), args...)
		if err != nil {
			return err
		}
		return a.deleted("group", args, func(name string) error {
			if err := deleted[name].Err; err != nil {
				return groupError(name, err)
			}
			return nil
		})
	}}
	c.Flags().BoolVar(&execute, "execute", false, "do it")
	return c
}

// planGroupDelete says what would go, and what is in the way.
func (a *app) planGroupDelete(ctx context.Context, admin *kadm.Client, names []string) error {
	var failed error
	for _, name := range names {
		g, err := groupState(ctx, admin, name)
		if err == nil && len(g.members) > 0 {
			err = groupError(name, kerr.NonEmptyGroup)
		}
		if err != nil {
			failed = errors.Join(failed, err)
			continue
		}
		var offsets int64
		for _, row := range g.lag {
			if row.Committed >= 0 {
				offsets++
			}
		}
		a.say("group %s with %s would be deleted", name, counted(offsets, "committed offset"))
	}
	if failed == nil {
		a.say("PLAN ONLY: run again with --execute.")
	}
	return failed
}

// resetRow is where a partition's committed offset goes.
type resetRow struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Committed int64  `json:"committed"`
	New       int64  `json:"new"`
	Move      int64  `json:"move"`
}

func (a *app) groupReset() *cobra.Command {
	var to string
	var topics []string
	var execute bool
	c := &cobra.Command{Use: "reset GROUP --to PLACE", Short: "Move a group's offsets; without --execute only show where to", Args: usage(cobra.ExactArgs(1)), RunE: func(cmd *cobra.Command, args []string) error {
		if to == "" {
			return codedf(exitUsage, "--to is missing: start, end, @time, +N or -N")
		}
		cl, admin, err := a.connect(cmd.Context())
		if err != nil {
			return err
		}
		defer cl.Close()
		rows, err := planReset(cmd.Context(), admin, args[0], to, topics)
		if err != nil {
			return err
		}
		var table [][]string
		var again int64
		for _, r := range rows {
			again += max(0, -r.Move)
			table = append(table, []string{r.Topic, fmt.Sprint(r.Partition), fmt.Sprint(r.Committed), fmt.Sprint(r.New), fmt.Sprintf("%+d", r.Move)})
		}
		if err := a.print(map[string]any{"apiVersion": "v1", "name": args[0], "executed": execute, "partitions": rows}, nil, []string{"TOPIC", "PARTITION", "COMMITTED", "NEW", "MOVE"}, table); err != nil {
			return err
		}
		if !execute {
			a.say("PLAN ONLY: %d records would be read again. Run again with --execute.", again)
			return nil
		}
		var offsets kadm.Offsets
		for _, r := range rows {
			offsets.Add(kadm.Offset{Topic: r.Topic, Partition: r.Partition, At: r.New, LeaderEpoch: -1})
		}
		committed, err := admin.CommitOffsets(cmd.Context(), args[0], offsets)
		if err == nil {
			err = committed.Error()
		}
		if err != nil {
			return groupError(args[0], err)
		}
		return nil
	}}
	c.Flags().StringVar(&to, "to", "", "start, end, @-1h, @2026-11-24T10:00:00Z, +N or -N from where it is")
	c.Flags().StringSliceVar(&topics, "topic", nil, "only these topics")
	c.Flags().BoolVar(&execute, "execute", false, "do it")
	return c
}

// planReset finds the new offset of each partition the group has committed, or, with topics named, of all of theirs.
func planReset(ctx context.Context, admin *kadm.Client, group, to string, topics []string) ([]resetRow, error) {
	committed, err := admin.FetchOffsets(ctx, group)
	if err != nil {
		return nil, err
	}
	if len(topics) == 0 {
		topics = committed.Offsets().TopicsSet().Topics()
	}
	if len(topics) == 0 {
		return nil, codedf(exitNotFound, "group %s has committed nothing; name topics with --topic", group)
	}
	slices.Sort(topics)
	var rows []resetRow
	for _, topic := range topics {
		first, err := admin.ListStartOffsets(ctx, topic)
		if err == nil {
			err = first.Error()
		}
		if err != nil {
			return nil, topicError(topic, err, "")
		}
		last, err := admin.ListEndOffsets(ctx, topic)
		if err != nil {
			return nil, err
		}
		shift, isShift, err := shiftOf(to)
		if err != nil {
			return nil, err
		}
		at := map[int32]int64{}
		if !isShift {
			if at, err = position(ctx, admin, topic, to, first, last); err != nil {
				return nil, err
			}
		}
		for p, s := range first[topic] {
			old := int64(-1)
			if c, ok := committed.Lookup(topic, p); ok {
				old = c.At
			}
			next := at[p]
			if isShift {
				next = min(max(max(old, 0)+shift, s.Offset), last[topic][p].Offset)
			}
			rows = append(rows, resetRow{topic, p, old, next, next - max(old, 0)})
		}
	}
	slices.SortFunc(rows, func(x, y resetRow) int {
		return cmp.Or(cmp.Compare(x.Topic, y.Topic), cmp.Compare(x.Partition, y.Partition))
	})
	return rows, nil
}

// shiftOf reads +N and -N.
func shiftOf(to string) (n int64, ok bool, err error) {
	if to == "" || to[0] != '+' && to[0] != '-' {
		return 0, false, nil
	}
	n, err = strconv.ParseInt(to, 10, 64)
	if err != nil {
		return 0, false, codedf(exitUsage, "--to %s is no shift such as -100", to)
	}
	return n, true, nil
}
