package coordinator

import (
	"context"
	"sync"

	"github.com/milldam/milldam/core/record"
)

// ProducerIDs gives out producer ids from blocks that the metadata reserves.
type ProducerIDs struct {
	allocate func(ctx context.Context, count int32) (first record.ProducerID, err error)

	mu        sync.Mutex // held while a block is reserved: who needs an id then needs that block
	next, end record.ProducerID
}

// producerIDBlock is as Kafka's: a restart loses what is left of a block.
const producerIDBlock = 1000

// NewProducerIDs returns a source of ids; allocate reserves so many, from first on.
func NewProducerIDs(allocate func(ctx context.Context, count int32) (first record.ProducerID, err error)) *ProducerIDs {
	return &ProducerIDs{allocate: allocate}
}

// Take returns an id that nobody has. It may wait for the metadata.
func (p *ProducerIDs) Take(ctx context.Context) (record.ProducerID, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.next == p.end {
		first, err := p.allocate(ctx, producerIDBlock)
		if err != nil {
			return 0, err
		}
		p.next, p.end = first, first+producerIDBlock
	}
	p.next++
	return p.next - 1, nil
}
