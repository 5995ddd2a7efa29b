package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kgo"
)

// sendFlags are what send takes.
type sendFlags struct {
	key     string
	headers []string
	format  string
	codec   string
	file    string
	rate    string
}

func (a *app) sendCommand() *cobra.Command {
	var f sendFlags
	c := &cobra.Command{Use: "send TOPIC [VALUE...]", Short: "Send records: the values given, or the lines of a file or of standard input", Args: usage(cobra.MinimumNArgs(1)), RunE: func(cmd *cobra.Command, args []string) error {
		return a.send(cmd.Context(), args[0], args[1:], f)
	}}
	c.Flags().StringVarP(&f.key, "key", "k", "", "key of every record")
	c.Flags().StringArrayVarP(&f.headers, "header", "H", nil, "name=value of a header")
	c.Flags().StringVarP(&f.format, "format", "f", "%v", "how a line is read: %v, or %k and %v with a separator between, as in '%k %v'")
	c.Flags().StringVarP(&f.codec, "compression", "z", "none", "none, gzip, snappy, lz4 or zstd")
	c.Flags().StringVar(&f.file, "file", "", "read lines from this file; - is standard input")
	c.Flags().StringVar(&f.rate, "rate", "", "at most this many records a second, as in 100/s")
	return c
}

func (a *app) send(ctx context.Context, topic string, values []string, f sendFlags) error {
	codecs := map[string]kgo.CompressionCodec{"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(),
		"lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression()}
	codec, ok := codecs[f.codec]
	if !ok {
		return codedf(exitUsage, "-z %s is no compression: none, gzip, snappy, lz4 or zstd", f.codec)
	}
	pause, err := parseRate(f.rate)
	if err != nil {
		return err
	}
	var headers []kgo.RecordHeader
	for _, h := range f.headers {
		name, value, ok := strings.Cut(h, "=")
		if !ok {
			return codedf(exitUsage, "-H %q is no name=value", h)
		}
		headers = append(headers, kgo.RecordHeader{Key: name, Value: []byte(value)})
	}
	lines, closeInput, err := a.input(values, f.file)
	if err != nil {
		return err
	}
	defer closeInput()
	cl, _, err := a.connect(ctx, kgo.ProducerBatchCompression(codec), kgo.AllowAutoTopicCreation())
	if err != nil {
		return err
	}
	defer cl.Close()
	return a.sendLines(ctx, cl, topic, lines, f, headers, pause)
}

func parseRate(rate string) (pause time.Duration, err error) {
	if rate == "" {
		return 0, nil
	}
	n, err := strconv.ParseFloat(strings.TrimSuffix(rate, "/s"), 64)
	if err != nil || n <= 0 {
		return 0, codedf(exitUsage, "--rate %s is no rate such as 100/s", rate)
	}
	return time.Duration(float64(time.Second) / n), nil
}

// input is where lines come from.
func (a *app) input(values []string, file string) (io.Reader, func(), error) {
	switch {
	case len(values) > 0 && file != "":
		return nil, nil, codedf(exitUsage, "give values or --file, not both")
	case len(values) > 0:
		return strings.NewReader(strings.Join(values, "\n")), func() {}, nil
	case file == "" || file == "-":
		return a.in, func() {}, nil
	}
	f, err := os.Open(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, codedf(exitNotFound, "--file: %w", err)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("--file: %w", err)
	}
	return f, func() { f.Close() }, nil
}

const (
	// maxLine is the longest line that is sent.
	maxLine = 16 << 20
	// progressEvery is how often a long job says how far it is.
	progressEvery = 2 * time.Second
)

func (a *app) sendLines(ctx context.Context, cl *kgo.Client, topic string, lines io.Reader, f sendFlags, headers []kgo.RecordHeader, pause time.Duration) error {
	var failed atomic.Pointer[error]
	sent, began, told := 0, time.Now(), time.Now()
	reading, stop := context.WithCancel(ctx)
	defer stop()
	for read := readLines(reading, lines); ; {
		line, more := nextLine(ctx, read)
		if !more {
			break
		}
		if line.err != nil {
			return fmt.Errorf("read line %d: %w", sent+1, line.err)
		}
		r := &kgo.Record{Topic: topic, Headers: headers}
		if err := parseLine(r, line.text, f); err != nil {
			return err
		}
		cl.Produce(ctx, r, func(_ *kgo.Record, err error) {
			if err != nil {
				failed.CompareAndSwap(nil, &err)
			}
		})
		sent++
		if failed.Load() != nil {
			break
		}
		if time.Since(told) > progressEvery {
			told = time.Now()
			a.say("%d records sent, %.0f/s", sent, float64(sent)/time.Since(began).Seconds())
		}
		if pause > 0 {
			select {
			case <-time.After(time.Until(began.Add(time.Duration(sent) * pause))):
			case <-ctx.Done():
			}
		}
	}
	if err := cl.Flush(ctx); err != nil {
		return err
	}
	if err := failed.Load(); err != nil {
		return fmt.Errorf("send to %s: %w", topic, *err)
	}
	a.say("%s sent to %s", counted(int64(sent), "record"), topic)
	return nil
}

// inputLine is a line to send, or why there is none.
type inputLine struct {
	text string
	err  error
}

// readLines reads lines until they end or ctx does. A read that waits for a terminal cannot be cut short, so nobody waits for it.
func readLines(ctx context.Context, lines io.Reader) <-chan inputLine {
	out := make(chan inputLine)
	go func() {
		defer close(out)
		scanner := bufio.NewScanner(lines)
		scanner.Buffer(nil, maxLine)
		for scanner.Scan() {
			select {
			case out <- inputLine{text: scanner.Text()}:
			case <-ctx.Done():
				return
			}
		}
		if err := scanner.Err(); err != nil {
			select {
			case out <- inputLine{err: err}:
			case <-ctx.Done():
			}
		}
	}()
	return out
}

// nextLine waits for a line; false when there is none, or ctx ended.
func nextLine(ctx context.Context, lines <-chan inputLine) (inputLine, bool) {
	select {
	case line, more := <-lines:
		return line, more
	case <-ctx.Done():
		return inputLine{}, false
	}
}

// parseLine reads a line as the format says.
func parseLine(r *kgo.Record, line string, f sendFlags) error {
	if f.key != "" {
		r.Key = []byte(f.key)
	}
	separator, hasKey := strings.CutPrefix(strings.TrimSuffix(strings.NewReplacer(`\n`, "", `\t`, "\t").Replace(f.format), "%v"), "%k")
	if !hasKey {
		r.Value = []byte(line)
		return nil
	}
	if separator == "" {
		return codedf(exitUsage, "-f %q has nothing between %%k and %%v", f.format)
	}
	key, value, ok := strings.Cut(line, separator)
	if !ok {
		return fmt.Errorf("line %.60q has no %q between key and value", line, separator)
	}
	r.Key, r.Value = []byte(key), []byte(value)
	return nil
}
