package e2e

import (
	"cmp"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

var (
	diffSeed  = flag.Uint64("differential.seed", 1, "seed of the calls of TestDifferential")
	diffCount = flag.Int("differential.calls", 6000, "how many calls TestDifferential makes")
	diffTrace = flag.String("differential.trace", "", "file that gets every call of TestDifferential with both answers")
)

// shortCalls is how many calls the short suite makes, which make test runs: enough for a regression of what is called most.
const shortCalls = 1500

// callsPerEpisode is after how many calls new names are used, so that one difference does not follow the script to its end.
const callsPerEpisode = 120

// diffSettings are what both brokers run with.
var diffSettings = []string{"group.initial.rebalance.delay.ms=0", "group.consumer.max.session.timeout.ms=600000", "group.consumer.session.timeout.ms=600000"}

// TestDifferential asks Apache Kafka and Milldam the same things, legal, odd and illegal, and compares their answers.
func TestDifferential(t *testing.T) {
	if testing.Short() {
		*diffCount = min(*diffCount, shortCalls)
	}
	kafka := startKafka(t, append(slices.Clone(diffSettings), "broker.session.timeout.ms=60000", "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer", "super.users=User:ANONYMOUS")...)
	ours := startServer(t, diffSettings...).kafka
	d := &differential{t: t, kafka: newDiffPeer("Apache Kafka", kafka), ours: newDiffPeer("Milldam", ours), asked: map[[2]int16]int{}, found: map[string]*finding{}, known: map[string]int{},
		script: &diffScript{random: rand.New(rand.NewPCG(*diffSeed, 0)), stamp: time.Now().UnixMilli() - 3_600_000, sequence: map[string]int32{}}}
	d.kafka.maySayNothing = mayBeUnanswered
	if *diffTrace != "" {
		trace, err := os.Create(*diffTrace)
		if err != nil {
			t.Fatal(err)
		}
		defer trace.Close()
		d.trace = trace
	}
	defer d.kafka.close()
	defer d.ours.close()
	t.Logf("seed %d, %d calls", *diffSeed, *diffCount)
	d.readRanges()
	d.warmUp()
	for d.calls < *diffCount && !t.Failed() {
		d.playEpisode()
	}
	d.report()
}

// differential is one run.
type differential struct {
	t           *testing.T
	kafka, ours *diffPeer
	script      *diffScript
	ranges      []kmsg.ApiVersionsResponseApiKey
	weights     []int16 // API keys, each as often as it is to be asked
	calls       int
	asked       map[[2]int16]int
	found       map[string]*finding
	known       map[string]int
	trace       io.Writer // nil for none
}

// finding is a difference that is not known, with the first call that showed it.
type finding struct {
	difference
	count   int
	example string
}

func (d *differential) peers() [2]*diffPeer { return [2]*diffPeer{d.kafka, d.ours} }

// oftener are the APIs that change most, and those that tell of it.
var oftener = map[kmsg.Key]int{kmsg.Produce: 14, kmsg.Fetch: 8, kmsg.ListOffsets: 5, kmsg.OffsetCommit: 5, kmsg.OffsetFetch: 4, kmsg.InitProducerID: 4, kmsg.AddPartitionsToTxn: 6,
	kmsg.AddOffsetsToTxn: 4, kmsg.TxnOffsetCommit: 5, kmsg.EndTxn: 6, kmsg.CreateTopics: 5, kmsg.DeleteTopics: 1, kmsg.DeleteGroups: 1, kmsg.IncrementalAlterConfigs: 4, kmsg.ConsumerGroupHeartbeat: 10, kmsg.JoinGroup: 4}

// readRanges asks Milldam what it serves: all of that is called, in every version that Apache Kafka serves too.
func (d *differential) readRanges() {
	d.t.Helper()
	theirs := map[int16]kmsg.ApiVersionsResponseApiKey{}
	for _, p := range d.peers() {
		req := kmsg.NewPtrApiVersionsRequest()
		out := p.ask("main", req)
		if out.resp == nil {
			d.t.Fatalf("ApiVersions: %s %s", p.name, out.err)
		}
		for _, k := range out.resp.(*kmsg.ApiVersionsResponse).ApiKeys {
			if p == d.kafka {
				theirs[k.ApiKey] = k
				continue
			}
			other, ok := theirs[k.ApiKey]
			if !ok {
				d.t.Errorf("Milldam advertises API %d, Apache Kafka does not", k.ApiKey)
				continue
			}
			if k.MinVersion != other.MinVersion || k.MaxVersion != other.MaxVersion {
				d.t.Errorf("%s: Milldam advertises %d to %d, Apache Kafka %d to %d", kmsg.NameForKey(k.ApiKey), k.MinVersion, k.MaxVersion, other.MinVersion, other.MaxVersion)
			}
			if kmsg.RequestForKey(k.ApiKey) == nil {
				continue
			}
			d.ranges = append(d.ranges, k)
			for range max(2, oftener[kmsg.Key(k.ApiKey)]) {
				d.weights = append(d.weights, k.ApiKey)
			}
		}
	}
}

// playEpisode makes calls with names of its own, then compares the whole state and removes it.
func (d *differential) playEpisode() {
	s := d.script
	clear(s.sequence)
	for _, name := range s.topics()[:2] { // something to begin with
		d.createTopic(name)
	}
	for range callsPerEpisode {
		switch s.random.IntN(60) {
		case 0:
			d.rebalance(s.groups()[s.random.IntN(2)])
		case 1:
			d.wrongFrame()
		case 2:
			d.playFetchSession()
		case 3:
			d.playTransaction()
		default:
			d.call(d.randomCall())
		}
	}
	d.compareState()
	d.cleanUp()
	s.episode++
}

func (d *differential) randomCall() *diffCall {
	r := d.script.random
	key := d.weights[r.IntN(len(d.weights))]
	return d.newCall(key, d.version(key))
}

// version is one that was asked least so far, or any.
func (d *differential) version(key int16) int16 {
	k := d.ranges[slices.IndexFunc(d.ranges, func(k kmsg.ApiVersionsResponseApiKey) bool { return k.ApiKey == key })]
	n := int(k.MaxVersion-k.MinVersion) + 1
	v := k.MinVersion + int16(d.script.random.IntN(n))
	if d.script.random.IntN(2) == 0 {
		for other := k.MinVersion; other <= k.MaxVersion; other++ {
			if d.asked[[2]int16{key, other}] < d.asked[[2]int16{key, v}] {
				v = other
			}
		}
	}
	return v
}

func (d *differential) newCall(key, version int16) *diffCall {
	s := d.script
	groups := s.groups()
	if kmsg.Key(key) == kmsg.ConsumerGroupHeartbeat {
		groups = groups[2:]
	}
	group := groups[s.random.IntN(len(groups))]
	return &diffCall{key: key, version: version, seed: s.random.Uint64(), conn: "main", script: s, group: group,
		member: fmt.Sprintf("%s-m%d", group, s.random.IntN(diffMembers)), producer: s.name("p%d", s.random.IntN(diffProducers))}
}

// call makes one call and compares.
func (d *differential) call(c *diffCall) {
	d.callWith(c, c.build)
}

func (d *differential) callWith(c *diffCall, build func(*diffPeer) kmsg.Request) {
	var reqs [2]kmsg.Request
	for i, p := range d.peers() {
		reqs[i] = build(p)
		reqs[i].SetVersion(c.version)
	}
	d.calls++
	d.asked[[2]int16{c.key, c.version}]++
	var outs [2]outcome
	began := time.Now()
	defer func() {
		if took := time.Since(began); took > answerLimit/2 {
			d.t.Logf("call %d took %s: %s, last asked again: %v", d.calls, took, kmsg.NameForKey(c.key), outs[1].err)
		}
	}()
	outs = d.askBoth(c.conn, reqs)
	diffs := d.compareAnswers(c, reqs, &outs)
	if d.trace != nil {
		sent, _ := json.Marshal(reqs[0])
		fmt.Fprintf(d.trace, "call %d, %s version %d: %s\n  Apache Kafka %v\n  Milldam      %v\n", d.calls, kmsg.NameForKey(c.key), c.version, sent, d.kafka.flatten(outs[0]), d.ours.flatten(outs[1]))
	}
	for i, p := range d.peers() {
		if outs[i].resp != nil {
			p.learn(c, reqs[i], outs[i].resp)
		}
	}
	d.countSequences(c, reqs[0], outs[0].resp)
	d.deleteGhost(reqs[0], outs[0].resp)
	d.deleteUsersNamedTwice(reqs[0])
	if len(diffs) > 0 && !d.allFound(c, diffs) {
		d.t.Logf("call %d, %s: Apache Kafka %.1500v, Milldam %.1500v", d.calls, kmsg.NameForKey(c.key), d.kafka.flatten(outs[0]), d.ours.flatten(outs[1]))
	}
	d.note(c, reqs[0], diffs)
	d.settle(c)
	if r, ok := reqs[0].(*kmsg.ProduceRequest); ok && r.Acks == 0 { // nothing else tells what became of it
		for _, t := range r.Topics {
			d.ask("main", "", "", func(*diffPeer) kmsg.Request { return listAll(t.Topic, 0, -1) })
		}
	}
}

func (d *differential) askBoth(conn string, reqs [2]kmsg.Request) (outs [2]outcome) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		outs[1] = d.ours.ask(conn, reqs[1])
	}()
	outs[0] = d.kafka.ask(conn, reqs[0])
	<-done
	return outs
}

// settleLimit is how long brokers that differ are asked again: Kafka answers before all of its parts know of a change.
const settleLimit = 3 * time.Second

// compareAnswers compares two answers. Where they differ it asks again what may be asked twice: all that only reads, and a broker that said it was not ready.
func (d *differential) compareAnswers(c *diffCall, reqs [2]kmsg.Request, outs *[2]outcome) (diffs []difference) {
	for began := time.Now(); ; pause(d.t, 50*time.Millisecond) {
		var flat [2]map[string]string
		for i, p := range d.peers() {
			flat[i] = p.flatten(outs[i])
		}
		diffs = d.unknown(answered{reqs[0], flat[0], flat[1]})
		if len(diffs) == 0 || d.allFound(c, diffs) || time.Since(began) > settleLimit {
			return diffs
		}
		again := false
		for i, p := range d.peers() {
			if onlyReads(reqs[i]) || kmsg.Key(c.key) != kmsg.Produce && notReady(flat[i]) {
				again = true
				outs[i] = p.ask(c.conn, reqs[i])
			}
		}
		if !again {
			return diffs
		}
	}
}

func onlyReads(req kmsg.Request) bool {
	switch kmsg.Key(req.Key()) {
	case kmsg.ListOffsets, kmsg.Metadata, kmsg.OffsetFetch, kmsg.FindCoordinator, kmsg.DescribeGroups, kmsg.ListGroups, kmsg.ApiVersions, kmsg.OffsetForLeaderEpoch, kmsg.DescribeACLs,
		kmsg.DescribeConfigs, kmsg.DescribeLogDirs, kmsg.ListPartitionReassignments, kmsg.DescribeClientQuotas, kmsg.DescribeUserSCRAMCredentials, kmsg.DescribeCluster, kmsg.DescribeProducers,
		kmsg.DescribeTransactions, kmsg.ListTransactions, kmsg.ConsumerGroupDescribe, kmsg.ListConfigResources, kmsg.DescribeTopicPartitions:
		return true
	case kmsg.Fetch:
		return req.(*kmsg.FetchRequest).SessionEpoch == -1
	}
	return false
}

var notReadyCodes = []string{"COORDINATOR_LOAD_IN_PROGRESS", "COORDINATOR_NOT_AVAILABLE", "NOT_COORDINATOR", "CONCURRENT_TRANSACTIONS", "LEADER_NOT_AVAILABLE"}

func notReady(flat map[string]string) bool {
	for _, v := range flat {
		if slices.Contains(notReadyCodes, v) {
			return true
		}
	}
	return false
}

// countSequences keeps the sequences that Kafka accepted.
func (d *differential) countSequences(c *diffCall, req kmsg.Request, resp kmsg.Response) {
	switch r := resp.(type) {
	case *kmsg.InitProducerIDResponse:
		d.forgetSequences(c.producer, r.ErrorCode)
	case *kmsg.EndTxnResponse:
		if r.ProducerID >= 0 {
			d.forgetSequences(c.producer, r.ErrorCode)
		}
	case *kmsg.ProduceResponse:
		codes := map[string]int16{}
		for _, t := range r.Topics {
			name, _, _ := cutLast(cmp.Or(d.kafka.topics[t.TopicID], t.Topic), '#')
			for _, p := range t.Partitions {
				codes[sequenceKey(c.producer, cmp.Or(t.Topic, name), p.Partition)] = p.ErrorCode
			}
		}
		for _, t := range req.(*kmsg.ProduceRequest).Topics {
			for _, p := range t.Partitions {
				var batch kmsg.RecordBatch
				key := sequenceKey(c.producer, t.Topic, p.Partition)
				if code, ok := codes[key]; ok && code == 0 && batch.ReadFrom(p.Records) == nil && batch.ProducerID >= 0 {
					d.script.sequence[key] = batch.FirstSequence + batch.NumRecords
				}
			}
		}
	}
}

// deleteGhost deletes the group of a commit of which nothing was taken. In Apache Kafka such a commit makes a group that those who delete see, and those who
// describe only once something else was written to the same partition of the offsets topic.
func (d *differential) deleteGhost(req kmsg.Request, resp kmsg.Response) {
	group, taken := "", false
	switch r := resp.(type) {
	case *kmsg.OffsetCommitResponse:
		group = req.(*kmsg.OffsetCommitRequest).Group
		for _, t := range r.Topics {
			taken = taken || slices.ContainsFunc(t.Partitions, func(p kmsg.OffsetCommitResponseTopicPartition) bool { return p.ErrorCode == 0 })
		}
	case *kmsg.TxnOffsetCommitResponse:
		group = req.(*kmsg.TxnOffsetCommitRequest).Group
		for _, t := range r.Topics {
			taken = taken || slices.ContainsFunc(t.Partitions, func(p kmsg.TxnOffsetCommitResponseTopicPartition) bool { return p.ErrorCode == 0 })
		}
	default:
		return
	}
	if taken {
		return
	}
	for _, p := range d.peers() {
		gone := kmsg.NewPtrDeleteGroupsRequest()
		gone.Version, gone.Groups = 2, []string{group}
		p.ask("settle", gone)
	}
}

// deleteUsersNamedTwice deletes the credentials of users that a request named twice, of which Kafka altered none.
func (d *differential) deleteUsersNamedTwice(req kmsg.Request) {
	r, ok := req.(*kmsg.AlterUserSCRAMCredentialsRequest)
	if !ok || !namesUserTwice(r) {
		return
	}
	for _, u := range r.Upsertions {
		for _, mechanism := range []int8{1, 2} {
			gone := kmsg.NewPtrAlterUserSCRAMCredentialsRequest()
			gone.Deletions = []kmsg.AlterUserSCRAMCredentialsRequestDeletion{{Name: u.Name, Mechanism: mechanism}}
			for _, p := range d.peers() {
				p.ask("settle", gone)
			}
		}
	}
}

func (d *differential) forgetSequences(producer string, code int16) {
	if code == 0 {
		maps.DeleteFunc(d.script.sequence, func(key string, _ int32) bool { return strings.HasPrefix(key, producer+" ") })
	}
}

var inBrackets = regexp.MustCompile(`\[[^]]*\]`)

// unknown compares two answers and leaves out the differences that protocol.md lists.
func (d *differential) unknown(a answered) []difference {
	return slices.DeleteFunc(compare(a.kafka, a.milldam), func(diff difference) bool {
		if d.ofDeletedRecords(a, diff) {
			d.known[deletedRecordRow]++
			return true
		}
		if stampedAtOnce(a, diff) {
			return true
		}
		for _, k := range knownDifferences {
			if k.when(a, diff) {
				d.known[k.row]++
				return true
			}
		}
		return false
	})
}

// finding names a difference without what is different at each call.
func (c *diffCall) finding(diff difference) string {
	at := fmt.Sprintf("%s%s %s", kmsg.NameForKey(c.key), c.what, inBrackets.ReplaceAllString(diff.path, "[]"))
	if strings.Contains(at, "RecordBatches") {
		return at
	}
	return fmt.Sprintf("%s: Apache Kafka %s, Milldam %s", at, diff.kafka, diff.milldam)
}

// allFound tells that earlier calls have shown these differences to stay.
func (d *differential) allFound(c *diffCall, diffs []difference) bool {
	return !slices.ContainsFunc(diffs, func(diff difference) bool { return d.found[c.finding(diff)] == nil })
}

func (d *differential) note(c *diffCall, req kmsg.Request, diffs []difference) {
	for _, diff := range diffs {
		what := c.finding(diff)
		f := d.found[what]
		if f == nil {
			sent, _ := json.Marshal(req)
			f = &finding{difference: diff, example: fmt.Sprintf("call %d, version %d, %s\n      %.1500s", d.calls, c.version, diff.path, sent)}
			if strings.Contains(what, "RecordBatches") {
				f.example += fmt.Sprintf("\n      Apache Kafka %s\n      Milldam      %s", diff.kafka, diff.milldam)
			}
			d.found[what] = f
			d.t.Logf("%s\n      %s", what, f.example)
		}
		f.count++
	}
}

func (d *differential) report() {
	d.t.Helper()
	var missed []string
	for _, k := range d.ranges {
		for v := k.MinVersion; v <= k.MaxVersion; v++ {
			if d.asked[[2]int16{k.ApiKey, v}] == 0 {
				missed = append(missed, fmt.Sprintf("%s v%d", kmsg.NameForKey(k.ApiKey), v))
			}
		}
	}
	d.t.Logf("%d calls, %d APIs in %d versions", d.calls, len(d.ranges), len(d.asked))
	if len(missed) > 0 && d.calls >= 5000 {
		d.t.Errorf("never called: %s", strings.Join(missed, ", "))
	}
	for _, row := range slices.Sorted(maps.Keys(d.known)) {
		d.t.Logf("known, %d times: %s", d.known[row], row)
	}
	for _, k := range knownDifferences {
		if d.known[k.row] == 0 {
			d.t.Logf("known, not met in this run: %s", k.row)
		}
	}
	for _, what := range slices.Sorted(maps.Keys(d.found)) {
		d.t.Errorf("%s (%d times)\n      first: %s", what, d.found[what].count, d.found[what].example)
	}
}
