package main

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
)

// position finds where `to` is in each partition: start, end, -N before the end, an offset, or @ a time.
func position(ctx context.Context, admin *kadm.Client, topic, to string, first, last kadm.ListedOffsets) (map[int32]int64, error) {
	out := map[int32]int64{}
	var byTime kadm.ListedOffsets
	if when, ok := strings.CutPrefix(to, "@"); ok {
		at, err := parseWhen(when, time.Now())
		if err != nil {
			return nil, err
		}
		if byTime, err = admin.ListOffsetsAfterMilli(ctx, at.UnixMilli(), topic); err != nil {
			return nil, err
		}
	}
	number, isNumber := int64(0), false
	if to != "start" && to != "end" && byTime == nil {
		n, err := strconv.ParseInt(to, 10, 64)
		if err != nil {
			return nil, codedf(exitUsage, "%q is no place in a topic: start, end, -10, 4711, @-1h or @2026-11-24T10:00:00Z", to)
		}
		number, isNumber = n, true
	}
	for p, s := range first[topic] {
		e := last[topic][p].Offset
		switch {
		case byTime != nil:
			out[p] = byTime[topic][p].Offset
		case to == "start":
			out[p] = s.Offset
		case to == "end":
			out[p] = e
		case isNumber && number < 0:
			out[p] = e + number
		default:
			out[p] = number
		}
		out[p] = min(max(out[p], s.Offset), e)
	}
	return out, nil
}

// parseWhen reads a time: RFC 3339, epoch milliseconds, or a duration before now.
func parseWhen(text string, now time.Time) (time.Time, error) {
	if text == "now" {
		return now, nil
	}
	if d, err := time.ParseDuration(text); err == nil && strings.HasPrefix(text, "-") {
		return now.Add(d), nil
	}
	if ms, err := strconv.ParseInt(text, 10, 64); err == nil {
		return time.UnixMilli(ms), nil
	}
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04:05", "2006-01-02 15:04:05", "2006-01-02"} {
		if t, err := time.Parse(layout, text); err == nil {
			return t, nil
		}
	}
	return time.Time{}, codedf(exitUsage, "%q is no time: 2026-11-24T10:00:00Z, epoch milliseconds, or -1h", text)
}
