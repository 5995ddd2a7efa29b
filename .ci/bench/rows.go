package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// tools are the programs that measure, built once.
type tools struct {
	dir    string // of what is built, and of scratch files
	limits bool   // the floor programs are there
	// program is the milldam that is compared with peers.
	program string
	next    int
}

// packages with benchmarks, by the name of their test binary.
var packages = map[string]string{
	"storage": "./core/storage", "streams": "./streams", "pipelines": "./pipelines", "format": "./connect/format",
}

// floorPrograms and floorPackages of ../shared/peers/limits.
var (
	floorPrograms = []string{"gcommit", "minibroker", "gen", "loopback"}
	floorPackages = []string{"streamrec", "jsonbench", "parquetw"}
)

func build(dir string) (*tools, error) {
	t := &tools{dir: dir}
	for name, pkg := range packages {
		if err := goCommand(".", "test", "-c", "-o", filepath.Join(dir, name+".test"), pkg); err != nil {
			return nil, err
		}
	}
	limits, found := limitsDir()
	if !found {
		say("no ../shared/peers/limits: the table has no floors, and no rows over TCP, whose load comes from there")
		return t, nil
	}
	t.limits = true
	for _, name := range floorPrograms {
		if err := goCommand(limits, "build", "-o", filepath.Join(dir, name), "./"+name); err != nil {
			return nil, err
		}
	}
	for _, name := range floorPackages {
		if err := goCommand(limits, "test", "-c", "-o", filepath.Join(dir, name+".test"), "./"+name); err != nil {
			return nil, err
		}
	}
	return t, nil
}

func goCommand(dir string, args ...string) error {
	cmd := exec.Command("go", args...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return nil
}

// rows is the table.
func (t *tools) rows() []row {
	const wal = "one file, one write and one fdatasync for all partitions; no protocol, no check, no segment"
	rows := []row{
		{"append, 16 KiB batches, 8 partitions", "MB/s", t.bench("storage", "BenchmarkAppend", "MB/s"), t.gcommit(40, 16<<10, "MB/s"), wal},
		{"group commit, 1 partition", "rounds/s", t.bench("storage", "BenchmarkGroupCommit/partitions=1$", "rounds/s"), t.gcommit(1, 4<<10, "rounds/s"), wal},
		{"group commit, 100 partitions", "rounds/s", t.bench("storage", "BenchmarkGroupCommit/partitions=100$", "rounds/s"), t.gcommit(100, 4<<10, "rounds/s"), wal},
		{"group commit, 1,000 partitions", "rounds/s", t.bench("storage", "BenchmarkGroupCommit/partitions=1000$", "rounds/s"), t.gcommit(1000, 4<<10, "rounds/s"), wal},
		{"streams, filter and map", "records/s", t.bench("streams", "BenchmarkStateless", "records/s"), t.floorBench("streamrec", "BenchmarkStreams/filter.map.bytes.", "Mrec/s", 1e6), "takes a record batch apart, two closures, puts one together"},
		{"streams, windowed count", "records/s", t.bench("streams", "BenchmarkWindowedCount", "records/s"), nil, ""},
		{"the same through a broker, at least once", "records/CPU s", t.bench("streams", "BenchmarkWorkerAtLeastOnce", "records/cpu-s"), nil, ""},
		{"the same through a broker, exactly once", "records/CPU s", t.bench("streams", "BenchmarkWorkerExactlyOnce", "records/cpu-s"), nil, ""},
		{"pipeline, JSON where and map", "records/s", t.bench("pipelines", "BenchmarkWhereAndMap", "records/s"), t.floorPer("jsonbench", "BenchmarkDecode/fastjson/scan.get"), "parses 230 bytes and gets one field; no expression, writes nothing"},
		{"Parquet rows from JSON, snappy", "rows/s", t.bench("format", "BenchmarkColumns", "rows/s"), t.floorRows("parquetw", "BenchmarkParquet/snappy$"), "writes rows of 8 columns that are Arrow columns already; no JSON"},
	}
	if !t.limits {
		for i := range rows {
			rows[i].floor = nil
		}
		return rows
	}
	broker := "TCP, one write and one fdatasync for all that came; no check, no segment, no index"
	return append(rows,
		row{"produce over TCP, 1 connection", "MB/s", t.produce(1), t.floorProduce(1), broker},
		row{"produce over TCP, 16 connections", "MB/s", t.produce(16), t.floorProduce(16), broker},
		row{"fetch over TCP, 1 connection", "MB/s", t.fetch(), t.loopback(), "reads a file and writes it to a connection"},
	)
}

// bench runs one benchmark of ours and returns the metric that is named unit.
func (t *tools) bench(binary, pattern, unit string) func() (float64, error) {
	return func() (float64, error) {
		// The scratch folder of a benchmark is a folder of the system's own, as a user's data would be.
		return t.goBench(packages[binary], binary, pattern, unit)
	}
}

func (t *tools) goBench(dir, binary, pattern, unit string) (float64, error) {
	cmd := exec.Command(filepath.Join(t.dir, binary+".test"), "-test.run=^$", "-test.bench="+pattern, "-test.benchtime=2s")
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		return 0, fmt.Errorf("%w\n%s", err, out)
	}
	m := regexp.MustCompile(`([0-9.e+]+) ` + regexp.QuoteMeta(unit)).FindSubmatch(out)
	if m == nil {
		return 0, fmt.Errorf("%s prints no %s:\n%s", pattern, unit, out)
	}
	return strconv.ParseFloat(string(m[1]), 64)
}

// floorBench runs a benchmark of the floor; its metric is multiplied by factor.
func (t *tools) floorBench(binary, pattern, unit string, factor float64) func() (float64, error) {
	return func() (float64, error) {
		v, err := t.goBench(t.dir, binary, pattern, unit)
		return v * factor, err
	}
}

// floorPer is operations per second.
func (t *tools) floorPer(binary, pattern string) func() (float64, error) {
	return func() (float64, error) {
		v, err := t.goBench(t.dir, binary, pattern, "ns/op")
		return 1e9 / v, err
	}
}

// parquetRowBytes is how many bytes of JSON parquetw takes a row for.
const parquetRowBytes = 230

func (t *tools) floorRows(binary, pattern string) func() (float64, error) {
	return t.floorBench(binary, pattern, "MB/s", 1e6/parquetRowBytes)
}

// command runs a floor program and returns the number before or behind unit in what it prints.
func (t *tools) command(pattern string, name string, args ...string) (float64, error) {
	out, err := exec.Command(filepath.Join(t.dir, name), args...).CombinedOutput()
	if err != nil {
		return 0, fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, out)
	}
	m := regexp.MustCompile(pattern).FindSubmatch(out)
	if m == nil {
		return 0, fmt.Errorf("%s prints nothing like %s:\n%s", name, pattern, out)
	}
	return strconv.ParseFloat(string(m[1]), 64)
}

func (t *tools) gcommit(partitions, batch int, unit string) func() (float64, error) {
	return func() (float64, error) {
		return t.command(unit+`=([0-9.]+)`, "gcommit", "-mode", "wal", "-pre", "zero", "-k", strconv.Itoa(partitions), "-batch", strconv.Itoa(batch), "-d", "2s", "-dir", t.scratch())
	}
}

func (t *tools) loopback() func() (float64, error) {
	return func() (float64, error) {
		v, err := t.command(`([0-9.]+) GB/s`, "loopback", "-mode", "copy", "-d", "2s", "-file", filepath.Join(t.scratch(), "file"))
		return v * 1000, err
	}
}

// scratch is a new folder.
func (t *tools) scratch() string {
	t.next++
	dir := filepath.Join(t.dir, "scratch-"+strconv.Itoa(t.next))
	if err := os.Mkdir(dir, 0o755); err != nil {
		panic(err) // the folder above is ours, and new
	}
	return dir
}

const partitions = 8

// generate runs the load generator against a broker.
func (t *tools) generate(addr, mode string, connections int, d time.Duration) (float64, error) {
	return t.command(`: ([0-9.]+) MB/s`, "gen", "-addr", addr, "-mode", mode, "-conns", strconv.Itoa(connections), "-parts", strconv.Itoa(partitions), "-d", d.String())
}

const (
	produceTime = 3 * time.Second
	// fetchTime is short, so that the reader does not come to the end of what was produced for it.
	fetchTime = 300 * time.Millisecond
)

// milldam runs fn with a broker of ours that has the topic bench.
func (t *tools) milldam(fn func(addr string) (float64, error)) (v float64, err error) {
	dir := t.scratch()
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	cmd := exec.Command("bin/milldam", "dev", "--dir", dir, "--listen", "127.0.0.1:0", "--http", "none")
	var log bytes.Buffer
	cmd.Stderr = &log
	if err := cmd.Start(); err != nil {
		return 0, fmt.Errorf("start bin/milldam (make build makes it): %w", err)
	}
	defer func() {
		err = errors.Join(err, cmd.Process.Signal(syscall.SIGTERM))
		if ended := cmd.Wait(); ended != nil {
			err = errors.Join(err, fmt.Errorf("milldam: %w\n%s", ended, log.String()))
		}
	}()
	addr, err := awaitEndpoint(filepath.Join(dir, "endpoints.json"))
	if err != nil {
		return 0, err
	}
	// The generator's records are of 1970, or of no time at all.
	create := exec.Command("bin/milldam", "topic", "create", "bench", "-p", strconv.Itoa(partitions), "-c", "retention.ms=-1", "-b", addr)
	if out, err := create.CombinedOutput(); err != nil {
		return 0, fmt.Errorf("create the topic: %w\n%s", err, out)
	}
	return fn(addr)
}

// startPatience is how long a broker may take to say where it listens.
const startPatience = 10 * time.Second

func awaitEndpoint(file string) (string, error) {
	deadline := time.Now().Add(startPatience)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for range tick.C {
		var e struct{ Kafka string }
		if data, err := os.ReadFile(file); err == nil && json.Unmarshal(data, &e) == nil && e.Kafka != "" {
			return e.Kafka, nil
		}
		if time.Now().After(deadline) {
			break
		}
	}
	return "", fmt.Errorf("milldam wrote no %s within %s", file, startPatience)
}

func (t *tools) produce(connections int) func() (float64, error) {
	return func() (float64, error) {
		return t.milldam(func(addr string) (float64, error) { return t.generate(addr, "raw", connections, produceTime) })
	}
}

func (t *tools) fetch() func() (float64, error) {
	return func() (float64, error) {
		return t.milldam(func(addr string) (float64, error) {
			if _, err := t.generate(addr, "raw", 16, produceTime); err != nil {
				return 0, err
			}
			return t.generate(addr, "rawc", 1, fetchTime)
		})
	}
}

// freeAddr is an address that nobody listens on; the floor's broker takes no port 0.
func freeAddr() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// awaitListener returns when somebody listens at addr.
func awaitListener(addr string) error {
	deadline := time.Now().Add(startPatience)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for range tick.C {
		conn, err := net.Dial("tcp", addr)
		if err == nil {
			return conn.Close()
		}
		if time.Now().After(deadline) {
			return err
		}
	}
	return nil
}

func (t *tools) floorProduce(connections int) func() (float64, error) {
	return func() (v float64, err error) {
		dir := t.scratch()
		defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
		addr, err := freeAddr()
		if err != nil {
			return 0, err
		}
		cmd := exec.Command(filepath.Join(t.dir, "minibroker"), "-mode", "wal", "-addr", addr, "-dir", dir, "-parts", strconv.Itoa(partitions))
		if err := cmd.Start(); err != nil {
			return 0, err
		}
		defer func() {
			err = errors.Join(err, cmd.Process.Kill())
			cmd.Wait() // it was killed, so its exit status says nothing
		}()
		if err := awaitListener(addr); err != nil {
			return 0, err
		}
		return t.generate(addr, "raw", connections, produceTime)
	}
}
