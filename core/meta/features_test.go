package meta

import (
	"errors"
	"maps"
	"strings"
	"testing"

	"github.com/milldam/milldam/core/vfs"
)

// withFeature adds a row to the table for one test.
func withFeature(t *testing.T, f Feature) {
	t.Helper()
	old := features
	features = append(old[:len(old):len(old)], f)
	t.Cleanup(func() { features = old })
}

func TestANewClusterFinalisesTheDefaults(t *testing.T) {
	withFeature(t, Feature{Name: "off.version", Max: 2})
	withFeature(t, Feature{Name: "on.version", Max: 2, Default: 1})
	fs := vfs.NewMem()
	c := open(t, fs)
	levels, epoch := c.Image().FinalizedFeatures()
	if want := defaultFeatures(); !maps.Equal(levels, want) || epoch != 1 || levels["on.version"] != 1 || levels["metadata.version"] != 30 {
		t.Errorf("finalised %v in epoch %d, want %v in 1", levels, epoch, want)
	}
	must(t, c.UpdateFeatures(t.Context(), []FeatureUpdate{{"off.version", 2, Upgrade}, {"on.version", 0, SafeDowngrade}}, false))
	must(t, c.Close())

	i := open(t, fs).Image()
	if _, epoch := i.FinalizedFeatures(); i.FeatureLevel("off.version") != 2 || i.FeatureLevel("on.version") != 0 || epoch != 2 {
		t.Errorf("after a restart: %v in epoch %d", i.features, epoch)
	}
}

func TestAFolderWithoutFeaturesGetsThem(t *testing.T) {
	fs := vfs.NewMem()
	c := open(t, fs)
	must(t, c.write(t.Context(), setFeatures{}))
	c.image.Load().featuresEpoch = 0 // as a log from before there were features leaves it
	must(t, c.found(t.Context()))
	if c.Image().FeatureLevel("metadata.version") != 30 {
		t.Errorf("features: %v", c.Image().features)
	}
}

func TestAFolderOfALaterReleaseIsRefusedByName(t *testing.T) {
	fs := vfs.NewMem()
	c := open(t, fs)
	must(t, c.write(t.Context(), setFeatures{map[string]int16{"metadata.version": 31}}))
	must(t, c.Close())
	_, err := Open(t.Context(), Options{FS: fs, Dir: "meta", NodeID: 1})
	if err == nil || !strings.Contains(err.Error(), "metadata.version 31") {
		t.Errorf("opened: %v", err)
	}
}

func TestUpdateFeaturesIsAllOrNothing(t *testing.T) {
	withFeature(t, Feature{Name: "on.version", Max: 2, Default: 1})
	withFeature(t, Feature{Name: "two.version", Max: 2, Default: 1})
	c := open(t, vfs.NewMem())
	good := FeatureUpdate{"two.version", 2, Upgrade}
	for name, tc := range map[string]struct {
		update FeatureUpdate
		want   string
	}{
		"up to what is not supported": {FeatureUpdate{"on.version", 3, Upgrade}, "only supports versions 0-2"},
		"of no feature":               {FeatureUpdate{"no.version", 1, Upgrade}, "does not support this feature"},
		"below nothing":               {FeatureUpdate{"on.version", -1, SafeDowngrade}, "cannot be less than 0"},
		"of no type":                  {FeatureUpdate{"on.version", 2, 0}, "upgrade type"},
		"down as an upgrade":          {FeatureUpdate{"on.version", 0, Upgrade}, "Can't downgrade the version"},
		"up as a downgrade":           {FeatureUpdate{"on.version", 2, SafeDowngrade}, "to a newer version"},
		"of the metadata, safely":     {FeatureUpdate{"metadata.version", 29, SafeDowngrade}, "might delete metadata"},
		"of the metadata, unsafely":   {FeatureUpdate{"metadata.version", 29, UnsafeDowngrade}, "not supported"},
	} {
		err := c.UpdateFeatures(t.Context(), []FeatureUpdate{good, tc.update}, false)
		if !errors.Is(err, ErrInvalidUpdateVersion) || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, want %q", name, err, tc.want)
		}
	}
	must(t, c.UpdateFeatures(t.Context(), []FeatureUpdate{good}, true))
	must(t, c.UpdateFeatures(t.Context(), []FeatureUpdate{{"on.version", 1, Upgrade}, {"metadata.version", 30, SafeDowngrade}}, false))
	if _, epoch := c.Image().FinalizedFeatures(); epoch != 1 || c.Image().FeatureLevel("two.version") != 1 {
		t.Errorf("%v in epoch %d: a refused, dry or empty update changed it", c.Image().features, epoch)
	}
}
