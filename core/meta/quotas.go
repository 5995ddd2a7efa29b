package meta

import (
	"cmp"
	"context"
	"maps"
	"math"
	"net"
	"slices"
)

// QuotaName is one part of a QuotaEntity: absent, a name, or the default for those without a quota of their own.
type QuotaName string

// NoName is a part that the entity does not have, DefaultName the default.
const (
	NoName      QuotaName = ""
	DefaultName QuotaName = "*"
)

// Named is the part called name.
func Named(name string) QuotaName { return QuotaName("=" + name) }

// Name returns the name of a part, nil of the default.
func (n QuotaName) Name() *string {
	if n == DefaultName || n == NoName {
		return nil
	}
	name := string(n[1:])
	return &name
}

// QuotaEntity is who a quota is for: a user, a client id, both, or an address.
type QuotaEntity struct{ User, ClientID, IP QuotaName }

// The quotas.
const (
	ProducerByteRate       = "producer_byte_rate"
	ConsumerByteRate       = "consumer_byte_rate"
	RequestPercentage      = "request_percentage"
	ControllerMutationRate = "controller_mutation_rate"
	ConnectionCreationRate = "connection_creation_rate"
)

// quotaKeys says which quotas there are: for addresses or for users and clients, and whether they have fractions.
var quotaKeys = map[string]struct{ ofIP, fractions bool }{
	ProducerByteRate: {false, false}, ConsumerByteRate: {false, false}, RequestPercentage: {false, true}, ControllerMutationRate: {false, true},
	ConnectionCreationRate: {true, false},
}

// QuotaOp sets or removes one quota.
type QuotaOp struct {
	Key    string
	Value  float64
	Remove bool
}

func checkQuota(e QuotaEntity, ops []QuotaOp) error {
	switch {
	case e == QuotaEntity{}:
		return refused(ErrInvalidRequest, "Invalid empty client quota entity")
	case e.IP != NoName && (e.User != NoName || e.ClientID != NoName):
		return refused(ErrInvalidRequest, "Invalid quota entity combination, an IP entity is not combined with a user or client-id")
	}
	for kind, part := range map[string]QuotaName{"user": e.User, "client-id": e.ClientID, "ip": e.IP} {
		if part == Named("") {
			return refused(ErrInvalidRequest, "Empty %s not supported", kind)
		}
	}
	if name := e.IP.Name(); name != nil && net.ParseIP(*name) == nil {
		return refused(ErrInvalidRequest, "%s is not a valid IP address", *name)
	}
	seen := map[string]bool{}
	for _, op := range ops {
		if seen[op.Key] {
			return refused(ErrInvalidRequest, "Duplicate quota %s", op.Key)
		}
		seen[op.Key] = true
		if err := op.check(e.IP != NoName); err != nil {
			return err
		}
	}
	return nil
}

func (op QuotaOp) check(ofIP bool) error {
	if op.Remove { // of any key, as in Kafka
		return nil
	}
	k, known := quotaKeys[op.Key]
	switch {
	case !known || k.ofIP != ofIP:
		return refused(ErrInvalidRequest, "Invalid configuration key %s", op.Key)
	case !(op.Value > 0) || math.IsInf(op.Value, 0):
		return refused(ErrInvalidRequest, "Quota %s must be greater than 0", op.Key)
	case !k.fractions && math.Trunc(op.Value) != op.Value:
		return refused(ErrInvalidRequest, "%s cannot be a fractional value.", op.Key)
	case op.Key == ConnectionCreationRate && op.Value > math.MaxInt32, op.Value > math.MaxInt64:
		return refused(ErrInvalidRequest, "Proposed value for %s is too large", op.Key)
	}
	return nil
}

// AlterQuota applies all ops to one entity, or none. ErrInvalidRequest.
func (c *Controller) AlterQuota(ctx context.Context, e QuotaEntity, ops []QuotaOp, dryRun bool) error {
	c.deciding.Lock()
	defer c.deciding.Unlock()
	if err := checkQuota(e, ops); err != nil {
		return err
	}
	old := c.Image().quotas[e]
	values := maps.Clone(old)
	if values == nil {
		values = map[string]float64{}
	}
	for _, op := range ops {
		if op.Remove {
			delete(values, op.Key)
		} else {
			values[op.Key] = op.Value
		}
	}
	if dryRun || maps.Equal(values, old) {
		return nil
	}
	return c.write(ctx, setQuota{Quota{e, values}})
}

// Quota is what one entity may.
type Quota struct {
	Entity QuotaEntity
	Values map[string]float64
}

// Quotas returns all quotas, sorted by entity. Their values are not to be changed.
func (i *Image) Quotas() []Quota {
	list := make([]Quota, 0, len(i.quotas))
	for e, values := range i.quotas {
		list = append(list, Quota{e, values})
	}
	slices.SortFunc(list, func(a, b Quota) int {
		return cmp.Or(cmp.Compare(a.Entity.User, b.Entity.User), cmp.Compare(a.Entity.ClientID, b.Entity.ClientID), cmp.Compare(a.Entity.IP, b.Entity.IP))
	})
	return list
}

// HasQuotas tells whether there are any, at the cost of nothing.
func (i *Image) HasQuotas() bool { return len(i.quotas) > 0 }

// ClientQuota finds the quota that applies to a client, in Kafka's order: the more of user and client id it names the sooner, the user before the
// client id, a name before the default. who is whom the quota counts together.
func (i *Image) ClientQuota(user, clientID, key string) (who QuotaEntity, limit float64, ok bool) {
	u, c := Named(user), Named(clientID)
	for _, at := range [...]struct{ entity, counted QuotaEntity }{
		{QuotaEntity{User: u, ClientID: c}, QuotaEntity{User: u, ClientID: c}},
		{QuotaEntity{User: u, ClientID: DefaultName}, QuotaEntity{User: u, ClientID: c}},
		{QuotaEntity{User: u}, QuotaEntity{User: u}},
		{QuotaEntity{User: DefaultName, ClientID: c}, QuotaEntity{User: u, ClientID: c}},
		{QuotaEntity{User: DefaultName, ClientID: DefaultName}, QuotaEntity{User: u, ClientID: c}},
		{QuotaEntity{User: DefaultName}, QuotaEntity{User: u}},
		{QuotaEntity{ClientID: c}, QuotaEntity{ClientID: c}},
		{QuotaEntity{ClientID: DefaultName}, QuotaEntity{ClientID: c}},
	} {
		if limit, ok := i.quotas[at.entity][key]; ok {
			return at.counted, limit, true
		}
	}
	return QuotaEntity{}, 0, false
}

// ConnectionQuota is how many connections an address may open in a second.
func (i *Image) ConnectionQuota(ip string) (limit float64, ok bool) {
	if limit, ok = i.quotas[QuotaEntity{IP: Named(ip)}][ConnectionCreationRate]; ok {
		return limit, true
	}
	limit, ok = i.quotas[QuotaEntity{IP: DefaultName}][ConnectionCreationRate]
	return limit, ok
}
