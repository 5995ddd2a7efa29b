package pipelines

import (
	"testing"
	"time"

	"github.com/milldam/milldam/connect"
	"github.com/milldam/milldam/connect/expression"
)

// BenchmarkWhereAndMap is a filter and a map of five fields, from bytes to bytes, over JSON of 318 bytes.
func BenchmarkWhereAndMap(b *testing.B) {
	specs := loadText(b, lintRegistry(b), `
pipeline: p
source: { topic: { names: [orders] } }
steps:
  - where: value.status == "paid" and value.amount > 100
  - map: { id: value.id, user: value.user, cents: int(value.amount * 100), country: value.address.country, at: value.at }
sink: { stdout: {} }
`)
	c := newChain(specs[0], 0, 2, expression.NewRuntime(1))
	r := connect.Record{Topic: "orders", Key: []byte("k"), Timestamp: time.UnixMilli(0), Value: []byte(`{"id":"5f3a9c1e-8d77-4c7b-9a52-0b1f6f0f6a11","user":"u-482913","status":"paid","amount":120.5,` +
		`"currency":"EUR","at":"2026-03-01T10:00:00Z","items":[{"sku":"A-1","n":2,"price":50.25},{"sku":"B-7","n":1,"price":20.0}],` +
		`"address":{"country":"DE","city":"Berlin","zip":"10115","street":"Invalidenstrasse 1"},"note":"leave at the door"}`)}
	b.ReportAllocs()
	for b.Loop() {
		if _, keep, err := c.apply(r); err != nil || !keep {
			b.Fatal(keep, err)
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "records/s")
}
