package meta

import (
	"errors"
	"slices"
	"testing"

	"github.com/milldam/milldam/core/vfs"
)

// Rules for the tests: of a topic, of topics of a prefix, and of all topics.
var (
	readT   = ACL{ResourceType: 2, Resource: "t", Pattern: 3, Principal: "User:a", Host: "*", Operation: 3, Permission: 3}
	writeT  = ACL{ResourceType: 2, Resource: "t", Pattern: 3, Principal: "User:b", Host: "10.0.0.1", Operation: 4, Permission: 2}
	readAll = ACL{ResourceType: 2, Resource: "*", Pattern: 3, Principal: "User:a", Host: "*", Operation: 3, Permission: 3}
	prefixT = ACL{ResourceType: 2, Resource: "t", Pattern: 4, Principal: "User:a", Host: "*", Operation: 3, Permission: 3}
	groupG  = ACL{ResourceType: 3, Resource: "g", Pattern: 3, Principal: "User:a", Host: "*", Operation: 3, Permission: 3}
)

func TestACLFiltersSelectAsKafkas(t *testing.T) {
	fs := vfs.NewMem()
	c := open(t, fs)
	all := []ACL{readT, writeT, readAll, prefixT, groupG}
	must(t, c.AddACLs(t.Context(), all))
	must(t, c.AddACLs(t.Context(), all)) // twice is once
	must(t, c.Close())
	c = open(t, fs)
	text := func(s string) *string { return &s }
	filter := func(change func(*ACLFilter)) ACLFilter {
		f := everyACL
		change(&f)
		return f
	}
	for name, tc := range map[string]struct {
		filter ACLFilter
		want   []ACL
	}{
		"everything":       {everyACL, all},
		"one type":         {filter(func(f *ACLFilter) { f.ResourceType = 3 }), []ACL{groupG}},
		"a name":           {filter(func(f *ACLFilter) { f.Resource = text("t") }), []ACL{readT, writeT, prefixT}},
		"a literal name":   {filter(func(f *ACLFilter) { f.Resource, f.Pattern = text("t"), patternLiteral }), []ACL{readT, writeT}},
		"what applies":     {filter(func(f *ACLFilter) { f.Resource, f.Pattern = text("tx"), patternMatch }), []ACL{readAll, prefixT}},
		"what applies too": {filter(func(f *ACLFilter) { f.ResourceType, f.Resource, f.Pattern = 2, text("t"), patternMatch }), []ACL{readT, writeT, readAll, prefixT}},
		"a principal":      {filter(func(f *ACLFilter) { f.Principal = text("User:b") }), []ACL{writeT}},
		"a host":           {filter(func(f *ACLFilter) { f.Host = text("10.0.0.1") }), []ACL{writeT}},
		"an operation":     {filter(func(f *ACLFilter) { f.Operation = 4 }), []ACL{writeT}},
		"a denial":         {filter(func(f *ACLFilter) { f.Permission = 2 }), []ACL{writeT}},
		"nobody":           {filter(func(f *ACLFilter) { f.Principal = text("User:") }), nil},
	} {
		got := slices.Collect(c.Image().ACLs(tc.filter))
		if len(got) != len(tc.want) || slices.ContainsFunc(tc.want, func(a ACL) bool { return !slices.Contains(got, a) }) {
			t.Errorf("%s: %v, want %v", name, got, tc.want)
		}
	}
	gone, err := c.RemoveACLs(t.Context(), []ACLFilter{filter(func(f *ACLFilter) { f.ResourceType = 2 }), filter(func(f *ACLFilter) { f.Operation = 3 })})
	must(t, err)
	if len(gone[0]) != 4 || len(gone[1]) != 4 || len(slices.Collect(c.Image().ACLs(everyACL))) != 0 {
		t.Errorf("removed %v", gone)
	}
}

func TestACLsThatMakeNoSenseAreRefused(t *testing.T) {
	for name, change := range map[string]func(*ACL){
		"no resource":            func(a *ACL) { a.Resource = "" },
		"a cluster of a name":    func(a *ACL) { a.ResourceType = resourceCluster },
		"any resource type":      func(a *ACL) { a.ResourceType = aclAny },
		"a type nobody has":      func(a *ACL) { a.ResourceType = 8 },
		"a pattern of filters":   func(a *ACL) { a.Pattern = patternMatch },
		"any operation":          func(a *ACL) { a.Operation = aclAny },
		"an unknown operation":   func(a *ACL) { a.Operation = 16 },
		"any permission":         func(a *ACL) { a.Permission = aclAny },
		"a principal of no type": func(a *ACL) { a.Principal = "alice" },
	} {
		a := readT
		change(&a)
		if err := CheckACL(a); !errors.Is(err, ErrInvalidRequest) {
			t.Errorf("%s: %v", name, err)
		}
	}
	must(t, CheckACL(ACL{ResourceType: resourceCluster, Resource: ClusterResource, Pattern: 3, Principal: "User:a", Host: "*", Operation: 15, Permission: 3}))
}

func TestASearchForANumberThatIsNotKnownFindsNothing(t *testing.T) {
	some := ACLFilter{ResourceType: lastResourceType + 1, Pattern: aclAny, Operation: -1, Permission: lastPermission + 1}
	if err := CheckACLSearch(some); err != nil {
		t.Error(err)
	}
	if some.Matches(ACL{ResourceType: lastResourceType, Resource: "r", Pattern: patternLiteral, Principal: "User:a", Host: "*", Operation: 3, Permission: 3}) {
		t.Error("it finds a rule")
	}
	some.Operation = 0
	if err := CheckACLSearch(some); !errors.Is(err, ErrInvalidRequest) {
		t.Errorf("with UNKNOWN: %v", err)
	}
}

func TestACLFilterOfANumberThatNoRuleHas(t *testing.T) {
	fine := ACLFilter{ResourceType: lastResourceType, Pattern: patternPrefixed, Operation: lastOperation, Permission: lastPermission}
	if err := CheckACLFilter(fine); err != nil {
		t.Error(err)
	}
	for _, change := range []func(*ACLFilter){
		func(f *ACLFilter) { f.ResourceType = 32 }, func(f *ACLFilter) { f.ResourceType = 0 }, func(f *ACLFilter) { f.Pattern = patternPrefixed + 1 },
		func(f *ACLFilter) { f.Operation = lastOperation + 1 }, func(f *ACLFilter) { f.Permission = lastPermission + 1 },
	} {
		f := fine
		change(&f)
		if err := CheckACLFilter(f); !errors.Is(err, ErrInvalidRequest) {
			t.Errorf("%+v: %v", f, err)
		}
	}
}
