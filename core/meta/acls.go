package meta

import (
	"context"
	"fmt"
	"iter"
	"strings"
)

// ACL is one rule of who may do what (KIP-11, KIP-290). Its numbers are the protocol's.
type ACL struct {
	ResourceType int8
	Resource     string
	Pattern      int8
	Principal    string
	Host         string
	Operation    int8
	Permission   int8
}

// Numbers of the protocol that mean something to the rules themselves.
const (
	aclAny  = 1 // of every field of a filter
	firstID = 2 // the first number of a field that is neither unknown nor any

	lastResourceType = 7
	lastOperation    = 15
	lastPermission   = 3

	resourceCluster = 4
	// ClusterResource is the name of the one resource of type cluster.
	ClusterResource = "kafka-cluster"

	patternMatch    = 2 // of a filter: every rule that applies to the resource
	patternLiteral  = 3
	patternPrefixed = 4
	anyResource     = "*" // a literal rule for all resources of its type
)

// CheckACL tells why a rule cannot be added. ErrInvalidRequest.
func CheckACL(a ACL) error {
	switch {
	case a.ResourceType == resourceCluster && a.Resource != ClusterResource:
		return refused(ErrInvalidRequest, "The only valid name for the CLUSTER resource is %s", ClusterResource)
	case a.Resource == "":
		return refused(ErrInvalidRequest, "Invalid empty resource name")
	case a.ResourceType < firstID || a.ResourceType > lastResourceType:
		return refused(ErrInvalidRequest, "Invalid resourceType %d", a.ResourceType)
	case a.Pattern != patternLiteral && a.Pattern != patternPrefixed:
		return refused(ErrInvalidRequest, "Invalid patternType %d", a.Pattern)
	case a.Operation < firstID || a.Operation > lastOperation:
		return refused(ErrInvalidRequest, "Invalid operation %d", a.Operation)
	case a.Permission < firstID || a.Permission > lastPermission:
		return refused(ErrInvalidRequest, "Invalid permissionType %d", a.Permission)
	case strings.IndexByte(a.Principal, ':') < 0:
		return refused(ErrInvalidRequest, "Could not parse principal from `%s` (no colon is present separating the principal type from the principal name)", a.Principal)
	}
	return nil
}

// ACLFilter selects rules. A nil name, principal or host is any.
type ACLFilter struct {
	ResourceType    int8
	Resource        *string
	Pattern         int8
	Principal, Host *string
	Operation       int8
	Permission      int8
}

// CheckACLSearch tells why a filter finds nothing. One with a number that is not known here finds no rule, as in Kafka. ErrInvalidRequest.
func CheckACLSearch(f ACLFilter) error {
	if f.ResourceType == 0 || f.Pattern == 0 || f.Operation == 0 || f.Permission == 0 {
		return errUnknownElements
	}
	return nil
}

var errUnknownElements = refused(ErrInvalidRequest, "The AclBindingFilter must not contain UNKNOWN elements.")

// CheckACLFilter tells why a filter of rules to remove makes no sense. ErrInvalidRequest.
func CheckACLFilter(f ACLFilter) error {
	within := func(n, last int8) bool { return n > 0 && n <= last } // Kafka takes a number that it does not know for UNKNOWN
	if !within(f.ResourceType, lastResourceType) || !within(f.Pattern, patternPrefixed) || !within(f.Operation, lastOperation) || !within(f.Permission, lastPermission) {
		return errUnknownElements
	}
	return nil
}

// Matches tells whether f selects a.
func (f ACLFilter) Matches(a ACL) bool {
	is := func(want, is int8) bool { return want == aclAny || want == is }
	named := func(want *string, is string) bool { return want == nil || *want == is }
	return is(f.ResourceType, a.ResourceType) && f.matchesName(a) && named(f.Principal, a.Principal) && named(f.Host, a.Host) &&
		is(f.Operation, a.Operation) && is(f.Permission, a.Permission)
}

func (f ACLFilter) matchesName(a ACL) bool {
	if f.Pattern != aclAny && f.Pattern != patternMatch && f.Pattern != a.Pattern {
		return false
	}
	if f.Resource == nil || *f.Resource == a.Resource {
		return true
	}
	if f.Pattern != patternMatch {
		return false
	}
	return a.Pattern == patternLiteral && a.Resource == anyResource || a.Pattern == patternPrefixed && strings.HasPrefix(*f.Resource, a.Resource)
}

// key orders rules so that those of one resource stand together.
func (a ACL) key() string {
	return fmt.Sprintf("%03d %q %d %q %q %03d %d", a.ResourceType, a.Resource, a.Pattern, a.Principal, a.Host, a.Operation, a.Permission)
}

// everyACL selects all rules.
var everyACL = ACLFilter{ResourceType: aclAny, Pattern: aclAny, Operation: aclAny, Permission: aclAny}

// ACLs returns the rules that f selects, those of one resource together.
func (i *Image) ACLs(f ACLFilter) iter.Seq[ACL] {
	return func(yield func(ACL) bool) {
		for it := i.acls.Iterator(); !it.Done(); {
			if _, a, ok := it.Next(); ok && f.Matches(a) && !yield(a) {
				return
			}
		}
	}
}

// AddACLs adds rules that CheckACL lets pass; those that are there stay.
func (c *Controller) AddACLs(ctx context.Context, rules []ACL) error {
	c.deciding.Lock()
	defer c.deciding.Unlock()
	var missing []ACL
	i := c.Image()
	for _, a := range rules {
		if _, there := i.acls.Get(a.key()); !there {
			missing = append(missing, a)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	return c.write(ctx, addACLs{missing})
}

// RemoveACLs removes the rules that each filter selects, and returns them.
func (c *Controller) RemoveACLs(ctx context.Context, filters []ACLFilter) ([][]ACL, error) {
	c.deciding.Lock()
	defer c.deciding.Unlock()
	found := make([][]ACL, len(filters))
	var all []ACL
	gone := map[ACL]bool{}
	for at, f := range filters {
		for a := range c.Image().ACLs(f) {
			found[at] = append(found[at], a)
			if !gone[a] {
				gone[a] = true
				all = append(all, a)
			}
		}
	}
	if len(all) == 0 {
		return found, nil
	}
	return found, c.write(ctx, removeACLs{all})
}
