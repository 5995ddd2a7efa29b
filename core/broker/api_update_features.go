package broker

import (
	"slices"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/milldam/milldam/core/meta"
	"github.com/milldam/milldam/core/wire"
)

const (
	featuresTyped = 1 // the version of UpdateFeatures that says which kind of change, and so on
	featuresAtAll = 2
)

// UpdateFeatures, versions 0 to 2 (KIP-584). 1 has kinds of downgrades and dry runs (KIP-778), 2 has no result per feature any more, since all are made
// or none. As in Kafka, version 0 never lowers a level, whatever it allows.
func (s *Server) updateFeatures(cl *call, req *kmsg.UpdateFeaturesRequest) {
	ctx, cancel := s.within(req.TimeoutMillis)
	defer cancel()
	var updates []meta.FeatureUpdate // of a feature that is named twice the last, as in Kafka
	for _, u := range req.FeatureUpdates {
		kind := meta.Upgrade
		if cl.header.Version >= featuresTyped {
			kind = meta.UpgradeType(u.UpgradeType)
		}
		updates = slices.DeleteFunc(updates, func(before meta.FeatureUpdate) bool { return before.Name == u.Feature })
		updates = append(updates, meta.FeatureUpdate{Name: u.Feature, Level: u.MaxVersionLevel, Type: kind})
	}
	err := s.opts.Controller.UpdateFeatures(ctx, updates, req.ValidateOnly)
	resp := kmsg.NewPtrUpdateFeaturesResponse()
	if resp.ErrorCode = int16(s.code(err)); err != nil {
		text := "The update failed for all features since the following feature had an error: " + err.Error()
		resp.ErrorMessage = &text
	} else if cl.header.Version < featuresAtAll {
		for _, u := range req.FeatureUpdates {
			row := kmsg.NewUpdateFeaturesResponseResult()
			row.Feature, row.ErrorCode, row.ErrorMessage = u.Feature, int16(wire.None), kmsg.StringPtr("NONE")
			resp.Results = append(resp.Results, row)
		}
	}
	cl.reply(resp)
}
