package broker

import (
	"maps"
	"slices"
	"strconv"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/milldam/milldam/core/meta"
)

// Parts of a quota entity, by their names in the protocol.
const (
	userPart   = "user"
	clientPart = "client-id"
	ipPart     = "ip"
)

// quotaParts lists the parts that an entity has, in the order in which they are told.
func quotaParts(e meta.QuotaEntity) []quotaPart {
	var parts []quotaPart
	for _, p := range []quotaPart{{clientPart, e.ClientID}, {ipPart, e.IP}, {userPart, e.User}} {
		if p.name != meta.NoName {
			parts = append(parts, p)
		}
	}
	return parts
}

type quotaPart struct {
	kind string
	name meta.QuotaName
}

// DescribeClientQuotas, versions 0 and 1 (KIP-546). 1 is flexible.
func (s *Server) describeClientQuotas(cl *call, req *kmsg.DescribeClientQuotasRequest) {
	resp := kmsg.NewPtrDescribeClientQuotasResponse()
	err := checkQuotaFilter(req.Components)
	resp.ErrorCode, resp.ErrorMessage = int16(s.code(err)), described(err)
	if err != nil {
		cl.reply(resp)
		return
	}
	resp.Entries = []kmsg.DescribeClientQuotasResponseEntry{} // null is for errors
	for _, q := range s.opts.Controller.Image().Quotas() {
		if !quotaMatches(q.Entity, req) {
			continue
		}
		out := kmsg.NewDescribeClientQuotasResponseEntry()
		for _, p := range quotaParts(q.Entity) {
			part := kmsg.NewDescribeClientQuotasResponseEntryEntity()
			part.Type, part.Name = p.kind, p.name.Name()
			out.Entity = append(out.Entity, part)
		}
		for _, key := range slices.Sorted(maps.Keys(q.Values)) {
			v := kmsg.NewDescribeClientQuotasResponseEntryValue()
			v.Key, v.Value = key, q.Values[key]
			out.Values = append(out.Values, v)
		}
		resp.Entries = append(resp.Entries, out)
	}
	cl.reply(resp)
}

// Ways to match a part.
const (
	matchExact kmsg.QuotasMatchType = iota
	matchDefault
	matchAny
)

func checkQuotaFilter(components []kmsg.DescribeClientQuotasRequestComponent) error {
	invalid := func(text string) error { return wrapped{meta.ErrInvalidRequest, text} }
	seen := map[string]bool{}
	for _, c := range components {
		switch {
		case c.EntityType == "":
			return invalid("Invalid empty entity type.")
		case seen[c.EntityType]:
			return invalid("Entity type " + c.EntityType + " cannot appear more than once in the filter.")
		case c.EntityType != userPart && c.EntityType != clientPart && c.EntityType != ipPart:
			return wrapped{meta.ErrUnsupportedVersion, "Unsupported entity type " + c.EntityType}
		case c.MatchType == matchExact && c.Match == nil:
			return invalid("Request specified MATCH_TYPE_EXACT, but set match string to null.")
		case c.MatchType == matchDefault && c.Match != nil:
			return invalid("Request specified MATCH_TYPE_DEFAULT, but also specified a match string.")
		case c.MatchType == matchAny && c.Match != nil:
			return invalid("Request specified MATCH_TYPE_SPECIFIED, but also specified a match string.")
		case c.MatchType < matchExact || c.MatchType > matchAny:
			return invalid("Unknown match type " + strconv.Itoa(int(c.MatchType)))
		}
		seen[c.EntityType] = true
	}
	if seen[ipPart] && len(seen) > 1 {
		return invalid("Invalid entity filter component combination. IP filter component should not be used with user or clientId filter component.")
	}
	return nil
}

func quotaMatches(e meta.QuotaEntity, req *kmsg.DescribeClientQuotasRequest) bool {
	parts := map[string]meta.QuotaName{}
	for _, p := range quotaParts(e) {
		parts[p.kind] = p.name
	}
	for _, c := range req.Components {
		name, there := parts[c.EntityType]
		switch {
		case !there:
			return false
		case c.MatchType == matchExact && name != meta.Named(*c.Match), c.MatchType == matchDefault && name != meta.DefaultName:
			return false
		}
	}
	return !req.Strict || len(parts) == len(req.Components)
}
