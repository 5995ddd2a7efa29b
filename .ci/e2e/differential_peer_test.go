package e2e

import (
	endian "encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// answerLimit is how long a broker may take to answer; a busy machine stays far below it.
const answerLimit = 10 * time.Second

// silentLimit is how long an answer is waited for that Kafka often never gives: that it came and that it did not are both the difference of the same row.
const silentLimit = 300 * time.Millisecond

// diffPeer is one of the two brokers asked, with what its answers bound: brokers choose ids, and only their names can be compared.
type diffPeer struct {
	name, addr    string
	conns         map[string]net.Conn
	correlation   int32
	maySayNothing func(kmsg.Request) bool // to what silentLimit is long enough

	topicIDs  map[string][16]byte // newest id of a topic
	topics    map[[16]byte]string // id to name and how many ids that topic had before
	producers map[string]diffProducer
	pids      map[int64]string
	members   map[string]string // symbol to member id
	symbols   map[string]string // member id to symbol
	joined    map[string]int32  // group to generation
	epochs    map[string]int32  // member of a consumer group to member epoch
	starts    map[string]int64  // topic and partition to the first offset
	session   int32             // of fetches, the newest
}

type diffProducer struct {
	id    int64
	epoch int16
}

func newDiffPeer(name, addr string) *diffPeer {
	return &diffPeer{name: name, addr: addr, conns: map[string]net.Conn{}, topicIDs: map[string][16]byte{}, topics: map[[16]byte]string{},
		producers: map[string]diffProducer{}, pids: map[int64]string{}, members: map[string]string{}, symbols: map[string]string{},
		joined: map[string]int32{}, epochs: map[string]int32{}, starts: map[string]int64{}}
}

func (p *diffPeer) close() {
	for _, c := range p.conns {
		c.Close()
	}
}

// outcome is what a broker did with a request: it answered, closed the connection, or kept silent.
type outcome struct {
	resp kmsg.Response
	err  string
}

const (
	closedConn = "closed the connection"
	noAnswer   = "did not answer"
)

// ask sends a request on the named connection and waits for its answer.
func (p *diffPeer) ask(conn string, req kmsg.Request) outcome {
	if err := p.send(conn, req); err != nil {
		return outcome{err: closedConn}
	}
	return p.receive(conn, req)
}

func (p *diffPeer) send(conn string, req kmsg.Request) error {
	p.correlation++
	return p.sendFrame(conn, kmsg.NewRequestFormatter(kmsg.FormatterClientID("differential")).AppendRequest(nil, req, p.correlation))
}

func (p *diffPeer) sendFrame(conn string, frame []byte) error {
	c := p.conns[conn]
	if c == nil {
		var err error
		if c, err = net.DialTimeout("tcp", p.addr, answerLimit); err != nil {
			return fmt.Errorf("dial %s: %w", p.name, err)
		}
		p.conns[conn] = c
	}
	_, err := c.Write(frame)
	if err != nil {
		p.drop(conn)
	}
	return err
}

func (p *diffPeer) drop(conn string) {
	p.conns[conn].Close()
	delete(p.conns, conn)
}

func (p *diffPeer) receive(conn string, req kmsg.Request) outcome {
	limit := answerLimit
	if p.maySayNothing != nil && p.maySayNothing(req) {
		limit = silentLimit
	}
	if r, ok := req.(*kmsg.ProduceRequest); ok && r.Acks == 0 {
		// Nothing answers it. What is asked next on the connection is answered after it was handled, or finds the connection closed.
		req = kmsg.NewPtrApiVersionsRequest()
		if p.send(conn, req) != nil {
			return outcome{err: closedConn}
		}
	}
	body, err := p.receiveFrame(conn, limit)
	if err != "" {
		return outcome{err: err}
	}
	resp := req.ResponseKind()
	resp.SetVersion(req.GetVersion())
	if req.Key() == int16(kmsg.ApiVersions) && req.GetVersion() > 4 {
		resp.SetVersion(0) // what a broker answers to a version it does not know
	} else if req.IsFlexible() && req.Key() != int16(kmsg.ApiVersions) {
		body = body[1:] // no tags in the header
	}
	if err := resp.ReadFrom(body); err != nil {
		return outcome{err: fmt.Sprintf("answered what is no %s: %v", kmsg.NameForKey(req.Key()), err)}
	}
	return outcome{resp: resp}
}

// receiveFrame reads an answer without its correlation id, or says what happened in its place.
func (p *diffPeer) receiveFrame(conn string, limit time.Duration) ([]byte, string) {
	c := p.conns[conn]
	if err := c.SetReadDeadline(time.Now().Add(limit)); err != nil {
		return nil, err.Error()
	}
	var head [8]byte
	_, err := io.ReadFull(c, head[:])
	var body []byte
	if err == nil {
		if got := int32(endian.BigEndian.Uint32(head[4:])); got != p.correlation {
			return nil, fmt.Sprintf("answered correlation id %d, not %d", got, p.correlation)
		}
		body = make([]byte, endian.BigEndian.Uint32(head[:])-4)
		_, err = io.ReadFull(c, body)
	}
	switch {
	case err == nil:
		return body, ""
	case errors.Is(err, os.ErrDeadlineExceeded):
		p.drop(conn)
		return nil, noAnswer
	default:
		p.drop(conn)
		return nil, closedConn
	}
}

// learn binds the ids that an answer brought.
func (p *diffPeer) learn(c *diffCall, req kmsg.Request, resp kmsg.Response) {
	switch r := resp.(type) {
	case *kmsg.MetadataResponse:
		for _, t := range r.Topics {
			if t.Topic != nil {
				p.bindTopic(*t.Topic, t.TopicID)
			}
		}
	case *kmsg.CreateTopicsResponse:
		for _, t := range r.Topics {
			if !req.(*kmsg.CreateTopicsRequest).ValidateOnly { // else the id names nothing
				p.bindTopic(t.Topic, t.TopicID)
			}
		}
	case *kmsg.InitProducerIDResponse:
		if r.ErrorCode == 0 {
			p.bindProducer(c.producer, r.ProducerID, r.ProducerEpoch)
		}
	case *kmsg.EndTxnResponse:
		if r.ErrorCode == 0 && r.ProducerID >= 0 {
			p.bindProducer(c.producer, r.ProducerID, r.ProducerEpoch)
		}
	case *kmsg.JoinGroupResponse:
		if r.ErrorCode == 0 || r.ErrorCode == kerr.MemberIDRequired.Code { // other answers repeat what was asked with
			p.bindMember(c.member, r.MemberID)
		}
		if r.ErrorCode == 0 {
			p.joined[req.(*kmsg.JoinGroupRequest).Group] = r.Generation
		}
	case *kmsg.ConsumerGroupHeartbeatResponse:
		if r.ErrorCode == 0 {
			if r.MemberID != nil {
				p.bindMember(c.member, *r.MemberID)
			}
			p.epochs[c.member] = r.MemberEpoch
		}
	case *kmsg.FetchResponse:
		if r.SessionID != 0 {
			p.session = r.SessionID
		}
	case *kmsg.DeleteRecordsResponse:
		for _, t := range r.Topics {
			for _, part := range t.Partitions {
				if part.ErrorCode == 0 {
					p.starts[fmt.Sprintf("%s %d", t.Topic, part.Partition)] = part.LowWatermark
				}
			}
		}
	}
}

func (p *diffPeer) bindTopic(name string, id [16]byte) {
	if _, known := p.topics[id]; known || id == [16]byte{} {
		return
	}
	nth := 0
	for _, other := range p.topics {
		if got, _, _ := cutLast(other, '#'); got == name {
			nth++
		}
	}
	p.topicIDs[name], p.topics[id] = id, fmt.Sprintf("%s#%d", name, nth)
}

func (p *diffPeer) bindProducer(name string, id int64, epoch int16) {
	p.producers[name] = diffProducer{id, epoch}
	if p.pids[id] == "" {
		p.pids[id] = fmt.Sprintf("%s#%d", name, len(p.pids))
	}
}

func (p *diffPeer) bindMember(symbol, id string) {
	if id != "" && symbol != "" && p.symbols[id] == "" {
		p.members[symbol], p.symbols[id] = id, symbol
	}
}
