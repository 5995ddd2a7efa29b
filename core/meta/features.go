package meta

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Feature is a capability of the cluster that has levels (KIP-584). A level is used once it is finalised, so that a cluster whose nodes are being
// replaced can still go back.
type Feature struct {
	Name     string
	Min, Max int16 // the levels this node can work at
	// Default is the level that a new cluster finalises; 0 is off.
	Default int16
	// UpOnly is of features whose levels say what stands on disk, so that an older one could not be read.
	UpOnly bool
}

// features is what this node supports. A capability that becomes real adds its row here, and is finalised in new clusters from then on.
var features = []Feature{
	{Name: "group.version", Max: 1, Default: 1},                         // 1 is the consumer group protocol of KIP-848
	{Name: metadataVersion, Min: 7, Max: 30, Default: 30, UpOnly: true}, // 3.3-IV3 to 4.3-IV0, the levels of Apache Kafka 4.3.1
	{Name: TransactionVersion, Min: 0, Max: 2, Default: 2},              // 1 has records with tagged fields, 2 an epoch per transaction (KIP-890)
}

const metadataVersion = "metadata.version"

// TransactionVersion is the feature whose level says how transactions are written down, and fenced.
const TransactionVersion = "transaction.version"

// Features returns the features this node supports, sorted by name.
func Features() []Feature {
	return slices.SortedFunc(slices.Values(features), func(a, b Feature) int { return strings.Compare(a.Name, b.Name) })
}

func featureNamed(name string) (Feature, bool) {
	at := slices.IndexFunc(features, func(f Feature) bool { return f.Name == name })
	if at < 0 {
		return Feature{}, false
	}
	return features[at], true
}

// defaultFeatures are what a new cluster finalises.
func defaultFeatures() map[string]int16 {
	levels := map[string]int16{}
	for _, f := range features {
		if f.Default > 0 {
			levels[f.Name] = f.Default
		}
	}
	return levels
}

// checkFinalized tells whether this node can work in a cluster of these levels.
func checkFinalized(levels map[string]int16) error {
	for _, name := range slices.Sorted(maps.Keys(levels)) {
		f, known := featureNamed(name)
		if level := levels[name]; !known || level < f.Min || level > f.Max {
			return fmt.Errorf("the cluster has finalised %s %d, this milldam supports %d to %d: run the one that finalised it", name, level, f.Min, f.Max)
		}
	}
	return nil
}

// UpgradeType says in which direction a feature's level may be changed, by its number in the protocol.
type UpgradeType int8

// The types. An unsafe downgrade may lose what only the higher level has.
const (
	Upgrade         UpgradeType = 1
	SafeDowngrade   UpgradeType = 2
	UnsafeDowngrade UpgradeType = 3
)

// FeatureUpdate asks for a feature to be finalised at a level; 0 is off.
type FeatureUpdate struct {
	Name  string
	Level int16
	Type  UpgradeType
}

// decideFeatures checks updates, of which all are made or none, and says what is to be written.
func decideFeatures(i *Image, node int32, updates []FeatureUpdate) (setFeatures, error) {
	levels := maps.Clone(i.features)
	for _, u := range updates {
		if why := refuseFeature(i.features[u.Name], node, u); why != "" {
			return setFeatures{}, refused(ErrInvalidUpdateVersion, "Invalid update version %d for feature %s. %s", u.Level, u.Name, why)
		}
		if f, _ := featureNamed(u.Name); f.UpOnly && u.Level < i.features[u.Name] {
			return setFeatures{}, refuseDowngrade(i.features[u.Name], u)
		}
		if u.Level == 0 {
			delete(levels, u.Name)
		} else {
			levels[u.Name] = u.Level
		}
	}
	return setFeatures{Levels: levels}, nil
}

// refuseFeature tells why a feature at level current cannot be updated; empty when it can.
func refuseFeature(current int16, node int32, u FeatureUpdate) string {
	f, known := featureNamed(u.Name)
	switch {
	case u.Type < Upgrade || u.Type > UnsafeDowngrade:
		return "The controller does not support the given upgrade type."
	case u.Level < 0:
		return "A feature version cannot be less than 0."
	case !known:
		return fmt.Sprintf("Local controller %d does not support this feature.", node)
	case u.Level < f.Min || u.Level > f.Max:
		return fmt.Sprintf("Local controller %d only supports versions %d-%d", node, f.Min, f.Max)
	case u.Level < current && u.Type == Upgrade:
		return "Can't downgrade the version of this feature without setting the upgrade type to either safe or unsafe downgrade."
	case u.Level > current && u.Type != Upgrade:
		return "Can't downgrade to a newer version."
	}
	return ""
}

// refuseDowngrade is about a feature that goes up only.
func refuseDowngrade(current int16, u FeatureUpdate) error {
	why := "Refusing to perform the requested downgrade because it might delete metadata information."
	if u.Type == UnsafeDowngrade {
		why = "Unsafe metadata downgrade is not supported in this version."
	}
	return refused(ErrInvalidUpdateVersion, "Unsupported %s downgrade from %d to %d. %s", u.Name, current, u.Level, why)
}

// UpdateFeatures finalises levels, all or none. ErrInvalidUpdateVersion.
func (c *Controller) UpdateFeatures(ctx context.Context, updates []FeatureUpdate, dryRun bool) error {
	c.deciding.Lock()
	defer c.deciding.Unlock()
	i := c.Image()
	cmd, err := decideFeatures(i, c.opts.NodeID, updates)
	if err != nil || dryRun || maps.Equal(cmd.Levels, i.features) {
		return err
	}
	return c.write(ctx, cmd)
}
