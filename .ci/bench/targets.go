package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// target is what is to be reached: ours in its durable default, against a peer.
type target struct {
	peer    string
	measure string  // of measures
	factor  float64 // at least, or at most where less is better, of the peer's
	most    float64 // when not 0, an absolute bound instead
}

// Targets that several loads share.
var (
	halfCPU    = target{kafkaDefault, "core-s/GB", 0.5, 0}
	noMoreCPU  = target{kafkaDefault, "core-s/GB", 1, 0}
	fifthRSS   = target{kafkaDefault, "RSS MiB", 0.2, 0}
	notSlower  = rateOf(kafkaDefault, 1)
	notLater   = target{kafkaDefault, "p50 ms", 1, 0}
	meanBelow  = target{kafkaDefault, "mean ms", 1, 0}
	tailsBelow = target{kafkaDefault, "p99.9 ms", 1, 0}
	startFast  = target{kafkaDefault, "p50 ms", 1.0 / 20, 0}
)

func rateOf(peer string, factor float64) target { return target{peer, "rate", factor, 0} }

// produceTargets are those of produce: the rate against Kafka without sync, and with it.
func produceTargets(unsynced, synced float64) []target {
	list := []target{rateOf(kafkaDefault, unsynced), halfCPU, fifthRSS}
	if synced > 0 {
		list = append(list, rateOf(kafkaSynced, synced))
	}
	return list
}

// verdict is one target beside what was measured.
type verdict struct {
	Load    string  `json:"load"`
	Target  string  `json:"target"`
	Value   float64 `json:"value"` // the factor, or the measure itself where the bound is absolute
	Verdict string  `json:"verdict"`
}

const (
	reached     = "reached"
	short       = "short"
	notMeasured = "not measured"
)

// judge compares the medians of a load with its targets.
func (l load) judge(list []comparison) []verdict {
	median := func(system string) *sample {
		for i := range list {
			if list[i].System == system && list[i].Error == "" && len(list[i].Rounds) > 0 {
				return &list[i].Median
			}
		}
		return &sample{}
	}
	var out []verdict
	for _, t := range l.targets {
		for _, m := range measures {
			if m.name != t.measure {
				continue
			}
			v := verdict{Load: l.name, Target: t.text(m.higher, l.unit), Verdict: notMeasured}
			our, peer := *m.of(median(ours)), *m.of(median(t.peer))
			switch {
			case our > 0 && t.most > 0:
				v.Value, v.Verdict = our, short
				if our <= t.most {
					v.Verdict = reached
				}
			case our > 0 && peer > 0:
				v.Value, v.Verdict = our/peer, short
				if m.higher && v.Value >= t.factor || !m.higher && v.Value <= t.factor {
					v.Verdict = reached
				}
			}
			out = append(out, v)
		}
	}
	return out
}

func (t target) text(higher bool, unit string) string {
	name := t.measure
	if name == "rate" {
		name = unit
	}
	switch {
	case t.most > 0:
		return fmt.Sprintf("%s at most %s", name, number(t.most))
	case higher:
		return fmt.Sprintf("%s at least %s times %s", name, number(t.factor), peerName(t.peer))
	}
	return fmt.Sprintf("%s at most %s times %s", name, number(t.factor), peerName(t.peer))
}

func peerName(system string) string {
	if system == kafkaSynced {
		return "Kafka's with sync"
	}
	return "Kafka's without sync"
}

// verdictTable prints what was reached, with columns for a terminal or for a page.
func verdictTable(out io.Writer, list []verdict, markdown bool) error {
	rows := [][]string{{"Load", "Target", "Measured", "Verdict"}}
	for _, v := range list {
		value := "-"
		if v.Verdict != notMeasured {
			value = number(v.Value)
		}
		rows = append(rows, []string{v.Load, v.Target, value, v.Verdict})
	}
	return printRows(out, rows, markdown)
}

// printRows prints rows, the first of which is the head.
func printRows(out io.Writer, rows [][]string, markdown bool) error {
	if !markdown {
		w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
		for _, r := range rows {
			fmt.Fprintln(w, strings.Join(r, "\t"))
		}
		fmt.Fprintln(w)
		return w.Flush()
	}
	for i, r := range rows {
		fmt.Fprintf(out, "| %s |\n", strings.Join(r, " | "))
		if i == 0 {
			fmt.Fprintln(out, strings.Repeat("|---", len(r))+"|")
		}
	}
	fmt.Fprintln(out)
	return nil
}
