package broker

import (
	"maps"
	"regexp"
	"slices"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/milldam/milldam/core/meta"
	"github.com/milldam/milldam/core/wire"
)

const (
	versionsNamed   = 3 // the version of ApiVersions in which clients say who they are, and so on
	versionsFromOff = 4
)

// clientSoftware is what a client may call itself and its version (KIP-511).
var clientSoftware = regexp.MustCompile(`^[a-zA-Z0-9](?:[a-zA-Z0-9\-.]*[a-zA-Z0-9])?$`)

// ApiVersions, versions 0 to 4. 3 is flexible, has the client's software (KIP-511) and the features (KIP-584), 4 also features that can be off, which older
// clients could not read (KAFKA-17011). Who asks for more is answered with version 0 and UNSUPPORTED_VERSION.
func (s *Server) apiVersions(cl *call, req *kmsg.ApiVersionsRequest) {
	if cl.header.Version >= versionsNamed && !(clientSoftware.MatchString(req.ClientSoftwareName) && clientSoftware.MatchString(req.ClientSoftwareVersion)) {
		resp := kmsg.NewPtrApiVersionsResponse()
		resp.ErrorCode = int16(wire.InvalidRequest)
		cl.reply(resp)
		return
	}
	cl.reply(s.versions(cl.header.Version, wire.None))
}

func (s *Server) versions(version int16, code wire.Code) *kmsg.ApiVersionsResponse {
	resp := kmsg.NewPtrApiVersionsResponse()
	resp.SetVersion(version)
	resp.ErrorCode = int16(code)
	for _, r := range wire.Served() {
		k := kmsg.NewApiVersionsResponseApiKey()
		k.ApiKey, k.MinVersion, k.MaxVersion = r.Key, r.Min, r.Max
		resp.ApiKeys = append(resp.ApiKeys, k)
	}
	for _, f := range meta.Features() {
		if f.Min == 0 && version < versionsFromOff {
			continue
		}
		row := kmsg.NewApiVersionsResponseSupportedFeature()
		row.Name, row.MinVersion, row.MaxVersion = f.Name, f.Min, f.Max
		resp.SupportedFeatures = append(resp.SupportedFeatures, row)
	}
	levels, epoch := s.opts.Controller.Image().FinalizedFeatures()
	for _, name := range slices.Sorted(maps.Keys(levels)) {
		row := kmsg.NewApiVersionsResponseFinalizedFeature()
		row.Name, row.MinVersionLevel, row.MaxVersionLevel = name, levels[name], levels[name]
		resp.FinalizedFeatures = append(resp.FinalizedFeatures, row)
	}
	resp.FinalizedFeaturesEpoch = epoch
	return resp
}
